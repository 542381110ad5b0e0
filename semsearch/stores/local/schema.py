"""The schema of an index, and the migrations that bring older indexes up to date.

Migrations are numbered, applied once each in a transaction, and never changed after a release. `database.py` stores
the number of the last one in the file, so that opening an index does not need this module.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import unicodedata
from collections.abc import Sequence

from sqlite_utils import Database, Migrations

from semsearch.stores.local.guard import checksum

MIGRATIONS = Migrations("semsearch")


@MIGRATIONS(name="001 documents, passages, vectors, keywords, segments")
def _first(db: Database) -> None:
    db.table("settings").create({"key": str, "value": str}, pk="key")
    db.table("fields").create({"name": str}, pk="name")
    db.execute(
        """
        CREATE TABLE documents (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            doc_id TEXT NOT NULL UNIQUE,
            title TEXT NOT NULL,
            text TEXT NOT NULL,
            metadata TEXT NOT NULL,
            content_hash TEXT NOT NULL
        )
        """
    )
    db.execute(
        """
        CREATE TABLE passages (
            id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again after a deletion: segments hold these numbers
            document INTEGER NOT NULL REFERENCES documents(id) ON DELETE CASCADE,
            ordinal INTEGER NOT NULL,
            start INTEGER NOT NULL,
            end INTEGER NOT NULL,
            n_tokens INTEGER NOT NULL,
            n_lost INTEGER NOT NULL
        )
        """
    )
    db.table("passages").create_index(["document", "ordinal"], unique=True)
    db.execute(
        """
        CREATE TABLE vectors (
            passage INTEGER PRIMARY KEY REFERENCES passages(id) ON DELETE CASCADE,
            vector BLOB NOT NULL  -- little-endian float32, before the fitted transform
        )
        """
    )
    # Contentless: the texts are in `documents`, and deleting a row requires passing its words again.
    # Combining marks (Mn, Mc) are part of words: they are the vowels of Thai and Hindi.
    db.execute(
        "CREATE VIRTUAL TABLE keywords USING fts5(body, content='', "
        """tokenize="porter unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'")"""
    )
    db.execute(
        """
        CREATE TABLE segments (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            file TEXT NOT NULL,
            kind TEXT NOT NULL,
            first INTEGER NOT NULL,  -- lowest and highest passage id that the file covers
            last INTEGER NOT NULL,
            n_rows INTEGER NOT NULL,
            sha256 TEXT NOT NULL
        )
        """
    )
    db.execute("CREATE TABLE deleted (passage INTEGER PRIMARY KEY)")
    db.execute("CREATE TABLE transform (name TEXT NOT NULL, mean BLOB NOT NULL, matrix BLOB NOT NULL)")


@MIGRATIONS(name="002 origins of documents")
def _origins(db: Database) -> None:
    """Record the file that each document was read from, relative to a named root; NULL if it is unknown.

    Older indexes only record where their first corpus was.
    """
    db.execute("ALTER TABLE documents ADD COLUMN root TEXT")
    db.execute("ALTER TABLE documents ADD COLUMN file TEXT")
    db.execute("CREATE INDEX documents_by_file ON documents(root, file, doc_id)")
    row = db.execute("SELECT value FROM settings WHERE key = 'origin'").fetchone()
    origin = json.loads(row[0]) if row else ""
    is_file = os.path.isfile(origin) or (not os.path.exists(origin) and "." in os.path.basename(origin))
    path = os.path.dirname(origin) if is_file else origin
    roots = [{"name": "", "path": path}] if os.path.isabs(path) else []
    db.execute("INSERT INTO settings VALUES ('roots', ?)", (json.dumps(roots),))
    if not roots:
        return
    named = "json_valid(metadata) AND json_extract(metadata, '$.path') IS NOT NULL"
    if is_file:
        sql = f"UPDATE documents SET root = '', file = ? WHERE NOT ({named})"
        db.execute(sql, (unicodedata.normalize("NFC", os.path.basename(origin)),))
    for number, doc_id in db.execute(f"SELECT id, doc_id FROM documents WHERE {named}").fetchall():
        if not os.path.isdir(path) or os.path.lexists(os.path.join(path, str(doc_id))):
            db.execute("UPDATE documents SET root = '', file = doc_id WHERE id = ?", (number,))


@MIGRATIONS(name="003 keywords are folded, and exact tokens have a table")
def _third(db: Database) -> None:
    """Replace the full-text tables; migration 005 drops them, so they stay empty."""
    tokenize = "unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'"
    db.execute("DROP TABLE keywords")
    db.execute(f"""CREATE VIRTUAL TABLE keywords USING fts5(body, content='', tokenize="porter {tokenize}")""")
    db.execute(
        "CREATE VIRTUAL TABLE exact USING fts5(tokens, content='', columnsize=0, detail=none, "
        f"""tokenize="{tokenize}")"""
    )


@MIGRATIONS(name="004 checksums, identity")
def _checksums(db: Database) -> None:
    db.execute("ALTER TABLE documents ADD COLUMN n_passages INTEGER")
    db.execute("UPDATE documents SET n_passages = (SELECT count(*) FROM passages WHERE document = documents.id)")
    older = {"segments": ("file", "kind", "first", "last", "n_rows", "sha256")}
    for table, columns in (CHECKED | older).items():
        db.execute(f"ALTER TABLE {table} ADD COLUMN checksum INTEGER")
        db.execute(f"UPDATE {table} SET checksum = {checksum_of(columns)}")
    identity = json.dumps(secrets.token_hex(16))
    db.execute("INSERT INTO settings VALUES ('identity', ?, ?)", (identity, checksum("identity", identity)))


@MIGRATIONS(name="005 segments of arrays, which also contain the words")
def _segments(db: Database) -> None:
    """Replace the table of segments, all of which are rebuilt in another format, and the full-text tables.

    The vectors of an older index are float32.
    """
    db.execute("DROP TABLE keywords")
    db.execute("DROP TABLE exact")
    db.execute("DROP TABLE segments")
    db.execute("DELETE FROM deleted")
    precision = json.dumps("float32")
    db.execute(
        "INSERT INTO settings VALUES ('store_precision', ?, ?)", (precision, checksum("store_precision", precision))
    )
    db.execute(
        """
        CREATE TABLE segments (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            first INTEGER NOT NULL,  -- lowest and highest passage id that it covers
            last INTEGER NOT NULL,
            n_rows INTEGER NOT NULL,
            vectors TEXT NOT NULL,  -- name of the file with its vectors, and the digest of this file
            vectors_digest INTEGER NOT NULL,
            words TEXT NOT NULL,  -- the same for the file with its words
            words_digest INTEGER NOT NULL,
            about TEXT NOT NULL,  -- JSON: what was measured of its vector index
            checksum INTEGER
        )
        """
    )


@MIGRATIONS(name="006 layouts of documents")
def _layouts(db: Database) -> None:
    """Record the sections, tables and code of each document's text; those of older ones are unknown."""
    db.execute("ALTER TABLE documents ADD COLUMN layout TEXT NOT NULL DEFAULT ''")


CHECKED = {
    "settings": ("key", "value"),
    "documents": ("doc_id", "metadata", "content_hash", "n_passages", "root", "file"),
    "passages": (
        "id || ' ' || document || ' ' || ordinal || ' ' || start || ' ' || end || ' ' || n_tokens || ' ' || n_lost",
    ),
    "vectors": ("passage", "vector"),
    "segments": ("first", "last", "n_rows", "vectors", "vectors_digest", "words", "words_digest", "about"),
    "transform": ("name", "mean", "matrix"),
}
"""Tables whose rows have a checksum, with the columns it covers; `content_hash` in turn covers title, text, layout."""


def checksum_of(columns: Sequence[str]) -> str:
    """Return SQL for the checksum of a row; texts may be damaged, so they are passed as the stored bytes."""
    return f"checksum({', '.join(f'CAST({column} AS BLOB)' for column in columns)})"


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the migrations that a database has not had yet."""
    MIGRATIONS.apply(Database(connection))
