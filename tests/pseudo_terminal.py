"""Helpers to run the installed command with its output on a pseudo-terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from command import SCRIPT

ESCAPE = "\x1b"

NO_TERMINAL = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals on Windows")


def on_terminal(*words: object, piped: tuple[str, ...] = (), code: int = 0) -> tuple[str, str]:
    """Run the command with standard output and error on a terminal of 100 columns.

    Args:
        *words: Arguments of the command.
        piped: Which of `stdout` and `stderr` to redirect to a pipe instead.
        code: Expected exit code.

    Returns:
        The output on the terminal and the output in the pipe.
    """
    import pty

    ours, theirs = pty.openpty()
    removed = ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "CLICOLOR", "CI")
    environment = {name: value for name, value in os.environ.items() if name not in removed}
    environment |= {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    streams = {name: subprocess.PIPE if name in piped else theirs for name in ("stdout", "stderr")}
    with subprocess.Popen([SCRIPT, *map(str, words)], stdin=theirs, env=environment, **streams) as process:
        os.close(theirs)
        try:
            shown = b"".join(_until_closed(ours))
            read = b"".join(stream.read() for stream in (process.stdout, process.stderr) if stream)
            assert process.wait(timeout=60) == code
        finally:
            process.kill()
            os.close(ours)
    return shown.decode(), read.decode()


def _until_closed(terminal: int):
    """Read a terminal until it is closed, which Linux signals with an error and macOS with empty data."""
    while True:
        try:
            block = os.read(terminal, 65_536)
        except OSError:
            return
        if not block:
            return
        yield block


def plain(text: str) -> list[str]:
    """Return the lines of terminal output without colors and cursor movements."""
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "").split("\n")]
