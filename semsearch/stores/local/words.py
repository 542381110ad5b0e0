"""The full-text tables: the words of each passage, and its exact tokens, under the passage's number.

Both are contentless, since the texts are already in `documents`: deleting a row requires passing its words again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TypeAlias

from semsearch.stores.local.database import Database
from semsearch.stores.local.keywords import EXACT_WORDS, WORDS, body, tokens

Text: TypeAlias = tuple[int, str, str]
"""A passage's number, its document's title, and its text."""

TEXTS = (
    "SELECT passages.id, title, substr(text, start + 1, end - start) "
    "FROM passages JOIN documents ON documents.id = passages.document"
)
"""SQL that selects the `Text` of passages."""


class WordTables:
    """The full-text tables of an index; every method must be called inside `Database.change`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, texts: Sequence[Text]) -> None:
        """Make passages searchable by their words."""
        self._run("INSERT INTO keywords (rowid, body) VALUES (?, ?)", ((n, body(*text)) for n, *text in texts))
        self._run("INSERT INTO exact (rowid, tokens) VALUES (?, ?)", ((n, tokens(*text)) for n, *text in texts))

    def take_out(self, texts: Sequence[Text]) -> None:
        """Undo `add` for the same texts."""
        words = ((n, body(*text)) for n, *text in texts)
        self._run("INSERT INTO keywords (keywords, rowid, body) VALUES ('delete', ?, ?)", words)
        exact = ((n, tokens(*text)) for n, *text in texts)
        self._run("INSERT INTO exact (exact, rowid, tokens) VALUES ('delete', ?, ?)", exact)

    def rebuild(self) -> None:
        """Rebuild both tables from the texts, because the words of a damaged text cannot be removed one by one."""
        for table in ("keywords", "exact"):
            self._database.execute(f"INSERT INTO {table} ({table}) VALUES ('delete-all')")
        rows = self._database.execute(TEXTS)
        while texts := rows.fetchmany(1_000):
            self.add(texts)

    def compact(self) -> None:
        """Merge the parts of both tables, which drops the words of deleted passages."""
        for table in ("keywords", "exact"):
            self._database.execute(f"INSERT INTO {table} ({table}) VALUES ('optimize')")

    def _run(self, sql: str, rows: Iterable[tuple[int, str]]) -> None:
        self._database.execute_many(sql, rows)


@contextmanager
def scratch_tables() -> Iterator[sqlite3.Connection]:
    """Open empty full-text tables in memory, `keywords` and `exact`, each with a column `words` and its vocabulary."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for table, tokenize, options in (("keywords", WORDS, ""), ("exact", EXACT_WORDS, "detail=none, ")):
            connection.execute(
                f"""CREATE VIRTUAL TABLE {table} USING fts5(words, content='', {options}tokenize="{tokenize}")"""
            )
            connection.execute(f"CREATE VIRTUAL TABLE {table}_terms USING fts5vocab({table}, instance)")
        yield connection
