"""Who writes to an index: the file that names the holder of its lock, for what other processes show."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from semsearch.files import open_regular

HOLDER = "writer.holder"
"""File that names the holder of the lock."""

MOST = 200
"""Maximum number of characters of the holder's name that are shown."""

PLACE = re.compile(r"process ([0-9]+) on ([^\s,]+)")
"""Beginning of the holder's name: process and host."""


def writer_of(folder: Path) -> str:
    """Return the process that writes to an index, such as `process 7 on host, since …`; empty if there is none.

    The lock itself is not tried, because a writer that starts at that moment would be refused. A process on another
    computer is taken to be alive.
    """
    who = first_line(folder / HOLDER)
    return "" if is_gone(who) else who


def is_gone(holder: str) -> bool:
    """Return whether a holder such as `process 7 on host` was a process on this computer, and has ended."""
    place = PLACE.match(holder)
    return bool(place and place[2] == socket.gethostname() and not _is_alive(int(place[1])))


def first_line(path: Path) -> str:
    """Return the beginning of a file as one printable line; empty if it cannot be read."""
    try:
        with open_regular(path) as file:
            text = file.read(4 * MOST).decode("utf-8", "replace")
    except OSError:
        return ""
    line = " ".join(text[:MOST].split())
    return "".join(character for character in line if character.isprintable())


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # there, signal 0 would reach the process
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it belongs to someone else
        return True
    return True
