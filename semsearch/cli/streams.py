"""Handling of standard streams that were closed before the process began, as by `semsearch query x >&-`."""

from __future__ import annotations

import os
import sys

NAMES = ("stdin", "stdout", "stderr")


def open_closed() -> None:
    """Open the null device in place of each closed standard stream.

    Otherwise the next opened file, such as a database, would get the stream's file descriptor, and whatever a library
    writes to standard error would end up in it. For standard input and output the device is opened in the wrong
    direction, so that reading or writing, which would lose data, is an error. Messages on standard error are dropped.
    """
    for number, name in enumerate(NAMES):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, (os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)[number])  # takes the lowest free descriptor
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))


def abandon(name: str) -> None:
    """Redirect a stream that cannot be written to the null device, so that flushing its buffer does not fail."""
    try:
        number = getattr(sys, name).fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)
    except (AttributeError, OSError, ValueError):  # not backed by a file descriptor
        setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
