"""Paths as users give them."""

from __future__ import annotations

import os
from pathlib import Path

from semsearch.errors import UsageError


def as_path(path: object, name: str = "path") -> Path:
    """A path that was given as text or as an object that stands for one.

    Args:
        path: What the user gave.
        name: The parameter that it was given for, for the message.

    Raises:
        UsageError: It is something else, such as bytes, a number or None.
    """
    if isinstance(path, str | os.PathLike):
        text = os.fspath(path)
        if isinstance(text, str):
            return Path(text)
    raise UsageError(f"`{name}` is {path!r:.60}; expected a path as text or pathlib.Path")
