"""Resolution of the indexes that a command works on: those in the current folder, a given one, or several by name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias

from semsearch.cli import terminal
from semsearch.cli.registry import remember
from semsearch.errors import NoIndexError, SourceError, UsageError
from semsearch.stores.addresses import Address, is_url, parse_address
from semsearch.urls import scheme_of

IndexPlace: TypeAlias = Path | Address
"""Where an index is: a folder, or an index in a database. As text, it never has a password."""

HOME = Path("indexes")
"""Folder that contains the indexes, here or in a folder above, unless --index names another location."""

NONE = f"no index in {str(HOME)!r}; create one with: semsearch index CORPUS, or choose one with --index"


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


def home() -> Path:
    """Return the folder that contains the indexes: `indexes/` here, or the nearest one above that contains an index.

    The search goes up to the user's home folder, or else to the root, and ends at the border of a file system. Folders
    that belong to somebody else are passed over, because their indexes were not made by this user.
    """
    with suppress(OSError):  # the current folder was deleted, or one above cannot be examined
        here = Path.cwd()
        for folder in _upward(here):
            if _has_index(folder / HOME):
                return HOME if folder == here else Path(os.path.relpath(folder / HOME))
    return HOME


def _upward(here: Path) -> Iterator[Path]:
    """Yield a folder and the folders above it that may contain its indexes, the nearest first."""
    last, device = Path(os.path.expanduser("~")).resolve(), here.stat().st_dev
    for folder in (here, *here.parents):
        entry = folder.stat()
        if entry.st_dev != device:
            return
        if folder == here or not hasattr(os, "geteuid") or entry.st_uid == os.geteuid():
            yield folder
        if folder == last:
            return


def _has_index(folder: Path) -> bool:
    try:
        return bool(indexes_in(folder, broken=True))
    except SourceError:
        return False


def find_index(given: str | Path | None, *, newest: bool = False) -> IndexPlace:
    """Return the given index, or else the only index in `indexes/`, or with `newest` the most recently updated one.

    Raises:
        NoIndexError: If none is given and there is none, or if the given one is missing and another has a similar name.
        UsageError: If none is given and there are several, unless `newest`.
    """
    place = given_index(given) if given else _only_index(newest=newest)
    _remember(place)
    return place


def new_index(given: str | Path | None, corpus: str) -> IndexPlace:
    """Return the place of an index that need not exist yet: the given one, or else the folder of the corpus.

    Raises:
        UsageError: If none is given and that of the corpus is taken; see `index_of`.
    """
    if given and is_url(given):
        place: IndexPlace = parse_address(str(given))
    else:
        place = _by_name(Path(given)) if given else index_of(corpus)
    _remember(place)
    return place


def _remember(place: IndexPlace) -> None:
    """Note where an index is, if it is a folder: addresses of databases are not kept."""
    if isinstance(place, Path):
        remember(place)


def given_index(given: str | Path) -> IndexPlace:
    """Return the index that the user means: the folder, the index of that name in `indexes/`, or a database.

    Raises:
        NoIndexError: If there is neither, and an index has a similar name.
    """
    if is_url(given):
        return parse_address(str(given))
    folder = Path(given)
    meant = _by_name(folder)
    if not os.path.lexists(meant):
        names = {one.name: one for one in indexes_in(home(), broken=True)}
        near = get_close_matches(folder.name, names)
        if near:
            raise NoIndexError(f"no index in {str(given)!r}; did you mean {names[near[0]]}?")
    return meant


def _by_name(given: Path) -> Path:
    """Return the index of a name in `indexes/`, unless the name is an index or an empty folder here."""
    from semsearch.stores.local.database import DATABASE

    named = home() / given
    if given != Path(given.name) or os.path.lexists(given / DATABASE) or not os.path.lexists(named / DATABASE):
        return given
    return given if given.is_dir() and not any(given.iterdir()) else named


def writer_at(place: IndexPlace) -> str:
    """Return the process that writes to an index in a folder; empty if there is none, or for a database."""
    from semsearch.stores.local.holder import writer_of

    return writer_of(place) if isinstance(place, Path) else ""


def _only_index(*, newest: bool) -> Path:
    """Return the index to use if none is given; see `find_index`."""
    from semsearch.stores.local.database import DATABASE

    folder = home()
    found = indexes_in(folder)
    if not found:
        raise NoIndexError(NONE)
    if len(found) == 1:
        return _told(found[0], folder)
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


def index_of(path: str) -> Path:
    """Return the index folder of a corpus, such as `indexes/notes.v2` for `data/notes.v2.jsonl.gz`.

    If another corpus of that name has the folder, names of the folders above the corpus precede it, as in
    `indexes/work-notes` for `work/notes`. The same corpus always gets the same folder.

    Raises:
        UsageError: If the folder has the index of a corpus that no longer exists, which may have moved to this path.
    """
    from semsearch.index import Index, origin_of

    origin = origin_of(path)
    if scheme_of(origin):
        whole, path = Path(origin.partition("//")[2]), origin
    else:
        whole = Path("stdin" if path == "-" else origin).resolve()
    name = whole.name if whole.is_dir() else Path(whole.name.removesuffix(".gz")).stem
    above = [part for part in whole.parent.parts if part != whole.anchor]
    folder = home()
    names = [folder / "-".join([*above[len(above) - depth :], name]) for depth in range(len(above) + 1)]
    free, owner = None, ""
    for one in names:
        if Index.exists(one):
            with Index.open(one) as index:
                if index.origin in ("", origin) or origin in index.roots:
                    return _told(one, folder)
                owner = owner or index.origin
        else:
            free = free or one
    if owner and not scheme_of(owner) and not os.path.exists(owner):
        raise UsageError(
            f"{str(names[0])!r} was built from {owner!r}, which no longer exists. If {path!r} is that corpus, or to "
            f"add to that index, pass --index {names[0]}; otherwise choose another folder with --index"
        )
    if free is None:
        raise UsageError(f"{str(names[0])!r} was built from {owner!r}; choose another folder for {path!r} with --index")
    if owner:
        terminal.say(f"{names[0]} is the index of {owner}; using {free} for {path} (or choose one with --index)")
        return free
    return _told(free, folder)


def _told(index: Path, folder: Path) -> Path:
    """Return an index, and name it if it is not in the current folder."""
    if folder != HOME:
        terminal.say(f"using {index}")
    return index


def complete_index(typed: str) -> list[str]:
    """Return the indexes that begin with what was typed, by path or, in `indexes/`, by name."""
    found = indexes_in(home())
    return [str(one) for one in found if str(one).startswith(typed)] or [
        one.name for one in found if one.name.startswith(typed)
    ]


def named_indexes(given: Sequence[str]) -> dict[str, IndexPlace]:
    """Return the places of indexes by name.

    Args:
        given: `NAME=INDEX`, or an index that gives itself its name, for each index: a folder its own, of which
            characters that a name may not contain become hyphens, and a database its schema. If empty, all indexes in
            `indexes/`.

    Raises:
        UsageError: If two indexes have the same name, or a name contains other characters than letters, digits and
            `._-`.
        NoIndexError: If none is given and there is none.
    """
    every = given or [str(folder) for folder in indexes_in(home())]
    if not every:
        raise NoIndexError(NONE)
    named: dict[str, IndexPlace] = {}
    for one in every:
        name, place = _named(one)
        if name in named:
            raise UsageError(
                f"two indexes are named {name!r}: {str(named[name])!r} and {str(place)!r}; name them with --index "
                "NAME=DIR"
            )
        named[name] = place
    for place in named.values():
        _remember(place)
    return named


def _named(given: str) -> tuple[str, IndexPlace]:
    """Return the name and the place of an index; see `named_indexes`."""
    from semsearch.mcp.shelf import NAME

    name, equals, rest = given.partition("=")
    if is_url(given):
        address = parse_address(given)
        return address.name, address
    if not equals or "/" in name or Path(given).exists():
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(given).resolve().name).strip("-._")[:100] or "index"
        return name, given_index(given)
    if not NAME.fullmatch(name):
        raise UsageError(f"invalid index name {name!r:.60}; expected letters, digits and . _ -, such as 'notes'")
    return name, given_index(rest)
