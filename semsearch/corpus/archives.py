"""Reading zip and tar archives as if they were folders, without writing their members to the disk.

A zip is read in the order of its paths. A tar can only be read in its own order, and each member only while it is the
current one.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
import time
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from io import BufferedIOBase, BufferedReader, RawIOBase
from typing import IO, TYPE_CHECKING, BinaryIO, TypeAlias

from semsearch.corpus.formats.table import archive_of, format_of
from semsearch.corpus.gzipped import TOO_COMPRESSED, decompressed, is_gzipped, most_bytes
from semsearch.corpus.records import ReadingWarning
from semsearch.corpus.sources import ReadOptions, Source
from semsearch.corpus.walk import printable, what_is_ignored
from semsearch.errors import RecordError
from semsearch.messages import first_line, listed

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_BYTES = 16 * 2**30
"""Maximum number of bytes in the members of an archive after decompression."""

MAX_HEADER_BYTES = 2**20
"""Maximum number of bytes of a tar's header, which is read into memory."""

BLOCK = 512
"""Number of bytes of a block in a tar."""

_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,  # also NotImplementedError, for a method of compression
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
)
"""Exceptions that reading an archive may raise."""

_OPENERS: Mapping[str, Callable[[BinaryIO], BinaryIO | BufferedIOBase]] = {
    "gz": lambda file: gzip.GzipFile(fileobj=file),
    "tgz": lambda file: gzip.GzipFile(fileobj=file),
    "bz2": lambda file: bz2.BZ2File(file),
    "xz": lambda file: lzma.LZMAFile(file),
}
"""Decompression of a tar by the last part of its extension."""

Member: TypeAlias = Source | RecordError | ReadingWarning


def members(archive: Source, options: ReadOptions) -> Iterator[Member]:
    """Find the files in an archive; hidden ones, links and archives are skipped.

    Args:
        archive: A source whose format is one of ARCHIVES.
        options: Options for reading.

    Yields:
        Each file as a source, to be read before the next one; a RecordError in place of one that cannot be read; and at
        the end warnings about what was left out.
    """
    found = _Found(archive, options)
    try:
        yield from _KINDS[archive.format](found)
    except _BROKEN as error:
        yield RecordError(archive.name, None, f"cannot be read as an archive: {_reason(error)}; the rest is skipped")
    yield from found.warnings()


@dataclass(slots=True)
class _Found:
    """The members of an archive that were met so far."""

    archive: Source
    options: ReadOptions
    ignored: Counter[str] = field(default_factory=Counter)
    nested: list[str] = field(default_factory=list)

    def place(self, name: str) -> str | RecordError | None:
        """Return the path of a member inside the archive; None if it is hidden or no document.

        Args:
            name: The name that the archive gives it, which may be made to lead out of a folder.
        """
        written = name.replace("\\", "/")
        parts = [part for part in unicodedata.normalize("NFC", written).split("/") if part not in ("", ".")]
        inner = "/".join(parts)
        if written.startswith("/") or ".." in parts:
            return self.problem(name, "its path leads out of the archive; make the archive again")
        if not parts or any(part.startswith(".") or part == "__MACOSX" for part in parts):
            return None
        try:
            inner.encode()
        except UnicodeEncodeError:
            return self.problem(inner, "the name of the file or its folder is not valid UTF-8; rename it")
        if archive_of(inner):
            self.nested.append(inner)
            return None
        if format_of(inner, self.options) is None:
            self.ignored[os.path.splitext(inner)[1] or "without an extension"] += 1
            return None
        return inner

    def source(self, inner: str, open_: Callable[[], IO[bytes]], size: int, modified: float) -> Source:
        """Return a member as a source, given its size in bytes and the seconds since 1970 of its modification."""
        file_format = format_of(inner, self.options)
        assert file_format is not None, inner  # see `place`
        origin = replace(self.archive.origin, found=True)
        name = f"{self.archive.name}/{inner}"
        opened, stored = partial(_opened, open_, is_gzipped(inner)), (size, int(modified * 10**9))
        return Source(name, self.archive.path, file_format, origin, inner, opened, stored)

    def problem(self, inner: str, reason: str) -> RecordError:
        """Return an error about a member, which does not stop a run."""
        error = RecordError(f"{self.archive.name}/{printable(inner)}", None, reason)
        error.origin = replace(self.archive.origin, found=True)
        return error

    def warnings(self) -> Iterator[ReadingWarning]:
        """Yield what was left out."""
        if self.ignored:
            yield ReadingWarning(what_is_ignored(self.archive.name, self.ignored))
        if self.nested:
            yield ReadingWarning(f"{self.archive.name}: did not read the archives in it: {listed(self.nested)}")


