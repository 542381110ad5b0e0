"""What routers ask: searches, documents and vectors of the served indexes, on behalf of one who may see some of them.

Nothing here knows HTTP. Every method is asynchronous, checks the access first, and raises the errors of
semsearch.errors.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import CapacityLimiter, to_thread

from semsearch.errors import (
    LockedError,
    MismatchError,
    NoIndexError,
    OverloadedError,
    TimeLimitError,
    TooLargeError,
    UsageError,
)
from semsearch.search import check_search
from semsearch.server.batching import ROLES, TICKET, lane_of
from semsearch.server.keys import EVERYTHING, READ, WRITE, Access
from semsearch.server.settings import Settings
from semsearch.server.shelf import Shelf

if TYPE_CHECKING:
    from semsearch import Index
    from semsearch.arrays import Vectors
    from semsearch.context import Context
    from semsearch.corpus.readers import Corpus
    from semsearch.filters.read import Where
    from semsearch.ingest import IngestResult
    from semsearch.stores.base import StoredDocument
    from semsearch.types import EncoderSpec, Hit

T = TypeVar("T")

READERS, WRITERS = 64, 4
"""Threads that search, most of which wait for the encoder; and threads that add, of which one writes at a time."""

TALKS = 16
"""Answers that language models may be writing at the same time."""

KEYWORD = "keyword"

LOCK_SECONDS, LOCK_PAUSE = 10.0, 0.05
"""How long a writer waits for another process, such as another worker, and how often it looks."""

SHORT = 4_000
"""Characters that are split into tokens without a thread of their own."""


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


@dataclass(frozen=True, slots=True)
class Encoded:
    """Vectors of texts.

    Attributes:
        vectors: float32 `[n, dim]`, in the order of the texts.
        tokens: How many tokens of each text the encoder saw, special tokens and prefix included.
    """

    vectors: Vectors
    tokens: list[int]


@dataclass
class Desk:
    """What all who ask share: threads, and how many wait for them."""

    readers: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(READERS))
    writers: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(WRITERS))
    waiting: int = 0
    talks: int = 0

    @contextmanager
    def talk(self) -> Iterator[None]:
        """Let a language model write an answer meanwhile; raises OverloadedError where too many are being written."""
        if self.talks >= TALKS:
            raise OverloadedError(f"{TALKS} answers are being written, and no more may; try again")
        self.talks += 1
        try:
            yield
        finally:
            self.talks -= 1


@dataclass(frozen=True)
class Service:
    """The served indexes, as one who asks may see them; `for_` gives the same for somebody else."""

    shelf: Shelf
    settings: Settings
    access: Access = EVERYTHING
    desk: Desk = field(default_factory=Desk)

    def for_(self, access: Access) -> Service:
        """The same indexes, as somebody with this access sees them."""
        return replace(self, access=access)

    @property
    def names(self) -> list[str]:
        """The indexes that may be seen, in the order in which they were given."""
        return self.access.names(self.shelf.names)

    def one_of(self, name: str | None) -> str:
        """The index of that name, or the only one that may be seen.

        Raises:
            UsageError: No name is given, and there are several.
        """
        if name is not None:
            return name
        names = self.names
        if len(names) != 1:
            raise UsageError(f"`index` is missing; expected one of {', '.join(names) or 'none'}")
        return names[0]

    async def search(
        self,
        name: str,
        query: str,
        k: int = 10,
        *,
        mode: str | None = None,
        where: Where | None = None,
        fusion: str = "convex",
        unit: str = "document",
        min_confidence: float | None = None,
    ) -> Answer:
        """Search an index; see `Index.search`. While its model is being loaded, any mode is answered by keyword search.

        Raises:
            UnknownIndexError, ForbiddenError: The index may not be read.
            TooLargeError: The query is too long, or k too large.
            OverloadedError: Too many searches are waiting.
        """
        self._read(name)
        self._check_query(query, k)
        check_search([query], k, KEYWORD if mode is None else mode, fusion, unit, min_confidence)
        wishes: dict[str, Any] = {"where": where, "fusion": fusion, "unit": unit, "min_confidence": min_confidence}

        def find(index: Index, mode: str) -> list[Hit]:
            return index.search(query, k, mode=mode, **wishes)

        return Answer(*await self._answered(name, mode, find))

    async def context(
        self, name: str, question: str, budget: int = 1_500, *, mode: str | None = None, where: Where | None = None
    ) -> tuple[Context, str, bool]:
        """What to put into a prompt, see `Index.context`; with the mode, and whether the model is still being loaded."""
        self._read(name)
        self._check_query(question, 1)
        count = None if self.shelf.warm(name) else rough_tokens

        def find(index: Index, mode: str) -> Context:
            wishes: dict[str, Any] = {"where": where, "min_confidence": self.settings.min_confidence, "count": count}
            return index.context(question, budget, mode=mode, **wishes)

        return await self._answered(name, mode, find)

    async def ask(self, name: str, question: Callable[[Index], T]) -> T:
        """Whatever else an index can tell without its encoder."""
        self._read(name)
        return await self._reading(lambda: self._with(name, question))

    async def documents(self, name: str, doc_ids: Sequence[str]) -> dict[str, StoredDocument]:
        """Whole documents by their ids, in the order given; ids that are not there are left out."""
        self._read(name)
        self._check_batch(doc_ids, "ids")
        return await self._reading(lambda: self._with(name, lambda index: index.documents(doc_ids)))

    async def add(self, name: str, corpus: Corpus) -> IngestResult:
        """Add documents, in place of those with their ids; what was added when this returns survives any crash.

        Raises:
            UnknownIndexError, ForbiddenError: The index may not be written.
            RecordError: A bad document; those before it are added.
            LockedError: Another process writes.
            NotReadyError: The model is still being loaded.
        """
        self._write(name)

        def add() -> IngestResult:
            TICKET.set(None)  # what was begun is ended, whoever waits
            index = self.shelf.wait_for(name, self.settings.max_seconds)
            index.documents([])  # raises where it is gone: adding would make a new one
            return self._unlocked(lambda: self._guarded(name, index, lambda: index.add(corpus)))

        return await to_thread.run_sync(add, limiter=self.desk.writers)

    async def delete(self, name: str, doc_ids: Sequence[str]) -> list[str]:
        """Delete documents; returns the ids that were there."""
        self._write(name)
        self._check_batch(doc_ids, "ids")

        def delete() -> list[str]:
            return self._unlocked(lambda: self._with(name, lambda index: index.delete(doc_ids)))

        return await to_thread.run_sync(delete, limiter=self.desk.writers)

    async def encode(self, name: str, texts: Sequence[str], role: str = "query") -> Encoded:
        """Encode texts as the index does, as a `query` or a `document`; waits until the model is loaded.

        Raises:
            TooLargeError: More texts than the server takes at once.
            OverloadedError: Too many texts are waiting.
            NotReadyError: The model is still being loaded when the time is up.
            ModelError: It cannot be loaded.
        """
        self._read(name)
        self._check_batch(texts, "texts")
        if role not in ROLES:
            raise UsageError(f"unknown role {role!r:.60}; expected one of {', '.join(ROLES)}")
        if self.shelf.warm(name) is None:
            await self._reading(lambda: self.shelf.wait_for(name, self.settings.max_seconds))
        queue = self.shelf.queue(name)
        if sum(map(len, texts)) <= SHORT:
            lengths = queue.lengths(texts, role)
        else:
            lengths = await self._reading(lambda: queue.lengths(texts, role))
        future = queue.submit(texts, role, lengths, lane=lane_of(len(texts)))
        return Encoded(await self._in_time(asyncio.wrap_future(future)), lengths)

    async def spec(self, name: str) -> EncoderSpec:
        """The encoder of an index, without loading it: its model's name, dimension, maximal length and so on."""
        self._read(name)
        return await self._reading(lambda: self._with(name, lambda index: index.spec))

    async def described(self, name: str) -> tuple[dict[str, Any], EncoderSpec, list[str]]:
        """What an index holds (see `Index.status`), its encoder, and the names of its metadata fields."""
        self._read(name)
        return await self._reading(
            lambda: self._with(name, lambda index: (index.status(), index.spec, self.shelf.fields(name)))
        )

    def state(self, name: str) -> tuple[str, str]:
        """Whether an index is searched by meaning yet (see `shelf.WARM`), and why not if it never will be."""
        self._read(name)
        return self.shelf.state(name)

    # --- what may be asked

    def check_write(self, name: str, n: int) -> None:
        """Check that so many documents may be added, before they are read; raises as `add` and `delete` do."""
        self._write(name)
        if n > self.settings.max_batch:
            raise TooLargeError(f"{n:,} documents at once; at most {self.settings.max_batch:,} are taken")

    def _read(self, name: str) -> None:
        self.access.require(READ, name, self.shelf.names)

    def _write(self, name: str) -> None:
        self.access.require(WRITE, name, self.shelf.names)

    def _check_query(self, query: str, k: int) -> None:
        most = self.settings
        if len(query) > most.max_query_chars:
            raise TooLargeError(f"the query has {len(query):,} characters; at most {most.max_query_chars:,} are taken")
        if isinstance(k, int) and k > most.max_k:
            raise TooLargeError(f"`k` is {k:,}; this server gives at most {most.max_k:,} hits")

    def _check_batch(self, batch: Sequence[str], what: str) -> None:
        if len(batch) > self.settings.max_batch:
            raise TooLargeError(f"{len(batch):,} {what} at once; at most {self.settings.max_batch:,} are taken")

    # --- in threads

    async def _answered(self, name: str, mode: str | None, find: Callable[[Index, str], T]) -> tuple[T, str, bool]:
        """What is found, the mode in which it was, and whether the model is still being loaded."""
        return await self._reading(lambda: self._found(name, mode, find))

    def _found(self, name: str, mode: str | None, find: Callable[[Index, str], T]) -> tuple[T, str, bool]:
        for last in (False, True):
            index = self.shelf.warm(name)
            failure = self.shelf.failure(name) if index is None else None
            if failure and mode not in (None, KEYWORD):
                raise failure
            chosen = index or self.shelf.cold(name)
            how = (mode or chosen.default_mode) if index else KEYWORD
            try:
                found = self._guarded(name, chosen, partial(find, chosen, how))
            except MismatchError:  # another index took its place: it is open now, and searched by words at first
                if last:
                    raise
                continue
            return found, how, index is None and failure is None and mode != KEYWORD
        raise AssertionError("a loop that returns or raises")

    def _with(self, name: str, ask: Callable[[Index], T]) -> T:
        index = self.shelf.warm(name) or self.shelf.cold(name)
        return self._guarded(name, index, lambda: ask(index))

    def _guarded(self, name: str, index: Index, ask: Callable[[], T]) -> T:
        """Ask, and have the index opened again next time if it was replaced or deleted."""
        try:
            return ask()
        except (MismatchError, NoIndexError):
            self.shelf.forget(name, index)
            raise

    def _unlocked(self, write: Callable[[], T]) -> T:
        """Write as soon as no other process does; raises LockedError if that takes too long."""
        until = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                return write()
            except LockedError:
                if time.monotonic() > until:
                    raise
                time.sleep(LOCK_PAUSE)

    async def _reading(self, ask: Callable[[], T]) -> T:
        """Ask in a thread, within the time limit, unless too many wait already."""
        desk = self.desk
        if desk.waiting >= self.settings.max_waiting:
            raise OverloadedError(f"{desk.waiting:,} requests are waiting, and no more may; try again")
        desk.waiting += 1
        try:
            return await self._in_time(to_thread.run_sync(ask, limiter=desk.readers, abandon_on_cancel=True))
        finally:
            desk.waiting -= 1

    async def _in_time(self, answer: Awaitable[T]) -> T:
        """Wait for an answer; raises TimeLimitError after the time limit, and nobody waits for it then."""
        seconds = self.settings.max_seconds
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            ticket = TICKET.get()
            if ticket:
                ticket.gone = True
            raise TimeLimitError(f"no answer within {seconds:g} seconds; try again, or ask for less") from None


def rough_tokens(text: str) -> int:
    """About as many as a tokenizer finds, rather more, while none is loaded."""
    return len(text) // 3 + 1
