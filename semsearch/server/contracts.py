"""The contracts that the server speaks: its own API, and those of front ends and clients; one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from fastapi import APIRouter

from semsearch.server.problems import Problem

Shape: TypeAlias = Callable[[Problem, str], tuple[int, Mapping[str, Any]]]
"""From a problem and the id of the request to the status and the JSON body that a contract's clients understand."""


def own_shape(problem: Problem, request_id: str) -> tuple[int, Mapping[str, Any]]:
    """`{"error": {"code", "message", "request_id"}}`."""
    return problem.status, {"error": {"code": problem.code, "message": problem.message, "request_id": request_id}}


@dataclass(frozen=True, slots=True)
class Contract:
    """What one kind of client expects.

    Attributes:
        name: Of the group of operations in the OpenAPI document.
        router: Its operations, with full paths.
        paths: Beginnings of their paths, for errors outside of any operation, such as a wrong key.
        shape: How its clients read errors.
    """

    name: str
    router: APIRouter
    paths: tuple[str, ...]
    shape: Shape = own_shape


def contracts() -> tuple[Contract, ...]:
    """Every contract; the longest of the paths that a request begins with decides how its errors look."""
    from semsearch.server.page import chat, files, overview
    from semsearch.server.routes import document_page, documents, explain, search, status
    from semsearch.server.routes.foreign import FOREIGN

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
