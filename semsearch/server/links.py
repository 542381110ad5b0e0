"""Links to the page that shows a document, as citations carry them."""

from __future__ import annotations

from urllib.parse import quote

from semsearch.server.service import Service

HIGHLIGHT = "passage"
"""Id of the highlighted passage in the page."""


STEPS = frozenset({"", ".", ".."})
"""Parts of a path that lead elsewhere."""


def document_url(service: Service, index: str, doc_id: str, start: int = 0, end: int = 0) -> str:
    """The address of a document's page, with the characters from start to end highlighted.

    An id whose parts a browser would take for steps up and down a path goes into the query instead.
    """
    path, asked = quote(doc_id, safe="/"), []
    if not STEPS.isdisjoint(doc_id.split("/")):
        path, asked = "", [f"id={quote(doc_id, safe='')}"]
    if len(service.shelf.names) > 1:
        asked.append(f"index={quote(index, safe='')}")
    if end > start:
        asked.append(f"chars={start}-{end}#{HIGHLIGHT}")
    return f"{service.settings.public_url.rstrip('/')}/doc/{path}{'?' if asked else ''}{'&'.join(asked)}"
