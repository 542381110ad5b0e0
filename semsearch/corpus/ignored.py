"""Rules of `.gitignore` files and patterns of the same kind: which files and folders they name.

A rule judges an entry of a folder by itself. Whether a folder above it is ignored is the business of whoever walks the
folders, and does not enter those that are. `pathspec` translates the patterns.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

IGNORE_FILES = (os.path.join(".git", "info", "exclude"), ".gitignore")
"""Files with rules in a folder; the later one takes precedence."""

MAX_RULES_BYTES = 2**20
MAX_STARS = 4
"""Number of asterisks in a name of a pattern; with more, matching a single name could take hours."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern of a `.gitignore`.

    Attributes:
        glob: The pattern without a trailing slash.
        ignores: Whether it names what is ignored, rather than an exception.
        folders: Whether it is about folders alone.
    """

    glob: GitIgnoreSpecPattern
    ignores: bool
    folders: bool

    def names(self, path: str, *, is_folder: bool) -> bool:
        """Return whether the rule is about this very entry, rather than about a folder above it."""
        if self.folders and not is_folder:
            return False
        found = self.glob.match_file(path)
        return found is not None and not any(found.match.groups())  # the group is the slash below a folder


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules for what lies in a folder, the last of which takes precedence.

    Attributes:
        base: Absolute path of the folder.
    """

    base: str
    rules: tuple[Rule, ...]

    def verdict(self, path: str, *, is_folder: bool) -> bool | None:
        """Return whether an absolute path is ignored; None if the rules do not say."""
        base = self.base.rstrip(os.sep) + os.sep
        if not path.startswith(base):
            return None
        inner = path[len(base) :].replace(os.sep, "/")
        return next((rule.ignores for rule in reversed(self.rules) if rule.names(inner, is_folder=is_folder)), None)

    def covers(self, path: str) -> bool:
        """Return whether the rules name a file, or a folder that it lies in; the innermost verdict counts."""
        verdict, is_folder = None, False
        while verdict is None and path.startswith(self.base) and path != self.base:
            verdict = self.verdict(path, is_folder=is_folder)
            path, is_folder = os.path.dirname(path), True
        return bool(verdict)


def rules_of(base: str, patterns: Iterable[str]) -> Rules:
    """Return the rules that the lines of a `.gitignore` in a folder, or patterns of this kind, express."""
    return Rules(base, tuple(rule for pattern in patterns if (rule := _rule(pattern)) is not None))


@lru_cache(4096)
def _rule(pattern: str) -> Rule | None:
    """Return the rule of a line; None for a comment, an empty line and an invalid pattern, as in git."""
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    if any(name.count("*") > MAX_STARS for name in re.sub(r"\*\*+", "*", pattern).split("/")):
        return None
    stripped = pattern.rstrip()
    folders = stripped.endswith("/") and not stripped.endswith("\\/")
    try:
        glob = GitIgnoreSpecPattern(stripped.removesuffix("/") if folders else pattern)
    except (ValueError, re.error):
        return None
    return None if glob.include is None else Rule(glob, glob.include, folders)


def rules_in(folder: str, home: str) -> tuple[Rules, ...]:
    """Read the rules that a folder contains.

    Args:
        folder: The folder to read.
        home: Absolute path of the folder that the rules are for.
    """
    lines = [line for name in IGNORE_FILES for line in _lines(os.path.join(folder, name))]
    rules = rules_of(home, lines)
    return (rules,) if rules.rules else ()


def rules_above(folder: str) -> tuple[Rules, ...]:
    """Read the rules of the repository that a folder lies in, from its top down to the folder's parent.

    There are none if the folder is the top of a repository or lies in none, or if they ignore the folder itself: who
    asks for it wants to have it read.

    Args:
        folder: Absolute path, with links resolved.
    """
    line = [folder]
    while not is_repository(line[-1]):
        parent = os.path.dirname(line[-1])
        if parent == line[-1]:
            return ()
        line.append(parent)
    rules: tuple[Rules, ...] = ()
    for outer, inner in pairwise(reversed(line)):
        rules += rules_in(outer, outer)
        if is_ignored(rules, inner, is_folder=True):
            return ()
    return rules


def is_repository(folder: str) -> bool:
    """Return whether a folder is the top of a git repository."""
    return os.path.lexists(os.path.join(folder, ".git"))


def is_ignored(rules: tuple[Rules, ...], path: str, *, is_folder: bool) -> bool:
    """Return whether the innermost rules that say anything about an absolute path ignore it."""
    verdicts = (one.verdict(path, is_folder=is_folder) for one in reversed(rules))
    return next((verdict for verdict in verdicts if verdict is not None), False)


def _lines(path: str) -> Iterator[str]:
    """Yield the lines of a regular file; nothing if it cannot be read."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would block
            return
        with open(path, "rb") as file:
            data = file.read(MAX_RULES_BYTES)
    except OSError:
        return
    yield from data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n")
