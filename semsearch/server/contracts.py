"""Table of the contracts that the server implements: its own API, and those of other front ends and clients."""

from __future__ import annotations

from semsearch.server.contract import Contract
from semsearch.server.page import chat, files, overview
from semsearch.server.routes import document_page, documents, explain, search, status
from semsearch.server.routes.foreign import FOREIGN


def contracts() -> tuple[Contract, ...]:
    """Return every contract; the longest path prefix that matches a request decides the format of its errors."""
    return (
        Contract("search", search.router, ("/search", "/context")),
        Contract("explain", explain.router, ("/explain",)),
        Contract("documents", documents.router, ("/documents",)),
        Contract("page", document_page.router, ("/doc/",)),
        Contract("page", files.router, ("/static/",)),
        Contract("overview", overview.router, ("/facets", "/map")),
        Contract("chat", chat.router, ("/chat",)),
        Contract("status", status.router, ("/indexes", "/health", "/ready", "/metrics")),
        *FOREIGN,
    )
