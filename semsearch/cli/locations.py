"""Which indexes a command means: those of the current folder, one that is given, or several by name."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from semsearch.cli import terminal
from semsearch.errors import NoIndexError, SourceError, UsageError

HOME = Path("indexes")
"""Folder of indexes, unless --index names another place."""


def indexes_in(folder: Path, *, broken: bool = False) -> list[Path]:
    """Return the indexes in a folder; with `broken` also what has a database's name in it and is no such file."""
    from semsearch.index import Index
    from semsearch.stores.local.database import DATABASE

    def wanted(path: Path) -> bool:
        try:
            return Index.exists(path) or (broken and os.path.lexists(path / DATABASE))
        except OSError:  # it cannot be looked into
            return broken

    try:
        return sorted(path for path in folder.iterdir() if wanted(path)) if folder.is_dir() else []
    except OSError as error:
        raise SourceError(f"cannot list {str(folder)!r}: {error.strerror}") from None


def find_index(given: Path | None, *, newest: bool = False) -> Path:
    """Return the given index, or else the only one there is, or with `newest` the most recently updated one."""
    from semsearch.stores.local.database import DATABASE

    if given:
        return given
    found = indexes_in(HOME)
    if not found:
        raise NoIndexError(
            f"no index in {str(HOME)!r}; make one with: semsearch index CORPUS, or choose one with --index"
        )
    if len(found) == 1:
        return found[0]
    if not newest:
        raise UsageError(f"there are several indexes; choose one with --index: {', '.join(map(str, found))}")

    def updated(path: Path) -> int:
        try:
            return (path / DATABASE).stat().st_mtime_ns
        except OSError:  # it was deleted meanwhile
            return 0

    last = max(found, key=updated)
    terminal.say(f"using {last}, the most recently updated of {len(found)} indexes; choose another with --index")
    return last


def named_indexes(given: Sequence[str]) -> dict[str, Path]:
    """Indexes by name, each given as `NAME=DIR`, or as a folder, whose own name it then has.

    Without any, all of the current folder's. What a name may not hold becomes a hyphen where the folder names it.

    Raises:
        UsageError: Two have the same name, or one has other characters.
        NoIndexError: None was given, and there is none.
    """
    from semsearch.mcp.shelf import NAME

    every = given or [str(folder) for folder in indexes_in(HOME)]
    if not every:
        raise NoIndexError(
            f"no index in {str(HOME)!r}; make one with: semsearch index CORPUS, or name one with --index"
        )
    named: dict[str, Path] = {}
    for one in every:
        name, equals, folder = one.partition("=")
        if not equals or "/" in name or Path(one).exists():
            folder = one
            name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(one).resolve().name).strip("-._")[:100] or "index"
        elif not NAME.fullmatch(name):
            raise UsageError(f"the index is named {name!r:.60}; expected letters, digits and . _ -, such as 'notes'")
        if name in named:
            raise UsageError(
                f"two indexes are named {name!r}: {str(named[name])!r} and {folder!r}; name them with --index NAME=DIR"
            )
        named[name] = Path(folder)
    return named
