"""Detection of interrupts (Ctrl-C, SIGTERM) that a library turned into an error of its own.

Extension modules do this while they are imported ("openvino is not installed"), and C++ libraries do it when they call
back into Python ("does not convert").
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_noted: list[int] = []


def note(signal: int) -> None:
    """Record a signal that asks this process to end; only for the command line, which owns the process."""
    _noted.append(signal)


def noted() -> int | None:
    """Return the first recorded signal, or None."""
    return _noted[0] if _noted else None


@contextmanager
def postponed() -> Iterator[list[int]]:
    """Postpone interrupts to the end of the `with` block, so that work can stop at a good moment.

    Yields:
        Signals that arrived so far. A second one is not postponed. Outside the main thread, where Python handles no
        signals, the list stays empty.
    """
    arrived: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield arrived
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in handlers.items() if callable(handler)}  # not the ignored ones

    def postpone(number: int, frame: FrameType | None) -> None:
        restore()
        arrived.append(number)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, postpone)
    try:
        yield arrived
    finally:
        restore()
        if arrived:
            signal.raise_signal(arrived[0])


def is_behind(error: BaseException) -> bool:
    """Return whether an interrupt caused an error."""
    return bool(_noted) or any(isinstance(one, KeyboardInterrupt) for one in _chain(error))


def reraise(error: BaseException) -> None:
    """Raise KeyboardInterrupt if an interrupt caused an error; call this before handling the error as anything else."""
    if is_behind(error):
        raise KeyboardInterrupt from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, its causes, and the exceptions that were being handled when each was raised."""
    seen: list[BaseException] = []
    ahead = [error]
    while ahead:
        one = ahead.pop()
        if one not in seen:
            seen.append(one)
            ahead += [other for other in (one.__cause__, one.__context__) if other]
            yield one
