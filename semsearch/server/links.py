"""Links to the page that shows a document, as citations carry them."""

from __future__ import annotations

from semsearch.mcp.shelf import page_url
from semsearch.server.service import Service

HIGHLIGHT = "passage"
"""Id of the highlighted passage in the page, to which links lead."""


def document_url(service: Service, index: str, doc_id: str, start: int = 0, end: int = 0) -> str:
    """The address of a document's page, with the characters from start to end highlighted."""
    named = index if len(service.shelf.names) > 1 else ""
    return page_url(service.settings.public_url.rstrip("/"), named, doc_id, start, end)
