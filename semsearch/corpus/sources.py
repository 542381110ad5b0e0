"""Finding the files that a path stands for, and their formats, by name and ending alone."""

from __future__ import annotations

import errno
import os
import stat
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from io import BufferedIOBase
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from semsearch.corpus.gzipped import ending_of, open_bytes
from semsearch.corpus.roots import Coverage, outermost
from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.paths import as_path
from semsearch.types import Origin

STDIN = "-"

BY_LINE = ("jsonl", "csv", "tsv")
"""Formats of files that hold many documents, each with its own id."""

BEIR_CORPUS = ("corpus.jsonl", "corpus.jsonl.gz")
"""Names under which BEIR's layout keeps the documents."""

BEIR_OTHERS = ("queries.jsonl", "queries.jsonl.gz", "qrels")
"""What BEIR's layout keeps beside them."""

ENDINGS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
}


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options for reading a corpus.

    Attributes:
        id_field: Field that holds the id; None for `_id`, or else `id`.
        text_field: Field that holds the text.
        title_field: Field that holds the title; records may lack it.
        format: One of FORMATS, or an ending such as `txt`, for every file; None to choose by the ending of each file
            (standard input: jsonl).
        per_line: Treat each line of a text file as a document, rather than each file.
        follow_links: Follow symbolic links that lead out of a folder; by default they are counted and left alone.

    Raises:
        UsageError: The name of a field is not text.
    """

    id_field: str | None = None
    text_field: str = "text"
    title_field: str = "title"
    format: str | None = None
    per_line: bool = False
    follow_links: bool = False

    def __post_init__(self) -> None:
        for name, value in (("id", self.id_field or ""), ("text", self.text_field), ("title", self.title_field)):
            if not isinstance(value, str):
                raise UsageError(f"`{name}_field` is {value!r:.60}; expected the name of a field")
        object.__setattr__(self, "format", ENDINGS.get(f".{self.format}", self.format))


@dataclass(frozen=True, slots=True)
class Source:
    """A file or standard input, not yet open.

    Attributes:
        name: The file as the user named it, for messages.
        path: The path to open, or STDIN.
        format: A key of READERS.
        origin: The file as an index knows it.
    """

    name: str
    path: str
    format: str
    origin: Origin

    @property
    def doc_id(self) -> str:
        """The id of the document that the file is."""
        return self.origin.doc_id

    def open(self) -> AbstractContextManager[BinaryIO | BufferedIOBase]:
        """Open the bytes, decompressed if the name ends in .gz; standard input stays open afterwards."""
        if self.path == STDIN:
            return nullcontext(sys.stdin.buffer)
        return open_bytes(self.path)


def as_written(path: object, name: str = "path") -> str:
    """Return a path as text, as the user spelled it: a Path would drop a leading `./`.

    Raises:
        UsageError: It is neither text nor a path; `name` is the parameter that it was given for.
    """
    return path if isinstance(path, str) else str(as_path(path, name))


def find_sources(
    paths: Sequence[str], options: ReadOptions, coverage: Coverage
) -> list[tuple[str, Iterator[Source | RecordError]]]:
    """Find the files that paths stand for; each path is checked when this is called, and walked later.

    Args:
        paths: Files, folders, or STDIN.
        options: Options for reading.
        coverage: Knows the roots by which files are named; is told what is given.

    Returns:
        Each path with its files.

    Raises:
        SourceError: A path does not exist, is neither file nor folder, has an unknown ending, or is a folder with
            nothing to read.
    """
    given = [path if path == STDIN else _corpus_of(path, options) for path in paths]
    real = [os.path.realpath(path) for path in given if path != STDIN]
    by_line = [path for path in real if os.path.isfile(path) and _format_of(path, options) in BY_LINE]
    for some in ([path for path in real if path not in by_line], by_line):  # records bring their own ids
        for folder in outermost(path if os.path.isdir(path) else os.path.dirname(path) for path in some):
            coverage.root_of(folder)
    origins = [_origin_of(path, coverage) for path in given]
    coverage.given += origins
    return [
        (path, _sources(corpus, origin, options, coverage))
        for path, corpus, origin in zip(paths, given, origins, strict=True)
    ]


def _origin_of(path: str, coverage: Coverage) -> Origin:
    return Origin(None, "<stdin>") if path == STDIN else coverage.origin_of(os.path.realpath(path), found=False)


def _corpus_of(path: str, options: ReadOptions) -> str:
    """Return a path that can be read as a corpus: for a folder in BEIR's layout, the file with its documents.

    Raises:
        SourceError: It does not exist, or is neither a file nor a folder.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        missing = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL)
        if isinstance(error, OSError) and error.errno not in missing:
            raise SourceError(f'"{shown(path)}" cannot be read: {error.strerror}') from None
        raise SourceError(
            f'"{shown(path)}" does not exist; expected a file, a folder, or "-" for standard input'
        ) from None
    if stat.S_ISREG(mode):
        return path
    if not stat.S_ISDIR(mode):
        raise SourceError(
            f'"{shown(path)}" is neither a file nor a folder; to index what a pipe or device gives, redirect it to '
            "standard input: semsearch index - < PIPE"
        )
    for name in BEIR_CORPUS if options.format in (None, "jsonl") else ():
        if os.path.isfile(os.path.join(path, name)):
            _warn_of_neighbors(path, name, options)
            return os.path.join(path, name)
    return path


