"""Reading zip and tar archives as if they were folders, without writing their members to the disk.

A zip is read in the order of its paths. A tar can only be read in its own order, and each member only while it is the
current one.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import tarfile
import time
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from io import BufferedIOBase, BufferedReader, RawIOBase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, BinaryIO, TypeAlias

from semsearch.corpus.beir import corpus_among, may_be_beir, what_is_beside
from semsearch.corpus.formats.table import archive_of, format_of
from semsearch.corpus.gzipped import TOO_COMPRESSED, decompressed, ending_of, is_gzipped, most_bytes
from semsearch.corpus.records import ReadingWarning
from semsearch.corpus.selection import (
    CACHED,
    CACHES,
    GENERATED,
    Choice,
    is_hidden,
    is_left_out,
    kind_of,
    recognized,
    what_is_ignored,
    what_is_passed_over,
)
from semsearch.corpus.sources import ReadOptions, Source
from semsearch.errors import RecordError
from semsearch.messages import first_line, listed
from semsearch.paths import printable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_BYTES = 16 * 2**30
"""Maximum number of bytes in the members of an archive after decompression."""

MAX_HEADER_BYTES = 2**20
"""Maximum number of bytes of a tar's header, which is read into memory."""

BLOCK = 512
"""Number of bytes of a block in a tar."""

_LINK = 0o12
"""Type of a symbolic link in the attributes of a member of a zip, as in Unix."""

_OF_MACOS = "__MACOSX"
"""Folder that macOS adds to archives, which was not in the folder that was packed."""

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
    """Find the files in an archive, as in a folder; links and archives in it are skipped.

    Args:
        archive: A source whose format is one of ARCHIVES.
        options: Options for reading.

    Yields:
        Each file as a source, to be read before the next one; a RecordError in place of one that cannot be read; and at
        the end warnings about what was left out.
    """
    found = _Found(archive, options, Choice.of(archive.name, ReadOptions() if archive.origin.found else options))
    with ExitStack() as stack:
        try:
            if archive.opened:
                found.archive = replace(archive, path=_copied(archive, stack))
            yield from _KINDS[archive.format](found)
        except _BROKEN as error:
            yield RecordError(
                archive.name, None, f"cannot be read as an archive: {_reason(error)}; the rest is skipped"
            )
        yield from found.warnings()


def _copied(archive: Source, stack: ExitStack) -> str:
    """Return the path of a copy of an archive that is not on this machine; of a zip, the index is at the end."""
    path = os.path.join(stack.enter_context(TemporaryDirectory()), f"copy{Path(archive.path.lower()).suffix}")
    with archive.open() as content, open(path, "wb") as copy:
        shutil.copyfileobj(content, copy, 2**20)
    return path


