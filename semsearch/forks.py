"""What survives a fork: which process the threads of a native library run in, and locks that nobody holds.

A fork copies the memory of a process and none of its threads. What a library had handed to its threads in the parent,
it waits for in the child, for ever. OpenVINO, torch with more than one thread, FAISS and tokenizers are such libraries.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from threading import RLock
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from semsearch.errors import UsageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_HOMES: dict[str, int] = {}
"""Each library's process, by the library's name; the copy in a forked child still names the parent."""


def runs_here(library: str) -> bool:
    """Say whether a library's threads run in this process; from the first call on, they belong to the process of it."""
    return _HOMES.setdefault(library, os.getpid()) == os.getpid()


def refuse_fork(library: str) -> None:
    """Note that a library's threads run in this process.

    Raises:
        UsageError: They run in the process that this one was forked from.
    """
    if not runs_here(library):
        raise UsageError(
            f"{library} already ran in the process that this one was forked from, and its threads did not come along; "
            "load the first encoder after the fork, or start processes with multiprocessing's method 'spawn'"
        )


def encode_batch(tokenizer: Tokenizer, texts: Sequence[str | tuple[str, str]]) -> list[Any]:
    """The tokenizers.Encoding of each text or pair; in a forked child one at a time, for that needs no other thread."""
    if runs_here("tokenizers"):
        return list(tokenizer.encode_batch_fast(list(texts)))
    return [tokenizer.encode(*((text,) if isinstance(text, str) else text)) for text in texts]


class ForkLock:
    """A reentrant lock that is free in a forked child, whatever a thread of the parent held; a context manager."""

    def __init__(self) -> None:
        _free_in_children()
        self.renew()
        _LOCKS.add(self)

    def renew(self) -> None:
        """Forget who held it."""
        self._lock = RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


_LOCKS: WeakSet[ForkLock] = WeakSet()


@cache
def _free_in_children() -> None:
    """Have every child renew the locks before anything else; once per process."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_renew_all)


def _renew_all() -> None:
    for lock in _LOCKS:
        lock.renew()
