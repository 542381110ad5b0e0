"""The full-text tables: the words of each passage, and its exact tokens, under the passage's number.

Both are contentless, since the texts are already in `documents`: deleting a row requires passing its words again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from semsearch.stores.local.analysis import Text
from semsearch.stores.local.database import Database
from semsearch.stores.local.keywords import body, tokens

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

    def _run(self, sql: str, rows: Iterable[tuple[int, str]]) -> None:
        self._database.execute_many(sql, rows)
