"""Questions of different requests that ask for the same in other words are answered together, without a timer.

A few threads take what waits: the oldest question, and all that differ from it in their text alone. While they are
busy more come in, so that groups form by themselves when there is much to do, and nobody waits when there is not.
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
"""The answers to questions, in their order."""

THREADS = 2
"""Of which one waits for the encoder while another searches."""

AT_ONCE = 64
"""Questions in a group, at most."""


@dataclass(eq=False)
class _Question(Generic[T]):
    """A question that waits.

    Attributes:
        key: Of what it asks for, but for its text; None for one that is answered alone.
        answers: Answers questions with that key.
    """

    text: str
    key: Hashable
    answers: Answers[T]
    ticket: Ticket | None
    future: Future[T] = field(default_factory=Future)

    def begin(self) -> bool:
        """Whether somebody waits for the answer; from now on it cannot be cancelled."""
        if not self.future.set_running_or_notify_cancel():
            return False
        if self.ticket and self.ticket.gone:
            self.future.set_exception(ClientGoneError("nobody waits for the answer anymore"))
            return False
        return True


class Groups(Generic[T]):
    """The questions that wait, and the threads that answer them."""

    def __init__(self, max_waiting: int, *, together: bool = True) -> None:
        """Begin without any.

        Args:
            max_waiting: Questions that may wait.
            together: Whether a group may hold more than one.
        """
        self._max_waiting, self._at_once = max_waiting, AT_ONCE if together else 1
        self._lock = Lock()
        self._waiting: list[_Question[T]] = []
        self._busy = 0
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="search")

    @property
    def waiting(self) -> int:
        """Questions that wait."""
        return len(self._waiting)

    def submit(self, text: str, key: Hashable, answers: Answers[T]) -> Future[T]:
        """Have a question answered.

        Args:
            text: Of the question.
            key: Of all else that it asks for; None for a question that gains nothing from others beside it.
            answers: Answers questions with that key.

        Raises:
            OverloadedError: Too many wait.
        """
        question = _Question(text, key, answers, TICKET.get())
        with self._lock:
            if len(self._waiting) >= self._max_waiting:
                raise OverloadedError(f"{len(self._waiting):,} searches are waiting, and no more may; try again")
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
    """Answer a group; where that fails, each question by itself, so that only a bad one fails."""
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
