"""Standard streams that were closed before the process began, as by `semsearch query x >&-`."""

from __future__ import annotations

import os
import sys

NAMES = ("stdin", "stdout", "stderr")


def open_closed() -> None:
    """Put the null device where a standard stream is closed.

    Otherwise the next file that is opened, such as a database, gets the number of the stream, and what a library writes
    to standard error goes into it. It is opened the wrong way round: what would be read from standard input, or written
    to standard output, is an error, for it is lost. What is said on standard error is not: there is nobody to hear it.
    """
    for number, name in enumerate(NAMES):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, (os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)[number])  # takes the lowest number
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))


def abandon(name: str) -> None:
    """Let what is left in a stream's buffer go nowhere: the stream cannot be written."""
    try:
        number = getattr(sys, name).fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)
    except (AttributeError, OSError, ValueError):  # no stream of the system's
        setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
