"""The lock of an index folder, which the system frees when its holder's process ends in whatever way."""

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
"""Names who holds the lock, for the message that others get."""

MOST = 200
"""Characters of a name that are shown."""


@contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock.

    Raises:
        LockedError: Another process, or another writer of this one, holds it.
        StoreError: In the place of the lock is a link, a pipe or a device.
    """
    lock, holder = FileLock(folder / LOCK, thread_local=False), folder / HOLDER
    if os.path.lexists(folder / LOCK) and not is_regular(folder / LOCK):
        raise StoreError(f"{str(folder / LOCK)!r} is a link or no regular file, so it cannot be locked; remove it")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LockedError(
            f"{str(folder)!r} is being written by {_name(holder) or 'another process'}; wait for it to end, or stop it"
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
    """Who wrote the file; nothing where it cannot be read."""
    try:
        with open_regular(holder) as file:
            text = file.read(4 * MOST).decode("utf-8", "replace")
    except OSError:
        return ""
    return "".join(character for character in text[:MOST].strip() if character.isprintable())
