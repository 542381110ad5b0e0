"""What an index folder from somebody else must not do: lead to other files, or bring code of its own into SQLite.

An index is data. Its database is opened only if it and the files that SQLite opens beside it are regular files, and is
read only if it holds the tables that a migration made and nothing else: a trigger, a view or a generated column would
be run by whoever opens the index. What is in the rows is checked where it is read.
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
"""`Sems`, in the SQLite header: tells an index from any other database."""

SCHEMAS = {
    1: "c85f22ac3f64f5d2",
    4: "afe7906d15151048",
}
"""Version of the schema to the digest of its tables, see `digest`; tests/stores/test_guard.py prints a new one."""

REBUILD = "delete its folder and build it again"

INDEX_AGAIN = "index the same corpus again, which writes them anew, or delete these documents"

FIT_AGAIN = "fit it again: run the same semsearch index command with `refit`"


def damaged(folder: Path, what: str, remedy: str = REBUILD) -> DamagedError:
    """Return the error for something in an index that cannot have been written so."""
    return DamagedError(f"the index {str(folder)!r} is damaged: {what}; {remedy}")


def refuse_foreign_files(path: Path) -> None:
    """Check, before SQLite opens a database, what it would open.

    The files are not opened here: closing one would release the locks that SQLite has on it elsewhere in this process
    (sqlite.org/howtocorrupt.html, 2.2), and others would take the log of a writer for an abandoned one.

    Raises:
        NoIndexError: There is no database, or it is a link, a pipe or a device.
        DamagedError: There is something beside it that SQLite must not open.
    """
    if not os.path.lexists(path) or path.is_dir():
        is_folder = path.parent.is_dir() or not os.path.lexists(path.parent)
        why = f" (no {path.name})" if is_folder else ", which is not a folder"
        raise NoIndexError(f"no index in {str(path.parent)!r}{why}; make one with: semsearch index CORPUS")
    if not is_regular(path):
        raise NoIndexError(
            f"{str(path)!r} is a link, a pipe or a device; expected a file: name the folder in which it is"
        )
    for ending in ("-wal", "-shm"):
        beside = path.with_name(path.name + ending)
        if os.path.lexists(beside) and not is_regular(beside):
            raise damaged(path.parent, f"{beside.name} is a link or no regular file", "remove that")
    journal = path.with_name(f"{path.name}-journal")  # which can make SQLite delete any file that it names
    if os.path.lexists(journal):
        raise damaged(path.parent, f"there is a {journal.name}, which an index never has", "remove that")


def refuse_foreign_header(connection: sqlite3.Connection, path: Path, *, logged: bool) -> None:
    """Check that a database is an index, and that SQLite looks at its log, which may hold commits.

    Args:
        connection: Just opened.
        path: Of the database.
        logged: Whether it is opened so that there can be a log.

    Raises:
        NoIndexError: It is no database, or another program's.
        DamagedError: Its header does not name a write-ahead log.
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
        raise damaged(path.parent, f"the header of {path.name} does not name a write-ahead log")


def restrict(connection: sqlite3.Connection) -> None:
    """Have SQLite run nothing that a database brings along, and look closer at what it reads."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
        connection.execute(f"PRAGMA {pragma}")
    connection.text_factory = _text
    connection.create_function("checksum", -1, checksum, deterministic=True)
    for name, function in moments.FUNCTIONS.items():
        connection.create_function(name, 1, function, deterministic=True)


def _text(data: bytes) -> str:
    """Text with a mark in place of what is damaged, so that a checksum finds it."""
    return data.decode("utf-8", "replace")


def refuse_foreign_schema(connection: sqlite3.Connection, folder: Path, version: int) -> None:
    """Check that a database has the tables of its version, and nothing else.

    Raises:
        DamagedError: It has others, or triggers, views, or other columns.
    """
    if digest(connection) != SCHEMAS.get(version):
        raise damaged(folder, "its tables are not those of semsearch")


def digest(connection: sqlite3.Connection) -> str:
    """Return the first 16 digits of the sha256 over the tables of a database, however sqlite-utils spelled them.

    The tables that FTS5 and sqlite-utils keep for themselves differ among their versions, and count by name alone.
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
    """Return the crc32 over the values of a row; SQL has it under the same name, where texts are cast to blobs."""
    parts = [value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass") for value in values]
    return zlib.crc32(b"\0".join(parts))


PASSAGE_COLUMNS = ("id", "document", "ordinal", "start", "end", "n_tokens", "n_lost")
"""What the checksum of a passage is over."""

PASSAGE = ", ".join(f"passages.{name}" for name in PASSAGE_COLUMNS)
"""The same in SQL."""


def passage_checksum(row: tuple[int, ...]) -> int:
    """Return the checksum of a passage's columns, see `PASSAGE`.

    Raises:
        TypeError: One of them is no number.
    """
    return zlib.crc32(b"%d %d %d %d %d %d %d" % row)
