"""Helpers to test forked children: `told` runs code in a new Python process, where `in_child` forks."""

from __future__ import annotations

import os
import subprocess
import sys

IN_CHILD = """
import os, signal, sys

def in_child(work, seconds=40):
    pid = os.fork()
    if not pid:
        signal.alarm(seconds)  # ends the child also where it waits in a library
        try:
            print(work(), flush=True)
        except Exception as error:
            print(f"{type(error).__name__}: {error}", flush=True)
        sys.exit()  # with all that is to be done at exit
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        print("hangs", flush=True)
"""


def told(code: str, *words: object, **environment: str) -> list[str]:
    """Run the code and return the lines that it and its children print."""
    command = [sys.executable, "-c", IN_CHILD + code, *map(str, words)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
