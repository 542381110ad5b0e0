"""MCP over HTTP: a stateless endpoint that can be mounted in another application."""

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
"""Host names of this machine; the last one is its name inside a container."""

HEADERS = (
    "authorization",
    "content-type",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
)
"""Headers that clients in browsers send, under the old and the new versions of the protocol."""


class McpHttp(NamedTuple):
    """An endpoint to add to another application.

    Attributes:
        app: The application that answers requests to `path`. Add it with `starlette.routing.Route(path, app)`; `Mount`
            would answer with a redirect.
        lifespan: Context that must be open while requests are answered, in the same event loop; it opens only once.
        path: Path of the endpoint.
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
    """Serve the protocol at a path, both to legacy clients (`initialize`) and to those of version 2026-07-28.

    A request with a Host that is not allowed gets status 421, one with an Origin that is not allowed gets 403, so that
    a web page cannot read local documents through its visitor's browser.

    Args:
        server: A server from `create_mcp`.
        path: Path of the endpoint, as seen by the whole application.
        hosts: Allowed values of the Host header besides those of this machine, such as `search.example.org`; `name:*`
            allows any port.
        origins: Allowed origins of web pages besides those of this machine, such as `https://chat.example.org`;
            `https://name:*` allows any port.
        guarded: Whether the surrounding application itself checks Host and Origin and answers CORS preflights; if so,
            this endpoint does neither.
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
    # A GET would open a stream on which no event is ever sent, and hold its connection until the server stops.
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
    """Return an allowed origin as a regular expression."""
    return re.escape(origin.removesuffix(":*")) + (r":\d{1,5}" if origin.endswith(":*") else "")
