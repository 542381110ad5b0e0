"""The contracts that the server speaks: its own API, and those of front ends and clients; one row each."""

from __future__ import annotations

from semsearch.server.contract import Contract
from semsearch.server.page import chat, files, overview
from semsearch.server.routes import document_page, documents, explain, search, status
from semsearch.server.routes.foreign import FOREIGN


def contracts() -> tuple[Contract, ...]:
    """Every contract; the longest of the paths that a request begins with decides how its errors look."""
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
