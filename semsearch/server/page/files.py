"""Static files of the page: `GET /` and `GET /static/{name}`, the same for everybody, so they need no key.

The page sends requests only to this server, and no text becomes markup or script: the content security policy enforces
both, and with trusted types even `innerHTML` is blocked.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parent / "static"

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Maps the extension of a file to its media type."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


@router.get("/")
async def page() -> FileResponse:
    """Return the page."""
    return _file("index.html")


@router.get("/static/{name}")
async def file(name: str) -> FileResponse:
    """Return a static file of the page."""
    return _file(name)


def _file(name: str) -> FileResponse:
    if name not in {path.name for path in FOLDER.iterdir()} or Path(name).suffix not in KINDS:
        raise HTTPException(404, "no such file")
    return FileResponse(FOLDER / name, media_type=KINDS[Path(name).suffix], headers=HEADERS)
