"""The SQLite file of an index: opening it, sharing it among threads, and translating sqlite3's errors."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from semsearch.errors import (
    DamagedError,
    DiskFullError,
    LockedError,
    NoIndexError,
    SchemaError,
    SemsearchError,
    StoreError,
)
from semsearch.files import unused_name
from semsearch.forks import ForkLock
from semsearch.stores.local.guard import (
    APPLICATION_ID,
    REBUILD,
    damaged,
    refuse_foreign_files,
    refuse_foreign_header,
    refuse_foreign_schema,
    restrict,
)

Parameter: TypeAlias = str | int | float | bytes | None

DATABASE = "passages.sqlite"

SCHEMA_VERSION = 6

BUSY_SECONDS = 30

COPIED_AT_ONCE = 4_096
"""Number of pages that are copied before Python runs again, which may have been interrupted."""


def connect(path: Path, *, write: bool = False) -> sqlite3.Connection:
    """Open a database in autocommit mode; transactions are started explicitly.

    Raises:
        NoIndexError: If the file is missing or not a semsearch index.
        SchemaError: If it was written by a newer semsearch, or by an older one and cannot be upgraded.
        DamagedError: If its contents are not what semsearch writes.
        StoreError: If it cannot be read.
    """
    access = "mode=rw" if write else "immutable=1" if is_frozen(path) else "mode=ro"
    with translated_errors():
        connection = _open(path, access)
        try:
            version = check(connection, path)
            connection.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            connection.close()
            raise
    if version == SCHEMA_VERSION:
        return connection
    connection.close()
    _upgrade(path, version)
    return connect(path, write=write)


def schema_version(folder: Path) -> int:
    """Return the schema version of an index, which is not changed.

    Raises:
        NoIndexError: If there is no index.
        SchemaError: If it was written by a newer semsearch.
        DamagedError: If its tables are not the ones of that version.
    """
    path = folder / DATABASE
    with translated_errors(), closing(_open(path, "immutable=1" if is_frozen(path) else "mode=ro")) as connection:
        return check(connection, path)


def _open(path: Path, access: str, timeout: float = BUSY_SECONDS) -> sqlite3.Connection:
    """Open a connection to a database, after checking its files, and keep the database from running its own code."""
    refuse_foreign_files(path)
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{access}",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        restrict(connection)
        refuse_foreign_header(connection, path, logged="immutable" not in access)
    except BaseException:
        connection.close()
        raise
    return connection


def _upgrade(path: Path, version: int) -> None:
    """Apply the migrations that an older index has not had yet, while holding the writer's lock."""
    from semsearch.stores.local.lock import hold_lock

    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        raise SchemaError(
            f"{str(path.parent)!r} was written by an older semsearch (schema {version}, now {SCHEMA_VERSION}) and "
            "cannot be upgraded without write permission; copy the folder to a location that you can write to, or ask "
            "its owner to run: semsearch status --index DIR"
        )
    try:
        with translated_errors(), hold_lock(path.parent), closing(_open(path, "mode=rw")) as connection:
            with transaction(connection):  # visible as a whole or not at all, however this process ends
                if check(connection, path) < SCHEMA_VERSION:  # unless another process has done it meanwhile
                    _migrate(connection)
    except LockedError as error:
        raise LockedError(f"{str(path.parent)!r} has an older schema and cannot be upgraded now: {error}") from None


def is_frozen(path: Path) -> bool:
    """Return whether there is only the file: no log beside it, and no permission to create one in its folder.

    SQLite refuses to read such a database unless it is told that nobody writes to it.
    """
    return not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()


