"""Documents and passages of an index in Milvus, as they are shown and copied."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from semsearch.filters.milvus import compile_filter
from semsearch.filters.syntax import Filter, check_fields
from semsearch.stores.base import Entry, StoredDocument, StoredPassage
from semsearch.stores.milvus.catalog import Catalog
from semsearch.stores.milvus.rows import (
    About,
    abouts_numbered,
    abouts_of,
    read_abouts,
    read_contents,
    read_passages,
    read_spans,
)
from semsearch.stores.milvus.states import Reading
from semsearch.stores.milvus.vectors import VectorSearch
from semsearch.stores.plans import origin_of
from semsearch.types import Document, Passage


class Documents:
    """Reads documents and passages; every method must be called inside a snapshot."""

    def __init__(self, reading: Reading, catalog: Catalog, vectors: VectorSearch) -> None:
        self._reading, self._catalog, self._vectors = reading, catalog, vectors

    def condition(self, where: Filter | None) -> str:
        """Compile a filter, after checking that documents have its fields; empty for None."""
        if where is None:
            return ""
        check_fields(where, self._catalog.fields())
        return compile_filter(where)

    def select(self, where: Filter | None) -> list[str]:
        """See `Readable.select`."""
        return [about.doc_id for about in read_abouts(self._reading, self.condition(where))]

    def show(self, passages: Sequence[int]) -> dict[int, StoredPassage]:
        """See `Readable.show`."""
        rows = read_passages(self._reading, passages, ("document", "first", "last"))
        documents = {row["document"] for row in rows.values()}
        abouts, contents = abouts_numbered(self._reading, documents), read_contents(self._reading, documents)
        shown: dict[int, StoredPassage] = {}
        for passage, row in rows.items():
            about, (text, layout) = abouts[row["document"]], contents[row["document"]]
            start, end = row["first"], row["last"]
            section = layout.section(about.title, start, end)
            metadata = self._metadata(about)
            shown[passage] = StoredPassage(about.doc_id, about.title, text[start:end], start, end, metadata, section)
        return shown

    def documents(self, doc_ids: Sequence[str]) -> dict[str, StoredDocument]:
        """See `Readable.documents`."""
        abouts = abouts_of(self._reading, doc_ids)
        numbers = [about.number for about in abouts.values()]
        contents, placed = read_contents(self._reading, numbers), read_spans(self._reading, numbers)
        found = {}
        for doc_id, about in abouts.items():
            (text, layout), own = contents[about.number], placed.get(about.number, [])
            spans, passages = [(one.first, one.last) for one in own], [one.passage for one in own]
            found[doc_id] = StoredDocument(doc_id, about.title, text, self._metadata(about), spans, passages, layout)
        return found

    def entries(self, doc_ids: Sequence[str]) -> list[Entry]:
        """See `Store.entries`."""
        abouts, roots = abouts_of(self._reading, doc_ids), {root.name: root for root in self._catalog.roots()}
        numbers = [about.number for about in abouts.values()]
        contents, placed = read_contents(self._reading, numbers), read_spans(self._reading, numbers)
        entries = []
        for about in abouts.values():
            (text, layout), own = contents[about.number], placed.get(about.number, [])
            origin = origin_of(roots, about.root, about.file)
            metadata = self._metadata(about)
            document = Document(about.doc_id, text, about.title, metadata, origin=origin, layout=layout)
            passages = [Passage(one.ordinal, one.first, one.last, "", one.n_tokens, one.n_lost) for one in own]
            entries.append(Entry(document, passages, self._vectors.stored([one.passage for one in own])))
        return entries

    def documents_of(self, passages: Sequence[int]) -> dict[int, int]:
        """See `Searchable.documents_of`."""
        return {one: row["document"] for one, row in read_passages(self._reading, passages, ("document",)).items()}

    def passages_of(self, documents: Sequence[int], most: int) -> dict[int, list[int]]:
        """See `Searchable.passages_of`."""
        long = read_spans(self._reading, documents, f"ordinal == {most}")
        found = read_spans(self._reading, [one for one in documents if one not in long])
        return {number: [span.passage for span in spans] for number, spans in found.items()}

    def doc_ids(self, documents: Iterable[int]) -> dict[int, str]:
        """See `Searchable.doc_ids`."""
        return {number: about.doc_id for number, about in abouts_numbered(self._reading, documents).items()}

    def passages_from(self, position: float, n: int) -> list[int]:
        """See `Readable.passages_from`."""
        state = self._reading.state
        first, last = state.first_passage, state.next_passage - 1
        start = first + round(position * (last - first))
        return self._from(start, n) or self._before(start)

    def _from(self, start: int, n: int) -> list[int]:
        """Return up to n passages from a number on, in wider and wider ranges, since many may be deleted."""
        width = max(2 * n, 64)
        while True:
            found = self._between(start, start + width)
            if len(found) >= n or start + width >= self._reading.state.next_passage:
                return found[:n]
            width *= 4

    def _before(self, end: int) -> list[int]:
        """Return the last passage before a number."""
        width = 64
        while True:
            found = self._between(end - width, end)
            if found or end - width <= self._reading.state.first_passage:
                return found[-1:]
            width *= 4

    def _between(self, start: int, end: int) -> list[int]:
        condition = self._reading.state.visible(f"passage >= {start} and passage < {end}")
        rows = self._reading.session.rows(self._reading.state.passages, condition, ("passage",))
        return sorted(row["passage"] for row in rows)

    def _metadata(self, about: About) -> dict[str, Any]:
        metadata = json.loads(about.metadata)
        if not isinstance(metadata, dict):
            raise self._catalog.damaged("the metadata of a document is not an object")
        return metadata
