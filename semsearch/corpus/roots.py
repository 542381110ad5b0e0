"""Naming files by their roots, and tracking which files an indexing run has read.

The id of a file is its path relative to a root that is stored in the index. It therefore does not depend on the working
directory or on the path by which the file is given, survives a move of the root, and is never shared by two files.
"""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from semsearch.corpus.globs import Glob
from semsearch.errors import UsageError
from semsearch.types import Origin, Root
from semsearch.urls import scheme_of

log = logging.getLogger(__name__)


class Coverage:
    """The roots of an index, those added by a run, and a record of what the run was given and has read.

    Attributes:
        known: Roots stored in the index.
        roots: Known and new roots.
        given: Files and folders passed to the run; None stands for documents from memory.
        remote: By the URL that each was opened with, functions that return whether the file at a URL below is gone.
        bytes_read: Number of bytes read from files so far, compressed as they are there.
        only: Files and folders that the run is restricted to, none inside another; None for no restriction.
    """

    def __init__(
        self,
        roots: Iterable[Root] = (),
        moved: Callable[[Root, str], bool] | None = None,
        only: Iterable[str] | None = None,
    ) -> None:
        """Start tracking a run.

        Args:
            roots: Roots of the index.
            moved: Function that returns whether a folder contains the files of a root that no longer exists; None for
                never.
            only: Files and folders, existing or not, to restrict the run to, as absolute paths with the links in their
                parent folders resolved; None for no restriction.
        """
        self.roots = list(roots)
        self.known = tuple(self.roots)
        self._moved = moved or (lambda root, folder: False)
        self.given: list[Origin | None] = []
        self.remote: dict[str, Callable[[str], bool]] = {}
        self.bytes_read = 0
        self.only = None if only is None else _without_inner(set(only))
        self._leading = {folder for path in self.only or () for folder in _above(path)}
        self._globs: dict[int, Glob] = {}
        self._read: set[str] = set()
        self._complete: set[tuple[str | None, str]] = set()
        self._unread: set[tuple[str | None, str]] = set()
        self._passed: set[tuple[str | None, str]] = set()

    def give(self, origin: Origin, glob: Glob | None = None) -> None:
        """Record that the run was given a file or a folder, or what a pattern names in a folder."""
        if glob:
            self._globs[len(self.given)] = glob
        self.given.append(origin)

    def asks_for(self, origin: Origin | None) -> bool:
        """Return whether a document in one of the scopes is among what was given, of which a pattern may be a part."""
        if not self._globs or origin is None:
            return True
        path = str(origin)
        around = [(n, one) for n, one in enumerate(self.given) if one is None or _lies_in(path, str(one))]
        return any(n not in self._globs or self._globs[n].names(_inner(path, str(one))) for n, one in around)

    def begins(self, path: str) -> bool:
        """Return whether the run reads this file for the first time; several of the given paths may lead to it."""
        if len(self.given) < 2:
            return True
        real = os.path.realpath(path)
        new = real not in self._read
        self._read.add(real)
        return new

    def count(self, n: int) -> None:
        """Record that so many bytes of a file were read."""
        self.bytes_read += n

    def concerns(self, path: str) -> bool:
        """Return whether the run looks at a file or folder: unless it is restricted to other ones.

        Args:
            path: Absolute path; it is looked at if it is inside a file or folder in `only`, or leads to one.
        """
        if self.only is None or path in self.only or path in self._leading:
            return True
        return any(folder in self.only for folder in _above(path))

    def scopes(self) -> list[Origin | None]:
        """Return the files and folders all of whose documents the run should meet; None for the whole index.

        Raises:
            UsageError: If the run is restricted to a file or folder that is under no root.
        """
        if self.only is None:
            return self.given
        for path in self.only:
            if not self.holds(path):
                raise UsageError(f"`only` contains {path!r}, which is not in any folder that was indexed")
        return [self.origin_of(path, found=True) for path in sorted(self.only)]

    def complete(self, origin: Origin) -> None:
        """Record that every record of a file was read, or at least examined."""
        self._complete.add(origin.key)

    def unread(self, origin: Origin | None) -> None:
        """Record that something in a file or folder, or from memory, could not be read."""
        self._unread.add((origin or Origin()).key)

    def passed_over(self, origin: Origin) -> None:
        """Record that a file or folder is not part of the corpus, although it exists."""
        self._passed.add(origin.key)

    def lacks(self, origin: Origin | None) -> bool:
        """Return whether a document not seen in this run is gone, rather than in a place that could not be read.

        A file that exists but was passed over is gone from the corpus.
        """
        root, file = (origin or Origin()).key
        parts = file.split("/")
        above = ["", *("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))]
        if any((root, one) in self._unread for one in above):
            return False
        if (root, file) in self._complete or origin is None or origin.root is None:
            return True
        return any((root, one) in self._passed for one in above) or self.is_gone(origin)

    def is_gone(self, origin: Origin) -> bool:
        """Return whether the system reports that the file does not exist, or has become a folder."""
        if origin.root is None:
            return False
        forms = {origin.file, unicodedata.normalize("NFD", origin.file)}
        if scheme_of(origin.root.path):
            url = str(origin)
            near = [gone for base, gone in self.remote.items() if _lies_in(url, base)]
            return bool(near) and all(near[0](f"{origin.root.path}/{form}") for form in forms)
        paths = [str(Path(origin.root.path, form)) for form in forms]
        return all(_is_gone(path) or os.path.isdir(path) for path in paths)

    def root_of(self, folder: str) -> Root:
        """Return the root that a folder belongs to: the innermost known one, or else a new one.

        If a known root no longer exists and the folder contains its files, the root has moved: the new root takes its
        name.

        Args:
            folder: Absolute path, with links resolved.
        """
        if known := self._around(folder):
            return known
        for old in self.roots:
            if _is_gone(old.path) and self._moved(old, folder):
                log.warning('"%s" no longer exists; "%s" contains its files, which keep their ids', old.path, folder)
                self.roots.remove(old)
                self.roots.append(Root(old.name, folder))
                return self.roots[-1]
        self.roots.append(Root(self._free_name(folder) if self.roots else "", folder))
        return self.roots[-1]

    def holds(self, path: str) -> bool:
        """Return whether a path, absolute and with links resolved, lies under a known root."""
        return self._around(path) is not None

    def origin_of(self, path: str, *, found: bool) -> Origin:
        """Return the origin of a file or folder: its root, and its path relative to that root.

        Args:
            path: Absolute path, with links resolved, under a known root.
            found: Whether the file was found in a folder, rather than given itself.
        """
        root = self._around(path)
        if root is None:
            raise ValueError(f"{path!r} is not under any of {self.roots}")
        separator = "/" if scheme_of(path) else os.sep
        inner = unicodedata.normalize("NFC", path).split(separator)[len(_folded(root.path).split(separator)) - 1 :]
        return Origin(root, "/".join(inner), found)

    def adopt(self, origin: Origin) -> Origin:
        """Return the origin, in terms of this index's roots, of a document that was read without knowing them."""
        if origin.root is None or origin.root in self.roots:
            return origin
        self.root_of(origin.root.path)
        return self.origin_of(str(origin), found=origin.found)

    def below(self, origin: Origin) -> list[Origin]:
        """Return the origin itself, followed by the other roots that lie inside it."""
        if origin.root is None:
            return [origin]
        return [
            origin,
            *(Origin(root) for root in self.roots if _lies_in(root.path, str(origin)) and root != origin.root),
        ]

    def _around(self, path: str) -> Root | None:
        """Return the innermost root that contains a path, or None."""
        folded = _folded(path)
        around = [root for root in self.roots if folded.startswith(_folded(root.path))]
        return max(around, key=lambda root: len(_folded(root.path)), default=None)

    def _free_name(self, folder: str) -> str:
        """Return the folder's name, numbered if another root or a file in the first root already has it."""
        name = unicodedata.normalize("NFC", os.path.basename(folder)) or "root"
        names = {root.name for root in self.roots}
        first = [root.path for root in self.roots if not root.name]
        number, free = 1, name
        while free in names or any(os.path.lexists(os.path.join(path, free)) for path in first):
            number += 1
            free = f"{name}-{number}"
        return free


def outermost(folders: Iterable[str]) -> list[str]:
    """Return the folders that do not lie inside another one, in the given order."""
    kept: list[str] = []
    for folder in folders:
        if not any(_lies_in(folder, other) for other in kept):
            kept = [*(other for other in kept if not _lies_in(other, folder)), folder]
    return kept


def _inner(path: str, folder: str) -> str:
    """Return a path relative to a folder that it lies in, with `/` as separator."""
    return unicodedata.normalize("NFC", path)[len(_folded(folder)) :].replace(os.sep, "/")


def _without_inner(paths: set[str]) -> frozenset[str]:
    """Return the paths that are not inside another one."""
    return frozenset(path for path in paths if not any(folder in paths for folder in _above(path)))


def _above(path: str) -> Iterator[str]:
    """Yield the folders that contain a path, the innermost first."""
    while (parent := os.path.dirname(path)) != path:
        yield parent
        path = parent


def _lies_in(path: str, folder: str) -> bool:
    return _folded(path).startswith(_folded(folder))


@lru_cache(64)
def _folded(path: str) -> str:
    """Return a path as this system compares paths, or a URL, with a trailing separator."""
    if scheme_of(path):
        return unicodedata.normalize("NFC", path).rstrip("/") + "/"
    return os.path.join(os.path.normcase(unicodedata.normalize("NFC", path)), "")


def _is_gone(path: str) -> bool:
    """Return whether the system reports that the path does not exist, rather than that it is inaccessible, or a URL."""
    if scheme_of(path):
        return False
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
