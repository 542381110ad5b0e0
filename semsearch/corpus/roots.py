"""Naming files: which root a file belongs to, and what a run has looked at.

The id of a file is its path relative to a root that the index remembers. So it stays the same from whatever working
directory and by whatever path the file is given, and when its root is moved; and two files never share one.
"""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

from semsearch.types import Origin, Root

log = logging.getLogger(__name__)


class Coverage:
    """The roots of an index, those that a run adds, and what the run was given and has read.

    Attributes:
        known: Roots that the index has stored.
        roots: Known roots and new ones.
        given: Files and folders that the run was given; None where it was given documents as well.
    """

    def __init__(self, roots: Iterable[Root] = (), moved: Callable[[Root, str], bool] | None = None) -> None:
        """Begin a run.

        Args:
            roots: Of the index.
            moved: Tells whether a folder holds what a root that is gone held; None for never.
        """
        self.roots = list(roots)
        self.known = tuple(self.roots)
        self._moved = moved or (lambda root, folder: False)
        self.given: list[Origin | None] = []
        self._read: set[str] = set()
        self._complete: set[tuple[str | None, str]] = set()
        self._unread: set[tuple[str | None, str]] = set()

    def begins(self, path: str) -> bool:
        """Whether this run has not read the file yet, to which several of the given paths may lead."""
        if len(self.given) < 2:
            return True
        real = os.path.realpath(path)
        new = real not in self._read
        self._read.add(real)
        return new

    def complete(self, origin: Origin) -> None:
        """Remember that every record of a file was read, or at least looked at."""
        self._complete.add(origin.key)

    def unread(self, origin: Origin | None) -> None:
        """Remember that something in a file or folder, or from memory, could not be read."""
        self._unread.add((origin or Origin()).key)

    def lacks(self, origin: Origin | None) -> bool:
        """Whether a document that this run has not met is gone, rather than somewhere it could not look."""
        root, file = (origin or Origin()).key
        parts = file.split("/")
        above = ["", *("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))]
        if any((root, one) in self._unread for one in above):
            return False
        if (root, file) in self._complete or origin is None or origin.root is None:
            return True
        return self.is_gone(origin)

    def is_gone(self, origin: Origin) -> bool:
        """Whether the system says that there is no such file."""
        return origin.root is not None and all(
            _is_gone(str(Path(origin.root.path, form)))
            for form in {origin.file, unicodedata.normalize("NFD", origin.file)}
        )

    def root_of(self, folder: str) -> Root:
        """The root that a folder belongs to: the innermost known one, or else a new one.

        A known root that is gone has moved here if the folder holds the same files; then the new one takes its name.

        Args:
            folder: Absolute, with links resolved.
        """
        if known := self._around(folder):
            return known
        for old in self.roots:
            if _is_gone(old.path) and self._moved(old, folder):
                log.warning('"%s" is gone; "%s" holds its files, which keep their ids', old.path, folder)
                self.roots.remove(old)
                self.roots.append(Root(old.name, folder))
                return self.roots[-1]
        self.roots.append(Root(self._free_name(folder) if self.roots else "", folder))
        return self.roots[-1]

    def holds(self, path: str) -> bool:
        """Whether a path, absolute and real, lies under a known root."""
        return self._around(path) is not None

    def origin_of(self, path: str, *, found: bool) -> Origin:
        """A file or folder as an index knows it.

        Args:
            path: Absolute, with links resolved; under a known root.
            found: Whether it was found in a folder.
        """
        root = self._around(path)
        if root is None:
            raise ValueError(f"{path!r} is under none of {self.roots}")
        inner = unicodedata.normalize("NFC", path).split(os.sep)[len(_folded(root.path).split(os.sep)) - 1 :]
        return Origin(root, "/".join(inner), found)

    def adopt(self, origin: Origin) -> Origin:
        """The origin of a document that was read without knowing the roots of this index."""
        if origin.root is None or origin.root in self.roots:
            return origin
        self.root_of(origin.root.path)
        return self.origin_of(str(origin), found=origin.found)

    def below(self, origin: Origin) -> list[Origin]:
        """What is in a file or folder: itself, and the roots that lie in it."""
        if origin.root is None:
            return [origin]
        return [
            origin,
            *(Origin(root) for root in self.roots if _lies_in(root.path, str(origin)) and root != origin.root),
        ]

    def _around(self, path: str) -> Root | None:
        """The innermost root that holds a path."""
        folded = _folded(path)
        around = [root for root in self.roots if folded.startswith(_folded(root.path))]
        return max(around, key=lambda root: len(_folded(root.path)), default=None)

    def _free_name(self, folder: str) -> str:
        """The folder's name, with a number where another root or a file of the first one goes by it."""
        name = unicodedata.normalize("NFC", os.path.basename(folder)) or "root"
        names = {root.name for root in self.roots}
        first = [root.path for root in self.roots if not root.name]
        number, free = 1, name
        while free in names or any(os.path.lexists(os.path.join(path, free)) for path in first):
            number += 1
            free = f"{name}-{number}"
        return free


def outermost(folders: Iterable[str]) -> list[str]:
    """Folders without those that lie in another of them, in the order given."""
    kept: list[str] = []
    for folder in folders:
        if not any(_lies_in(folder, other) for other in kept):
            kept = [*(other for other in kept if not _lies_in(other, folder)), folder]
    return kept


def _lies_in(path: str, folder: str) -> bool:
    return _folded(path).startswith(_folded(folder))


@lru_cache(64)
def _folded(path: str) -> str:
    """A path as this system compares it, with a separator at its end."""
    return os.path.join(os.path.normcase(unicodedata.normalize("NFC", path)), "")


def _is_gone(path: str) -> bool:
    """Whether the system says that nothing has this path, rather than that it cannot be looked at."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
