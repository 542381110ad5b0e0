"""Patterns in given paths, such as `data/**/*.jsonl`, which a shell would expand unless they are quoted.

A pattern is read as the folder before its first wildcard, restricted to what it names. So ids are relative to that
folder, and a file that is gone is noticed, as for the folder itself.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from fnmatch import fnmatch

WILDCARDS = "*?["

ANY_DEPTH = "**"
"""Part of a pattern that stands for any number of folders, none included."""


@dataclass(frozen=True, slots=True)
class Glob:
    """A path with wildcards, which name files, or folders with all that is in them.

    Attributes:
        base: The folder before the first wildcard, as it was given; empty for the current one.
        parts: The names and patterns below it.
    """

    base: str
    parts: tuple[str, ...]

    @classmethod
    def of(cls, path: str, wildcards: str = WILDCARDS) -> Glob | None:
        """Return the pattern that a path is; None if it has no wildcards."""
        parts = path.replace(os.sep, "/").split("/")
        first = next((n for n, part in enumerate(parts) if any(one in part for one in wildcards)), None)
        if first is None:
            return None
        base = "/".join(parts[:first]) or ("/" if first else "")
        below = [part for part in parts[first:] if part]
        below += [] if parts[-1] else ["*"]  # a slash at the end asks for folders
        return cls(base, tuple(unicodedata.normalize("NFC", part) for part in below))

    def names(self, inner: str) -> bool:
        """Return whether the pattern names a file, or a folder that it lies in.

        Args:
            inner: Path relative to the folder, with `/` as separator.
        """
        return len(self.parts) in self._reached(inner)

    def concerns(self, inner: str, *, is_folder: bool) -> bool:
        """Return whether a walk enters a folder, or reads a file, by its relative path."""
        return self.leads_to(inner) if is_folder else self.names(inner)

    def leads_to(self, inner: str) -> bool:
        """Return whether the pattern may name something in a folder, by its relative path."""
        return bool(self._reached(inner))

    def _reached(self, inner: str) -> set[int]:
        """Return how many parts of the pattern may be used up by a path; all of them if it is named."""
        reached = self._with_depth({0})
        for name in unicodedata.normalize("NFC", inner).split("/"):
            if len(self.parts) in reached:
                break
            stay = {n for n in reached if self.parts[n] == ANY_DEPTH}
            reached = self._with_depth(stay | {n + 1 for n in reached - stay if fnmatch(name, self.parts[n])})
        return reached

    def _with_depth(self, reached: set[int]) -> set[int]:
        """Add what is reached where `**` stands for no folder."""
        for n in range(len(self.parts)):
            if n in reached and self.parts[n] == ANY_DEPTH:
                reached = reached | {n + 1}
        return reached
