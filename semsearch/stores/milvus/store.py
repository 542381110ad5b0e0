"""An index in collections of a Milvus database, which many may search at once and one writes to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from semsearch.filters.milvus import compile_filter
from semsearch.filters.syntax import check_fields
from semsearch.forks import ForkLock
from semsearch.stores.base import Entry, StoredDocument, StoredPassage
from semsearch.stores.milvus.address import Address
from semsearch.stores.milvus.artifacts import write_folders
from semsearch.stores.milvus.catalog import Catalog
from semsearch.stores.milvus.documents import Documents
from semsearch.stores.milvus.driver import Session
from semsearch.stores.milvus.rows import abouts_of, read_abouts
from semsearch.stores.milvus.schema import FORMAT
from semsearch.stores.milvus.states import Snapshots
from semsearch.stores.milvus.vectors import VectorSearch
from semsearch.stores.milvus.words import WordSearch
from semsearch.stores.milvus.writer import Writer
from semsearch.types import EncoderSpec, Root, Storage, Term

if TYPE_CHECKING:
    from semsearch.arrays import Ids, Vectors
    from semsearch.filters.syntax import Filter, Value
    from semsearch.transforms import Transform


class MilvusStore:
    """The store for an index in Milvus, which is connected to on first use; see `Store`."""

    modes = ("hybrid", "dense", "keyword")

    def __init__(self, address: Address) -> None:
        self.address = address
        self._session = Session(address)
        self._snapshots = Snapshots(self._session)
        self._catalog = Catalog(self._snapshots)
        self._documents = Documents(self._snapshots, self._catalog)
        self._vectors = VectorSearch(self._snapshots, self._catalog)
        self._words = WordSearch(self._snapshots, self._catalog)
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
                if not write_folders(self._catalog, Path(folder.name)):
                    folder.cleanup()
                    return None
                self._artifacts = folder
            return Path(self._artifacts.name)

    @property
    def spec(self) -> EncoderSpec:
        """See `Store.spec`."""
        with self.snapshot():
            return self._catalog.spec

    @property
    def chunking(self) -> Mapping[str, Any]:
        """See `Store.chunking`."""
        with self.snapshot():
            return dict(self._catalog.setting("chunking"))

    @property
    def storage(self) -> Storage:
        """See `Store.storage`."""
        with self.snapshot():
            return self._catalog.storage()

    @property
    def origin(self) -> str:
        """See `Store.origin`."""
        with self.snapshot():
            return str(self._catalog.setting("origin"))

    @property
    def roots(self) -> Sequence[Root]:
        """See `Store.roots`."""
        with self.snapshot():
            return self._catalog.roots()

    def files_of(self, root: str, n: int) -> dict[str, str]:
        """See `Store.files_of`."""
        with self.snapshot():
            own = [about for about in read_abouts(self._snapshots) if about.root == root and about.is_file]
            return dict(sorted((about.file or "", about.content_hash) for about in own)[:n])

    def file_of(self, doc_id: str) -> str:
        """See `Store.file_of`."""
        with self.snapshot():
            known = abouts_of(self._snapshots, [doc_id])
            return self._catalog.file_of(known[doc_id]) if doc_id in known else ""

    def exists(self) -> bool:
        """See `Store.exists`."""
        return self._snapshots.current() is not None

    def fields(self) -> list[str]:
        """See `Store.fields`."""
        with self.snapshot():
            return self._catalog.fields()

    def facets(self, n: int) -> dict[str, list[tuple[Value, int]]]:
        """See `Store.facets`."""
        with self.snapshot():
            return self._catalog.facets(n)

    def counts(self) -> dict[str, int]:
        """See `Store.counts`."""
        with self.snapshot():
            counts = self._catalog.counts()
        del counts["words"]
        return counts

    def status(self) -> dict[str, Any]:
        """See `Store.status`; also reports the server."""
        with self.snapshot():
            return self._catalog.status()

    def snapshot(self) -> AbstractContextManager[None]:
        """See `Searchable.snapshot`."""
        return self._snapshots.snapshot()

    @property
    def similarity(self) -> str:
        """See `Searchable.similarity`."""
        return self.spec.similarity

    def search_vectors(self, queries: Vectors, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """See `Searchable.search_vectors`."""
        with self.snapshot():
            return self._vectors.search(queries, k, self._condition(where))

    def search_keywords(self, query: str, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """See `Searchable.search_keywords`."""
        with self.snapshot():
            return self._words.search(query, k, self._condition(where))

    def _condition(self, where: Filter | None) -> str:
        if where is None:
            return ""
        check_fields(where, self._catalog.fields())
        return compile_filter(where)

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
            condition = self._condition(where)
            found = read_abouts(self._snapshots, *([condition] if condition else []))
            return [about.doc_id for about in found]

    @property
    def background(self) -> Mapping[str, Any] | None:
        """See `Readable.background`."""
        with self.snapshot():
            background: Mapping[str, Any] | None = self._catalog.setting("background")
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
        """See `Store.write`; there is one writer at a time."""
        return Writer.open(self.address, spec, chunking, origin, artifacts, vectors, store_precision, MilvusStore)

    def migrate(self) -> tuple[int, int]:
        """See `Store.migrate`: there is one schema so far."""
        with self.snapshot():
            return FORMAT, FORMAT

    def close(self) -> None:
        """See `Store.close`."""
        self._session.close()
        if self._artifacts:
            self._artifacts.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()
