"""Finding the files of a path and their formats, by name and extension alone."""

from __future__ import annotations

import errno
import os
import stat
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from semsearch.corpus.formats.table import ENDINGS, FORMATS, format_of
from semsearch.corpus.roots import Coverage, outermost
from semsearch.corpus.sources import STDIN, ReadOptions, Source
from semsearch.errors import RecordError, SourceError
from semsearch.paths import as_path
from semsearch.types import Origin

BEIR_CORPUS = ("corpus.jsonl", "corpus.jsonl.gz")
"""Names of the file with the documents in the BEIR layout."""

BEIR_OTHERS = ("queries.jsonl", "queries.jsonl.gz", "qrels")
"""Names of the other files and folders in the BEIR layout."""


def as_written(path: object, name: str = "path") -> str:
    """Return a path as text, as the user spelled it: a Path would drop a leading `./`.

    Args:
        path: A string or a path object.
        name: Name of the parameter, for the error message.

    Raises:
        UsageError: If `path` is neither a string nor a path object.
    """
    return path if isinstance(path, str) else str(as_path(path, name))


def find_sources(
    paths: Sequence[str], options: ReadOptions, coverage: Coverage
) -> list[tuple[str, Iterator[Source | RecordError]]]:
    """Find the files of several paths; the paths are checked immediately, and folders are walked lazily.

    Args:
        paths: Files, folders, or STDIN.
        options: Options for reading.
        coverage: The roots that determine the names of files; records what is given.

    Returns:
        Each path with an iterator over its files.

    Raises:
        SourceError: If a path does not exist, is neither a file nor a folder, has an unknown extension, or is a folder
            with nothing to read.
    """
    given = [path if path == STDIN else _corpus_of(path, options) for path in paths]
    real = [os.path.realpath(path) for path in given if path != STDIN]
    by_line = [path for path in real if os.path.isfile(path) and _has_own_ids(path, options)]
    for some in ([path for path in real if path not in by_line], by_line):  # records have their own ids
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
    """Return a path that can be read as a corpus: for a folder in the BEIR layout, the file with its documents.

    Raises:
        SourceError: If the path does not exist, or is neither a file nor a folder.
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
            f'"{shown(path)}" is neither a file nor a folder; to index the output of a pipe or device, redirect it '
            "to standard input: semsearch index - < PIPE"
        )
    for name in BEIR_CORPUS if options.format in (None, "jsonl") else ():
        if os.path.isfile(os.path.join(path, name)):
            _warn_of_neighbors(path, name, options)
            return os.path.join(path, name)
    return path


def _warn_of_neighbors(folder: str, corpus: str, options: ReadOptions) -> None:
    """Warn about files that are not read because their folder is in the BEIR layout."""
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    tables = any(name in BEIR_OTHERS for name in names)  # next to queries, tables are evaluation data
    hidden = [
        name
        for name in names
        if name not in (*BEIR_CORPUS, *BEIR_OTHERS)
        and (
            os.path.isdir(os.path.join(folder, name))
            or (format_of(name, options) and not (tables and _has_own_ids(name, options)))
        )
    ]
    if hidden:
        listed = ", ".join(hidden[:8]) + (" …" if len(hidden) > 8 else "")
        warnings.warn(
            f'"{shown(folder)}" contains {corpus}, which is read as the whole corpus; not read: {_printable(listed)} '
            "(pass their paths to read them too)",
            stacklevel=2,
        )


def _sources(given: str, origin: Origin, options: ReadOptions, coverage: Coverage) -> Iterator[Source | RecordError]:
    """Find the files of a path."""
    if given == STDIN:
        return iter((Source("<stdin>", STDIN, format_of(given, options) or "jsonl", origin),))
    if os.path.isdir(given):
        found = _Walk(given, os.path.realpath(given), options, coverage).sources()
        first = next(found, None)
        if first is None:
            if coverage.only is not None:
                return iter(())
            raise SourceError(f'"{shown(given)}" contains no files in a supported format; expected {_endings()}')
        return chain((first,), found)
    if not coverage.concerns(os.path.realpath(given)):
        return iter(())
    source = source_of(given, origin, options)
    if source is None:
        raise SourceError(
            f'"{shown(given)}" has an unknown extension; expected {_endings()}, or set its format with `format`'
        )
    return iter((source,))


def source_of(path: str, origin: Origin, options: ReadOptions) -> Source | RecordError | None:
    """Return the file as a source, or None if its extension is unknown."""
    file_format = format_of(path, options)
    if file_format is None:
        return None
    try:
        str(origin).encode()
    except UnicodeEncodeError:
        return _problem(path, "the name of the file or its folder is not valid UTF-8; rename it", origin)
    return Source(path, path, file_format, origin)


def _has_own_ids(path: str, options: ReadOptions) -> bool:
    return FORMATS[format_of(path, options) or "text"].own_ids


def _problem(path: str, reason: str, origin: Origin) -> RecordError:
    error = RecordError(_printable(path), None, reason)
    error.origin = origin
    return error


def _printable(path: str) -> str:
    """Return a printable form of a path, which may not be valid UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()


