"""Handling of Ctrl-C and SIGTERM: the first signal ends the command cleanly, the second one immediately.

A KeyboardInterrupt in the middle of an import would leave a half-initialized module behind or be turned into an
ImportError, so it is delayed until the import ends. One that a destructor swallowed is raised again.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Any

from semsearch import interrupts

IMPORT = "<frozen importlib"
"""Prefix of the file name of Python's import machinery."""

POLL_SECONDS = 0.01

_due = False  # whether a delayed interrupt is about to be raised


def install() -> None:
    """Install the handlers for both signals, except for one that this process inherited as ignored, as under nohup."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in interrupts.SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _stop)
    sys.unraisablehook = _raise_again


def release() -> None:
    """Let both signals end the process immediately from now on, when nothing is left to clean up."""
    for number in interrupts.SIGNALS:
        if signal.getsignal(number) is _stop:
            signal.signal(number, signal.SIG_DFL)


def end(code: int) -> None:
    """End the process by the signal it received, if any, so that a loop in a shell ends too; otherwise with a code."""
    number = interrupts.noted()
    if number is not None and code == 128 + number:
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
    os._exit(code)


def _stop(number: int, frame: FrameType | None) -> None:
    global _due
    if interrupts.noted() is None:
        interrupts.note(number)
    elif not _due:  # the second one
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    _due = False
    if _imports(frame):
        _later(number)
    else:
        raise KeyboardInterrupt


def _imports(frame: FrameType | None) -> bool:
    while frame:
        if frame.f_code.co_filename.startswith(IMPORT):
            return True
        frame = frame.f_back
    return False


def _later(number: int) -> None:
    """Deliver the signal again once the main thread is not importing."""
    main = threading.main_thread().ident or 0

    def wait() -> None:
        global _due
        time.sleep(POLL_SECONDS)
        while _imports(sys._current_frames().get(main)):
            time.sleep(POLL_SECONDS)
        _due = True
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(main, number)  # also interrupts a blocking call
        else:
            signal.raise_signal(number)

    threading.Thread(target=wait, daemon=True).start()


def _raise_again(unraisable: Any) -> None:
    """Handle an exception that Python cannot raise: deliver an interrupt again and print anything else as usual."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        _later(interrupts.noted() or signal.SIGINT)
    else:
        sys.__unraisablehook__(unraisable)
