"""Web applications on a free loopback port, for the duration of a test."""

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
    """Serve the endpoint next to a web page, as `semsearch serve` mounts it, and yield the port."""

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
        listener.listen()  # so that early connections wait
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=5))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()
