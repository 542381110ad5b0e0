"""Batched encoding of texts from different requests, without a timer.

One thread owns the encoder. Whenever it is idle, it takes the oldest waiting text and others of similar length, until
the padded batch is full. Interactive requests go ahead of bulk requests, but cannot starve them. Texts whose client
has disconnected are dropped. If a batch fails, each request in it is retried alone, so only the faulty one fails.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from threading import Condition, Lock, Thread

import numpy as np

from semsearch.arrays import Vectors
from semsearch.encoder.encoder import TextEncoder
from semsearch.errors import ClientGoneError, NotReadyError, OverloadedError
from semsearch.forks import encode_batch

log = logging.getLogger(__name__)

URGENT, BULK = 0, 1
"""Lanes: interactive requests, and bulk requests."""

URGENT_IN_A_ROW = 8
"""Number of consecutive urgent batches after which a waiting bulk batch gets its turn."""

FEW = 16
"""Maximum number of texts in an urgent request."""

WINDOW = 4_096
"""Number of oldest texts in a lane that are candidates for a batch of similar lengths."""


@dataclass
class Ticket:
    """Record of whether the client of a request has gone."""

    gone: bool = False


TICKET: ContextVar[Ticket | None] = ContextVar("ticket", default=None)
"""Ticket of the request that a thread or task is working for; None if it works for no particular request."""


@dataclass(eq=False)
class _Job:
    """The texts of one request.

    Attributes:
        role: A key of ROLES.
        vectors: float32 `[n, dim]`, filled in as the texts are encoded.
        left: Number of texts that are not encoded yet.
    """

    texts: Sequence[str]
    role: str
    ticket: Ticket | None
    vectors: Vectors
    left: int
    future: Future[Vectors] = field(default_factory=Future)

    @property
    def dropped(self) -> bool:
        """Whether the remaining texts are no longer needed."""
        return self.future.done() or (self.ticket is not None and self.ticket.gone)

    def finish(self, error: BaseException | None = None) -> None:
        """Pass the vectors, or the error, to the caller, unless it has an answer already or has stopped waiting."""
        if self.future.done() or not self.future.set_running_or_notify_cancel():
            return
        if error is None:
            self.future.set_result(self.vectors)
        else:
            self.future.set_exception(error)


@dataclass(frozen=True, slots=True, eq=False)
class _Text:
    """One text of a job, and its length in tokens."""

    job: _Job
    row: int
    length: int


ROLES: Mapping[str, Callable[[TextEncoder, Sequence[str]], Vectors]] = {
    "query": lambda encoder, texts: encoder.encode_queries(texts),
    "document": lambda encoder, texts: encoder.encode_documents(texts),
}
"""Maps each role to the encoder method for its texts."""


class EncodingQueue:
    """Queue of texts for one encoder, and the thread that encodes them."""

    def __init__(
        self,
        encoder: TextEncoder,
        *,
        batch_tokens: int,
        max_waiting: int,
        together: bool = True,
        watch: Callable[[int, float], None] | None = None,
    ) -> None:
        """Start the encoding thread.

        Args:
            encoder: Encoder that only this thread uses from now on.
            batch_tokens: Maximum number of tokens in a batch, including padding.
            max_waiting: Maximum number of waiting texts.
            together: Whether a batch may contain texts from several requests.
            watch: Called after each batch with its number of texts and the seconds that it took.
        """
        self.encoder, self.splitting = encoder, Lock()
        self._batch_tokens, self._max_waiting, self._together, self._watch = batch_tokens, max_waiting, together, watch
        self._changed = Condition()
        self._lanes: tuple[list[_Text], list[_Text]] = ([], [])
        self._urgent, self._closed = 0, False
        self._thread = Thread(target=self._run, name="encoder", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of waiting texts."""
        return sum(map(len, self._lanes))

    def lengths(self, texts: Sequence[str], role: str) -> list[int]:
        """Return how many tokens of each text the encoder sees, including special tokens and prefix."""
        spec = self.encoder.spec
        prefix = spec.query_prefix if role == "query" else spec.passage_prefix
        encodings = encode_batch(self.encoder.tokenizer, [prefix + text for text in texts])
        return [min(len(encoding.ids), spec.max_tokens) for encoding in encodings]

    def submit(
        self, texts: Sequence[str], role: str, lengths: Sequence[int], *, lane: int = URGENT, wait: bool = False
    ) -> Future[Vectors]:
        """Queue texts for encoding.

        Args:
            texts: Texts to encode.
            role: A key of ROLES.
            lengths: Length of each text in tokens.
            lane: URGENT or BULK.
            wait: Whether to wait while the queue is full instead of raising OverloadedError.

        Returns:
            A future with the vectors, float32 `[n, dim]`.

        Raises:
            OverloadedError: If the queue is full.
            NotReadyError: If the queue is closed.
        """
        job = _Job(texts, role, TICKET.get(), np.empty((len(texts), self.encoder.spec.dim), np.float32), len(texts))
        if not texts:
            job.finish()
            return job.future
        with self._changed:
            while self._full(len(texts)) and not self._closed:
                if not wait:
                    raise OverloadedError(
                        f"{self.waiting:,} texts are waiting to be encoded (limit: {self._max_waiting:,}); try again"
                    )
                self._changed.wait()
            if self._closed:
                raise NotReadyError("the index was replaced, or the server is stopping; try again")
            self._lanes[lane].extend(_Text(job, row, length) for row, length in enumerate(lengths))
            self._changed.notify_all()
        return job.future

    @property
    def closed(self) -> bool:
        """Whether the queue accepts no texts anymore: its index was replaced, or the server is stopping."""
        return self._closed

    def close(self) -> None:
        """Stop the thread after its current batch; texts that are still waiting fail."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _full(self, n: int) -> bool:
        """Return whether n more texts are too many; an empty queue accepts any number."""
        return 0 < self.waiting and self.waiting + n > self._max_waiting

    def _run(self) -> None:
        while batch := self._next():
            started = time.perf_counter()
            self._encode(batch)
            if self._watch:
                self._watch(len(batch), time.perf_counter() - started)
        for text in [*self._lanes[URGENT], *self._lanes[BULK]]:
            text.job.finish(NotReadyError("the index was replaced, or the server is stopping; try again"))

    def _next(self) -> list[_Text]:
        """Take the next batch, all of one role, waiting until there is one; empty once the queue is closed."""
        with self._changed:
            while not self._closed:
                for lane in self._lanes:
                    _drop(lane)
                waiting = [number for number, lane in enumerate(self._lanes) if lane]
                if waiting:
                    turn = BULK in waiting and self._urgent >= URGENT_IN_A_ROW
                    chosen = BULK if turn else waiting[0]
                    self._urgent = self._urgent + 1 if chosen == URGENT else 0
                    batch = self._take(self._lanes[chosen])
                    self._changed.notify_all()
                    return batch
                self._changed.wait()
            return []

    def _take(self, lane: list[_Text]) -> list[_Text]:
        oldest = lane[0]
        window = lane[:WINDOW] if self._together else [text for text in lane if text.job is oldest.job]
        fitting = [text for text in window if text.job.role == oldest.job.role]
        batch = around(fitting, self._batch_tokens)
        taken = set(map(id, batch))
        lane[:] = [text for text in lane if id(text) not in taken]
        return batch

    def _encode(self, batch: list[_Text]) -> None:
        """Encode a batch; if that fails, encode each of its jobs alone."""
        try:
            self._fill(batch)
        except BaseException as error:
            jobs = [list(texts) for _, texts in groupby(sorted(batch, key=_whose), key=_whose)]
            if len(jobs) == 1:
                batch[0].job.finish(error)
                return
            log.warning("a batch of %d requests failed with %s; retrying each alone", len(jobs), type(error).__name__)
            for texts in jobs:
                self._encode(texts)

    def _fill(self, batch: list[_Text]) -> None:
        vectors = ROLES[batch[0].job.role](self.encoder, [text.job.texts[text.row] for text in batch])
        for text, vector in zip(batch, vectors, strict=True):
            text.job.vectors[text.row] = vector
            text.job.left -= 1
            if not text.job.left:
                text.job.finish()


def lane_of(n: int) -> int:
    """Return the lane for a request with n texts."""
    return URGENT if n <= FEW else BULK


def around(texts: Sequence[_Text], budget: int) -> list[_Text]:
    """Return the first text and others of similar length, as many as fit: `n * longest <= budget`, in tokens."""
    order = sorted(texts, key=lambda text: -text.length)
    first = order.index(texts[0])
    end = first + 1
    while end < len(order) and (end + 1 - first) * order[first].length <= budget:
        end += 1
    start = first
    while start > 0 and (end - start + 1) * order[start - 1].length <= budget:
        start -= 1
    return order[start:end]


def _whose(text: _Text) -> int:
    return id(text.job)


def _drop(lane: list[_Text]) -> None:
    """Remove the texts that are no longer needed."""
    gone = set()
    for job, _ in groupby(lane, key=attrgetter("job")):  # the texts of a job are adjacent
        if job.dropped:
            job.finish(ClientGoneError("the client is no longer waiting for the answer"))
            gone.add(id(job))
    if gone:
        lane[:] = [text for text in lane if id(text.job) not in gone]