def _warn_of_neighbors(folder: str, corpus: str, options: ReadOptions) -> None:
    """Say what is not read in a folder because it is in BEIR's layout."""
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    data = BY_LINE if any(name in BEIR_OTHERS for name in names) else ()  # beside queries, tables are data too
    hidden = [
        name
        for name in names
        if name not in (*BEIR_CORPUS, *BEIR_OTHERS)
        and (os.path.isdir(os.path.join(folder, name)) or _format_of(name, options) not in (None, *data))
    ]
    if hidden:
        listed = ", ".join(hidden[:8]) + (" …" if len(hidden) > 8 else "")
        warnings.warn(
            f'"{shown(folder)}" holds {corpus}, which is read as the whole corpus; not read: {_printable(listed)} '
            "(give their paths to read them too)",
            stacklevel=2,
        )


def _sources(given: str, origin: Origin, options: ReadOptions, coverage: Coverage) -> Iterator[Source | RecordError]:
    """Find the files that a path stands for."""
    if given == STDIN:
        return iter((Source("<stdin>", STDIN, options.format or "jsonl", origin),))
    if os.path.isdir(given):
        found = _Walk(given, os.path.realpath(given), options, coverage).sources()
        first = next(found, None)
        if first is None:
            raise SourceError(f'"{shown(given)}" holds no file that can be read; expected {_endings()}')
        return chain((first,), found)
    source = source_of(given, origin, options)
    if source is None:
        raise SourceError(
            f'"{shown(given)}" has an unknown ending; expected {_endings()}, or give its format with `format`'
        )
    return iter((source,))


def source_of(path: str, origin: Origin, options: ReadOptions) -> Source | RecordError | None:
    """Return the file as a source, or None if its ending is unknown."""
    file_format = _format_of(path, options)
    if file_format is None:
        return None
    try:
        str(origin).encode()
    except UnicodeEncodeError:
        return _problem(path, "the name of the file or of its folder is not valid UTF-8; rename it", origin)
    return Source(path, path, file_format, origin)


def _format_of(path: str, options: ReadOptions) -> str | None:
    return options.format or ENDINGS.get(ending_of(path))


def _problem(path: str, reason: str, origin: Origin) -> RecordError:
    error = RecordError(_printable(path), None, reason)
    error.origin = origin
    return error


