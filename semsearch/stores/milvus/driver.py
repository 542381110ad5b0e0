"""The driver, pymilvus: its import, connections, and translation of its errors to messages without passwords."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeAlias

from semsearch.errors import DiskFullError, LockedError, StoreError, UsageError
from semsearch.messages import first_line

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it writes to stderr what the driver raises as errors

try:
    import pymilvus
    from pymilvus import DataType, MilvusClient, MilvusException
except ImportError as error:
    raise UsageError(
        "an index in Milvus needs pymilvus, which is not installed or cannot be loaded; pip install 'semsearch[milvus]'"
    ) from error

if TYPE_CHECKING:
    from semsearch.stores.milvus.address import Address

Row: TypeAlias = dict[str, Any]
"""A row of a collection: the values of its fields."""

CONNECT_SECONDS = 10
"""Number of seconds to wait for a connection."""

MOST = 16_384
"""Milvus's limit on the number of rows that a query or a search returns."""

AT_ONCE = 1_000
"""Number of rows that are read at a time when there may be many."""

SENT = 4 * 2**20
"""Number of bytes of rows, roughly, that are sent at a time; the limit of a server is 64 MiB by default."""

UNAUTHENTICATED, UNREACHABLE = ("auth", "credential", "denied", "token"), ("fail connecting", "unavailable", "timeout")
"""What messages of the driver contain if the password is wrong, and if there is no server."""

for logger in ("pymilvus", "milvus_lite", "grpc._server"):  # they log each error that is raised, with its stack
    logging.getLogger(logger).setLevel(logging.CRITICAL)

_FILES: Counter[str] = Counter()
"""Files of milvus-lite by the number of sessions that have them open; a process opens each once."""

_FILES_LOCK = RLock()

__all__ = ["DataType", "MilvusClient", "Row", "Session", "pymilvus"]


class Session:
    """A connection to a server, or to milvus-lite, made on first use; threads may share it.

    Attributes:
        has_index: Whether there was an index when it was last looked for.
    """

    def __init__(self, address: Address) -> None:
        self.address, self.has_index = address, False
        self._lock, self._client, self._process = RLock(), None, os.getpid()
        self._closed = False

    @property
    def client(self) -> Any:
        """The driver's client.

        Raises:
            StoreError: If there is no server, it refuses the user, or the file is in use.
        """
        with self._lock:
            if self._closed:
                raise StoreError(f"the index {self.address.shown!r} is closed; open it again")
            if self._client is None or self._process != os.getpid():
                if self.address.is_file and not os.path.isdir(os.path.dirname(self.address.uri)):
                    raise StoreError(f"the folder of {self.address.shown!r} does not exist; create it first")
                if self.address.is_file and find_spec("milvus_lite") is None:
                    raise UsageError(
                        "a file of Milvus needs milvus-lite, which is not installed; pip install milvus-lite"
                    )
                with translated(self.address), _FILES_LOCK:
                    self._client = MilvusClient(
                        self.address.uri,
                        token=self.address.token,
                        db_name=self.address.database,
                        timeout=min(self.address.seconds, CONNECT_SECONDS),
                    )
                    _FILES[self.address.uri] += self.address.is_file
                self._process = os.getpid()
            return self._client

    def call(self, name: str, *args: Any, **options: Any) -> Any:
        """Call a method of the client, within the time that a request may take."""
        client = self.client
        with translated(self.address):
            return getattr(client, name)(*args, timeout=self.address.seconds, **options)

    def rows(self, collection: str, where: str, fields: Sequence[str]) -> Iterator[Row]:
        """Yield the rows of a collection that meet a condition, in no particular order, however many they are."""
        options = {"output_fields": list(fields), "consistency_level": self.address.level}
        found = self.call("query", collection, filter=where, limit=AT_ONCE, **options)
        if len(found) < AT_ONCE:
            yield from found
            return
        client = self.client
        with translated(self.address):
            pages = client.query_iterator(collection, batch_size=AT_ONCE, filter=where, **options)
            try:
                while page := pages.next():
                    yield from page
            finally:
                pages.close()

    def count(self, collection: str, where: str) -> int:
        """Return the number of rows that meet a condition."""
        options = {"output_fields": ["count(*)"], "consistency_level": self.address.level}
        return int(self.call("query", collection, filter=where, **options)[0]["count(*)"])

    def insert(self, collection: str, rows: Sequence[Row]) -> None:
        """Insert rows, whose keys must be new."""
        self._send("insert", collection, rows)

    def replace(self, collection: str, rows: Sequence[Row]) -> None:
        """Insert rows, or replace those with the same key."""
        self._send("upsert", collection, rows)

    def _send(self, method: str, collection: str, rows: Sequence[Row]) -> None:
        portion, size = list[Row](), 0
        for row in rows:
            portion.append(row)
            size += sum(len(value) if isinstance(value, str) else 8 * _length(value) for value in row.values())
            if size >= SENT:
                self.call(method, collection, portion)
                portion, size = [], 0
        if portion:
            self.call(method, collection, portion)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            client, self._client, self._closed = self._client, None, True
            if client is None or self._process != os.getpid():
                return
            with suppress(MilvusException):
                client.close()
            if self.address.is_file:
                _let_go(self.address.uri)


def _let_go(file: str) -> None:
    """Let other processes open a file of milvus-lite, unless another session of this process has it open."""
    with _FILES_LOCK:
        _FILES[file] -= 1
        if not _FILES[file]:
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(file)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, Mapping | Sequence) or hasattr(value, "__len__") else 1


@contextmanager
def translated(address: Address) -> Iterator[None]:
    """Translate errors of the driver.

    Raises:
        StoreError: If the server refuses a request, cannot be reached, or does not answer in time.
        LockedError: If another process has the file of milvus-lite open.
        DiskFullError: If the disk of milvus-lite is full.
    """
    try:
        yield
    except (MilvusException, OSError, ValueError) as error:
        message = address.redacted(first_line(error))
        lower = message.lower()
        if address.is_file and "open local milvus failed" in lower and os.path.exists(f"{address.uri}/LOCK"):
            raise LockedError(
                f"{address.shown!r} is open in another process, and milvus-lite allows one; end it, or run a server"
            ) from None
        if "no space left" in lower:
            raise DiskFullError(
                f"the disk of {address.shown!r} is full; free some space and run the command again"
            ) from None
        if any(word in lower for word in UNAUTHENTICATED):
            raise StoreError(
                f"the server of {address.shown!r} refuses the user or the token; check them, or set MILVUS_TOKEN"
            ) from None
        if any(word in lower for word in UNREACHABLE):
            raise StoreError(
                f"cannot connect to the server of {address.shown!r}: {message:.200}; check that it runs"
            ) from None
        raise StoreError(f"the server of {address.shown!r} refuses a request: {message:.300}") from None
