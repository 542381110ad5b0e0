"""The lock of an index folder, which the operating system releases when the holder's process ends, however it ends."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from semsearch.errors import LockedError, StoreError
from semsearch.files import is_regular, open_regular, write_bytes

LOCK = "writer.lock"

HOLDER = "writer.holder"
"""File that names the holder of the lock, for the message that other processes show."""

MOST = 200
"""Maximum number of characters of the holder's name that are shown."""


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
        raise LockedError(
            f"{str(folder)!r} is being written by {_name(holder) or 'another process'}; wait for it, or stop it"
        ) from None
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        write_bytes(holder, f"process {os.getpid()} on {socket.gethostname()}, since {since}\n".encode())
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        lock.release()


def _name(holder: Path) -> str:
    """Return the holder that the file names; empty if it cannot be read."""
    try:
        with open_regular(holder) as file:
            text = file.read(4 * MOST).decode("utf-8", "replace")
    except OSError:
        return ""
    return "".join(character for character in text[:MOST].strip() if character.isprintable())
