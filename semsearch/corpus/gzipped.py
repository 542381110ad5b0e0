"""Files that may be gzipped, as the extension `.gz` indicates."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from io import BufferedIOBase, BufferedReader, FileIO, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

GZIPPED = ".gz"

Count: TypeAlias = Callable[[int], None]
"""Receives a number of bytes that were just read."""

CORRUPT = (EOFError, zlib.error)
"""Exceptions besides OSError that gzip raises for a truncated or damaged file."""

UNREADABLE = (OSError, *CORRUPT, UnicodeDecodeError)
"""Exceptions that reading a text file may raise, including those for truncated or damaged gzip files."""


UNSUSPECTED = 64 * 2**20
"""Number of bytes that a compressed file of any length may contain."""

MAX_RATIO = 200
"""How many more bytes it may contain for each of its own; text has 3 to 20, and gzip can reach 1,000."""

TOO_COMPRESSED = (
    f"it contains more than {MAX_RATIO} times as many bytes as the file; decompress it first if you trust it"
)


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
    file = BufferedReader(_Counted(path, count)) if count else open(path, "rb")
    return decompressed(file, gzip.GzipFile(fileobj=file)) if is_gzipped(path) else file


def decompressed(file: BinaryIO | BufferedIOBase, content: BinaryIO | BufferedIOBase) -> BufferedReader:
    """Return a stream of the content of a compressed file, which both are closed with it.

    Args:
        file: The compressed bytes, whose position says how many were read.
        content: The same, decompressed.
    """
    return BufferedReader(_Decompressed(file, content), 2**16)


def most_bytes(compressed: int) -> int:
    """Return how many bytes may come out of a number of compressed bytes, unless these were made to fill a disk."""
    return UNSUSPECTED + MAX_RATIO * compressed


class _Decompressed(RawIOBase):
    """Decompressed bytes; reading raises OSError as soon as there are more than `most_bytes`."""

    def __init__(self, file: BinaryIO | BufferedIOBase, content: BinaryIO | BufferedIOBase) -> None:
        self._file, self._content = file, content
        self._length = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        block = self._content.read(len(memoryview(buffer)))
        memoryview(buffer)[: len(block)] = block
        self._length += len(block)
        if self._length > most_bytes(self._file.tell()):
            raise OSError(TOO_COMPRESSED)
        return len(block)

    def close(self) -> None:
        self._content.close()
        self._file.close()
        super().close()


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
