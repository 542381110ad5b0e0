"""Start and end of the command-line process."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from functools import partial
from typing import Any

from semsearch.cli import main, signals, streams


def run() -> None:
    """Run the command line, then end the process without the teardown of the libraries, which would take 0.1 seconds.

    Everything else happens as at the end of any process: threads and worker processes end, all exit handlers run, and
    output is flushed.
    """
    streams.open_closed()
    if not int(columns if (columns := os.environ.get("COLUMNS", "80")).isdecimal() else 0):
        del os.environ["COLUMNS"]  # the terminal does not know its width, and libraries disagree about what 0 means
    try:
        signals.install()
        try:
            main.main()
        except KeyboardInterrupt:  # after the end of the command, before that of the process
            main.exit_interrupted()
    except SystemExit as stop:
        signals.release()
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        gc.callbacks.append(partial(_leave, code))
        raise


def _leave(code: int, phase: str, info: dict[str, Any]) -> None:
    """End the process during the garbage collection that begins CPython's teardown.

    That collection comes after everything that has to happen at exit. If an interpreter skips it, the process merely
    ends later.
    """
    if sys.is_finalizing() and info["generation"] == 2:
        with suppress(OSError, ValueError, RuntimeError):  # the interpreter has reported the error and exits with 120
            for stream in (sys.stdout, sys.stderr):
                if stream and not stream.closed:
                    stream.flush()
            signals.end(code)
