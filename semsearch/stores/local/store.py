"""An index in a folder on this machine.

<folder>/passages.sqlite          the source of truth
<folder>/vectors.<n>.seg          segments; can be deleted, and are rebuilt
<folder>/encoder-<sha256>/        an 8-bit model that belongs to the encoder
<folder>/writer.lock, .holder     the writer's lock, and who holds it
<folder>/reencode/                a draft of the index with another encoder; see `drafts.py`
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Thread
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from semsearch.errors import StoreError
from semsearch.files import is_regular
from semsearch.forks import ForkLock
from semsearch.stores.base import Entry, StoredDocument, StoredPassage
from semsearch.stores.local.catalog import Catalog
from semsearch.stores.local.database import DATABASE, SCHEMA_VERSION, Database, schema_version
from semsearch.types import EncoderSpec, Root, Storage, Term

if TYPE_CHECKING:
    from semsearch.arrays import Ids, Vectors
    from semsearch.filters.syntax import Filter, Value
    from semsearch.stores.local.care.rebuild import RebuildResult
    from semsearch.stores.local.care.verify import Problem, Watch
    from semsearch.stores.local.reader import Reader
    from semsearch.stores.local.vectors.tuning import Tuned
    from semsearch.stores.local.writer import Writer
    from semsearch.transforms import Transform


class LocalStore:
    """The store for an index in one folder, which is opened on first use; see `Store`.

    Information about the index does not need numpy; a reader with FAISS is created on the first search.
    """

    modes = ("hybrid", "dense", "keyword")

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._opening = ForkLock()
        self._database: Database | None = None
        self._reader: Reader | None = None
        self._closed = False

    @property
    def location(self) -> str:
        """The path of the folder."""
        return str(self.folder)

    @property
    def artifacts(self) -> Path | None:
        """The folder itself."""
        return self.folder

    @property
    def spec(self) -> EncoderSpec:
        """See `Store.spec`."""
        return self._open().spec

    @property
    def chunking(self) -> Mapping[str, Any]:
        """See `Store.chunking`."""
        return self._open().chunking

    @property
    def storage(self) -> Storage:
        """See `Store.storage`."""
        return self._open().storage()

    @property
    def origin(self) -> str:
        """See `Store.origin`."""
        return self._open().origin

    @property
    def roots(self) -> Sequence[Root]:
        """See `Store.roots`."""
        return self._open().roots()

    def files_of(self, root: str, n: int) -> dict[str, str]:
        """See `Store.files_of`."""
        return self._open().files_of(root, n)

    def file_of(self, doc_id: str) -> str:
        """Return the absolute path of the file that a document was read from; empty if it is not from a file."""
        return self._open().file_of(doc_id)

    def entries(self, doc_ids: Sequence[str]) -> list[Entry]:
        """See `Store.entries`."""
        return self._read().entries(doc_ids)

    def exists(self) -> bool:
        """Return whether the folder contains an index; if one is deleted while open, its next use raises an error."""
        return self._database is not None or is_regular(self.folder / DATABASE)

    def fields(self) -> list[str]:
        """See `Store.fields`."""
        return self._open().fields()

    def facets(self, n: int) -> dict[str, list[tuple[Value, int]]]:
        """See `Store.facets`."""
        return self._open().facets(n)

    def counts(self) -> dict[str, int]:
        """See `Store.counts`."""
        return self._open().counts()

    def status(self) -> dict[str, Any]:
        """See `Store.status`; also reports segments and the size on disk in bytes."""
        return self._open().status()

    def snapshot(self) -> AbstractContextManager[None]:
        """See `Searchable.snapshot`."""
        self._open()
        assert self._database
        return self._database.snapshot()

    @property
    def similarity(self) -> str:
        """See `Searchable.similarity`."""
        return self.spec.similarity

    def search_vectors(self, queries: Vectors, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """See `Searchable.search_vectors`."""
        return self._read().search_vectors(queries, k, where)

    def search_keywords(self, query: str, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """See `Searchable.search_keywords`."""
        return self._read().search_keywords(query, k, where)

    def highest_keyword_score(self, query: str) -> float:
        """See `Searchable.highest_keyword_score`."""
        return self._read().highest_keyword_score(query)

    def reference_scores(self, queries: Vectors) -> tuple[Vectors, Vectors]:
        """See `Searchable.reference_scores`."""
        return self._read().reference_scores(queries)

    def passages_from(self, position: float, n: int) -> list[int]:
        """See `Readable.passages_from`."""
        return self._read().passages_from(position, n)

    def vectors_of(self, passages: Sequence[int]) -> Vectors:
        """See `Readable.vectors_of`."""
        return self._read().vectors_of(passages)

    def similarities(self, queries: Vectors, passages: Sequence[int]) -> Vectors:
        """See `Searchable.similarities`."""
        return self._read().similarities(queries, passages)

    def keyword_scores(self, query: str, passages: Sequence[int]) -> Vectors:
        """See `Searchable.keyword_scores`."""
        return self._read().keyword_scores(query, passages)

    def keyword_terms(self, query: str, passage: int) -> dict[Term, float]:
        """See `Readable.keyword_terms`."""
        return self._read().keyword_terms(query, passage)

    def fitted(self) -> Transform | None:
        """See `Readable.fitted`."""
        return self._read().fitted()

    def documents_of(self, passages: Sequence[int]) -> dict[int, int]:
        """See `Searchable.documents_of`."""
        return self._read().documents_of(passages)

    def passages_of(self, documents: Sequence[int], most: int) -> dict[int, list[int]]:
        """See `Searchable.passages_of`."""
        return self._read().passages_of(documents, most)

    def doc_ids(self, documents: Iterable[int]) -> dict[int, str]:
        """See `Searchable.doc_ids`."""
        return self._read().doc_ids(documents)

    def show(self, passages: Sequence[int]) -> dict[int, StoredPassage]:
        """See `Readable.show`."""
        return self._read().show(passages)

    def documents(self, doc_ids: Sequence[str]) -> dict[str, StoredDocument]:
        """See `Readable.documents`."""
        return self._read().documents(doc_ids)

    def select(self, where: Filter | None) -> list[str]:
        """See `Readable.select`."""
        return self._read().select(where)

    @property
    def background(self) -> Mapping[str, Any] | None:
        """See `Readable.background`."""
        return self._open().background()

    def prepare(self) -> None:
        """See `Store.prepare`: FAISS takes a tenth of a second to import."""
        from semsearch.stores.local.vectors.ann.library import import_faiss

        Thread(target=import_faiss).start()

    def write(
        self,
        spec: EncoderSpec,
        chunking: Mapping[str, Any],
        origin: str = "",
        artifacts: Mapping[str, Path] = MappingProxyType({}),
        vectors: Mapping[str, Any] = MappingProxyType({}),
        store_precision: str | None = None,
    ) -> AbstractContextManager[Writer]:
        """See `Store.write`."""
        from semsearch.stores.local.writer import Writer

        return Writer.open(self.folder, spec, chunking, origin, artifacts, vectors, store_precision, LocalStore)

    def tune(self, factories: Sequence[str], target: float | None) -> Iterator[Tuned]:
        """Compare vector indexes over the vectors of the index; see `tuning.tune`.

        Args:
            factories: Vector indexes in FAISS's notation; empty for those that `auto` chooses from.
            target: Recall to reach; None for that of the index.
        """
        from semsearch.stores.local.vectors.table import VectorTable
        from semsearch.stores.local.vectors.tuning import tune

        catalog = self._open()
        with self.snapshot():
            assert self._database
            target = target or catalog.vector_options().target_recall
            yield from tune(catalog, VectorTable(self._database, catalog), factories, target)

    def verify(self, watch: Watch | None = None) -> list[Problem]:
        """Return what is wrong with the index; see `verify.verify_folder`."""
        from semsearch.stores.local.care.verify import verify_folder

        return verify_folder(self.folder, watch)

    def stray_files(self) -> list[str]:
        """Return the names of files in the folder that are not part of the index."""
        from semsearch.stores.local.care.verify import stray_files

        return stray_files(self.folder)

    def rebuild(self) -> RebuildResult:
        """Make everything anew that follows from the documents, passages and vectors; see `rebuild.rebuild`."""
        with self._rewrite() as writer:
            return writer.rebuild()

    def backup(self, target: Path, watch: Watch | None = None) -> None:
        """Copy the index as it is now to a new folder; see `backup.back_up`."""
        from semsearch.stores.local.care.backup import back_up

        self._open()
        back_up(self.folder, target, watch)

    def restore(self, backup: Path, *, replace: bool = False, watch: Watch | None = None) -> None:
        """Copy a backup to the folder of the index; see `backup.restore`."""
        from semsearch.stores.local.care.backup import restore

        restore(backup, self.folder, replace=replace, watch=watch)

    def migrate(self) -> tuple[int, int]:
        """Bring the schema up to date, and the segments; return the former version and that of now.

        Raises:
            SchemaError: If the index is from a newer semsearch, or cannot be written.
        """
        former = schema_version(self.folder)
        # a run that was killed may have left the segments to do, as does opening an older index
        if former < SCHEMA_VERSION or self.stray_files() or not self.status()["segments"]:
            with self._rewrite() as writer:
                writer.seal(final=True)
        return former, SCHEMA_VERSION

    def _rewrite(self) -> AbstractContextManager[Writer]:
        """Open the index for writing with the settings that it has."""
        catalog = self._open()
        return self.write(catalog.spec, catalog.chunking, catalog.origin)

    def close(self) -> None:
        """See `Store.close`."""
        with self._opening:
            database = self._database
        if database:
            database.close()  # waits for its turn, whose current holder may need `_opening`
        with self._opening:
            self._closed = True
            if self._reader:
                self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def _open(self) -> Catalog:
        """Open the database on first use, and return its catalog."""
        with self._opening:
            if self._closed:
                raise StoreError(f"the index {self.location!r} is closed; open it again")
            if self._database is None:
                database = Database(self.folder)
                try:
                    self._catalog = Catalog(database)
                except BaseException:
                    database.close()
                    raise
                self._database = database
            return self._catalog

    def _read(self) -> Reader:
        from semsearch.stores.local.reader import Reader

        catalog = self._open()
        with self._opening:
            assert self._database
            self._reader = self._reader or Reader(self._database, catalog)
            return self._reader
