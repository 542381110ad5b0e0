"""The lock of an index folder, which the operating system releases when the holder's process ends, however it ends.

Where the file system has no locks, filelock marks the file with the process and its host, and takes it over once that
process is dead.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from semsearch.errors import LockedError, StoreError
from semsearch.files import is_regular, write_bytes
from semsearch.stores.local.holder import HOLDER, PLACE, first_line

LOCK = "writer.lock"


@contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock.

    Raises:
        LockedError: If another process, or another writer in this process, holds it.
        StoreError: If the lock file is a link, a pipe or a device.
    """
    lock, holder = FileLock(folder / LOCK, thread_local=False), folder / HOLDER
    if os.path.lexists(folder / LOCK) and not is_regular(folder / LOCK):
        raise StoreError(f"{str(folder / LOCK)!r} is a link or not a regular file, so it cannot be locked; remove it")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LockedError(_refusal(folder)) from None
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        write_bytes(holder, f"process {os.getpid()} on {socket.gethostname()}, since {since}\n".encode())
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        lock.release()


def _refusal(folder: Path) -> str:
    """Return the message for a lock that is held: by whom, and what to do.

    Whether a process on another computer is alive cannot be told, so its lock is never taken over.
    """
    who = first_line(folder / HOLDER)
    if not who and (marked := _MARKER.match(first_line(folder / LOCK))):
        who = f"process {marked[1]} on {marked[2]}"
    where = PLACE.match(who)
    if where and where[2] != socket.gethostname():
        return (
            f"{str(folder)!r} is being written by {who}; wait for it, or stop it there; if it is gone for good, delete "
            f"{LOCK} and {HOLDER} in this folder"
        )
    return f"{str(folder)!r} is being written by {who or 'another process'}; wait for it, or stop it"


_MARKER = re.compile(r"([0-9]+) (\S+)")
"""Beginning of a lock file that filelock writes where the file system has no locks: process and host."""
