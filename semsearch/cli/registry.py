"""The indexes on this machine, as far as commands have used them, for `semsearch list --all`.

Each index has a file of its own in the state folder, named by a hash of its path, so that commands which run at the
same time never write the same file for different indexes.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from semsearch.cli.state import keep, kept, state_folder

NAME = "indexes"
"""Folder of the registry in the state folder."""


def remember(folder: Path) -> None:
    """Note where an index is, or is about to be; never fails."""
    import hashlib

    with suppress(OSError, ValueError):
        path = os.path.realpath(folder)
        entry = state_folder() / NAME / hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
        if not entry.exists():
            keep(entry, path)


def remembered() -> list[Path]:
    """Return the indexes that are still there, sorted by path; forget the others."""
    from semsearch.stores.local.database import DATABASE
    from semsearch.stores.local.holder import writer_of

    found = []
    with suppress(OSError):
        for entry in (state_folder() / NAME).iterdir():
            if entry.suffix == ".tmp":
                continue
            folder = Path(kept(entry))
            if folder.is_absolute() and (os.path.lexists(folder / DATABASE) or writer_of(folder)):
                found.append(folder)
            else:
                with suppress(OSError):
                    entry.unlink()
    return sorted(found)