def _printable(path: str) -> str:
    """Make a path printable that may not be UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()


def shown(path: str) -> str:
    """Shorten for a message what was given as a path, which may be a whole text."""
    line = " ".join(_printable(path).split())
    return line if len(line) <= 300 else f"{line[:299]}…"


def _endings() -> str:
    return f"{', '.join(ENDINGS)} (each also .gz)"


@dataclass(slots=True)
class _Walk:
    """Walks a folder by name, hidden files left out; each real folder is entered once, so that a loop of links ends.

    A link to something that the walk reaches anyway is passed over: the real path wins. A link that leads out of the
    folder is followed only if asked for, since a folder from a stranger may link to anything.

    Attributes:
        folder: As the user named it.
        top: The same, absolute and real.
    """

    folder: str
    top: str
    options: ReadOptions
    coverage: Coverage
    entered: set[str] = field(default_factory=set)
    linked: set[str] = field(default_factory=set)
    ignored: Counter[str] = field(default_factory=Counter)
    outside: list[str] = field(default_factory=list)

    def sources(self) -> Iterator[Source | RecordError]:
        """Yield the files, sorted by name; warn at the end of what was left out."""
        self.entered.add(self.top)
        stack = self._listed(self.folder, self.top)
        anything = False
        while stack:
            path, home = stack.pop()
            try:
                met = self._met(path, home)
            except OSError as error:
                self.coverage.unread(self._origin(home))  # a link may lead to a disk that is not there now
                reached = error.errno not in (errno.ENOENT, errno.ELOOP) or _format_of(path, self.options)
                met = _problem(path, f"cannot be read: {error.strerror}", self._origin(home)) if reached else None
            if isinstance(met, list):
                stack += met
            elif met is not None:
                anything = True
                yield met
        if anything:
            self._warn()

    def _met(self, path: str, home: str) -> Source | RecordError | list[tuple[str, str]] | None:
        """What a path is: a file, or what a folder holds; None where it is passed over.

        Args:
            path: As the user would name it.
            home: Absolute, by which it gets its id.

        Raises:
            OSError: It cannot be looked at.
        """
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            target = self._target(path, home)
            if target is None:
                return None
            home, mode = target, os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            real = os.path.realpath(path)
            if real in self.entered:
                return None
            self.entered.add(real)
            return self._listed(path, home)
        if not stat.S_ISREG(mode):
            return None
        source = source_of(path, self._origin(home), self.options)
        if source is None:
            self.ignored[Path(path).suffix or "without an ending"] += 1
            return None
        return source

    def _listed(self, path: str, home: str) -> list[tuple[str, str]]:
        """What a folder holds, the last name first."""
        if not os.access(path, os.X_OK):  # its files could be listed, but not looked at
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        names = sorted((name for name in os.listdir(path) if not name.startswith(".")), reverse=True)
        return [(os.path.join(path, name), os.path.join(home, name)) for name in names]

    def _target(self, path: str, home: str) -> str | None:
        """The path by which a link's target gets its id; None where the link is passed over."""
        real = os.path.realpath(path, strict=True)
        if real in self.linked:
            return None
        inner = os.path.relpath(real, self.top) if _is_below(real, self.top) else None
        if inner is not None:
            hidden = any(part.startswith(".") for part in Path(inner).parts if part != ".")
            reached = not hidden and (os.path.isdir(real) or _format_of(real, self.options))
            if reached:
                return None
        elif not self.options.follow_links:
            self.outside.append(path)
            return None
        self.linked.add(real)
        return real if inner is not None or self.coverage.holds(real) else home

    def _origin(self, home: str) -> Origin:
        return self.coverage.origin_of(home, found=True)

    def _warn(self) -> None:
        if self.ignored:
            listed = ", ".join(f"{n} {_printable(ending)}" for ending, n in self.ignored.most_common(8))
            warnings.warn(f'ignored files in "{shown(self.folder)}" that are not documents: {listed}', stacklevel=2)
        if self.outside:
            links = f"{len(self.outside)} links" if len(self.outside) > 1 else "a link"
            warnings.warn(
                f'did not follow {links} out of "{shown(self.folder)}" ({_printable(self.outside[0])}'
                f"{' …' if len(self.outside) > 1 else ''}); pass `follow_links` to read what they lead to",
                stacklevel=2,
            )


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
