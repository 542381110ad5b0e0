"""The page that a citation opens: `GET /doc/{id}`, with the cited passage highlighted. It runs no scripts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import escape
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from semsearch.errors import UsageError
from semsearch.printable import harmless, one_line
from semsearch.server.access import Asked
from semsearch.server.links import HIGHLIGHT
from semsearch.server.routes.documents import DocId, IndexName
from semsearch.server.schema import REFUSALS
from semsearch.stores.base import StoredDocument

router = APIRouter(responses=REFUSALS)

STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.6 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.25; overflow-wrap: anywhere; }
.about { opacity: 0.75; font-size: 0.9rem; overflow-wrap: anywhere; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; }
mark { background: #ffe58a; color: #111; scroll-margin: 30vh; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; font-size: 0.9rem; }
dd { margin: 0; overflow-wrap: anywhere; }
"""

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

Chars = Annotated[
    str | None, Query(description="Range of characters to highlight, such as 120-250.", pattern=r"^\d{1,12}-\d{1,12}$")
]


@router.get("/doc/{doc_id:path}", operation_id="show_document", response_class=HTMLResponse)
async def show(
    doc_id: DocId, service: Asked, index: IndexName = None, chars: Chars = None, id: str | None = None
) -> HTMLResponse:
    """Show a document as an HTML page; citations link to it."""
    name, wanted = service.one_of(index), id if id is not None else doc_id
    return HTMLResponse(page(await service.document(name, wanted), name, *span_of(chars)), headers=HEADERS)


def span_of(chars: str | None) -> tuple[int, int]:
    """Return the start and end of the characters to highlight; (0, 0) for none.

    Raises:
        UsageError: If `chars` is not a valid range.
    """
    if chars is None:
        return 0, 0
    found = re.fullmatch(r"(\d{1,12})-(\d{1,12})", chars, re.ASCII)
    if not found or int(found[1]) > int(found[2]):
        raise UsageError(f"`chars` is {chars!r:.60}; expected START-END, such as 120-250")
    return int(found[1]), int(found[2])


def page(document: StoredDocument, index: str, start: int, end: int) -> str:
    """Return a document as HTML, with every part escaped."""
    title, text = one_line(document.title) or one_line(document.doc_id), document.text
    before, passage, behind = text[:start], text[start:end], text[max(start, end) :]
    marked = f'<mark id="{HIGHLIGHT}">{_shown(passage)}</mark>' if passage else ""
    described = "".join(
        f"<dt>{escape(one_line(field))}</dt><dd>{_shown(_as_text(value))}</dd>"
        for field, value in document.metadata.items()
    )
    return (
        f'<!doctype html><html><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body><main>'
        f'<h1 dir="auto">{escape(title)}</h1><p class="about">{escape(one_line(document.doc_id))} · '
        f"{escape(one_line(index))}</p>{f'<dl>{described}</dl>' if described else ''}"
        f'<div class="text" dir="auto">{_shown(before)}{marked}{_shown(behind)}</div>'
        "</main></body></html>"
    )


def _as_text(value: Any) -> str:
    """Return a metadata value as readable text; the values of a list are joined by commas."""
    if isinstance(value, list):
        return ", ".join(map(_as_text, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shown(text: str) -> str:
    return escape(harmless(text))
