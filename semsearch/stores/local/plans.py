"""Comparison of a batch of documents with the index, to decide what has to be done with each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from semsearch.stores.base import Plan
from semsearch.stores.local.catalog import Catalog
from semsearch.stores.local.database import Database
from semsearch.stores.local.guard import PASSAGE, checksum, passage_checksum
from semsearch.stores.plans import Stored, plan_of
from semsearch.types import Document, content_hash

DAMAGED = -(2**62)
"""Added instead of 1 to a count of passages for each damaged one, so that the count is negative."""


class Planner:
    """Compares documents with an index.

    Attributes:
        found_damage: Whether one of the documents that it has compared is damaged in the index.
    """

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database, self._catalog = database, catalog
        self.found_damage = False

    def plan(self, documents: Sequence[Document], *, replace: bool = False) -> Plan:
        """See `StoreWriter.plan`; content is compared by its hash, and damaged documents count as changed."""
        stored = self._stored([document.doc_id for document in documents])
        return plan_of(documents, stored, {root.name: root for root in self._catalog.roots()}, replace=replace)

    def look_at(self, doc_ids: Sequence[str]) -> None:
        """Look for damage in documents."""
        self._stored(doc_ids)

    def _stored(self, doc_ids: Sequence[str]) -> dict[str, Stored]:
        """Return the content hash, metadata, root and file of the documents that exist and are not damaged."""
        sql = (
            "SELECT id, doc_id, title, text, layout, content_hash, metadata, n_passages, root, file, checksum "
            "FROM documents WHERE doc_id IN (SELECT value FROM json_each(?))"
        )
        with self._database.turn():
            rows = self._database.execute(sql, (json.dumps(doc_ids),)).fetchall()
            passages = self._sound_passages([row[0] for row in rows])
        sound = {
            doc_id: (content, metadata, root, file)
            for number, doc_id, title, text, layout, content, metadata, n_passages, root, file, stored in rows
            if passages[number] == n_passages
            and checksum(doc_id, metadata, content, n_passages, root, file) == stored
            and content_hash(str(title), str(text), str(layout)) == content
        }
        self.found_damage |= len(sound) < len(rows)
        return sound

    def _sound_passages(self, documents: Sequence[int]) -> Counter[int]:
        """Return the number of passages of each document, negative if one of them is damaged."""
        sql = f"""
            SELECT {PASSAGE}, passages.checksum, vectors.vector, vectors.checksum
            FROM passages LEFT JOIN vectors ON vectors.passage = passages.id
            WHERE passages.document IN (SELECT value FROM json_each(?))
            """
        found: Counter[int] = Counter()
        for *passage, stored, vector, vector_stored in self._database.execute(sql, (json.dumps(documents),)):
            sound = all(type(number) is int for number in passage) and passage_checksum(tuple(passage)) == stored
            found[passage[1]] += 1 if sound and checksum(passage[0], vector) == vector_stored else DAMAGED
        return found
