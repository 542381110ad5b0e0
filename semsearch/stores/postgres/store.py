"""An index in a schema of a PostgreSQL database with pgvector, which many may search and write to at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from semsearch.forks import ForkLock
from semsearch.stores.base import Entry, StoredDocument, StoredPassage
from semsearch.stores.postgres.address import Address
from semsearch.stores.postgres.artifacts import write_folders
from semsearch.stores.postgres.catalog import Catalog
from semsearch.stores.postgres.connections import Connections
from semsearch.stores.postgres.documents import Documents
from semsearch.stores.postgres.vectors import VectorTable
from semsearch.stores.postgres.words import WordSearch
from semsearch.stores.postgres.writer import Writer, migrate
from semsearch.types import EncoderSpec, Root, Storage, Term

if TYPE_CHECKING:
    from semsearch.arrays import Ids, Vectors
    from semsearch.filters.syntax import Filter, Value
    from semsearch.transforms import Transform


class PostgresStore:
    """The store for an index in one schema, which is connected to on first use; see `Store`.

    Reading needs no permission to write and no temporary tables, so a replica will do.
    """

    modes = ("hybrid", "dense", "keyword")

    def __init__(self, address: Address) -> None:
        self.address = address
        self._connections = Connections(address)
        self._catalog = Catalog(self._connections)
        self._documents = Documents(self._connections, self._catalog)
        self._vectors = VectorTable(self._connections, self._catalog)
        self._words = WordSearch(self._connections, self._catalog)
        self._copying = ForkLock()
        self._artifacts: TemporaryDirectory[str] | None = None

    @property
    def location(self) -> str:
        """The URL, without the password."""
        return self.address.shown

    @property
    def artifacts(self) -> Path | None:
        """See `Store.artifacts`: a temporary copy of them, made on first use."""
        if not self.exists():
            return None
        with self._copying, self.snapshot():
            if self._artifacts is None:
                folder = TemporaryDirectory(prefix="semsearch-", ignore_cleanup_errors=True)
                if not write_folders(self._connections, Path(folder.name)):
                    folder.cleanup()
                    return None
                self._artifacts = folder
            return Path(self._artifacts.name)

    @property
    def spec(self) -> EncoderSpec:
        """See `Store.spec`."""
        return self._catalog.spec

    @property
    def chunking(self) -> Mapping[str, Any]:
        """See `Store.chunking`."""
        return dict(self._catalog.setting("chunking"))

    @property
    def storage(self) -> Storage:
        """See `Store.storage`."""
        return self._catalog.storage()

    @property
    def origin(self) -> str:
        """See `Store.origin`."""
        return str(self._catalog.setting("origin"))

    @property
    def roots(self) -> Sequence[Root]:
        """See `Store.roots`."""
        return self._catalog.roots()

    def files_of(self, root: str, n: int) -> dict[str, str]:
        """See `Store.files_of`."""
        return self._catalog.files_of(root, n)

    def file_of(self, doc_id: str) -> str:
        """See `Store.file_of`."""
        return self._catalog.file_of(doc_id)

    def exists(self) -> bool:
        """See `Store.exists`."""
        return self._catalog.exists()

    def fields(self) -> list[str]:
        """See `Store.fields`."""
        return self._catalog.fields()

    def facets(self, n: int) -> dict[str, list[tuple[Value, int]]]:
        """See `Store.facets`."""
        return self._catalog.facets(n)

    def counts(self) -> dict[str, int]:
        """See `Store.counts`."""
        counts = self._catalog.counts()
        del counts["words"]
        return counts

    def status(self) -> dict[str, Any]:
        """See `Store.status`; also reports the server, and the size of the tables in bytes."""
        return self._catalog.status()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """See `Searchable.snapshot`."""
        with self._connections.snapshot():
            self._catalog.settings()
            yield

    @property
    def similarity(self) -> str:
        """See `Searchable.similarity`."""
        return self.spec.similarity

    def search_vectors(self, queries: Vectors, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """See `Searchable.search_vectors`."""
        with self.snapshot():
            return self._vectors.search(queries, k, self._documents.condition(where))

    def search_keywords(self, query: str, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """See `Searchable.search_keywords`."""
        with self.snapshot():
            return self._words.search(query, k, self._documents.condition(where))

    def highest_keyword_score(self, query: str) -> float:
        """See `Searchable.highest_keyword_score`."""
        with self.snapshot():
            return self._words.highest(query)

    def keyword_scores(self, query: str, passages: Sequence[int]) -> Vectors:
        """See `Searchable.keyword_scores`."""
        with self.snapshot():
            return self._words.scores(query, passages)

    def keyword_terms(self, query: str, passage: int) -> dict[Term, float]:
        """See `Readable.keyword_terms`."""
        with self.snapshot():
            return self._words.terms(query, passage)

    def reference_scores(self, queries: Vectors) -> tuple[Vectors, Vectors]:
        """See `Searchable.reference_scores`."""
        with self.snapshot():
            return self._vectors.reference_scores(queries)

    def similarities(self, queries: Vectors, passages: Sequence[int]) -> Vectors:
        """See `Searchable.similarities`."""
        with self.snapshot():
            return self._vectors.similarities(queries, passages)

    def vectors_of(self, passages: Sequence[int]) -> Vectors:
        """See `Readable.vectors_of`."""
        with self.snapshot():
            return self._vectors.of(passages)

    def fitted(self) -> Transform | None:
        """See `Readable.fitted`."""
        with self.snapshot():
            return self._catalog.fitted()

    def passages_from(self, position: float, n: int) -> list[int]:
        """See `Readable.passages_from`."""
        with self.snapshot():
            return self._documents.passages_from(position, n)

    def documents_of(self, passages: Sequence[int]) -> dict[int, int]:
        """See `Searchable.documents_of`."""
        with self.snapshot():
            return self._documents.documents_of(passages)

    def passages_of(self, documents: Sequence[int], most: int) -> dict[int, list[int]]:
        """See `Searchable.passages_of`."""
        with self.snapshot():
            return self._documents.passages_of(documents, most)

    def doc_ids(self, documents: Iterable[int]) -> dict[int, str]:
        """See `Searchable.doc_ids`."""
        with self.snapshot():
            return self._documents.doc_ids(documents)

    def show(self, passages: Sequence[int]) -> dict[int, StoredPassage]:
        """See `Readable.show`."""
        with self.snapshot():
            return self._documents.show(passages)

    def documents(self, doc_ids: Sequence[str]) -> dict[str, StoredDocument]:
        """See `Readable.documents`."""
        with self.snapshot():
            return self._documents.documents(doc_ids)

    def entries(self, doc_ids: Sequence[str]) -> list[Entry]:
        """See `Store.entries`."""
        with self.snapshot():
            return self._documents.entries(doc_ids, self._vectors)

    def select(self, where: Filter | None) -> list[str]:
        """See `Readable.select`."""
        with self.snapshot():
            return self._documents.select(where)

    @property
    def background(self) -> Mapping[str, Any] | None:
        """See `Readable.background`."""
        background: Mapping[str, Any] | None = self._catalog.settings().get("background")
        return background

    def prepare(self) -> None:
        """See `Store.prepare`: nothing takes time."""

    def write(
        self,
        spec: EncoderSpec,
        chunking: Mapping[str, Any],
        origin: str = "",
        artifacts: Mapping[str, Path] = MappingProxyType({}),
        vectors: Mapping[str, Any] = MappingProxyType({}),
        store_precision: str | None = None,
    ) -> AbstractContextManager[Writer]:
        """See `Store.write`; there may be several writers at once."""
        return Writer.open(self.address, spec, chunking, origin, artifacts, vectors, store_precision, PostgresStore)

    def migrate(self) -> tuple[int, int]:
        """See `Store.migrate`."""
        return migrate(self.address)

    def close(self) -> None:
        """See `Store.close`."""
        self._connections.close()
        if self._artifacts:
            self._artifacts.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()
