"""What every request passes: its id, its key, its origin, the limits on its body, and the log.

This is one ASGI layer around everything, so that no route, mounted application or page can be reached around it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from semsearch.errors import (
    ClientGoneError,
    ForbiddenError,
    SemsearchError,
    TimeLimitError,
    TooLargeError,
    UsageError,
)
from semsearch.server.batching import TICKET, Ticket
from semsearch.server.keys import EVERYTHING, Keys
from semsearch.server.logs import fields
from semsearch.server.metrics import Metrics
from semsearch.server.problems import Problem, problem_of
from semsearch.server.settings import Settings

log = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"

OPEN = frozenset({"/health", "/"})
OPEN_FOLDER = "/static/"
"""Paths that need no key, and the folder of those: the page itself, which asks for one."""

_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

Answer = Callable[[Scope, Problem], JSONResponse]
"""Gives a problem the shape of the contract that a request belongs to."""


class Gate:
    """The layer around the application."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, answer: Answer) -> None:
        self._app, self._settings, self._metrics, self._answer = app, settings, metrics, answer
        self._keys = Keys(settings.keys)
        self._own = _split(settings.public_url).netloc
        self._hosts = tuple(host.strip("[]").lower() for host in settings.hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # there are no web sockets here
        started, headers, status = time.perf_counter(), Headers(scope=scope), 0
        scope.setdefault("state", {})["request_id"] = request_id = _request_id(headers)
        ticket = Ticket()
        body = Body(receive, ticket, self._settings)

        async def answer(message: Message) -> None:
            nonlocal status
            if body.error and not status:  # whoever read the body took it for malformed
                return
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        token = TICKET.set(ticket)
        try:
            self._check(scope, headers)
            await self._app(scope, body.receive, answer)
            if body.error and not status:
                raise body.error
        except Exception as error:
            body.error = None
            problem = problem_of(error)
            if problem.status == 500:
                log.exception("request failed", extra=fields(request_id=request_id))
            if status == 0:
                await self._answer(scope, problem)(scope, receive, answer)
        finally:
            TICKET.reset(token)
            body.close()
            self._tell(scope, status, time.perf_counter() - started)

    def _check(self, scope: Scope, headers: Headers) -> None:
        host = headers.get("host", "")
        if not self._is_ours(_split(f"//{host}").hostname or ""):
            raise UsageError(f"this server is not called {host!r:.100}; start it with --allow-host and that name")
        origin = headers.get("origin")
        if origin is not None and not self._allowed(origin, headers):
            raise ForbiddenError(
                f"requests from the origin {origin!r:.100} are not taken; start the server with --cors and that origin"
            )
        scope["state"]["access"] = EVERYTHING if is_open(scope["path"]) else self._keys.access(headers)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._settings.max_body_bytes:
            raise too_large(self._settings.max_body_bytes)

    def _is_ours(self, hostname: str) -> bool:
        """Whether the server may be addressed by a name: one that is listed, or below one listed as `*.example.com`."""
        above = (one[1:] for one in self._hosts if one.startswith("*."))
        return "*" in self._hosts or hostname in self._hosts or any(hostname.endswith(one) for one in above)

    def _allowed(self, origin: str, headers: Headers) -> bool:
        """Whether a page of that origin may ask: one that is listed, or the server's own."""
        allowed, own = self._settings.origins, (headers.get("host"), self._own)
        return "*" in allowed or origin in allowed or (_split(origin).netloc or None) in own

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.request(scope["method"] if scope["method"] in METHODS else "other", route, status, seconds)
        told = {"method": scope["method"], "route": route, "status": status, "ms": round(seconds * 1_000, 1)}
        log.info("request", extra=fields(request_id=scope["state"]["request_id"], **told))


METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"})


class Body:
    """The body of a request as it comes in: bounded in size and time; then whether its client goes away."""

    def __init__(self, receive: Receive, ticket: Ticket, settings: Settings) -> None:
        self._receive, self._ticket = receive, ticket
        self._most, self._seconds = settings.max_body_bytes, settings.max_seconds
        self._until = time.monotonic() + settings.max_seconds
        self._size = 0
        self.error: SemsearchError | None = None
        self._gone: asyncio.Task[Message] | None = None

    async def receive(self) -> Message:
        """As ASGI's; the client is watched as soon as the body is complete.

        Raises:
            TooLargeError, TimeLimitError: The body is too large, or comes too slowly.
            ClientGoneError: The client went away before it was complete.
        """
        if self._gone:
            return await asyncio.shield(self._gone)
        try:
            return await self._more()
        except SemsearchError as error:
            self.error = error
            raise

    async def _more(self) -> Message:
        try:
            async with asyncio.timeout(self._until - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            raise TimeLimitError(f"the request was not complete within {self._seconds:g} seconds") from None
        if message["type"] == "http.disconnect":
            self._ticket.gone = True
            raise ClientGoneError("the client went away before its request was complete")
        self._size += len(message.get("body", b""))
        if self._size > self._most:
            raise too_large(self._most)
        if not message.get("more_body"):
            self._gone = asyncio.create_task(self._watch())
        return message

    async def _watch(self) -> Message:
        message = await self._receive()
        self._ticket.gone = message["type"] == "http.disconnect"
        return message

    def close(self) -> None:
        """Stop watching."""
        if self._gone:
            self._gone.cancel()


def is_open(path: str) -> bool:
    """Whether a path needs no key."""
    return path in OPEN or path.startswith(OPEN_FOLDER)


def too_large(most: int) -> TooLargeError:
    """The error for a body that is too large."""
    return TooLargeError(f"the body is larger than {most:,} bytes, the most that this server takes")


def _request_id(headers: Headers) -> str:
    """The client's own id where it is harmless, else a new one."""
    given = headers.get(REQUEST_ID, "")
    return given if _SAFE_ID.fullmatch(given) else secrets.token_hex(8)


def _split(address: str) -> SplitResult:
    """The parts of an address, all empty where it is malformed, or is `null`."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")
