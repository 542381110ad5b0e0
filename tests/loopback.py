"""Applications on a port of this machine that nobody else has, for as long as a test needs them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from semsearch.mcp.http import McpHttp


@contextmanager
def served(endpoint: McpHttp) -> Iterator[int]:
    """The endpoint beside a page of an application, as `semsearch serve` mounts it; gives the port."""

    @asynccontextmanager
    async def lifespan(app: Starlette):
        async with endpoint.lifespan():
            yield

    routes = [Route(endpoint.path, endpoint.app), Route("/", lambda request: PlainTextResponse("the page"))]
    with listening(Starlette(routes=routes, lifespan=lifespan)) as port:
        yield port


@contextmanager
def listening(app: Any) -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # so that whoever comes early waits
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=5))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()
