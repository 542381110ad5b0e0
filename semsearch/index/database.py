"""Opening an index's SQLite file: what it must look like, and sqlite3's errors as ours."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semsearch.errors import DiskFullError, NoIndexError, SchemaError, StoreError

DATABASE = "passages.sqlite"

APPLICATION_ID = 0x53656D73
"""`Sems`, in the SQLite header: tells an index from any other database."""

SCHEMA_VERSION = 1

BUSY_SECONDS = 30


def connect(path: Path, *, write: bool = False) -> sqlite3.Connection:
    """Open a database in autocommit mode; transactions are begun by hand.

    Raises:
        NoIndexError: The file is missing or not a semsearch index.
        SchemaError: It was written by a newer semsearch.
    """
    if not path.is_file():
        raise NoIndexError(f"no index in {str(path.parent)!r} (no {path.name}); make one with: semsearch index CORPUS")
    mode = "rw" if write else "ro"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        check(connection, path)
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse what is no index, or a newer one."""
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        raise NoIndexError(f"{str(path)!r} is not a semsearch index ({error})") from None
    if application != APPLICATION_ID:
        raise NoIndexError(f"{str(path)!r} is an SQLite database, but not a semsearch index")
    if version > SCHEMA_VERSION:
        raise SchemaError(
            f"{str(path.parent)!r} was written by a newer semsearch (schema {version}, here {SCHEMA_VERSION}); "
            "upgrade: pip install --upgrade semsearch"
        )


def create(path: Path) -> sqlite3.Connection:
    """Make an empty database under a temporary name; `publish` gives it its own."""
    from semsearch.index.schema import migrate

    for leftover in path.parent.glob(f"{path.name}*"):
        leftover.unlink()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    migrate(connection)
    return connection


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


@contextmanager
def translated_errors() -> Iterator[None]:
    """Storage errors of sqlite3, FAISS and the operating system as ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise DiskFullError(f"cannot write the index: {error}; {RESUME}") from error
        raise StoreError(f"the index's database refuses: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFullError(f"cannot write the index: {error.strerror}; {RESUME}") from error
        raise


RESUME = "what was committed is kept: make room, then run the same command again"