def _members_of_zip(found: _Found) -> Iterator[Member]:
    """Find the files in a zip, in the order in which the walk through a folder would."""
    with zipfile.ZipFile(found.archive.path) as archive:
        files: dict[tuple[str, ...], zipfile.ZipInfo] = {}
        for info in archive.infolist():
            is_link = info.external_attr >> 28 == 0o12
            inner = None if info.is_dir() or is_link else found.place(info.filename)
            if isinstance(inner, str):
                files[tuple(inner.split("/"))] = info  # of two with the same path, the second one is extracted last
            elif inner is not None:
                yield inner
        total = sum(info.file_size for info in files.values())
        if total > min(MAX_BYTES, most_bytes(os.path.getsize(found.archive.path))):
            raise ValueError(TOO_COMPRESSED if total <= MAX_BYTES else _too_large())
        for parts in sorted(files):
            info, inner = files[parts], "/".join(parts)
            if info.flag_bits & 1:
                yield found.problem(inner, "the file is encrypted; extract it with its password first")
            elif info.file_size > most_bytes(info.compress_size):
                yield found.problem(inner, TOO_COMPRESSED)
            else:
                yield found.source(inner, partial(archive.open, info), info.file_size, _seconds(info.date_time))


def _seconds(written: tuple[int, int, int, int, int, int]) -> float:
    """Return a time in a zip, which is local time, as seconds since 1970; 0 if it is none."""
    try:
        return time.mktime((*written, 0, 0, -1))
    except (ValueError, OverflowError):
        return 0.0


def _members_of_tar(found: _Found) -> Iterator[Member]:
    """Find the files in a tar, in the order in which they were added."""
    with ExitStack() as stack:
        file = stack.enter_context(open(found.archive.path, "rb"))
        opener = _OPENERS.get(found.archive.path.lower().rpartition(".")[2])
        content = stack.enter_context(decompressed(file, opener(file))) if opener else file
        feed = _Feed(content)
        archive = stack.enter_context(tarfile.open(fileobj=feed, mode="r|"))  # type: ignore[call-overload]  # it only reads
        end = 0
        while True:
            feed.until = max(feed.read_so_far, end) + MAX_HEADER_BYTES
            info = archive.next()
            if info is None:
                break
            archive.members.clear()  # it would remember all of them
            end = info.offset_data + -(-info.size // BLOCK) * BLOCK
            if info.issparse():
                raise ValueError(f"{info.name!r:.60} is a sparse file; make the archive without them")
            inner = found.place(info.name) if info.isreg() else None
            feed.until = MAX_BYTES
            if isinstance(inner, str):
                yield found.source(inner, partial(_extracted, archive, info), info.size, info.mtime)
            elif inner is not None:
                yield inner
        if feed.read_so_far < end + BLOCK:  # without the block of zeros at its end
            raise EOFError("the archive is cut off")


_KINDS: Mapping[str, Callable[[_Found], Iterator[Member]]] = {"zip": _members_of_zip, "tar": _members_of_tar}


class _Feed:
    """The bytes of a tar, which count: reading more than up to `until` raises ValueError."""

    def __init__(self, content: BinaryIO | BufferedIOBase) -> None:
        self._content = content
        self.read_so_far = 0
        self.until = MAX_HEADER_BYTES

    def read(self, length: int) -> bytes:
        block = self._content.read(length)
        self.read_so_far += len(block)
        if self.read_so_far > MAX_BYTES:
            raise ValueError(_too_large())
        if self.read_so_far > self.until:
            raise ValueError(f"a header is longer than {MAX_HEADER_BYTES} bytes")
        return block


def _extracted(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(info)
    assert stream is not None, info  # it is a regular file
    return stream


def _opened(open_: Callable[[], IO[bytes]], gzipped: bool) -> BufferedIOBase:
    """Open a member for reading bytes, decompressed if it is gzipped itself; what is broken raises OSError."""
    try:
        stream = BufferedReader(_Stream(open_()), 2**16)
    except _BROKEN as error:
        raise OSError(_reason(error)) from None
    return decompressed(stream, gzip.GzipFile(fileobj=stream)) if gzipped else stream


class _Stream(RawIOBase):
    """The bytes of a member, with OSError for whatever is broken."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._length = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        try:
            block = self._stream.read(len(memoryview(buffer)))
        except _BROKEN as error:
            raise OSError(_reason(error)) from None
        memoryview(buffer)[: len(block)] = block
        self._length += len(block)
        return len(block)

    def tell(self) -> int:
        return self._length

    def close(self) -> None:
        self._stream.close()
        super().close()


def _too_large() -> str:
    return f"it contains more than {MAX_BYTES // 2**30} GiB; split it"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)
