"""What the stores in databases have in common: each delegates to four parts, inside a snapshot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from semsearch.forks import ForkLock
from semsearch.stores.base import Entry, StoredDocument, StoredPassage
from semsearch.types import EncoderSpec, Root, Storage, Term

if TYPE_CHECKING:
    from semsearch.arrays import Ids, Vectors
    from semsearch.filters.syntax import Filter, Value
    from semsearch.transforms import Transform

Condition = TypeVar("Condition")
Compiled_co = TypeVar("Compiled_co", covariant=True)
Asked_contra = TypeVar("Asked_contra", contravariant=True)
"""A compiled filter, or whatever stands for none."""


class _Catalog(Protocol):
    """Reads information about an index; its methods are those of `Store`."""

    @property
    def spec(self) -> EncoderSpec: ...

    def setting(self, key: str, otherwise: Any = ...) -> Any: ...

    def storage(self) -> Storage: ...

    def roots(self) -> list[Root]: ...

    def files_of(self, root: str, n: int) -> dict[str, str]: ...

    def file_of(self, doc_id: str) -> str: ...

    def exists(self) -> bool: ...

    def fields(self) -> list[str]: ...

    def facets(self, n: int) -> dict[str, list[tuple[Value, int]]]: ...

    def counts(self) -> dict[str, int]: ...

    def status(self) -> dict[str, Any]: ...

    def fitted(self) -> Transform | None: ...


class _Documents(Protocol[Compiled_co]):
    """Reads documents and passages; its methods are those of `Store`."""

    def condition(self, where: Filter | None) -> Compiled_co: ...

    def select(self, where: Filter | None) -> list[str]: ...

    def show(self, passages: Sequence[int]) -> dict[int, StoredPassage]: ...

    def documents(self, doc_ids: Sequence[str]) -> dict[str, StoredDocument]: ...

    def entries(self, doc_ids: Sequence[str]) -> list[Entry]: ...

    def documents_of(self, passages: Sequence[int]) -> dict[int, int]: ...

    def passages_of(self, documents: Sequence[int], most: int) -> dict[int, list[int]]: ...

    def doc_ids(self, documents: Iterable[int]) -> dict[int, str]: ...

    def passages_from(self, position: float, n: int) -> list[int]: ...


class _VectorSearch(Protocol[Asked_contra]):
    """Reads and searches vectors."""

    def search(self, queries: Vectors, k: int, condition: Asked_contra) -> tuple[Vectors, Ids]: ...

    def reference_scores(self, queries: Vectors) -> tuple[Vectors, Vectors]: ...

    def similarities(self, queries: Vectors, passages: Sequence[int]) -> Vectors: ...

    def of(self, passages: Sequence[int]) -> Vectors: ...


class _WordSearch(Protocol[Asked_contra]):
    """Searches words."""

    def search(self, query: str, k: int, condition: Asked_contra) -> tuple[Vectors, Ids]: ...

    def scores(self, query: str, passages: Sequence[int]) -> Vectors: ...

    def terms(self, query: str, passage: int) -> dict[Term, float]: ...

    def highest(self, query: str) -> float: ...


class DatabaseStore(ABC, Generic[Condition]):
    """The reading half of a store in a database; see `Store`."""

    modes = ("hybrid", "dense", "keyword")

    def __init__(
        self,
        catalog: _Catalog,
        documents: _Documents[Condition],
        vectors: _VectorSearch[Condition],
        words: _WordSearch[Condition],
    ) -> None:
        self._catalog, self._documents, self._vectors, self._words = catalog, documents, vectors, words
        self._copying = ForkLock()
        self._artifacts: TemporaryDirectory[str] | None = None

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[None]:
        """See `Searchable.snapshot`."""

    @abstractmethod
    def write_artifacts(self, target: Path) -> bool:
        """Write the files of the encoder to a folder; return whether there are any; called inside a snapshot."""

    @property
    def artifacts(self) -> Path | None:
        """See `Store.artifacts`: a temporary copy of them, made on first use."""
        if not self.exists():
            return None
        with self._copying, self.snapshot():
            if self._artifacts is None:
                folder = TemporaryDirectory(prefix="semsearch-", ignore_cleanup_errors=True)
                if not self.write_artifacts(Path(folder.name)):
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
            return self._catalog.files_of(root, n)

    def file_of(self, doc_id: str) -> str:
        """See `Store.file_of`."""
        with self.snapshot():
            return self._catalog.file_of(doc_id)

    def exists(self) -> bool:
        """See `Store.exists`."""
        return self._catalog.exists()

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
            return self._documents.entries(doc_ids)

    def select(self, where: Filter | None) -> list[str]:
        """See `Readable.select`."""
        with self.snapshot():
            return self._documents.select(where)

    @property
    def background(self) -> Mapping[str, Any] | None:
        """See `Readable.background`."""
        with self.snapshot():
            background: Mapping[str, Any] | None = self._catalog.setting("background", None)
            return background

    def prepare(self) -> None:
        """See `Store.prepare`: nothing takes time."""

    def close(self) -> None:
        """See `Store.close`."""
        if self._artifacts:
            self._artifacts.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()