def check(connection: sqlite3.Connection, path: Path) -> int:
    """Refuse an index that is newer, or contains anything but its own tables; return its schema version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise SchemaError(
            f"{str(path.parent)!r} was written by a newer semsearch (schema {version}, at most {SCHEMA_VERSION} here); "
            "upgrade semsearch"
        )
    refuse_foreign_schema(connection, path.parent, version)
    return int(version)


def create(folder: Path) -> tuple[sqlite3.Connection, Path]:
    """Create an empty database under a temporary name; the caller renames it."""
    path = unused_name(folder / DATABASE, "new")
    connection = sqlite3.connect(path, isolation_level=None)
    restrict(connection)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    _migrate(connection)
    return connection, path


def _migrate(connection: sqlite3.Connection) -> None:
    from semsearch.stores.local.schema import (
        migrate,  # imports sqlite_utils, which an index that is up to date does not need
    )

    migrate(connection)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


@contextmanager
def transaction(connection: sqlite3.Connection, *, write: bool = True) -> Iterator[None]:
    """Run a transaction: committed at the end, rolled back on any error."""
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
    """Delete the log that a writer had to leave for a reader; SQLite does so for the last connection that can write."""
    if not os.access(path.parent, os.W_OK) or not path.with_name(f"{path.name}-wal").exists():
        return
    with suppress(sqlite3.Error, SemsearchError, OSError), closing(_open(path, "mode=rw", timeout=0)) as last:
        last.execute("SELECT 1 FROM sqlite_master").fetchone()


class Database:
    """One connection that threads take turns to use; a forked process gets its own.

    It is reopened if another file has replaced the one that was opened, or if the file changed without SQLite's
    knowledge, as can happen to a file that this process has no permission to lock.

    Attributes:
        folder: The folder of the index.
        connections: Number of times it was opened; data read over another connection may belong to another index.
    """

    def __init__(self, folder: Path, *, write: bool = False) -> None:
        """Open the database of an index folder; see `connect`."""
        self.folder = folder
        self._path = folder / DATABASE
        self.connections = 0
        self._write = write
        self._turn = ForkLock()
        self._abandoned: list[sqlite3.Connection] = []
        self._version = 0
        self._connect()

    def _connect(self) -> None:
        self._process = os.getpid()
        self._frozen = not self._write and is_frozen(self._path)
        stamp = self._look()
        self._connection = connect(self._path, write=self._write)
        self._stamp = stamp
        self.connections += 1

    def _look(self) -> tuple[int, ...] | None:
        """Return the identity of the file and, if it is frozen, what any writer elsewhere changes; None for no file."""
        try:
            entry = os.lstat(self._path)
        except OSError:
            return None
        which = entry.st_dev, entry.st_ino
        if not self._frozen:
            return which
        return *which, entry.st_mtime_ns, entry.st_size, self._path.with_name(f"{DATABASE}-wal").exists()

    def _keep_up(self) -> None:
        """Reopen the file if it is a different one."""
        stamp = self._look()
        if stamp == self._stamp:
            return
        if stamp is None:
            raise NoIndexError(f"the index {str(self.folder)!r} was deleted while it was open; open another one")
        if self._write:
            raise StoreError(
                f"the index {str(self.folder)!r} was replaced by another one while it was being written; "
                "run the same command again"
            )
        self._connection.close()
        self._connect()

    def close(self) -> None:
        """Close the connection once the operations in progress have finished; the object is unusable afterwards."""
        if self._process == os.getpid():
            with self._turn:
                self._connection.close()
            if not self._write:
                _drop_log(self._path)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Reserve the connection for this thread, and translate errors."""
        with self._turn, translated_errors():
            if self._process != os.getpid():  # SQLite's connections belong to the parent, which alone may close them
                if self._write:
                    raise StoreError("the index was opened for writing before this process was forked; open it again")
                self._abandoned.append(self._connection)
                self._connect()
            yield

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Make every read inside see the same committed state, whatever a writer does meanwhile."""
        with self.turn():
            if self._connection.in_transaction:
                yield
                return
            self._keep_up()
            with transaction(self._connection, write=False):
                (self._version,) = self._connection.execute("PRAGMA data_version").fetchone()
                yield

    @property
    def version(self) -> tuple[int, int] | None:
        """A key that distinguishes this snapshot's data from other data of this connection; None while writing."""
        return None if self._write else (self.connections, self._version)

    @contextmanager
    def change(self) -> Iterator[None]:
        """Run a transaction that writes: committed at the end, rolled back on any error."""
        with self.turn():
            self._keep_up()
            with transaction(self._connection):
                yield

    @property
    def in_snapshot(self) -> bool:
        """Whether the next read sees the same committed state as the previous one, in this thread's turn."""
        return self._connection.in_transaction

    def execute(self, sql: str, parameters: Sequence[Parameter] = ()) -> sqlite3.Cursor:
        """Run a statement; must be called inside `turn`, `snapshot` or `change`."""
        return self._connection.execute(sql, parameters)

    def copy_to(self, path: Path) -> None:
        """Copy the committed state of a snapshot to a new file; must be called inside `snapshot`."""
        with closing(sqlite3.connect(path)) as copy:
            self._connection.backup(copy, pages=COPIED_AT_ONCE)

    def compact(self) -> None:
        """Rewrite the whole file without what was deleted, and empty the log; must be called inside `turn`.

        Raises:
            LockedError: If a reader keeps the log from being emptied, which may hold what was deleted.
        """
        self._connection.execute("PRAGMA secure_delete = ON")
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 1)  # VACUUM attaches its temporary file
        try:
            self._connection.execute("VACUUM")
        finally:
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        (busy, *_) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise LockedError(
                f"another process is reading {str(self.folder)!r}, so its old contents are still on disk; run the same "
                "command again when it has finished"
            )

    def execute_many(self, sql: str, rows: Iterable[Sequence[Parameter]]) -> None:
        """Run a statement for each row; must be called inside `change`."""
        self._connection.executemany(sql, rows)

    def one(self, sql: str, *parameters: Parameter) -> int:
        """Return the single integer that a query yields."""
        row: tuple[Any, ...] = self._connection.execute(sql, parameters).fetchone()
        if not isinstance(row[0], int):
            raise damaged(self.folder, f"expected a number, found {row[0]!r:.60}")
        return row[0]


