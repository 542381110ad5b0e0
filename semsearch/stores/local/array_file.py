"""Files of named arrays, which are mapped into memory instead of being read, and say which of their bytes are damaged.

    8 bytes      `semarrs1`
    arrays       each at a multiple of 64 bytes, followed by zeros up to the next one; everything is little-endian
    JSON         {"about": {…}, "arrays": {name: {"dtype", "shape", "at", "crc"}}}; the CRC-32 covers the zeros too
    2 x uint64   where the JSON begins, and its CRC-32

The CRC-32 of the JSON, recorded elsewhere, identifies the file. A checksum reveals accidents only: whoever reads arrays
from a folder of unknown origin must also check their values.
"""

from __future__ import annotations

import json
import mmap
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias
from weakref import finalize

import numpy as np

from semsearch.arrays import Array
from semsearch.files import creating, open_regular

MAGIC = b"semarrs1"

ALIGNMENT = 64

TRAILER = np.dtype("<u8")

DTYPES = ("|u1", "<u2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4")

MAX_FOOTER = 2**24
"""Maximum length of the JSON, far above that of any file that is written."""

AT_ONCE = 2**24
"""Number of bytes of which a checksum is computed at a time; the GIL is released meanwhile."""


RowReader: TypeAlias = Callable[[Sequence[int]], Array]
"""Reads rows of an array by their numbers; not mapped into memory if the system allows it, so that they do not stay."""


