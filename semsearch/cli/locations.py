"""Resolution of the indexes that a command works on: those in the current folder, a given one, or several by name."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from semsearch.cli import terminal
from semsearch.errors import NoIndexError, SourceError, UsageError

HOME = Path("indexes")
"""Folder that contains the indexes, unless --index names another location."""


def indexes_in(folder: Path, *, broken: bool = False) -> list[Path]:
    """Return the indexes in a folder, sorted by path.

    Args:
        folder: Folder that contains the indexes.
        broken: Whether to include folders that cannot be read or whose database is not a regular file.

    Raises:
        SourceError: If the folder cannot be listed.
    """
    from semsearch.index import Index
    from semsearch.stores.local.database import DATABASE

    def wanted(path: Path) -> bool:
        try:
            return Index.exists(path) or (broken and os.path.lexists(path / DATABASE))
        except OSError:  # the folder cannot be read
            return broken

    try:
        return sorted(path for path in folder.iterdir() if wanted(path)) if folder.is_dir() else []
    except OSError as error:
        raise SourceError(f"cannot list {str(folder)!r}: {error.strerror}") from None


def find_index(given: Path | None, *, newest: bool = False) -> Path:
    """Return the given index, or else the only index in `indexes/`, or with `newest` the most recently updated one.

    Raises:
        NoIndexError: If none is given and there is none.
        UsageError: If none is given and there are several, unless `newest`.
    """
    from semsearch.stores.local.database import DATABASE

    if given:
        return given
    found = indexes_in(HOME)
    if not found:
        raise NoIndexError(
            f"no index in {str(HOME)!r}; create one with: semsearch index CORPUS, or choose one with --index"
        )
    if len(found) == 1:
        return found[0]
    if not newest:
        raise UsageError(f"there are several indexes; choose one with --index: {', '.join(map(str, found))}")

    def updated(path: Path) -> int:
        try:
            return (path / DATABASE).stat().st_mtime_ns
        except OSError:  # deleted in the meantime
            return 0

    last = max(found, key=updated)
    terminal.say(f"using {last}, the most recently updated of {len(found)} indexes; choose another with --index")
    return last


def named_indexes(given: Sequence[str]) -> dict[str, Path]:
    """Return index folders by name.

    Args:
        given: `NAME=DIR`, or a folder that gives the index its name, for each index; characters that a name may not
            contain then become hyphens. If empty, all indexes in `indexes/`.

    Raises:
        UsageError: If two indexes have the same name, or a name contains other characters than letters, digits and
            `._-`.
        NoIndexError: If none is given and there is none.
    """
    from semsearch.mcp.shelf import NAME

    every = given or [str(folder) for folder in indexes_in(HOME)]
    if not every:
        raise NoIndexError(
            f"no index in {str(HOME)!r}; create one with: semsearch index CORPUS, or choose one with --index"
        )
    named: dict[str, Path] = {}
    for one in every:
        name, equals, folder = one.partition("=")
        if not equals or "/" in name or Path(one).exists():
            folder = one
            name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(one).resolve().name).strip("-._")[:100] or "index"
        elif not NAME.fullmatch(name):
            raise UsageError(f"invalid index name {name!r:.60}; expected letters, digits and . _ -, such as 'notes'")
        if name in named:
            raise UsageError(
                f"two indexes are named {name!r}: {str(named[name])!r} and {folder!r}; name them with --index NAME=DIR"
            )
        named[name] = Path(folder)
    return named
