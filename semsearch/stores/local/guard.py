"""Protection against untrusted index folders, which must not lead to other files or run code of their own in SQLite.

An index is data. Its database is opened only if it and the files that SQLite opens beside it are regular files, and is
read only if it contains the tables that a migration created and nothing else: a trigger, a view or a generated column
would be run by whoever opens the index. The contents of rows are checked where they are read.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import zlib
from pathlib import Path
from typing import TypeAlias

from semsearch import moments
from semsearch.errors import DamagedError, NoIndexError
from semsearch.files import is_regular

Value: TypeAlias = str | int | bytes | None

APPLICATION_ID = 0x53656D73
"""`Sems` in the SQLite header; distinguishes an index from any other database."""

SCHEMAS = {
    1: "c85f22ac3f64f5d2",
    4: "afe7906d15151048",
    5: "fc4225961adb114a",
    6: "2d4b72aff297c1fb",
}
"""Schema version to the digest of its tables, see `digest`; tests/stores/test_guard.py prints that of a new one."""

REBUILD = "delete its folder and build it again"

INDEX_AGAIN = "index the same corpus again to rewrite the damaged data, or delete these documents"

FIT_AGAIN = "fit it again: run the same semsearch index command with `refit`"


def damaged(folder: Path, what: str, remedy: str = REBUILD) -> DamagedError:
    """Return the error for contents of an index that semsearch cannot have written that way."""
    return DamagedError(f"the index {str(folder)!r} is damaged: {what}; {remedy}")


def refuse_foreign_files(path: Path) -> None:
    """Check the files that SQLite would open for a database, before it does.

    The files are not opened here: closing one would release the locks that SQLite holds on it elsewhere in this process
    (sqlite.org/howtocorrupt.html, 2.2), and other processes would mistake a writer's log for an abandoned one.

    Raises:
        NoIndexError: If there is no database, or it is a link, a pipe or a device.
        DamagedError: If there is a file beside it that SQLite must not open.
    """
    if not os.path.lexists(path) or path.is_dir():
        is_folder = path.parent.is_dir() or not os.path.lexists(path.parent)
        why = f" (no {path.name})" if is_folder else ", which is not a folder"
        raise NoIndexError(f"no index in {str(path.parent)!r}{why}; create one with: semsearch index CORPUS")
    if not is_regular(path):
        raise NoIndexError(
            f"{str(path)!r} is a link, a pipe or a device; expected a regular file: pass the folder of the original"
        )
    for ending in ("-wal", "-shm"):
        beside = path.with_name(path.name + ending)
        if os.path.lexists(beside) and not is_regular(beside):
            raise damaged(path.parent, f"{beside.name} is a link or not a regular file", "remove it")
    journal = path.with_name(f"{path.name}-journal")  # can make SQLite delete any file that it names
    if os.path.lexists(journal):
        raise damaged(path.parent, f"it contains {journal.name}, which an index never has", "remove it")


def refuse_foreign_header(connection: sqlite3.Connection, path: Path, *, logged: bool) -> None:
    """Check that a database is an index, and that SQLite reads its write-ahead log, which may hold commits.

    Args:
        connection: A newly opened connection.
        path: Path of the database.
        logged: Whether the database is opened in a mode that allows a write-ahead log.

    Raises:
        NoIndexError: If it is not a database, or belongs to another program.
        DamagedError: If its header does not specify a write-ahead log.
    """
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
            raise
        raise NoIndexError(f"{str(path)!r} is not a semsearch index ({error})") from None
    if application != APPLICATION_ID:
        raise NoIndexError(f"{str(path)!r} is an SQLite database, but not a semsearch index")
    if logged and journal != "wal":
        raise damaged(path.parent, f"the header of {path.name} does not specify a write-ahead log")


def restrict(connection: sqlite3.Connection) -> None:
    """Prevent SQLite from running anything that a database brings along, and enable its stricter checks."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
        connection.execute(f"PRAGMA {pragma}")
    connection.text_factory = _text
    connection.create_function("checksum", -1, checksum, deterministic=True)
    for name, function in moments.FUNCTIONS.items():
        connection.create_function(name, 1, function, deterministic=True)


def _text(data: bytes) -> str:
    """Decode text, replacing damaged bytes, so that the checksum reveals them."""
    return data.decode("utf-8", "replace")


def refuse_foreign_schema(connection: sqlite3.Connection, folder: Path, version: int) -> None:
    """Check that a database has the tables of its schema version, and nothing else.

    Raises:
        DamagedError: If it has other tables or columns, triggers or views.
    """
    if digest(connection) != SCHEMAS.get(version):
        raise damaged(folder, "its tables are not the ones that semsearch creates")


def digest(connection: sqlite3.Connection) -> str:
    """Return the first 16 hex digits of the SHA-256 over the tables of a database, however sqlite-utils quoted them.

    The internal tables of FTS5 and sqlite-utils differ between versions: FTS5's count by name alone, and the table of
    sqlite-utils does not count.
    """
    lines = []
    for kind, name, table, sql in connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"):
        theirs = str(name).startswith(("keywords_", "exact_"))
        if kind in ("table", "index") and table == "_sqlite_migrations":
            continue
        lines.append(f"{kind} {name} {table} {'' if theirs or sql is None else _SPELLING.sub('', sql).lower()}")
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]


_SPELLING = re.compile(r"""[\s"'`\[\]]+""")


def checksum(*values: Value) -> int:
    """Return the CRC-32 over the values of a row; also an SQL function of that name, with texts cast to blobs."""
    parts = [value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass") for value in values]
    return zlib.crc32(b"\0".join(parts))


PASSAGE_COLUMNS = ("id", "document", "ordinal", "start", "end", "n_tokens", "n_lost")
"""The columns that the checksum of a passage covers."""

PASSAGE = ", ".join(f"passages.{name}" for name in PASSAGE_COLUMNS)
"""The same columns in SQL."""


def passage_checksum(row: tuple[int, ...]) -> int:
    """Return the checksum of a passage's columns; see `PASSAGE_COLUMNS`.

    Raises:
        TypeError: If one of them is not a number.
    """
    return zlib.crc32(b"%d %d %d %d %d %d %d" % row)
