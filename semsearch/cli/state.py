"""What the command line remembers on this machine: the history of queries, the last hits, and where indexes are."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

FOLDER_VARIABLE = "SEMSEARCH_STATE"
"""Environment variable that names a folder to use instead of the user's state folder."""


def state_folder() -> Path:
    """Return the folder in $SEMSEARCH_STATE, or else the user's state folder; it need not exist."""
    if given := os.environ.get(FOLDER_VARIABLE):
        return Path(given).expanduser()
    from platformdirs import user_state_path

    return user_state_path("semsearch")


def keep(path: Path, text: str) -> None:
    """Write a file that only the user can read, atomically; do nothing if that is impossible.

    Args:
        path: The file, in the state folder.
        text: The new content.
    """
    import secrets  # takes several milliseconds

    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    with suppress(OSError, ValueError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with open(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def kept(path: Path) -> str:
    """Return the content of a file in the state folder; empty if there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
