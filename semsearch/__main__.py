"""The process of the command line: `semsearch`, and `python -m semsearch`."""

from __future__ import annotations

import atexit
import os

from semsearch.surfaces.cli import main


def start() -> None:
    """Run the command line, then end without taking the libraries down, which takes a tenth of a second.

    By then all output is written and all files are closed.
    """
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    atexit._run_exitfuncs()
    os._exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    start()
