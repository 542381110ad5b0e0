"""Paths as users give them."""

from __future__ import annotations

import os
from pathlib import Path

from semsearch.errors import UsageError


def as_path(path: object, name: str = "path") -> Path:
    """A path given as text or as a path object.

    Raises:
        UsageError: It is something else, such as bytes.
    """
    if isinstance(path, os.PathLike):
        path = os.fspath(path)
    if not isinstance(path, str):
        raise UsageError(f"`{name}` is {path!r:.60}; expected a path as text or pathlib.Path")
    return Path(path)
