"""Thread pools for everything that blocks, with limits on waiting requests and on response time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from semsearch.errors import LockedError, OverloadedError, TimeLimitError
from semsearch.server.batching import TICKET
from semsearch.server.grouping import Groups
from semsearch.server.settings import Settings
from semsearch.types import Hit

T = TypeVar("T")

READERS, WRITERS = 32, 4
"""Number of threads for reading, some of which wait for the encoder, and for writing, one of which writes at a time."""

TALKS = 16
"""Maximum number of answers that language models may be generating at the same time."""

LOCK_SECONDS, LOCK_PAUSE = 10.0, 0.05
"""Seconds that a writer waits for another process, such as another worker, and between its attempts."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The hits of a search.

    Attributes:
        hits: Best first.
        mode: Search mode that was used: `dense`, `keyword` or `hybrid`.
        warming: Whether keyword search was used because the model is not loaded yet.
        unknown_language: Whether the model does not know the language of the query, which dense search depends on.
    """

    hits: list[Hit]
    mode: str
    warming: bool = False
    unknown_language: bool = False


class Desk:
    """Threads that all requests share, with limits on how many requests wait for them and for how long."""

    def __init__(self, settings: Settings) -> None:
        self._seconds, self._most = settings.max_seconds, settings.max_waiting
        self._readers, self._writers = CapacityLimiter(READERS), CapacityLimiter(WRITERS)
        self._waiting = self._talks = 0
        self.searches: Groups[Answer] = Groups(settings.max_waiting, together=settings.batching)

    @contextmanager
    def talk(self) -> Iterator[None]:
        """Count the body of the `with` statement as an answer that a language model is generating.

        Raises:
            OverloadedError: If too many answers are being generated already.
        """
        if self._talks >= TALKS:
            raise OverloadedError(f"{TALKS} answers are being generated, which is the limit; try again")
        self._talks += 1
        try:
            yield
        finally:
            self._talks -= 1

    async def read(self, ask: Callable[[], T]) -> T:
        """Call `ask` in a thread, within the limits of `admit`; after a timeout, the thread itself keeps running."""
        return await self.admit(partial(to_thread.run_sync, ask, limiter=self._readers, abandon_on_cancel=True))

    async def admit(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Wait for an answer within the time limit, unless too many requests are waiting already.

        Raises:
            OverloadedError: If too many requests are waiting.
            TimeLimitError: If the answer takes too long.
        """
        if self._waiting >= self._most:
            raise OverloadedError(f"{self._waiting:,} requests are waiting, which is the limit; try again")
        self._waiting += 1
        try:
            return await self.in_time(ask())
        finally:
            self._waiting -= 1

    async def write(self, change: Callable[[], T]) -> T:
        """Call `change` in a thread, without a time limit."""
        return await to_thread.run_sync(change, limiter=self._writers)

    async def in_time(self, answer: Awaitable[T]) -> T:
        """Wait for an answer within the time limit; after a timeout, its request counts as abandoned.

        Raises:
            TimeLimitError: If the answer takes too long.
        """
        try:
            async with asyncio.timeout(self._seconds):
                return await answer
        except TimeoutError:
            ticket = TICKET.get()
            if ticket:
                ticket.gone = True
            raise TimeLimitError(f"no answer within {self._seconds:g} seconds; try again, or ask for less") from None


def unlocked(write: Callable[[], T]) -> T:
    """Call `write` as soon as no other process is writing.

    Raises:
        LockedError: If another process is still writing after LOCK_SECONDS.
    """
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return write()
        except LockedError:
            if time.monotonic() > until:
                raise
            time.sleep(LOCK_PAUSE)
