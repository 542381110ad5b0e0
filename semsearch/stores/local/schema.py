"""The tables of an index, and how older ones become newer ones.

Migrations are numbered, applied once each in a transaction, and never changed after a release. `database.py`
keeps the number of the last in the file, so that opening an index does not need this module.
"""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database, Migrations

from semsearch.stores.local.keywords import body, tokens

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
    # Contentless: the texts are in `documents`, and a row is taken out by handing its words in again.
    # Marks (Mn, Mc) belong to words: they are the vowels of Thai and Hindi.
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


@MIGRATIONS(name="003 keywords are folded, and exact tokens have a table")
def _third(db: Database) -> None:
    tokenize = "unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'"
    db.execute("DROP TABLE keywords")
    db.execute(f"""CREATE VIRTUAL TABLE keywords USING fts5(body, content='', tokenize="porter {tokenize}")""")
    db.execute(
        "CREATE VIRTUAL TABLE exact USING fts5(tokens, content='', columnsize=0, detail=none, "
        f"""tokenize="{tokenize}")"""
    )
    for number, title, text in db.execute(
        "SELECT passages.id, title, substr(text, start + 1, end - start) "
        "FROM passages JOIN documents ON documents.id = passages.document"
    ):
        db.execute("INSERT INTO keywords (rowid, body) VALUES (?, ?)", (number, body(title, text)))
        db.execute("INSERT INTO exact (rowid, tokens) VALUES (?, ?)", (number, tokens(title, text)))


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the migrations that a database lacks."""
    MIGRATIONS.apply(Database(connection))
