"""The documents that a run has seen, however many they are."""

from __future__ import annotations

import sqlite3

from semsearch.errors import RecordError
from semsearch.types import Document


class Seen:
    """Ids of documents, each with the source it was first seen in; a file of SQLite's own, which ends with it."""

    def __init__(self) -> None:
        self._rows = sqlite3.connect("", isolation_level=None, check_same_thread=False)  # spills to a file of its own
        self._rows.execute("CREATE TABLE seen (doc_id TEXT PRIMARY KEY, source TEXT) WITHOUT ROWID")

    def add(self, document: Document) -> RecordError | None:
        """See `StoreWriter.see`."""
        row = (document.doc_id, document.source)
        if self._rows.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", row).rowcount:
            return None
        (first,) = self._rows.execute("SELECT source FROM seen WHERE doc_id = ?", row[:1]).fetchone()
        return RecordError(document.source, None, f"duplicate id {document.doc_id!r}, already used in {first}")

    def __contains__(self, doc_id: str) -> bool:
        return self._rows.execute("SELECT 1 FROM seen WHERE doc_id = ?", (doc_id,)).fetchone() is not None

    def close(self) -> None:
        """Delete the file."""
        self._rows.close()
