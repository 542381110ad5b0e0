"""Paths as users give them."""

from __future__ import annotations

import os
from pathlib import Path

from semsearch.errors import UsageError


def as_path(path: object, name: str = "path") -> Path:
    """A path from text or from any path object, such as pathlib's.

    Args:
        path: What was given.
        name: Of the parameter, for the message.

    Raises:
        UsageError: It is neither, as bytes are not.
    """
    if isinstance(path, str):
        return Path(path)
    if isinstance(path, os.PathLike) and isinstance(given := os.fspath(path), str):
        return Path(given)
    raise UsageError(f"`{name}` is {path!r:.60}; expected a path as text or pathlib.Path")
