"""Connections that threads borrow for reading, and the one of a writer.

In a snapshot, every read sees the same committed state. In a change, every read sees what is committed and what the
change has written so far.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from threading import BoundedSemaphore, Lock, RLock, local
from typing import Any, Protocol

from semsearch.errors import StoreError
from semsearch.stores.postgres.address import Address
from semsearch.stores.postgres.driver import Connection, ConnectionLost, DriverError, connect, translated

MOST = 16
"""Maximum number of connections of one store; further threads wait."""

BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('semsearch ' || %s, 0))"
"""Makes the commits of several writers take turns; nobody else waits for it."""


_INHERITED: list[Connection] = []
"""Connections of the process that this one was forked from, which must not be closed here, nor collected."""


class Session(Protocol):
    """What reads need of a connection."""

    address: Address

    @property
    def in_change(self) -> bool:
        """Whether reads see what a change has written that is not committed yet."""
        ...

    def snapshot(self) -> AbstractContextManager[None]:
        """Let every `rows` of this thread see the same state; nested snapshots are part of the outermost one."""
        ...

    def rows(self, sql: str, parameters: Sequence[Any] = (), *, binary: bool = False) -> list[Any]:
        """Return the rows of a query; must be called inside a snapshot or a change.

        Args:
            sql: The query.
            parameters: Its parameters; without any, a percent sign stands for itself.
            binary: Whether values of types that the driver does not know, such as vectors, are given as bytes.
        """
        ...

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Return the only value of a query; must be called inside a snapshot or a change."""
        ...


class Connections:
    """Connections for reading; threads may share one instance."""

    in_change = False

    def __init__(self, address: Address) -> None:
        self.address = address
        self._idle: list[Connection] = []
        self._lock, self._free, self._process = Lock(), BoundedSemaphore(MOST), os.getpid()
        self._mine = local()
        self._closed = False

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """See `Session.snapshot`."""
        self._after_fork()
        if getattr(self._mine, "connection", None) is not None:
            yield
            return
        with self._free, translated(self.address):
            connection = self._begun()
            self._mine.connection = connection
            try:
                yield
            finally:
                self._mine.connection = None
                self._give_back(connection)

    def rows(self, sql: str, parameters: Sequence[Any] = (), *, binary: bool = False) -> list[Any]:
        """See `Session.rows`."""
        return _rows(self._mine.connection, sql, parameters, binary=binary)

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """See `Session.one`."""
        return self.rows(sql, parameters)[0][0]

    def close(self) -> None:
        """Close idle connections now, and those in use when they are given back."""
        self._after_fork()
        with self._lock:
            self._closed, idle, self._idle = True, self._idle, []
        for connection in idle:
            connection.close()

    def __del__(self) -> None:
        self.close()

    def _begun(self) -> Connection:
        """Return a connection in a transaction; one that was idle may have been closed by the server meanwhile."""
        while True:
            with self._lock:
                if self._closed:
                    raise StoreError(f"the index {self.address.shown!r} is closed; open it again")
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                connection = connect(self.address)
                connection.execute(BEGIN)
                return connection
            try:
                connection.execute(BEGIN)
            except ConnectionLost:
                connection.close()
            else:
                return connection

    def _give_back(self, connection: Connection) -> None:
        """End a connection's transaction, which has changed nothing, and keep it for the next snapshot."""
        try:
            connection.execute("ROLLBACK")
        except DriverError:
            connection.close()
        with self._lock:
            if not connection.closed and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _after_fork(self) -> None:
        """Leave the connections to the process that this one was forked from; closing them would end its own."""
        if self._process != os.getpid():
            self._lock, self._free, self._mine = Lock(), BoundedSemaphore(MOST), local()
            _INHERITED.extend(self._idle)
            self._idle, self._process = [], os.getpid()


class Writing:
    """The connection of a writer, which threads take turns with."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._turn, self._depth = RLock(), 0
        self.connection = connect(address, write=True)
        self.in_change = False

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """See `Session.snapshot`."""
        with self._turn, self._transaction(BEGIN):
            yield

    @contextmanager
    def change(self) -> Iterator[None]:
        """Commit everything that is written inside at once, or nothing if there is an error; changes take turns.

        Raises:
            LockedError: If the turn does not come in time.
        """
        with self._turn, self._transaction("BEGIN"):
            self.connection.execute(LOCK, (self.address.schema,))
            self.in_change = True
            try:
                yield
            finally:
                self.in_change = False

    def rows(self, sql: str, parameters: Sequence[Any] = (), *, binary: bool = False) -> list[Any]:
        """See `Session.rows`."""
        return _rows(self.connection, sql, parameters, binary=binary)

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """See `Session.one`."""
        return self.rows(sql, parameters)[0][0]

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Execute a statement inside a change; return the number of rows that it affected."""
        return self.connection.execute(sql, parameters or None).rowcount

    def close(self) -> None:
        """Close the connection; what is not committed is lost."""
        self.connection.close()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        if self._depth:
            yield
            return
        with translated(self.address):
            self.connection.execute(begin)
            self._depth += 1
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                with suppress(DriverError):  # the connection may be lost, which ends its transaction
                    self.connection.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1


def _rows(connection: Connection, sql: str, parameters: Sequence[Any], *, binary: bool) -> list[Any]:
    with connection.cursor(binary=binary) as cursor:
        return cursor.execute(sql, parameters or None).fetchall()
