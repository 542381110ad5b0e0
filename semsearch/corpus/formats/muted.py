"""Keeping native libraries from writing to the screen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from tempfile import TemporaryFile
from typing import IO

from semsearch.forks import ForkLock

_STDERR = 2
"""File descriptor of standard error."""

_LOCK = ForkLock()
"""The descriptor belongs to the whole process."""


@contextmanager
def muted() -> Iterator[None]:
    """Drop what is written to standard error if a library in Rust panics: the trace, which tells users nothing.

    Otherwise it is written afterwards, since it may come from another thread.
    """
    with ExitStack() as stack:
        stack.enter_context(_LOCK)
        try:
            screen = os.dup(_STDERR)
        except OSError:  # it is closed, so nothing reaches the screen
            yield
            return
        stack.callback(os.close, screen)
        written = stack.enter_context(TemporaryFile())
        os.dup2(written.fileno(), _STDERR)
        panicked = True  # a panic is no Exception
        try:
            yield
            panicked = False
        except Exception:
            panicked = False
            raise
        finally:
            os.dup2(screen, _STDERR)
            if not panicked:
                _copy(written, screen)


def _copy(written: IO[bytes], screen: int) -> None:
    written.seek(0)
    with suppress(OSError):
        while block := written.read(2**16):
            os.write(screen, block)
