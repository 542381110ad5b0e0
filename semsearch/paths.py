"""Validation and resolution of paths given by users."""

from __future__ import annotations

import os
from pathlib import Path

from semsearch.errors import UsageError


def as_path(path: object, name: str = "path") -> Path:
    """Return a path that was given as text or as a path object.

    Args:
        path: The path.
        name: Name of the parameter, for the error message.

    Raises:
        UsageError: If it is something else, such as bytes.
    """
    if isinstance(path, os.PathLike):
        path = os.fspath(path)
    if not isinstance(path, str):
        raise UsageError(f"`{name}` is {path!r:.60}; expected a path as text or pathlib.Path")
    return Path(path)


def real_place(path: str | os.PathLike[str]) -> str:
    """Return the absolute path of a file, a folder or a link itself, with the links in its parent folders resolved."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)


def printable(path: str) -> str:
    """Return a printable form of a path, which may not be valid UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()


def shown(path: str) -> str:
    """Shorten a given path for a message, since it may be a whole text passed by mistake."""
    line = " ".join(printable(path).split())
    return line if len(line) <= 300 else f"{line[:299]}…"
