"""The lock of an index folder, which the system frees when its holder's process ends in whatever way."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from semsearch.errors import LockedError

LOCK = "writer.lock"

HOLDER = "writer.holder"
"""Names who holds the lock, for the message that others get."""


@contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock.

    Raises:
        LockedError: Another process, or another writer of this one, holds it.
    """
    lock, holder = FileLock(folder / LOCK, thread_local=False), folder / HOLDER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        name = holder.read_text(encoding="utf-8").strip() if holder.exists() else ""
        raise LockedError(
            f"{str(folder)!r} is being written by {name or 'another process'}; wait for it to end, or stop it"
        ) from None
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()}, since {since}\n", encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