@dataclass(slots=True)
class _Found:
    """The members of an archive that were met so far.

    Attributes:
        archive: The archive.
        options: Options for reading.
        choice: The user's patterns, which are about what is in a given archive, as about what is in a given folder.
        corpus: The only file to read, if the archive is in the BEIR layout.
    """

    archive: Source
    options: ReadOptions
    choice: Choice
    corpus: str | None = None
    ignored: Counter[str] = field(default_factory=Counter)
    omitted: Counter[str] = field(default_factory=Counter)
    folders: set[str] = field(default_factory=set)
    beside: dict[str, bool] = field(default_factory=dict)
    nested: list[str] = field(default_factory=list)

    def place(self, name: str) -> str | RecordError | None:
        """Return the path of a member inside the archive; None if it is hidden, passed over, or no document.

        Args:
            name: The name that the archive gives it, which may be made to lead out of a folder.
        """
        inner = _path_in(name)
        if inner is None:
            return self.problem(name, "its path leads out of the archive; make the archive again")
        if self._is_hidden(inner):
            return None
        try:
            inner.encode()
        except UnicodeEncodeError:
            return self.problem(inner, "the name of the file or its folder is not valid UTF-8; rename it")
        if self.corpus:
            return self._of_corpus(inner)
        if self._is_passed_over(inner):
            return None
        if archive_of(inner):
            self.nested.append(inner)
            return None
        if format_of(inner, self.options) is None and ending_of(inner):
            self.ignored[kind_of(inner)] += 1
            return None
        return inner

    def find_corpus(self, names: Iterable[str]) -> None:
        """Recognize the BEIR layout by the names of all members."""
        paths = (inner for name in names if (inner := _path_in(name)) and not self._is_hidden(inner))
        self.corpus = corpus_among(paths, self.options)

    def _is_hidden(self, inner: str) -> bool:
        return any(is_hidden(part, self.options) or part == _OF_MACOS for part in inner.split("/")) or not inner

    def _of_corpus(self, inner: str) -> str | None:
        """Return the path of the corpus, and remember what lies beside it."""
        assert self.corpus is not None
        if inner == self.corpus:
            return inner
        top = self.corpus.rpartition("/")[0]
        name, below, _ = inner.removeprefix(f"{top}/").partition("/")
        self.beside[name] = bool(below)
        return None

    def _is_passed_over(self, inner: str) -> bool:
        """Return whether a member or a folder that it lies in is passed over, and count that."""
        parts = inner.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            reason = self.choice.reason(f"{self.archive.name}/{folder}", is_folder=True)
            if reason is None and parts[depth - 1] in CACHES and not self.options.all_files:
                reason = CACHED
            if reason:
                self.omitted[reason] += folder not in self.folders
                self.folders.add(folder)
                return True
        reason = self.choice.reason(f"{self.archive.name}/{inner}", is_folder=False)
        self.omitted.update((reason,) if reason else ())
        return reason is not None

    def source(
        self, inner: str, open_: Callable[[], IO[bytes]], size: int, modified: float
    ) -> Source | RecordError | None:
        """Return a member as a source, or None if it is no document after all.

        Args:
            inner: Its path in the archive.
            open_: Opens it.
            size: Its number of bytes.
            modified: When it was modified, in seconds since 1970.
        """
        member = _Member(partial(_opened, open_, is_gzipped(inner)))
        try:
            file_format = recognized(inner, self.options, member.head)
            if file_format is None:
                self.ignored[kind_of(inner)] += 1
            elif is_left_out(inner, file_format, self.options, member.head):
                self.omitted[GENERATED] += 1
                file_format = None
        except OSError as error:
            return self.problem(inner, f"cannot be read: {_reason(error)}")
        if file_format is None:
            member.close()
            return None
        origin = replace(self.archive.origin, found=True)
        stored = size, int(modified * 10**9)
        name = f"{self.archive.name}/{inner}"
        return Source(name, self.archive.path, file_format, origin, inner, member.open, stored)

    def problem(self, inner: str, reason: str) -> RecordError:
        """Return an error about a member, which does not stop a run."""
        error = RecordError(f"{self.archive.name}/{printable(inner)}", None, reason)
        error.origin = replace(self.archive.origin, found=True)
        return error

    def warnings(self) -> Iterator[ReadingWarning]:
        """Yield what was left out."""
        if self.corpus and (beside := what_is_beside(self.archive.name, self.corpus, self.beside, self.options)):
            yield ReadingWarning(beside)
        if self.ignored:
            yield ReadingWarning(what_is_ignored(self.archive.name, self.ignored))
        if self.omitted:
            yield ReadingWarning(what_is_passed_over(self.archive.name, self.omitted))
        if self.nested:
            yield ReadingWarning(f"{self.archive.name}: did not read the archives in it: {listed(self.nested)}")


def _path_in(name: str) -> str | None:
    """Return the path of a member inside its archive; empty for the archive itself, None if it leads out of it."""
    written = name.replace("\\", "/")
    parts = [part for part in unicodedata.normalize("NFC", written).split("/") if part not in ("", ".")]
    return None if written.startswith("/") or ".." in parts else "/".join(parts)


