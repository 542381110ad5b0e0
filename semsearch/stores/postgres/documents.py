"""Documents and passages of an index in PostgreSQL, as they are shown and copied."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from semsearch.filters.postgres import Condition, compile_filter
from semsearch.filters.syntax import Filter, check_fields
from semsearch.layout import layout_of
from semsearch.stores.base import Entry, StoredDocument, StoredPassage
from semsearch.stores.plans import origin_of
from semsearch.stores.postgres.catalog import Catalog
from semsearch.stores.postgres.connections import Session
from semsearch.stores.postgres.vectors import VectorTable
from semsearch.types import Document, Passage

PASSAGES = "SELECT id, document, ordinal, first, last, n_tokens, n_lost FROM passages"

SHOWN = """
    SELECT passages.id, doc_id, title, substr(text, first + 1, last - first), first, last, metadata, layout
    FROM passages JOIN documents ON documents.id = document WHERE passages.id = ANY(%s)
"""


class Documents:
    """Reads documents and passages; every method must be called inside a snapshot or a change."""

    def __init__(self, session: Session, catalog: Catalog, vectors: VectorTable) -> None:
        self._session, self._catalog, self._vectors = session, catalog, vectors

    def condition(self, where: Filter | None) -> Condition | None:
        """Compile a filter, after checking that documents have its fields."""
        self._catalog.settings()
        if where is None:
            return None
        check_fields(where, self._catalog.fields())
        return compile_filter(where)

    def select(self, where: Filter | None) -> list[str]:
        """See `Readable.select`."""
        condition = self.condition(where) or Condition("true", ())
        sql = f"SELECT doc_id FROM documents WHERE {condition.sql} ORDER BY id"
        return [doc_id for (doc_id,) in self._session.rows(sql, condition.parameters)]

    def show(self, passages: Sequence[int]) -> dict[int, StoredPassage]:
        """See `Readable.show`."""
        shown: dict[int, StoredPassage] = {}
        for number, doc_id, title, text, start, end, metadata, layout in self._session.rows(SHOWN, (list(passages),)):
            section = layout_of(layout).section(title, start, end)
            shown[number] = StoredPassage(doc_id, title, text, start, end, self._metadata(metadata), section)
        return shown

    def documents(self, doc_ids: Sequence[str]) -> dict[str, StoredDocument]:
        """See `Readable.documents`."""
        found = {}
        for doc_id, (number, title, text, metadata, layout, *_) in self._rows(doc_ids).items():
            found[doc_id] = number, title, text, self._metadata(metadata), layout_of(layout)
        placed = self._passages([row[0] for row in found.values()])
        return {
            doc_id: StoredDocument(
                *(doc_id, *found[doc_id][1:4]),
                [(row[3], row[4]) for row in placed.get(found[doc_id][0], [])],
                [row[0] for row in placed.get(found[doc_id][0], [])],
                found[doc_id][4],
            )
            for doc_id in doc_ids
            if doc_id in found
        }

    def entries(self, doc_ids: Sequence[str]) -> list[Entry]:
        """See `Store.entries`."""
        rows, roots = self._rows(doc_ids), {root.name: root for root in self._catalog.roots()}
        placed = self._passages([row[0] for row in rows.values()])
        entries = []
        for doc_id in doc_ids:
            if doc_id not in rows:
                continue
            number, title, text, metadata, layout, root, file = rows[doc_id]
            origin = origin_of(roots, root, file)
            document = Document(doc_id, text, title, self._metadata(metadata), origin=origin, layout=layout_of(layout))
            own = placed.get(number, [])
            passages = [Passage(ordinal, a, b, "", tokens, lost) for _, _, ordinal, a, b, tokens, lost in own]
            entries.append(Entry(document, passages, self._vectors.stored([row[0] for row in own])))
        return entries

    def documents_of(self, passages: Sequence[int]) -> dict[int, int]:
        """See `Searchable.documents_of`."""
        return dict(self._session.rows("SELECT id, document FROM passages WHERE id = ANY(%s)", (list(passages),)))

    def passages_of(self, documents: Sequence[int], most: int) -> dict[int, list[int]]:
        """See `Searchable.passages_of`."""
        sql = (
            "SELECT passages.document, passages.id FROM passages JOIN documents ON documents.id = document "
            "WHERE documents.id = ANY(%s) AND n_passages <= %s ORDER BY document, ordinal"
        )
        found: dict[int, list[int]] = {}
        for document, number in self._session.rows(sql, (list(documents), most)):
            found.setdefault(document, []).append(number)
        return found

    def doc_ids(self, documents: Iterable[int]) -> dict[int, str]:
        """See `Searchable.doc_ids`."""
        return dict(self._session.rows("SELECT id, doc_id FROM documents WHERE id = ANY(%s)", (list(documents),)))

    def passages_from(self, position: float, n: int) -> list[int]:
        """See `Readable.passages_from`."""
        self._catalog.settings()
        ((first, last),) = self._session.rows("SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM passages")
        start = first + round(position * (last - first))
        sql = "SELECT id FROM passages WHERE id >= %s ORDER BY id LIMIT %s"
        return [number for (number,) in self._session.rows(sql, (start, n))]

    def _rows(self, doc_ids: Sequence[str]) -> dict[str, tuple[Any, ...]]:
        sql = "SELECT doc_id, id, title, text, metadata, layout, root, file FROM documents WHERE doc_id = ANY(%s)"
        return {doc_id: tuple(row) for doc_id, *row in self._session.rows(sql, (list(doc_ids),))}

    def _passages(self, documents: Sequence[int]) -> dict[int, list[tuple[int, ...]]]:
        """Return the passages of documents, in order, by their number."""
        placed: dict[int, list[tuple[int, ...]]] = {}
        for row in self._session.rows(
            f"{PASSAGES} WHERE document = ANY(%s) ORDER BY document, ordinal", (list(documents),)
        ):
            placed.setdefault(row[1], []).append(row)
        return placed

    def _metadata(self, text: str) -> dict[str, Any]:
        try:
            metadata = json.loads(text)
        except ValueError:
            metadata = None
        if not isinstance(metadata, dict):
            raise self._catalog.damaged("the metadata of a document is not an object")
        return metadata