class _Translation(AbstractContextManager[None]):
    """See `translated_errors`; a class, because every search enters it several times."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and (ours := _translated(error)) is not None:
            raise ours from error


_TRANSLATION = _Translation()


def translated_errors() -> AbstractContextManager[None]:
    """Translate storage errors of sqlite3 and the operating system; errors that only a bug can cause pass unchanged."""
    return _TRANSLATION


def _translated(error: Exception) -> StoreError | None:
    if isinstance(error, sqlite3.DatabaseError):
        return _of_sqlite(error)
    if isinstance(error, UnicodeDecodeError):  # a message of SQLite that quotes a damaged schema
        return DamagedError(f"the index is damaged: its tables are not text; {REBUILD}")
    if isinstance(error, MemoryError):
        return StoreError("not enough memory to read the index, or it is damaged and requests too much")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFullError(f"cannot write the index: {error.strerror}; {KEPT}; {RESUME}")
    if isinstance(error, OSError) and error.errno in UNUSABLE:
        return StoreError(f"cannot use the index: {error.strerror}: {str(error.filename)!r}")
    return None


UNUSABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EINVAL, errno.ELOOP, errno.EISDIR, errno.ENXIO)
"""Errors for a file in the folder that cannot be opened, or must not be trusted; see `open_regular`."""

DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH)
"""SQLite codes for contents that no index can have: our own statements never violate a constraint of an intact one."""


def _of_sqlite(error: sqlite3.DatabaseError) -> StoreError | None:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    said = " ".join(str(error).split())  # a damaged schema is quoted with its line breaks
    if code == sqlite3.SQLITE_FULL:
        return DiskFullError(f"cannot write the index: {said}; {KEPT}; {RESUME}")
    if code in (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE):  # a full disk has its own code
        cause = "a failing disk, a quota, or a file size limit"
        return StoreError(f"cannot write the index: {said} ({cause}); {KEPT}; check the disk or {RESUME}")
    if code & 0xFF == sqlite3.SQLITE_IOERR:
        name = getattr(error, "sqlite_errorname", "no code")
        return StoreError(f"cannot use the index: {said} ({name}); {KEPT}; check the disk, then try again")
    if code & 0xFF in DAMAGE or "malformed" in said or "Could not decode" in said:
        return DamagedError(f"the index is damaged: {said}; {REBUILD}")
    if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LockedError(f"the index is locked by another process ({said}); try again when it has finished")
    if isinstance(error, sqlite3.ProgrammingError) and "closed" in said:
        return StoreError("the index is closed; open it again")
    if isinstance(error, sqlite3.OperationalError):
        return StoreError(f"SQLite error: {said}")
    return None


KEPT = "committed batches are kept"

RESUME = "free some space, then run the same command again"
