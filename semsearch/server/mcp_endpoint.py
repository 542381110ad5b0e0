"""Model Context Protocol endpoint at /mcp for the served indexes, if the extra `[mcp]` is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TypeAlias

from fastapi import FastAPI
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from semsearch.index import Index
from semsearch.server.desk import Desk
from semsearch.server.keys import READ
from semsearch.server.links import document_url
from semsearch.server.service import Service
from semsearch.server.shelf import WARM, Shelf

PATH = "/mcp"

Lifespan: TypeAlias = Callable[[], AbstractAsyncContextManager[None]]


class Opened(Mapping[str, Index]):
    """The served indexes in their current state: with their encoder, if it is loaded."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def __getitem__(self, name: str) -> Index:
        if name not in self._shelf.names:
            raise KeyError(name)
        return self._shelf.warm(name) or self._shelf.cold(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shelf.names)

    def __len__(self) -> int:
        return len(self._shelf.names)


@dataclass(frozen=True, slots=True)
class Bounded:
    """ASGI application whose requests count toward the limit of waiting requests and have a time limit."""

    app: ASGIApp
    desk: Desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; raise OverloadedError or TimeLimitError at the limits."""
        own = dict(scope)  # a copy, because the application sets "app" in its scope
        await self.desk.admit(lambda: self.app(own, receive, send))


def add_mcp(app: FastAPI, service: Service) -> Lifespan:
    """Add the endpoint to an application.

    Returns:
        A lifespan that must be open while requests are answered; it can be entered only once.
    """
    if not service.shelf.names or find_spec("mcp") is None:
        return nullcontext
    from semsearch.mcp.http import http_app
    from semsearch.mcp.server import create_mcp

    shelf = service.shelf

    def link(name: str, doc_id: str, start: int, end: int) -> str:
        return document_url(service, name, doc_id, start, end)

    def visible(request: Request) -> list[str]:
        access = request.state.access
        return access.names(shelf.names) if READ in access.scopes else []

    def is_warm(name: str) -> bool:
        return shelf.state(name)[0] == WARM

    server = create_mcp(Opened(shelf), link=link, is_warm=is_warm, visible=visible, loads=False)
    endpoint = http_app(server, path=PATH, guarded=True)
    app.router.routes.append(Route(endpoint.path, Bounded(endpoint.app, service.desk), methods=["POST"]))
    return endpoint.lifespan
