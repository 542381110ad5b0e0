"""Files that may be gzipped, as the extension `.gz` indicates."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from io import BufferedIOBase, BufferedReader, FileIO
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

GZIPPED = ".gz"

Count: TypeAlias = Callable[[int], None]
"""Receives a number of bytes that were just read."""

CORRUPT = (EOFError, zlib.error)
"""Exceptions besides OSError that gzip raises for a truncated or damaged file."""

UNREADABLE = (OSError, *CORRUPT, UnicodeDecodeError)
"""Exceptions that reading a text file may raise, including those for truncated or damaged gzip files."""


def ending_of(path: str | Path) -> str:
    """Return the file extension in lower case, ignoring `.gz`: `.tsv` for `pairs.TSV.gz`."""
    return Path(str(path).lower().removesuffix(GZIPPED)).suffix


def plain_or_gzipped(path: Path) -> Path:
    """Return the path itself, or the path with `.gz` appended if only that file exists."""
    gzipped = path.with_name(path.name + GZIPPED)
    return gzipped if gzipped.is_file() and not path.is_file() else path


def is_gzipped(path: str | Path) -> bool:
    """Return whether the file name ends in `.gz`."""
    return str(path).lower().endswith(GZIPPED)


def open_bytes(path: str | Path, count: Count | None = None) -> BinaryIO | BufferedIOBase:
    """Open a file for reading bytes, decompressed if the name ends in `.gz`.

    Args:
        path: The file.
        count: Receives the number of bytes, of the file itself, whenever some are read.
    """
    if count is None:
        return gzip.open(path) if is_gzipped(path) else open(path, "rb")
    file = BufferedReader(_Counted(path, count))
    return _Gunzipped(file) if is_gzipped(path) else file


class _Counted(FileIO):
    """A file that tells how much of it is read."""

    def __init__(self, path: str | Path, count: Count) -> None:
        super().__init__(path)
        self._count = count

    def readinto(self, buffer: Any, /) -> int | None:
        n = super().readinto(buffer)
        self._count(n or 0)
        return n

    def readall(self) -> bytes:
        data = super().readall()
        self._count(len(data))
        return data


class _Gunzipped(gzip.GzipFile):
    """A gzipped file that closes what it reads from."""

    def __init__(self, file: BufferedIOBase) -> None:
        super().__init__(fileobj=file)
        self._file = file

    def close(self) -> None:
        super().close()
        self._file.close()
