"""An index in a schema of a PostgreSQL database with pgvector, which many may search and write to at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from semsearch.filters.postgres import Condition
from semsearch.stores.database import DatabaseStore
from semsearch.stores.postgres.address import Address
from semsearch.stores.postgres.artifacts import write_folders
from semsearch.stores.postgres.catalog import Catalog
from semsearch.stores.postgres.connections import Connections
from semsearch.stores.postgres.documents import Documents
from semsearch.stores.postgres.vectors import VectorTable
from semsearch.stores.postgres.words import WordSearch
from semsearch.stores.postgres.writer import Writer, migrate
from semsearch.types import EncoderSpec


class PostgresStore(DatabaseStore[Condition | None]):
    """The store for an index in one schema, which is connected to on first use; see `Store`.

    Reading needs no permission to write and no temporary tables, so a replica will do.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._connections = Connections(address)
        catalog = Catalog(self._connections)
        vectors = VectorTable(self._connections, catalog)
        documents, words = Documents(self._connections, catalog, vectors), WordSearch(self._connections, catalog)
        super().__init__(catalog, documents, vectors, words)

    @property
    def location(self) -> str:
        """The URL, without the password."""
        return self.address.shown

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """See `Searchable.snapshot`."""
        with self._connections.snapshot():
            self._catalog.setting("revision")
            yield

    def write_artifacts(self, target: Path) -> bool:
        """See `DatabaseStore.write_artifacts`."""
        return write_folders(self._connections, target)

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
        super().close()
