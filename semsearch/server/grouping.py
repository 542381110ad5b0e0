"""Batched answers to queries from different requests that differ only in their text, without a timer.

A few threads take the oldest waiting query, together with all others that differ from it only in their text. While the
threads are busy, more queries arrive, so groups form by themselves under load, and nobody waits when there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeAlias, TypeVar

from semsearch.errors import ClientGoneError, OverloadedError
from semsearch.server.batching import TICKET, Ticket

T = TypeVar("T")

Answers: TypeAlias = Callable[[Sequence[str]], Sequence[T]]
"""Returns the answers to queries, in their order."""

THREADS = 2
"""Number of threads, so that one can search while another waits for the encoder."""

AT_ONCE = 64
"""Maximum number of queries in a group."""


@dataclass(eq=False)
class _Question(Generic[T]):
    """A waiting query.

    Attributes:
        key: Everything that the request asks for, except the text; None for a query that is answered alone.
        answers: Answers queries with this key.
    """

    text: str
    key: Hashable
    answers: Answers[T]
    ticket: Ticket | None
    future: Future[T] = field(default_factory=Future)

    def begin(self) -> bool:
        """Return whether a client is still waiting for the answer; from now on the query cannot be canceled."""
        if not self.future.set_running_or_notify_cancel():
            return False
        if self.ticket and self.ticket.gone:
            self.future.set_exception(ClientGoneError("the client is no longer waiting for the answer"))
            return False
        return True


class Groups(Generic[T]):
    """The waiting queries, and the threads that answer them."""

    def __init__(self, max_waiting: int, *, together: bool = True) -> None:
        """Create an empty queue.

        Args:
            max_waiting: Maximum number of waiting queries.
            together: Whether a group may contain more than one query.
        """
        self._max_waiting, self._at_once = max_waiting, AT_ONCE if together else 1
        self._lock = Lock()
        self._waiting: list[_Question[T]] = []
        self._busy = 0
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="search")

    @property
    def waiting(self) -> int:
        """Number of waiting queries."""
        return len(self._waiting)

    def submit(self, text: str, key: Hashable, answers: Answers[T]) -> Future[T]:
        """Queue a query, and return a future with its answer.

        Args:
            text: Text of the query.
            key: Everything else that the request asks for; None for a query that gains nothing from a group.
            answers: Answers queries with this key.

        Raises:
            OverloadedError: If too many queries are waiting.
        """
        question = _Question(text, key, answers, TICKET.get())
        with self._lock:
            if len(self._waiting) >= self._max_waiting:
                raise OverloadedError(f"{len(self._waiting):,} searches are waiting, which is the limit; try again")
            self._waiting.append(question)
            if self._busy < THREADS:
                self._busy += 1
                self._pool.submit(copy_context().run, self._work)
        return question.future

    def _work(self) -> None:
        TICKET.set(None)  # a group belongs to no single request
        while group := self._next():
            _answer([question for question in group if question.begin()])

    def _next(self) -> list[_Question[T]]:
        with self._lock:
            if not self._waiting:
                self._busy -= 1
                return []
            first = self._waiting[0]
            alike = [first] if first.key is None else [one for one in self._waiting if one.key == first.key]
            group = alike[: self._at_once]
            taken = set(map(id, group))
            self._waiting = [question for question in self._waiting if id(question) not in taken]
            return group


def _answer(group: list[_Question[T]]) -> None:
    """Answer a group; if that fails, answer each query alone, so that only the faulty one fails."""
    if not group:
        return
    try:
        answers = group[0].answers([question.text for question in group])
        for question, answer in zip(group, answers, strict=True):
            question.future.set_result(answer)
    except BaseException as error:
        if len(group) == 1:
            group[0].future.set_exception(error)
            return
        for question in group:
            if not question.future.done():
                _answer([question])
