"""Comparison of a batch of documents with the index, to decide what has to be done with each."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from semsearch.errors import RecordError
from semsearch.stores.base import Plan
from semsearch.stores.local.catalog import Catalog
from semsearch.stores.local.database import Database
from semsearch.stores.local.guard import PASSAGE, checksum, passage_checksum
from semsearch.types import Document, Origin, Root, content_hash

DAMAGED = -(2**62)
"""Added instead of 1 to a count of passages for each damaged one, so that the count is negative."""

Stored: TypeAlias = tuple[str, str, str | None, str | None]
"""Content hash, metadata, root and file of a document."""


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
        roots = {root.name: root for root in self._catalog.roots()}
        plan = Plan([], [], 0)
        for document in documents:
            content, metadata, root, file = stored.get(document.doc_id, ("", "", None, None))
            moved = (root, file) != key_of(document)
            changed = content != document.content_hash or metadata != document.metadata_json
            # A document whose file is None comes from an index of an earlier version of semsearch.
            if moved and changed and document.origin and file is not None and not replace:
                plan.refused.append(_taken(document, origin_of(roots, root, file)))
            elif content != document.content_hash:
                plan.encode.append(document)
            elif metadata != document.metadata_json:
                plan.describe.append(document)
            elif moved and (file is None or file):  # a document from memory keeps that origin
                plan.moved.append((document, origin_of(roots, root, file)))
        done = len(plan.encode) + len(plan.describe) + len(plan.refused)
        return dataclasses.replace(plan, unchanged=len(documents) - done)

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


def key_of(document: Document) -> tuple[str | None, str]:
    """Return the root and file of a document, as they are stored."""
    return (document.origin or Origin()).key


def origin_of(roots: Mapping[str, Root], root: str | None, file: str | None) -> Origin | None:
    """Return an origin from its stored root and file; None for a document from memory, or if it is unknown."""
    if file is None or (root is None and not file):
        return None
    return Origin(None if root is None else roots.get(root), file)


def _taken(document: Document, other: Origin | None) -> RecordError:
    error = RecordError(
        document.source,
        None,
        f"the id {document.doc_id!r} belongs to a document from {str(other or Origin())!r}; give one of them another "
        "id, or pass `replace` to replace that document with this one",
    )
    error.origin = document.origin
    return error
