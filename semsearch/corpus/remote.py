"""Finding and reading the files of URLs through pyarrow: objects of a store below a prefix, as the files of a folder.

Files are read where they are, block by block; only an archive is copied to the disk first, by its reader.
"""

from __future__ import annotations

import errno
import gzip
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import BufferedIOBase, BufferedReader, RawIOBase
from typing import TYPE_CHECKING, Any, BinaryIO

from semsearch.corpus.formats.table import ARCHIVES
from semsearch.corpus.globs import Glob
from semsearch.corpus.gzipped import Count, decompressed, is_gzipped
from semsearch.corpus.roots import Coverage
from semsearch.corpus.selection import (
    CACHED,
    CACHES,
    GENERATED,
    Choice,
    is_hidden,
    is_left_out,
    kind_of,
    recognized,
    tell_left_out,
)
from semsearch.corpus.sources import BLOCK, ReadOptions, Source
from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.messages import first_line
from semsearch.paths import shown
from semsearch.types import Origin
from semsearch.urls import SCHEMES, need_pyarrow, open_location, reason_of, scheme_of, without_secrets

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

ANSWER_SECONDS = 30.0
"""Time within which a store has to say what is at a URL; pyarrow itself would try for minutes."""

QUESTION = """
import sys
url = sys.stdin.read()
try:
    from pyarrow.fs import FileSystem
    files, path = FileSystem.from_uri(url)
except Exception:
    sys.exit()  # whoever asks will find that out
try:
    files.get_file_info(path)
except Exception as error:
    print((str(error) or type(error).__name__).splitlines()[0])
"""
"""Program that asks what is at a URL, and prints the error if it is not told."""


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder that a URL names.

    Attributes:
        url: The URL without secrets, decoded, and without a slash at its end; what is below has longer ones.
        files: The file system.
        path: The path in the file system.
    """

    url: str
    files: FileSystem
    path: str

    def at(self, inner: str) -> Place:
        """Return what is below, by its relative path."""
        return Place(f"{self.url}/{inner}", self.files, f"{self.path}/{inner}") if inner else self

    def info(self) -> FileInfo:
        """Ask what is here.

        Raises:
            OSError: If the store does not say.
        """
        with _numbered():
            return self.files.get_file_info(self.path)

    def listed(self) -> list[FileInfo]:
        """Return what is directly in a folder, sorted by name.

        Raises:
            OSError: If it cannot be listed.
        """
        from pyarrow.fs import FileSelector

        with _numbered():
            found = self.files.get_file_info(FileSelector(self.path))
        return sorted((one for one in found if one.base_name), key=lambda one: str(one.base_name))

    def lacks(self, url: str) -> bool:
        """Return whether the store says that there is no file at a URL below this one."""
        try:
            return not self.at(url[len(self.url) + 1 :]).info().is_file
        except OSError:
            return False

    def open(self, count: Count | None = None, *, unpack: bool = True) -> BinaryIO | BufferedIOBase:
        """Open a file for reading bytes, in any order, unless they are decompressed since the name ends in `.gz`.

        Args:
            count: Receives the number of bytes, of the file itself, whenever some are read.
            unpack: Whether to decompress it.

        Raises:
            OSError: If it cannot be opened.
        """
        with _numbered():
            file = BufferedReader(_Remote(self.files.open_input_file(self.path), count), BLOCK)
        return decompressed(file, gzip.GzipFile(fileobj=file)) if unpack and is_gzipped(self.path) else file

    def head(self, length: int) -> bytes:
        """Return the first bytes of a file."""
        with self.open() as file:
            return file.read(length)


@contextmanager
def _numbered() -> Iterator[None]:
    """Give errors of pyarrow a number and a single line, as those of the system have.

    Raises:
        OSError: In place of any of them.
    """
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise OSError(errno.EIO, first_line(error)) from None


class _Remote(RawIOBase):
    """A file of pyarrow's as a stream."""

    def __init__(self, file: Any, count: Count | None) -> None:
        self._file, self._count = file, count

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any, /) -> int:
        with _numbered():
            n = int(self._file.readinto(buffer))
        if self._count:
            self._count(n)
        return n

    def close(self) -> None:
        self._file.close()
        super().close()


def find_place(url: str) -> tuple[Place, FileInfo]:
    """Open the file system of a URL, and ask what is there.

    Raises:
        UsageError: If pyarrow has no driver for the URL, or cannot read it.
        SourceError: If nothing is there, or nobody answers.
    """
    name, scheme = without_secrets(url), scheme_of(url)
    if scheme in ("http", "https"):
        raise UsageError(f'"{shown(name)}" is on the web, which is not read; download the file and give its path')
    if scheme not in SCHEMES:
        known = ", ".join(f"{one}://" for one in SCHEMES)
        raise UsageError(f'"{shown(name)}" has an unknown scheme; expected a path, or a URL with file://, {known}')

    need_pyarrow(f'"{shown(name)}"')
    try:
        _ask_in_time(url, name)
        expected = "a URL that pyarrow has a driver for, such as s3://bucket/folder"
        files, path = open_location(url, f'"{shown(name)}"', expected)
        place = Place(name, files, path.rstrip("/"))
        info = place.info()
    except OSError as error:
        raise SourceError(f'"{shown(name)}" cannot be read: {reason_of(error, url)}') from None
    if not info.is_file and not is_folder(info):
        raise SourceError(f'"{shown(name)}" does not exist; expected a file, or a folder or prefix with files')
    return place, info