class ArrayWriter:
    """Writes the arrays of one file, one after another; create one with `writing_arrays`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._at = file, 0
        self._arrays: dict[str, dict[str, Any]] = {}
        self.digest = 0
        """CRC-32 of the JSON, once the file is complete."""
        self._put(MAGIC)
        self._pad()

    def add(self, name: str, array: Array) -> None:
        """Write an array."""
        self.stream(name, array.dtype.newbyteorder("<").str, array.shape, [array])

    def stream(self, name: str, dtype: str, shape: tuple[int, ...], blocks: Iterable[Array]) -> None:
        """Write an array of this shape that arrives in blocks, of which it is the concatenation."""
        assert dtype in DTYPES, dtype
        at, crc = self._at, 0
        for block in blocks:
            crc = self._put(np.ascontiguousarray(block, np.dtype(dtype)).reshape(-1).view(np.uint8).data, crc)
        assert self._at - at == prod(shape) * np.dtype(dtype).itemsize, (name, shape)
        self._arrays[name] = {"dtype": dtype, "shape": list(shape), "at": at, "crc": self._pad(crc)}

    def reader(self, name: str) -> RowReader:
        """Return a function that reads rows of an array that has been written to the unfinished file."""
        self._file.flush()
        return _reader(self._file.fileno(), self._arrays[name])

    def finish(self, about: Mapping[str, Any]) -> None:
        """Write the JSON and what follows it."""
        footer = json.dumps({"about": dict(about), "arrays": self._arrays}).encode()
        self.digest = zlib.crc32(footer)
        start = self._at
        self._put(footer)
        self._put(np.array([start, self.digest], TRAILER).tobytes())

    def _put(self, data: bytes | memoryview, crc: int = 0) -> int:
        self._file.write(data)
        self._at += len(data)
        return zlib.crc32(data, crc)

    def _pad(self, crc: int = 0) -> int:
        return self._put(bytes(-self._at % ALIGNMENT), crc)


@contextmanager
def writing_arrays(path: Path, about: Mapping[str, Any]) -> Iterator[ArrayWriter]:
    """Write a file that appears once it is complete and on disk.

    Args:
        path: The file.
        about: Its description, as JSON; the caller may add to it until the file is complete.

    Raises:
        OSError: If the file cannot be written; no partial file is left behind.
    """
    with creating(path) as file:
        writer = ArrayWriter(file)
        yield writer
        writer.finish(about)


class ArrayFile:
    """A file of arrays that is mapped into memory, and stays open; see `open_arrays`.

    Attributes:
        about: Its description.
        names: The names of its arrays.
    """

    def __init__(
        self, file: BufferedReader, data: mmap.mmap, about: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> None:
        self._data, self._arrays = data, arrays
        self._descriptor = os.dup(file.fileno())
        finalize(self, os.close, self._descriptor)
        self.about = about
        self.names = tuple(arrays)

    def array(self, name: str, *, check: bool = True) -> Array | None:
        """Return an array without copying it, read-only; None if there is none, or it does not match its checksum.

        Args:
            name: Its name.
            check: Verify the checksum, which reads the whole array.
        """
        entry = self._arrays.get(name)
        if entry is None:
            return None
        dtype, size, at = np.dtype(entry["dtype"]), prod(entry["shape"]), entry["at"]
        if check and not self._matches(at, size * dtype.itemsize, entry["crc"]):
            return None
        return np.frombuffer(self._data, dtype, size, at).reshape(entry["shape"])

    def reader(self, name: str) -> RowReader:
        """Return a function that reads rows of an array."""
        return _reader(self._descriptor, self._arrays[name])

    def _matches(self, at: int, n_bytes: int, crc: int) -> bool:
        with memoryview(self._data) as view:
            end, found = at + n_bytes + -(at + n_bytes) % ALIGNMENT, 0
            for start in range(at, end, AT_ONCE):
                found = zlib.crc32(view[start : min(start + AT_ONCE, end)], found)
        return found == crc


def _reader(file: int, entry: Mapping[str, Any]) -> RowReader:
    dtype, shape, at = np.dtype(entry["dtype"]), entry["shape"], entry["at"]
    width = dtype.itemsize * prod(shape[1:])
    if not hasattr(os, "pread"):
        data = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
        whole = np.frombuffer(data, dtype, prod(shape), at).reshape(shape)
        return lambda numbers: whole[list(numbers)]

    def read(numbers: Sequence[int]) -> Array:
        data = b"".join([os.pread(file, width, at + width * number) for number in numbers])
        return np.frombuffer(data, dtype).reshape(-1, *shape[1:])

    return read


def open_arrays(path: Path, digest: int) -> ArrayFile | None:
    """Open a file of arrays.

    Args:
        path: The file, in a folder that may come from someone else.
        digest: The CRC-32 of its JSON, as recorded when it was written.

    Returns:
        The file; None if it is missing or damaged, except for the contents of its arrays.
    """
    with suppress(OSError, ValueError), open_regular(path) as file:  # an empty file cannot be mapped
        return _described(file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), digest)
    return None


def _described(file: BufferedReader, data: mmap.mmap, digest: int) -> ArrayFile | None:
    """Return the arrays of a file that is open and mapped; None if it is damaged."""
    size = len(data)
    tail = 2 * TRAILER.itemsize
    if size < ALIGNMENT + tail or data[: len(MAGIC)] != MAGIC or any(data[len(MAGIC) : ALIGNMENT]):
        return None
    start, stored = (int(number) for number in np.frombuffer(data, TRAILER, 2, size - tail))
    if stored != digest or not ALIGNMENT <= start <= size - tail or size - tail - start > MAX_FOOTER:
        return None
    footer = data[start : size - tail]
    if zlib.crc32(footer) != digest:
        return None
    with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
        described = json.loads(footer)
        if _is_sound(described["arrays"], start) and isinstance(described["about"], dict):
            return ArrayFile(file, data, described["about"], described["arrays"])
    return None


def _is_sound(arrays: Mapping[str, Mapping[str, Any]], end: int) -> bool:
    """Return whether arrays follow one another from the beginning of a file to `end`, without gaps."""
    at = ALIGNMENT
    for entry in arrays.values():
        shape = entry["shape"]
        if entry["dtype"] not in DTYPES or not all(type(n) is int and 0 <= n <= end for n in shape):
            return False
        if entry["at"] != at or type(entry["at"]) is not int or type(entry["crc"]) is not int:
            return False
        at += prod(shape) * np.dtype(entry["dtype"]).itemsize
        at += -at % ALIGNMENT
    return at == end
