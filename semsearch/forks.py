"""Fork safety: tracking which process the threads of a native library run in, and locks that are free after a fork.

A fork copies the memory of a process but none of its threads, so in the child a native library may wait forever for
work that it handed to its threads in the parent. OpenVINO, torch with more than one thread, FAISS and tokenizers are
such libraries.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from threading import RLock
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from semsearch.errors import ModelError, UsageError
from semsearch.messages import first_line

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_HOMES: dict[str, int] = {}
"""Id of the process that each library's threads run in, by library; a forked child inherits the id of its parent."""


def runs_here(library: str) -> bool:
    """Return whether a library's threads run in this process; the first call assigns them to the calling process."""
    return _HOMES.setdefault(library, os.getpid()) == os.getpid()


def refuse_fork(library: str) -> None:
    """Record that a library's threads run in this process.

    Raises:
        UsageError: If they run in the process that this one was forked from.
    """
    if not runs_here(library):
        raise UsageError(
            f"{library} was already used in the process that this one was forked from, and threads do not survive a "
            "fork; load the first encoder after forking, or use multiprocessing's start method 'spawn'"
        )


def encode_batch(tokenizer: Tokenizer, texts: Sequence[str | tuple[str, str]]) -> list[Any]:
    """Return the tokenizers.Encoding of each text or pair; in a forked child one at a time, which needs no threads.

    Raises:
        ModelError: If the tokenizer fails on a text.
    """
    try:
        with panics_as_errors():
            if runs_here("tokenizers"):
                return list(tokenizer.encode_batch_fast(list(texts)))
            return [tokenizer.encode(*((text,) if isinstance(text, str) else text)) for text in texts]
    except Exception as error:  # tokenizers raises nothing narrower
        raise ModelError(
            f"the model's tokenizer fails on a text ({first_line(error):.200}); repair its tokenizer.json"
        ) from None


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Raise RuntimeError for a panic of a library in Rust, which is no Exception, so that nothing catches it."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise RuntimeError(f"{error!s:.200}") from None


class ForkLock:
    """A reentrant lock, used as a context manager, that is free in a forked child even if a parent thread held it."""

    def __init__(self) -> None:
        _free_in_children()
        self.renew()
        _LOCKS.add(self)

    def renew(self) -> None:
        """Replace the lock by a free one."""
        self._lock = RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


_LOCKS: WeakSet[ForkLock] = WeakSet()


@cache
def _free_in_children() -> None:
    """Have every forked child renew the locks before anything else; register this once per process."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_renew_all)


def _renew_all() -> None:
    for lock in _LOCKS:
        lock.renew()
