"""The threads of a server, in which everything that blocks is done, and the time that it may take."""

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
"""Threads that read, some of which wait for the encoder; and threads that add, of which one writes at a time."""

TALKS = 16
"""Answers that a language model may be writing at the same time."""

LOCK_SECONDS, LOCK_PAUSE = 10.0, 0.05
"""How long a writer waits for another process, such as another worker, and how often it looks."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The hits of a search.

    Attributes:
        hits: Best first.
        mode: How they were found: `dense`, `keyword` or `hybrid`.
        warming: Whether the words alone were compared because the model is not loaded yet.
    """

    hits: list[Hit]
    mode: str
    warming: bool = False


class Desk:
    """What all who ask share: threads, how many wait for them, and how long."""

    def __init__(self, settings: Settings) -> None:
        self._seconds, self._most = settings.max_seconds, settings.max_waiting
        self._readers, self._writers = CapacityLimiter(READERS), CapacityLimiter(WRITERS)
        self._waiting = self._talks = 0
        self.searches: Groups[Answer] = Groups(settings.max_waiting, together=settings.batching)

    @contextmanager
    def talk(self) -> Iterator[None]:
        """Have a language model write an answer meanwhile.

        Raises:
            OverloadedError: Too many answers are being written already.
        """
        if self._talks >= TALKS:
            raise OverloadedError(f"{TALKS} answers are being written, and no more may; try again")
        self._talks += 1
        try:
            yield
        finally:
            self._talks -= 1

    async def read(self, ask: Callable[[], T]) -> T:
        """Ask in a thread, as `admit` does; where that takes too long, the thread goes on."""
        return await self.admit(partial(to_thread.run_sync, ask, limiter=self._readers, abandon_on_cancel=True))

    async def admit(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Wait for an answer within the time limit, unless too many wait already.

        Raises:
            OverloadedError: Too many do.
            TimeLimitError: It took too long.
        """
        if self._waiting >= self._most:
            raise OverloadedError(f"{self._waiting:,} requests are waiting, and no more may; try again")
        self._waiting += 1
        try:
            return await self.in_time(ask())
        finally:
            self._waiting -= 1

    async def write(self, change: Callable[[], T]) -> T:
        """Change something in a thread, however long it takes."""
        return await to_thread.run_sync(change, limiter=self._writers)

    async def in_time(self, answer: Awaitable[T]) -> T:
        """Wait for an answer within the time limit; nobody waits for it afterwards.

        Raises:
            TimeLimitError: It took too long.
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
    """Write as soon as no other process does.

    Raises:
        LockedError: That takes too long.
    """
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return write()
        except LockedError:
            if time.monotonic() > until:
                raise
            time.sleep(LOCK_PAUSE)
