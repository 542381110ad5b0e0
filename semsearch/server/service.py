"""Service behind the routers: searches, documents and vectors of the served indexes, as far as a request may see them.

Nothing here knows about HTTP. Methods that use an index check the access first and raise the errors of
semsearch.errors; those that may block are asynchronous.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

from semsearch.encoder.texts import check_text, check_texts
from semsearch.errors import (
    MismatchError,
    ModelError,
    NoIndexError,
    NotReadyError,
    TooLargeError,
    UnknownDocumentError,
    UsageError,
)
from semsearch.mcp.budget import estimate_tokens
from semsearch.search import check_search
from semsearch.server.batching import ROLES, TICKET, EncodingQueue, lane_of
from semsearch.server.desk import Answer as Answer
from semsearch.server.desk import Desk, unlocked
from semsearch.server.keys import EVERYTHING, READ, WRITE, Access
from semsearch.server.settings import Settings
from semsearch.server.shelf import Shelf
from semsearch.snippets import Snippet, make_snippets

if TYPE_CHECKING:
    from semsearch.arrays import Vectors
    from semsearch.confidence import Background
    from semsearch.context import Context
    from semsearch.corpus.readers import Corpus
    from semsearch.explain.records import Explanation
    from semsearch.filters.read import Where
    from semsearch.index import Index
    from semsearch.ingest import IngestResult
    from semsearch.stores.base import StoredDocument
    from semsearch.types import EncoderSpec, Hit

T = TypeVar("T")

KEYWORD = "keyword"

SHORT = 4_000
"""Maximum number of characters that are tokenized in the event loop instead of a thread."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Vectors of texts.

    Attributes:
        vectors: float32 `[n, dim]`, in the order of the texts.
        tokens: Number of tokens of each text that the encoder saw, including special tokens and prefix.
    """

    vectors: Vectors
    tokens: list[int]


class Wishes(TypedDict, total=False):
    """Options of `Index.context`."""

    where: Where | None
    neighbors: int
    diversity: float
    candidates: int


@dataclass(frozen=True)
class Service:
    """The served indexes, restricted to what a request may access; `for_` returns them for another access."""

    shelf: Shelf
    settings: Settings
    desk: Desk
    access: Access = EVERYTHING

    def for_(self, access: Access) -> Service:
        """Return the same service, restricted to this access."""
        return replace(self, access=access)

    @property
    def names(self) -> list[str]:
        """Names of the visible indexes, in the order given."""
        return self.access.names(self.shelf.names)

    def one_of(self, name: str | None) -> str:
        """Return the name as given or, without one, the name of the only visible index.

        Raises:
            UsageError: If no name is given, and not exactly one index is visible.
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
        usual: bool = False,
        rerank: bool = False,
        group: bool = False,
    ) -> Answer:
        """Search an index; see `Index.search`. While its model is loading, every mode falls back to keyword search.

        With `rerank`, the second stage of the settings follows, once the model is loaded. With `usual`, if no
        `min_confidence` is given, that of the settings applies, provided that the index has a `background`.

        Raises:
            UnknownIndexError, ForbiddenError: If the index may not be read.
            TooLargeError: If the query is too long, or k too large.
            OverloadedError: If too many searches are waiting.
        """
        self._read(name)
        self._check_query(query, k)
        check_search([query], k, KEYWORD if mode is None else mode, fusion, unit, min_confidence)
        wishes: dict[str, Any] = {"where": where, "fusion": fusion, "unit": unit, "group": group}

        def answers(queries: Sequence[str]) -> list[Answer]:
            every, how, warming = self._found(name, mode, lambda index, how: find(index, queries, how))
            return [Answer(hits, how, warming, not known) for hits, known in every]

        def find(index: Index, queries: Sequence[str], how: str) -> list[tuple[list[Hit], bool]]:
            again = self.settings.rerank if rerank and self.shelf.queue(name) else None
            least = self._least(index, min_confidence, usual)
            every = index.search_many(queries, k, mode=how, rerank=again, min_confidence=least, **wishes)
            known = [True] * len(queries) if how == KEYWORD else index.knows_language(queries)
            return list(zip(every, known, strict=True))

        words = mode == KEYWORD  # keyword searches gain nothing from groups, and would wait for each other
        key = None if words else (name, k, mode, rerank, min_confidence, usual, repr(wishes))
        future = self.desk.searches.submit(query, key, answers)
        return await self.desk.in_time(asyncio.wrap_future(future))

    async def explain(
        self,
        name: str,
        query: str,
        doc_id: str,
        k: int = 10,
        *,
        mode: str | None = None,
        where: Where | None = None,
        fusion: str = "convex",
        group: bool = False,
    ) -> tuple[Explanation | None, str, bool]:
        """Explain why a document is among the hits of a search, which is run again.

        Returns:
            The explanation, or None if the document is not among the hits; the mode that was used; and whether that is
            keyword search because the model is not loaded yet.
        """
        self._read(name)
        self._check_query(query, k)
        check_search([query], k, KEYWORD if mode is None else mode, fusion)

        def find(index: Index, mode: str) -> Explanation | None:
            hits = index.search(query, k, mode=mode, where=where, fusion=fusion, group=group)
            wanted = [hit for hit in hits if hit.doc_id == doc_id]
            return index.explain(query, wanted, where=where)[0] if wanted else None

        return await self._answered(name, mode, find)

    async def snippets(self, query: str, hits: Sequence[Hit]) -> list[Snippet]:
        """Return a snippet of each hit of a search."""
        return await self.desk.read(lambda: make_snippets(query, hits))

    async def ask(self, name: str, question: Callable[[Index], T]) -> T:
        """Ask an index anything else that it can answer without its encoder."""
        self._read(name)
        return await self.desk.read(lambda: self._with(name, question))

    async def search_vector(
        self,
        name: str,
        vector: Sequence[float],
        k: int = 10,
        *,
        where: Where | None = None,
        unit: str = "document",
        min_confidence: float | None = None,
        usual: bool = False,
    ) -> Answer:
        """Search an index with a vector of its encoder, `[dim]`; see `Index.search_vector` and `search`."""
        self._read(name)
        self._check_query("", k)

        def find(index: Index) -> list[Hit]:
            least = self._least(index, min_confidence, usual)
            return index.search_vector(vector, k, where=where, unit=unit, min_confidence=least)

        return Answer(await self.desk.read(lambda: self._with(name, find)), "dense")

    def _least(self, index: Index, asked: float | None, usual: bool) -> float | None:
        """Return the minimum confidence of a search: the requested one or, if `usual`, that of the settings."""
        if asked is not None or not usual or index.background is None:
            return asked
        return self.settings.min_confidence

    async def background(self, name: str) -> Background | None:
        """Return how unrelated pairs score in an index; see `Index.background`."""
        self._read(name)
        return await self.desk.read(lambda: self._with(name, lambda index: index.background))

    async def context(
        self,
        name: str,
        question: str,
        budget: int = 1_500,
        *,
        mode: str | None = None,
        min_confidence: float | None = None,
        rerank: bool = False,
        **wishes: Unpack[Wishes],
    ) -> tuple[Context, str, bool]:
        """Return context for a prompt, see `Index.context`; the mode; and whether the model is loading, as in `search`.

        If no `min_confidence` is given, that of the settings applies, provided that the index has a `background`. Until
        the model is loaded, tokens are estimated at three bytes each, fewer than most have, and there is no second
        stage.
        """
        self._read(name)
        self._check_query(question, wishes.get("candidates", 1))
        check_search([question], 1, KEYWORD if mode is None else mode)

        def make(index: Index, mode: str) -> Context:
            is_warm = self.shelf.queue(name) is not None
            again, count = self.settings.rerank if rerank and is_warm else None, None if is_warm else estimate_tokens
            least = self._least(index, min_confidence, usual=True)
            return index.context(question, budget, mode=mode, count=count, min_confidence=least, rerank=again, **wishes)

        return await self._answered(name, mode, make)

    async def documents(self, name: str, doc_ids: Sequence[str]) -> dict[str, StoredDocument]:
        """Return whole documents by id, in the order given; unknown ids are left out."""
        self._read(name)
        self._check_batch(doc_ids, "ids")
        return await self.desk.read(lambda: self._with(name, lambda index: index.documents(doc_ids)))

    async def document(self, name: str, doc_id: str) -> StoredDocument:
        """Return a whole document.

        Raises:
            UnknownDocumentError: If the index has no document with that id.
        """
        stored = (await self.documents(name, [doc_id])).get(doc_id)
        if stored is None:
            raise unknown(doc_id, name)
        return stored

    async def add(self, name: str, corpus: Corpus) -> IngestResult:
        """Add documents, replacing those with the same ids; what was added when this returns survives any crash.

        Raises:
            UnknownIndexError, ForbiddenError: If the index may not be written.
            RecordError: If a document is unusable; those before it are added.
            LockedError: If another process is writing.
            NotReadyError: If the model is still loading.
        """
        self._write(name)

        def add() -> IngestResult:
            TICKET.set(None)  # a write that has begun is finished, even if the client disconnects
            index = self.shelf.wait_for(name, self.settings.max_seconds)
            index.documents([])  # raises if the index is gone: adding would create a new one
            return unlocked(lambda: self._guarded(name, index, lambda: index.add(corpus)))

        return await self.desk.write(add)

    async def delete(self, name: str, doc_ids: Sequence[str]) -> list[str]:
        """Delete documents; return the ids that existed."""
        self._write(name)
        self._check_batch(doc_ids, "ids")

        def delete() -> list[str]:
            try:
                index = self.shelf.wait_for(name, self.settings.max_seconds)
            except (ModelError, MismatchError):  # deleting documents needs no encoder
                index = self.shelf.cold(name)
            return unlocked(lambda: self._guarded(name, index, lambda: index.delete(doc_ids)))

        return await self.desk.write(delete)

    async def encode(self, name: str, texts: Sequence[str], role: str = "query") -> Encoded:
        """Encode texts as the index does, as a `query` or a `document`; wait until the model is loaded.

        Raises:
            TooLargeError: If there are more texts than a request may have.
            OverloadedError: If too many texts are waiting.
            NotReadyError: If the model is still loading when the time is up.
            ModelError: If the model cannot be loaded.
        """
        self._read(name)
        self._check_batch(check_texts(texts), "texts")
        if role not in ROLES:
            raise UsageError(f"unknown role {role!r:.60}; expected one of {', '.join(ROLES)}")
        queue = await self._queue(name)
        try:
            return await self._encode(queue, texts, role)
        except NotReadyError:
            if not queue.closed:
                raise
        return await self._encode(await self._queue(name), texts, role)  # the index was replaced meanwhile

    async def _queue(self, name: str) -> EncodingQueue:
        """Return the queue of an index's encoder; wait until the model is loaded."""
        queue = self.shelf.queue(name)
        if queue is None:
            await self.desk.read(lambda: self.shelf.wait_for(name, self.settings.max_seconds))
            queue = self.shelf.queue(name)
        if queue is None:
            raise NotReadyError(f"the index {name!r} was replaced; try again")
        return queue

    async def _encode(self, queue: EncodingQueue, texts: Sequence[str], role: str) -> Encoded:
        if sum(map(len, texts)) <= SHORT:
            lengths = queue.lengths(texts, role)
        else:
            lengths = await self.desk.read(lambda: queue.lengths(texts, role))
        future = queue.submit(texts, role, lengths, lane=lane_of(len(texts)))
        return Encoded(await self.desk.in_time(asyncio.wrap_future(future)), lengths)

    async def score(self, name: str, query: str, texts: Sequence[str]) -> tuple[list[float], int]:
        """Score texts against a query with the second stage of the settings, see `Index.reranker`.

        Returns:
            The score of each text, and the total number of tokens, counted by the index's encoder.
        """
        self._read(name)
        self._check_query(query, 1)
        self._check_batch(texts, "texts")

        def score() -> tuple[list[float], int]:
            index = self.shelf.wait_for(name, self.settings.max_seconds)
            scores = self._guarded(name, index, lambda: index.reranker(self.settings.rerank).scores(query, texts))
            queue = self.shelf.queue(name)
            tokens = sum(queue.lengths([query, *texts], "document")) if queue else 0
            return [float(score) for score in scores], tokens

        return await self.desk.read(score)

    async def spec(self, name: str) -> EncoderSpec:
        """Return the spec of an index's encoder, without loading it: model, dimension, maximum length and so on."""
        self._read(name)
        return await self.desk.read(lambda: self._with(name, lambda index: index.spec))

    async def described(self, name: str) -> tuple[dict[str, Any], EncoderSpec, list[str]]:
        """Return the status of an index, see `Index.status`; its encoder spec; and the names of its metadata fields."""
        self._read(name)
        return await self.desk.read(
            lambda: self._with(name, lambda index: (index.status(), index.spec, index.fields()))
        )

    def state(self, name: str) -> tuple[str, str]:
        """Return the state of an index (see `shelf.WARM`), and the reason if its encoder cannot be loaded."""
        self._read(name)
        return self.shelf.state(name)

    # --- checks of a request

    def check_write(self, name: str, n: int) -> None:
        """Check that n documents may be added, before they are read; raises the same errors as `add`."""
        self._write(name)
        if n > self.settings.max_batch:
            raise TooLargeError(f"got {n:,} documents; expected at most {self.settings.max_batch:,} per request")

    def _read(self, name: str) -> None:
        self.access.require(READ, name, self.shelf.names)

    def _write(self, name: str) -> None:
        self.access.require(WRITE, name, self.shelf.names)

    def _check_query(self, query: str, k: int) -> None:
        check_text(query)
        most = self.settings
        if len(query) > most.max_query_chars:
            raise TooLargeError(f"the query has {len(query):,} characters; expected at most {most.max_query_chars:,}")
        if isinstance(k, int) and k > most.max_k:
            raise TooLargeError(f"`k` is {k:,}; this server returns at most {most.max_k:,} hits")

    def _check_batch(self, batch: Sequence[str], what: str) -> None:
        if len(batch) > self.settings.max_batch:
            raise TooLargeError(f"got {len(batch):,} {what}; expected at most {self.settings.max_batch:,} per request")

    # --- in threads

    async def _answered(self, name: str, mode: str | None, find: Callable[[Index, str], T]) -> tuple[T, str, bool]:
        """Return what `find` finds, the mode that was used, and whether the model is still loading."""
        return await self.desk.read(lambda: self._found(name, mode, find))

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
            except MismatchError:  # the index was replaced: retry with the new one, at first by keyword search
                if last:
                    raise
                continue
            return found, how, index is None and failure is None and mode != KEYWORD
        raise AssertionError("unreachable: the loop returns or raises")

    def _with(self, name: str, ask: Callable[[Index], T]) -> T:
        index = self.shelf.warm(name) or self.shelf.cold(name)
        return self._guarded(name, index, lambda: ask(index))

    def _guarded(self, name: str, index: Index, ask: Callable[[], T]) -> T:
        """Call `ask`; if the index was replaced or deleted, have it opened again next time."""
        try:
            return ask()
        except (MismatchError, NoIndexError):
            self.shelf.forget(name, index)
            raise


def unknown(doc_id: str, index: str) -> UnknownDocumentError:
    """Return the error for an unknown document id."""
    return UnknownDocumentError(f"no document {doc_id!r:.200} in index {index!r}; search the index to find ids")