def is_folder(info: FileInfo) -> bool:
    """Return whether this is a folder, or a prefix of objects."""
    from pyarrow.fs import FileType

    return bool(info.type == FileType.Directory)


def _ask_in_time(url: str, name: str) -> None:
    """Ask what is at a URL in another process, because a thread that waits for an answer cannot be ended.

    Raises:
        SourceError: If there is no answer in time.
        OSError: If the answer is an error.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", QUESTION], input=url, capture_output=True, text=True, timeout=ANSWER_SECONDS
        )
    except subprocess.TimeoutExpired:
        waited = f"does not answer within {ANSWER_SECONDS:.0f} s; check the URL and the network"
        raise SourceError(f'"{shown(name)}" {waited}') from None
    if done.stdout:
        raise OSError(errno.EIO, done.stdout.strip())


def source_at(
    place: Place, info: FileInfo, origin: Origin, options: ReadOptions, count: Count | None = None
) -> Source | None:
    """Return a file as a source, or None if it is in no supported format.

    Raises:
        OSError: If a file without an extension cannot be read.
    """
    file_format = recognized(place.path, options, place.head)
    if file_format is None:
        return None
    stored = None if info.mtime_ns is None else (info.size, info.mtime_ns)
    opened = partial(place.open, count, unpack=file_format not in ARCHIVES.values())
    return Source(place.url, place.url, file_format, origin, opened=opened, stored=stored)


@dataclass(slots=True)
class RemoteWalk:
    """Walks what a URL names in the order of the names, as a folder is walked; there are no links and `.gitignore`s.

    Attributes:
        top: The folder.
        options: Options for reading.
        coverage: The roots that determine the names of files; records what is passed over.
        glob: What to restrict the walk to; None for everything.
    """

    top: Place
    options: ReadOptions
    coverage: Coverage
    glob: Glob | None = None
    choice: Choice = field(init=False)
    ignored: Counter[str] = field(default_factory=Counter)
    omitted: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.choice = Choice.of(self.top.url, self.options)

    def sources(self) -> Iterator[Source | RecordError]:
        """Yield the files, sorted by name; at the end, warn about what was left out.

        Raises:
            SourceError: If the folder itself cannot be listed.
        """
        try:
            stack = self._listed("")
        except OSError as error:
            raise SourceError(f'"{shown(self.top.url)}" cannot be listed: {error.strerror}') from None
        anything = False
        while stack:
            inner, info = stack.pop()
            try:
                met = self._met(inner, info)
            except OSError as error:
                met = RecordError(self.top.at(inner).url, None, f"cannot be read: {error.strerror or error}")
                met.origin = self._origin(inner)
                self.coverage.unread(met.origin)
            if isinstance(met, list):
                stack += met
            elif met is not None:
                anything = True
                yield met
        if anything:
            tell_left_out(self.top.url, self.ignored, self.omitted)

    def _met(self, inner: str, info: FileInfo) -> Source | RecordError | list[tuple[str, FileInfo]] | None:
        """Return a file as a source, or what is in a folder; None if it is passed over."""
        place, folder = self.top.at(inner), is_folder(info)
        reason = self.choice.reason(place.url, is_folder=folder)
        if reason is None and folder and info.base_name in CACHES and not self.options.all_files:
            reason = CACHED
        if reason is None and folder:
            return self._listed(inner)
        source = None if reason else source_at(place, info, self._origin(inner), self.options, self.coverage.count)
        if source and is_left_out(place.path, source.format, self.options, place.head):
            reason = GENERATED
        if reason:
            self.omitted[reason] += 1
            self.coverage.passed_over(self._origin(inner))
            return None
        if source is None:
            self.ignored[kind_of(inner)] += 1
        return source

    def _listed(self, folder: str) -> list[tuple[str, FileInfo]]:
        """Return what is in a folder, the last name first."""
        found = []
        for info in reversed(self.top.at(folder).listed()):
            inner = f"{folder}/{info.base_name}".lstrip("/")
            if is_hidden(info.base_name, self.options):
                self.coverage.passed_over(self._origin(inner))
            elif self._concerns(inner, info):
                found.append((inner, info))
        return found

    def _concerns(self, inner: str, info: FileInfo) -> bool:
        """Return whether the run looks at a file or a folder."""
        if self.glob and not self.glob.concerns(inner, is_folder=is_folder(info)):
            return False
        return self.coverage.concerns(self.top.at(inner).url)

    def _origin(self, inner: str) -> Origin:
        return self.coverage.origin_of(self.top.at(inner).url, found=True)
