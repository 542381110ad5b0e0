"""The tools `search` and `fetch`, as ChatGPT's connectors and deep research require: one string argument each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp.types import CallToolResult

from semsearch.confidence import DEFAULT
from semsearch.index import Index
from semsearch.mcp.answers import FetchAnswer, Found, SearchAnswer, as_result
from semsearch.mcp.arguments import MOST_SIMILAR, MOST_TOKENS, RESULTS, Id, Query, check_query
from semsearch.mcp.budget import bounded, end_within, shortened
from semsearch.mcp.desk import COLD, UNKNOWN_LANGUAGE, UNMEASURED, Desk, cut_note, find_document, noted
from semsearch.mcp.refusals import refusing
from semsearch.mcp.shelf import Shelf
from semsearch.printable import harmless
from semsearch.types import Hit

METADATA_TOKENS = 500

LEAD = 1_000
"""Number of characters of context to show before a place in a long document."""


@dataclass(frozen=True, slots=True)
class ConnectorTools:
    """The tools `search` and `fetch`, over all indexes together."""

    desk: Desk

    def search(self, query: Query, context: Context[Any, Any]) -> Annotated[CallToolResult, SearchAnswer]:
        """Return the best documents, without those whose confidence is too low."""
        check_query(query)
        shelf = self.desk.shelf_for(context)
        found: list[tuple[float, Found]] = []
        notes: set[str] = set()
        for name in shelf.names:
            with refusing(name):
                index = shelf.indexes[name]
                mode = self.desk.mode_of(name, index)
                hits = index.search(query, RESULTS, mode=mode, group=True)
                notes |= {UNMEASURED} if any(hit.confidence is None for hit in hits) else set()
                notes |= {COLD} if mode != index.default_mode else set()
                known = mode == "keyword" or index.knows_language([query])[0]
                notes |= set() if known else {UNKNOWN_LANGUAGE}
                sure = [hit for hit in hits if hit.confidence is None or hit.confidence >= DEFAULT]
                found += zip([hit.confidence or 0.0 for hit in sure], _results(shelf, name, index, sure), strict=True)
        found.sort(key=lambda one: -one[0])  # stable: keeps the order within each index that has no confidences
        results = [result for _, result in found[:RESULTS]]
        return as_result(SearchAnswer(results=results, note=noted(notes, found=bool(results))))

    def fetch(self, id: Id, context: Context[Any, Any]) -> Annotated[CallToolResult, FetchAnswer]:
        """Return the text of a document or, if it is long, the part around the place that the id names."""
        shelf = self.desk.shelf_for(context)
        place, document = find_document(shelf, id)
        name, text = shelf.id_of(place.name, place.doc_id), document.text
        start = _beginning(text, place.start) if _is_long(text) and place.start < len(text) else 0
        end = end_within(text, start, MOST_TOKENS)
        shown = harmless(text[start:end])
        if end - start < len(text):
            shown += f"\n\n{cut_note(name, start, end, len(text))}"
        return as_result(
            FetchAnswer(
                id=id,
                title=shortened(document.title) or name,
                text=shown,
                url=shelf.url_of(place.name, place.doc_id, document.metadata, place.start, place.end),
                metadata=bounded(document.metadata, METADATA_TOKENS) or None,
            )
        )


def _results(shelf: Shelf, name: str, index: Index, hits: list[Hit]) -> list[Found]:
    """Return hits as results; the id of a long document includes the place that was found, for `fetch` to show."""
    documents = index.documents([hit.doc_id for hit in hits])
    results = []
    for hit in hits:
        doc_id = shelf.id_of(name, hit.doc_id)
        document = documents.get(hit.doc_id)
        place = f"#chars={hit.start}-{hit.end}" if document and _is_long(document.text) else ""
        url = shelf.url_of(name, hit.doc_id, hit.metadata, hit.start, hit.end)
        similar = [shelf.id_of(name, one) for one in hit.similar[:MOST_SIMILAR]] or None
        results.append(Found(id=f"{doc_id}{place}", title=shortened(hit.title) or doc_id, url=url, similar=similar))
    return results


def _is_long(text: str) -> bool:
    return end_within(text, 0, MOST_TOKENS) < len(text)


def _beginning(text: str, start: int) -> int:
    """Return the offset from which to show a place: up to LEAD characters before it, after white space."""
    lead = max(0, start - LEAD)
    space = re.compile(r"\s").search(text, lead, start) if lead else None
    return space.end() if space else lead