def shown(path: str) -> str:
    """Shorten a given path for a message, since it may be a whole text passed by mistake."""
    line = " ".join(_printable(path).split())
    return line if len(line) <= 300 else f"{line[:299]}…"


def _endings() -> str:
    return f"{', '.join(ENDINGS)} (each also .gz)"


@dataclass(slots=True)
class _Walk:
    """Walks a folder in name order without hidden files; each real folder is entered once, so that link loops end.

    A link to something that the walk reaches anyway is skipped: the real path wins. A link that leads out of the folder
    is followed only on request, since an untrusted folder may link to anything.

    Attributes:
        folder: The folder as the user named it.
        top: The absolute path of the folder, with links resolved.
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
        """Yield the files, sorted by name; at the end, warn about what was left out."""
        self.entered.add(self.top)
        stack = self._listed(self.folder, self.top)
        anything = False
        while stack:
            path, home = stack.pop()
            try:
                met = self._met(path, home)
            except OSError as error:
                self.coverage.unread(self._origin(home))  # a link may lead to a disk that is not mounted
                reached = error.errno not in (errno.ENOENT, errno.ELOOP) or format_of(path, self.options)
                met = _problem(path, f"cannot be read: {error.strerror}", self._origin(home)) if reached else None
            if isinstance(met, list):
                stack += met
            elif met is not None:
                anything = True
                yield met
        if anything:
            self._warn()

    def _met(self, path: str, home: str) -> Source | RecordError | list[tuple[str, str]] | None:
        """Return a file as a source, or the entries of a folder; None if the path is skipped.

        Args:
            path: The path as the user would name it.
            home: The absolute path that determines its id.

        Raises:
            OSError: If the path cannot be examined.
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
            self.ignored[Path(path).suffix or "without an extension"] += 1
            return None
        return source

    def _listed(self, path: str, home: str) -> list[tuple[str, str]]:
        """Return the entries of a folder, the last name first."""
        if not os.access(path, os.X_OK):  # its files could be listed, but not examined
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        place = os.path.join(self.top, path.removeprefix(self.folder).lstrip(os.sep))
        met = (name for name in os.listdir(path) if not name.startswith("."))
        names = sorted((name for name in met if self.coverage.concerns(os.path.join(place, name))), reverse=True)
        return [(os.path.join(path, name), os.path.join(home, name)) for name in names]

    def _target(self, path: str, home: str) -> str | None:
        """Return the path that determines the id of a link's target; None if the link is skipped."""
        real = os.path.realpath(path, strict=True)
        if real in self.linked:
            return None
        inner = os.path.relpath(real, self.top) if _is_below(real, self.top) else None
        if inner is not None:
            hidden = any(part.startswith(".") for part in Path(inner).parts if part != ".")
            reached = not hidden and (os.path.isdir(real) or format_of(real, self.options))
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
                f"{' …' if len(self.outside) > 1 else ''}); pass `follow_links` to read their targets",
                stacklevel=2,
            )


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
