"""Files that may be gzipped, as the extension `.gz` indicates."""

from __future__ import annotations

import gzip
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import BinaryIO

GZIPPED = ".gz"

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


def open_bytes(path: str | Path) -> BinaryIO | BufferedIOBase:
    """Open a file for reading bytes, decompressed if the name ends in `.gz`."""
    return gzip.open(path) if is_gzipped(path) else open(path, "rb")
