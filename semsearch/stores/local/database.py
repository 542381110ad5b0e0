"""An index's SQLite file: opening it, sharing it among threads, and sqlite3's errors as ours."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from semsearch.errors import DiskFullError, LockedError, NoIndexError, SchemaError, StoreError
from semsearch.forks import ForkLock

Parameter: TypeAlias = str | int | float | bytes | None

DATABASE = "passages.sqlite"

APPLICATION_ID = 0x53656D73
"""`Sems`, in the SQLite header: tells an index from any other database."""

SCHEMA_VERSION = 3

BUSY_SECONDS = 30


def connect(path: Path, *, write: bool = False) -> sqlite3.Connection:
    """Open a database in autocommit mode; transactions are begun by hand.

    Raises:
        NoIndexError: The file is missing or not a semsearch index.
        SchemaError: It was written by a newer semsearch.
        StoreError: It cannot be read, or is damaged.
    """
    if not path.is_file():
        raise NoIndexError(f"no index in {str(path.parent)!r} (no {path.name}); make one with: semsearch index CORPUS")
    access = "mode=rw" if write else "immutable=1" if is_frozen(path) else "mode=ro"
    with translated_errors():
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?{access}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            version = check(connection, path)
            connection.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            connection.close()
            raise
    if version == SCHEMA_VERSION:
        return connection
    connection.close()
    _upgrade(path)
    return connect(path, write=write)


def _upgrade(path: Path) -> None:
    """Apply the migrations that an older index lacks, while nobody writes."""
    from semsearch.stores.local.lock import hold_lock

    try:
        with translated_errors(), hold_lock(path.parent):
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                _migrate(connection)
            finally:
                connection.close()
    except LockedError as error:
        raise LockedError(f"{str(path.parent)!r} is older and has to be brought up to date: {error}") from None


def is_frozen(path: Path) -> bool:
    """Whether the file is all there is: no log beside it, and a folder in which this process cannot make one.

    SQLite refuses to read such a database unless it is told that nobody writes.
    """
    return not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()


def check(connection: sqlite3.Connection, path: Path) -> int:
    """Refuse what is no index, or a newer one; returns its schema's version."""
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
            raise
        raise NoIndexError(f"{str(path)!r} is not a semsearch index ({error})") from None
    if application != APPLICATION_ID:
        raise NoIndexError(f"{str(path)!r} is an SQLite database, but not a semsearch index")
    if version > SCHEMA_VERSION:
        raise SchemaError(
            f"{str(path.parent)!r} was written by a newer semsearch (schema {version}, here {SCHEMA_VERSION}); "
            "upgrade: pip install --upgrade semsearch"
        )
    return int(version)


def create(path: Path) -> sqlite3.Connection:
    """Make an empty database under a temporary name; the caller gives it its own."""
    for leftover in path.parent.glob(f"{path.name}*"):
        leftover.unlink()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    _migrate(connection)
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    from semsearch.stores.local.schema import (
        migrate,  # with sqlite_utils, which an index that is up to date does not need
    )

    migrate(connection)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


@contextmanager
def transaction(connection: sqlite3.Connection, *, write: bool = True) -> Iterator[None]:
    """One transaction: committed at the end, rolled back on any error."""
    with translated_errors():
        connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _drop_log(path: Path) -> None:
    """Delete the log that a writer had to leave to a reader; SQLite does it for the last who may write."""
    if not os.access(path.parent, os.W_OK) or not path.with_name(f"{path.name}-wal").exists():
        return
    location = f"{path.absolute().as_uri()}?mode=rw"
    with suppress(sqlite3.Error), closing(sqlite3.connect(location, uri=True, timeout=0)) as last:
        last.execute("SELECT 1 FROM sqlite_master").fetchone()


class Database:
    """One connection that threads share in turns; a forked process gets one of its own.

    A file that cannot change as far as SQLite knows is opened again when it did.
    """

    def __init__(self, folder: Path, *, write: bool = False) -> None:
        """Open the database of an index folder; see `connect`."""
        self.folder = folder
        self._write = write
        self._turn = ForkLock()
        self._abandoned: list[sqlite3.Connection] = []
        self._connect()

    def _connect(self) -> None:
        path = self.folder / DATABASE
        self._process = os.getpid()
        self._frozen = self._stamp() if not self._write and path.is_file() and is_frozen(path) else None
        self._connection = connect(path, write=self._write)

    def _stamp(self) -> tuple[int, int, bool]:
        """What a writer elsewhere cannot leave as it is: time and size of the database, and whether it has a log."""
        path = self.folder / DATABASE
        entry = path.stat()
        return entry.st_mtime_ns, entry.st_size, path.with_name(f"{path.name}-wal").exists()

    def close(self) -> None:
        """Close the connection, after what is being done with it; the object is then of no more use."""
        if self._process == os.getpid():
            with self._turn:
                self._connection.close()
            if not self._write:
                _drop_log(self.folder / DATABASE)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The connection for this thread alone, and errors as ours."""
        with self._turn, translated_errors():
            if self._process != os.getpid():  # SQLite's connections are the parent's, which alone may close them
                if self._write:
                    raise StoreError("the index was opened for writing before this process was forked; open it here")
                self._abandoned.append(self._connection)
                self._connect()
            yield

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read inside is of one committed state, whatever a writer does meanwhile."""
        with self.turn():
            if self._connection.in_transaction:
                yield
                return
            if self._frozen is not None and self._frozen != self._stamp():
                self._connection.close()
                self._connect()
            with transaction(self._connection, write=False):
                yield

    @contextmanager
    def change(self) -> Iterator[None]:
        """One transaction that writes: committed at the end, rolled back on any error."""
        with self.turn(), transaction(self._connection):
            yield

    def execute(self, sql: str, parameters: Sequence[Parameter] = ()) -> sqlite3.Cursor:
        """Run a statement; inside `turn`, `snapshot` or `change`."""
        return self._connection.execute(sql, parameters)

    def execute_many(self, sql: str, rows: Iterable[Sequence[Parameter]]) -> None:
        """Run a statement for each row; inside `change`."""
        self._connection.executemany(sql, rows)

    def one(self, sql: str, *parameters: Parameter) -> int:
        """The single number that a query gives."""
        row: tuple[Any, ...] = self._connection.execute(sql, parameters).fetchone()
        return int(row[0])


@contextmanager
def translated_errors() -> Iterator[None]:
    """Storage errors of sqlite3 and the operating system as ours; what only a bug can raise stays as it is."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        ours = _of_sqlite(error)
        if ours is None:
            raise
        raise ours from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFullError(f"cannot write the index: {error.strerror}; {RESUME}") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StoreError(f"cannot use the index: {error.strerror}: {str(error.filename)!r}") from error
        raise


def _of_sqlite(error: sqlite3.DatabaseError) -> StoreError | None:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    if code in (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ):
        return StoreError(f"cannot read the index: {error}; check the disk, or build the index again")
    match code & 0xFF:
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return DiskFullError(f"cannot write the index: {error}; {RESUME}")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return LockedError(f"the index is held by another process ({error}); try again when it has finished")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreError(f"the index is damaged: {error}; delete its folder and build it again")
    if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
        return StoreError("the index is closed; open it again")
    if isinstance(error, sqlite3.OperationalError):
        return StoreError(f"SQLite error: {error}")
    return None


RESUME = "what was committed is kept: make room, then run the same command again"
