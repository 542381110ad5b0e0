"""Middleware for every request: request id, key, host, origin, limits on the body, and the log.

It is one ASGI layer around the whole application, so that no route, mounted application or page can bypass it.
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
"""Paths, and a path prefix, that need no key: the health check, and the page itself, which asks for a key."""

_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

Answer = Callable[[Scope, Problem], JSONResponse]
"""Turns a problem into a response in the format of the contract that a request belongs to."""


class Gate:
    """ASGI layer around the application."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, answer: Answer) -> None:
        self._app, self._settings, self._metrics, self._answer = app, settings, metrics, answer
        self._keys = Keys(settings.keys)
        self._own = _split(settings.public_url).netloc
        self._hosts = tuple(host.strip("[]").lower() for host in settings.hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application, or answer it with an error."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # WebSockets are not supported
        started, headers, status = time.perf_counter(), Headers(scope=scope), 0
        scope.setdefault("state", {})["request_id"] = request_id = _request_id(headers)
        ticket = Ticket()
        body = Body(receive, ticket, self._settings)

        async def answer(message: Message) -> None:
            nonlocal status
            if body.error and not status:  # the application calls the body malformed; the real error follows
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
            raise UsageError(f"unknown host {host!r:.100}; to allow it, start the server with --allow-host HOST")
        origin = headers.get("origin")
        if origin is not None and not self._allowed(origin, headers):
            raise ForbiddenError(
                f"the origin {origin!r:.100} is not allowed; to allow it, start the server with --cors ORIGIN"
            )
        scope["state"]["access"] = EVERYTHING if is_open(scope["path"]) else self._keys.access(headers)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._settings.max_body_bytes:
            raise too_large(self._settings.max_body_bytes)

    def _is_ours(self, hostname: str) -> bool:
        """Return whether the server may be addressed by this name: a listed one, or one covered by `*.example.com`."""
        above = (one[1:] for one in self._hosts if one.startswith("*."))
        return "*" in self._hosts or hostname in self._hosts or any(hostname.endswith(one) for one in above)

    def _allowed(self, origin: str, headers: Headers) -> bool:
        """Return whether pages of this origin may send requests: a listed origin, or the server's own."""
        allowed, own = self._settings.origins, (headers.get("host"), self._own)
        return "*" in allowed or origin in allowed or (_split(origin).netloc or None) in own

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.request(scope["method"] if scope["method"] in METHODS else "other", route, status, seconds)
        told = {"method": scope["method"], "route": route, "status": status, "ms": round(seconds * 1_000, 1)}
        log.info("request", extra=fields(request_id=scope["state"]["request_id"], **told))


METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"})


class Body:
    """Body of a request as it arrives, limited in size and time; then a watch on whether the client disconnects."""

    def __init__(self, receive: Receive, ticket: Ticket, settings: Settings) -> None:
        self._receive, self._ticket = receive, ticket
        self._most, self._seconds = settings.max_body_bytes, settings.max_seconds
        self._until = time.monotonic() + settings.max_seconds
        self._size = 0
        self.error: SemsearchError | None = None
        self._gone: asyncio.Task[Message] | None = None

    async def receive(self) -> Message:
        """Return the next ASGI message; once the body is complete, start watching for a disconnect.

        Raises:
            TooLargeError: If the body is too large.
            TimeLimitError: If the body arrives too slowly.
            ClientGoneError: If the client disconnects before the body is complete.
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
            raise ClientGoneError("the client disconnected before its request was complete")
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
        """Stop watching for a disconnect."""
        if self._gone:
            self._gone.cancel()


def is_open(path: str) -> bool:
    """Return whether a path needs no key."""
    return path in OPEN or path.startswith(OPEN_FOLDER)


def too_large(most: int) -> TooLargeError:
    """Return the error for a body that is too large."""
    return TooLargeError(f"the body is larger than this server's limit of {most:,} bytes")


def _request_id(headers: Headers) -> str:
    """Return the client's own request id if it is harmless, otherwise a new one."""
    given = headers.get(REQUEST_ID, "")
    return given if _SAFE_ID.fullmatch(given) else secrets.token_hex(8)


def _split(address: str) -> SplitResult:
    """Return the parts of a URL, all empty if it is malformed or `null`."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")
