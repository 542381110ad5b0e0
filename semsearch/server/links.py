"""Links in citations, to the page that shows the cited document."""

from __future__ import annotations

from semsearch.mcp.shelf import page_url
from semsearch.server.service import Service

HIGHLIGHT = "passage"
"""Element id of the highlighted passage in the page; links point to it."""


def document_url(service: Service, index: str, doc_id: str, start: int = 0, end: int = 0) -> str:
    """Return the URL of a document's page, with the characters from start to end highlighted."""
    named = index if len(service.shelf.names) > 1 else ""
    return page_url(service.settings.public_url.rstrip("/"), named, doc_id, start, end)