def _members_of_zip(found: _Found) -> Iterator[Member]:
    """Find the files in a zip, in the order in which the walk through a folder would."""
    with zipfile.ZipFile(found.archive.path) as archive:
        infos = [one for one in archive.infolist() if not one.is_dir() and one.external_attr >> 28 != _LINK]
        found.find_corpus(info.filename for info in infos)
        files: dict[tuple[str, ...], zipfile.ZipInfo] = {}
        for info in infos:
            inner = found.place(info.filename)
            if isinstance(inner, str):
                files[tuple(inner.split("/"))] = info  # of two with the same path, the second one is extracted last
            elif inner is not None:
                yield inner
        most = min(MAX_BYTES, most_bytes(os.path.getsize(found.archive.path)))
        total = sum(info.file_size for parts, info in files.items() if ending_of(parts[-1]))
        for parts in sorted(files):
            if total > most:
                raise ValueError(TOO_COMPRESSED if total <= MAX_BYTES else _too_large())
            info, inner = files[parts], "/".join(parts)
            if info.flag_bits & 1:
                yield found.problem(inner, "the file is encrypted; extract it with its password first")
                continue
            source = found.source(inner, partial(archive.open, info), info.file_size, _seconds(info.date_time))
            if source is not None:
                too_large = info.file_size > most_bytes(info.compress_size)
                yield found.problem(inner, TOO_COMPRESSED) if too_large else source
                total += 0 if ending_of(parts[-1]) else info.file_size


def _seconds(written: tuple[int, int, int, int, int, int]) -> float:
    """Return a time in a zip, which is local time, as seconds since 1970; 0 if it is none."""
    try:
        return time.mktime((*written, 0, 0, -1))
    except (ValueError, OverflowError):
        return 0.0


def _members_of_tar(found: _Found) -> Iterator[Member]:
    """Find the files in a tar, in the order in which they were added."""
    if may_be_beir(found.options):
        found.find_corpus(_names_in_tar(found.archive.path))
    for archive, info in _files_of_tar(found.archive.path):
        inner = found.place(info.name)
        if isinstance(inner, str):
            source = found.source(inner, partial(_extracted, archive, info), info.size, info.mtime)
            if source is not None:
                yield source
        elif inner is not None:
            yield inner


def _names_in_tar(path: str) -> Iterator[str]:
    """Yield the names of the regular files in a tar, up to where it is broken."""
    with suppress(*_BROKEN):
        for _, info in _files_of_tar(path):
            yield info.name


def _files_of_tar(path: str) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yield the regular files in a tar; each can be read until the next one is asked for."""
    with ExitStack() as stack:
        file = stack.enter_context(open(path, "rb"))
        opener = _OPENERS.get(path.lower().rpartition(".")[2])
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
            feed.until = MAX_BYTES
            if info.isreg():
                yield archive, info
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


class _Member:
    """A member, which is opened once, since that of a tar cannot be opened again; its beginning may be seen before."""

    def __init__(self, open_: Callable[[], BufferedReader]) -> None:
        self._open = open_
        self._stream: BufferedReader | None = None
        self._broken: Exception | None = None

    def head(self, length: int) -> bytes:
        """Return the first bytes, at most as many as the stream buffers; raises what reading them raises."""
        try:
            self._stream = self._stream or self._open()
            return self._stream.peek()[:length]
        except Exception as error:
            self._broken = error
            self.close()
            raise

    def open(self) -> BufferedReader:
        """Return the stream from its beginning; raises what `head` has raised."""
        if self._broken:
            raise self._broken
        return self._stream or self._open()

    def close(self) -> None:
        """Close the stream of a member that is not read."""
        if self._stream:
            self._stream.close()


def _opened(open_: Callable[[], IO[bytes]], gzipped: bool) -> BufferedReader:
    """Open a member for reading bytes, decompressed if it is gzipped itself; what is broken raises OSError."""
    try:
        stream: BufferedReader = BufferedReader(_Stream(open_()), 2**16)
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
