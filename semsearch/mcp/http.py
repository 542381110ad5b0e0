"""The protocol over HTTP: one endpoint that keeps nothing between requests, in an application of one's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp

LOCAL = ("127.0.0.1", "localhost", "[::1]", "host.docker.internal")
"""Names of this machine; the last is its name inside a container."""

HEADERS = (
    "authorization",
    "content-type",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
)
"""Headers that clients in browsers send, in both eras of the protocol."""


class McpHttp(NamedTuple):
    """The endpoint, to be put into another application.

    Attributes:
        app: Answers requests to `path`; `starlette.routing.Route(path, app)` puts it where clients look for it, without
            the redirect that `mount` would answer with.
        lifespan: Must be open while requests are answered, in the loop that answers them; it opens once.
    """

    app: ASGIApp
    lifespan: Callable[[], AbstractAsyncContextManager[None]]
    path: str


def http_app(
    server: MCPServer[Any],
    *,
    path: str = "/mcp",
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    guarded: bool = False,
) -> McpHttp:
    """Serve the protocol at a path; legacy clients (`initialize`) and those of 2026-07-28 alike.

    A request with another Host than those allowed gets 421, one with another Origin 403: a page somewhere on the web
    must not read local documents through its visitor's browser.

    Args:
        server: From `create_mcp`.
        path: Where it answers, as the whole application sees it.
        hosts: Values of the Host header besides those of this machine, such as `search.example.org`; `name:*` for any
            port.
        origins: Pages that may call from a browser besides those of this machine, such as `https://chat.example.org`;
            `https://name:*` for any port.
        guarded: Whether the application around it checks Host and Origin and answers browsers' preflights itself; then
            nothing of that is done here.
    """
    allowed_hosts = [*(spelled for name in LOCAL for spelled in (name, f"{name}:*")), *hosts]
    local = [f"http://{name}" for name in LOCAL]
    allowed_origins = [*(spelled for origin in local for spelled in (origin, f"{origin}:*")), *origins]
    inner = server.streamable_http_app(
        streamable_http_path=path,
        stateless_http=True,
        json_response=True,
        transport_security=TransportSecuritySettings(
            enable_dns_rebinding_protection=not guarded, allowed_hosts=allowed_hosts, allowed_origins=allowed_origins
        ),
    )
    lifespan = server.session_manager.run
    # GET would open a stream of events that are never sent, and keep a connection until the server is stopped.
    posts = Starlette(routes=[Route(path, inner, methods=["POST"])], lifespan=lambda app: lifespan())
    if guarded:
        return McpHttp(posts, lifespan, path)
    app = CORSMiddleware(
        posts,
        allow_origin_regex="|".join(map(_pattern, allowed_origins)),
        allow_methods=["POST"],
        allow_headers=HEADERS,
        expose_headers=["mcp-session-id", "mcp-protocol-version"],
    )
    return McpHttp(app, lifespan, path)


def _pattern(origin: str) -> str:
    """An allowed origin as a regular expression."""
    return re.escape(origin.removesuffix(":*")) + (r":\d{1,5}" if origin.endswith(":*") else "")
