"""Links to the page that shows a document, as citations carry them."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from semsearch.server.service import Service

HIGHLIGHT = "passage"
"""Id of the highlighted passage in the page."""


def document_url(service: Service, index: str, doc_id: str, start: int = 0, end: int = 0) -> str:
    """The address of a document's page, with the characters from start to end highlighted.

    An id whose parts a browser would take for steps up and down a path goes into the query instead.
    """
    asked: dict[str, str] = {}
    path = quote(doc_id, safe="/")
    if set(doc_id.split("/")) & {"", ".", ".."}:
        path, asked["id"] = "", doc_id
    if len(service.shelf.names) > 1:
        asked["index"] = index
    if end > start:
        asked["chars"] = f"{start}-{end}"
    query = f"?{urlencode(asked)}" if asked else ""
    fragment = f"#{HIGHLIGHT}" if end > start else ""
    return f"{service.settings.public_url.rstrip('/')}/doc/{path}{query}{fragment}"
