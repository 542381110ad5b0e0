"""Which process the threads of a native library run in.

A fork copies the memory of a process and none of its threads. What a library had handed to its threads in the parent,
it waits for in the child, for ever. OpenVINO, torch with more than one thread and tokenizers are such libraries.
"""

from __future__ import annotations

import os

from semsearch.errors import UsageError

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
