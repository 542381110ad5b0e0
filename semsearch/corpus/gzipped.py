"""Files that may be gzipped, with `.gz` behind their names."""

from __future__ import annotations

import gzip
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import BinaryIO

GZIPPED = ".gz"

CORRUPT = (EOFError, zlib.error)
"""What gzip raises besides OSError for a file that is cut off or damaged."""

UNREADABLE = (OSError, *CORRUPT, UnicodeDecodeError)
"""What reading such a file may raise, gzipped ones that are cut off or damaged included."""


def ending_of(path: str | Path) -> str:
    """The ending in small letters, that in front of `.gz` where a file is gzipped: `.tsv` of `pairs.TSV.gz`."""
    return Path(str(path).lower().removesuffix(GZIPPED)).suffix


def plain_or_gzipped(path: Path) -> Path:
    """The file itself, or the same with `.gz` behind where there is only that."""
    gzipped = path.with_name(path.name + GZIPPED)
    return gzipped if gzipped.is_file() and not path.is_file() else path


def is_gzipped(path: str | Path) -> bool:
    """Whether a name says that the file is gzipped."""
    return str(path).lower().endswith(GZIPPED)


def open_bytes(path: str | Path) -> BinaryIO | BufferedIOBase:
    """Open a file to read its bytes, decompressed where the name ends in `.gz`."""
    return gzip.open(path) if is_gzipped(path) else open(path, "rb")
