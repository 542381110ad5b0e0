"""An index in collections of a Milvus database, which many may search at once and one writes to."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from semsearch.stores.database import DatabaseStore
from semsearch.stores.milvus.address import Address
from semsearch.stores.milvus.artifacts import write_folders
from semsearch.stores.milvus.catalog import Catalog
from semsearch.stores.milvus.documents import Documents
from semsearch.stores.milvus.driver import Session
from semsearch.stores.milvus.schema import FORMAT
from semsearch.stores.milvus.states import Snapshots
from semsearch.stores.milvus.vectors import VectorSearch
from semsearch.stores.milvus.words import WordSearch
from semsearch.stores.milvus.writer import Writer
from semsearch.types import EncoderSpec


class MilvusStore(DatabaseStore[str]):
    """The store for an index in Milvus, which is connected to on first use; see `Store`."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._session = Session(address)
        self._snapshots = Snapshots(self._session)
        self._about = Catalog(self._snapshots)
        vectors = VectorSearch(self._snapshots, self._about)
        documents, words = Documents(self._snapshots, self._about, vectors), WordSearch(self._snapshots, self._about)
        super().__init__(self._about, documents, vectors, words)

    @property
    def location(self) -> str:
        """The URL, without the password."""
        return self.address.shown

    def snapshot(self) -> AbstractContextManager[None]:
        """See `Searchable.snapshot`."""
        return self._snapshots.snapshot()

    def write_artifacts(self, target: Path) -> bool:
        """See `DatabaseStore.write_artifacts`."""
        return write_folders(self._about, target)

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
        super().close()
