"""The process of the command line: `semsearch`, and `python -m semsearch`."""

from __future__ import annotations

import atexit
import os
import sys


def start() -> None:
    """Run the command line, then end without taking the libraries down, which takes a tenth of a second.

    Threads and worker processes end before that as always, and everything that is to be done at exit is done.
    """
    code = 1

    def end() -> None:
        for stream in (sys.stdout, sys.stderr):
            if stream:
                stream.flush()
        os._exit(code)

    atexit.register(end)  # the first to be registered, so the last to be called
    from semsearch.cli.main import main

    try:
        main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        raise


if __name__ == "__main__":
    start()
