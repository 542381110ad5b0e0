"""Finding the files of a path: those of a folder in the order of their names, without what is passed over."""

from __future__ import annotations

import errno
import os
import stat
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from semsearch.corpus.beir import has_own_ids
from semsearch.corpus.formats.table import ARCHIVES, FORMATS, format_of
from semsearch.corpus.given import Given, given_at
from semsearch.corpus.globs import Glob
from semsearch.corpus.gzipped import ending_of, open_bytes
from semsearch.corpus.ignored import Rules, is_ignored, is_repository, rules_above, rules_in
from semsearch.corpus.remote import RemoteWalk, source_at
from semsearch.corpus.roots import Coverage, outermost
from semsearch.corpus.selection import (
    CACHED,
    CACHES,
    GENERATED,
    IGNORED,
    Choice,
    counts,
    is_hidden,
    is_left_out,
    is_marked,
    kind_of,
    recognized,
    tell_left_out,
)
from semsearch.corpus.sources import STDIN, ReadOptions, Source
from semsearch.errors import RecordError, SourceError
from semsearch.paths import as_path, printable, shown
from semsearch.types import Origin
from semsearch.urls import local_path, without_secrets


def as_written(path: object, name: str = "path") -> str:
    """Return a path as text, as the user spelled it: a Path would drop a leading `./`.

    Of a URL with the scheme `file`, the path is returned.

    Args:
        path: A string or a path object.
        name: Name of the parameter, for the error message.

    Raises:
        UsageError: If `path` is neither a string nor a path object, or a `file` URL names another machine.
    """
    return local_path(path) if isinstance(path, str) else str(as_path(path, name))


def find_sources(
    paths: Sequence[str], options: ReadOptions, coverage: Coverage
) -> list[tuple[str, Iterator[Source | RecordError]]]:
    """Find the files of several paths; the paths are checked immediately, and folders are walked lazily.

    Args:
        paths: Files, folders, patterns, URLs, or STDIN.
        options: Options for reading.
        coverage: The roots that determine the names of files; records what is given.

    Returns:
        Each path with an iterator over its files.

    Raises:
        SourceError: If a path does not exist, is neither a file nor a folder, has an unknown extension, or is a folder
            with nothing to read, or if a URL cannot be reached.
        UsageError: If pyarrow cannot open a URL.
    """
    given = [given_at(path, options) for path in paths]
    real = [one for one in given if one.path != STDIN]
    by_line = [one for one in real if not one.is_folder and has_own_ids(one.real, options)]
    for some in ([one for one in real if one not in by_line], by_line):  # records have their own ids
        for folder in outermost(one.real if one.is_folder else os.path.dirname(one.real) for one in some):
            coverage.root_of(folder)
    origins = [one.origin(coverage) for one in given]
    for one, origin in zip(given, origins, strict=True):
        coverage.give(origin, one.glob)
        if one.remote:
            coverage.remote[one.real] = one.remote[0].lacks
    return [
        (without_secrets(path), _sources(one, origin, options, coverage))
        for path, one, origin in zip(paths, given, origins, strict=True)
    ]


def _sources(given: Given, origin: Origin, options: ReadOptions, coverage: Coverage) -> Iterator[Source | RecordError]:
    """Find the files of a path."""
    if given.path == STDIN:
        return iter((Source("<stdin>", STDIN, format_of(given.path, options) or "jsonl", origin),))
    if given.is_folder:
        return _found_in(given, options, coverage)
    if not coverage.concerns(given.real):
        return iter(())
    source = _source_given(given, origin, options, coverage)
    if source is None:
        what = "has an unknown extension" if ending_of(given.path) else "has no extension and is not text"
        raise SourceError(f'"{given}" {what}; expected {_endings()}, or set its format with `format`')
    return iter((source,))


def _found_in(given: Given, options: ReadOptions, coverage: Coverage) -> Iterator[Source | RecordError]:
    """Find the files of a folder, or those in it that a pattern names; there must be one, unless the run is restricted.

    Raises:
        SourceError: If there is none.
    """
    walk: _Walk | RemoteWalk = (
        RemoteWalk(given.remote[0], options, coverage, given.glob)
        if given.remote
        else _Walk(given.path, given.real, options, coverage, given.glob)
    )
    found = walk.sources()
    first = next(found, None)
    if first is not None:
        return chain((first,), found)
    if coverage.only is not None:
        return iter(())
    what = "names no file as a pattern, or none" if given.glob else "contains no files"
    passed = f"; passed over: {counts(walk.omitted)}" if walk.omitted else ""
    raise SourceError(f'"{given}" {what} in a supported format{passed}; expected {_endings()}')


def _source_given(
    given: Given, origin: Origin, options: ReadOptions, coverage: Coverage
) -> Source | RecordError | None:
    """Return a given file as a source, or None if it is in no supported format."""
    if given.remote is None:
        return source_of(given.path, origin, options)
    try:
        return source_at(*given.remote, origin, options, coverage.count)
    except OSError as error:
        raise SourceError(f'"{given}" cannot be read: {error.strerror or error}') from None


def source_of(path: str, origin: Origin, options: ReadOptions) -> Source | RecordError | None:
    """Return the file as a source, or None if it is in no supported format.

    Raises:
        OSError: If a file without an extension cannot be read.
    """
    file_format = recognized(path, options, partial(_head_of, path))
    if file_format is None:
        return None
    try:
        str(origin).encode()
    except UnicodeEncodeError:
        return _problem(path, "the name of the file or its folder is not valid UTF-8; rename it", origin)
    return Source(path, path, file_format, origin)


def _head_of(path: str, length: int) -> bytes:
    with open_bytes(path) as file:
        return file.read(length)


def _problem(path: str, reason: str, origin: Origin) -> RecordError:
    error = RecordError(printable(path), None, reason)
    error.origin = origin
    return error


def _endings() -> str:
    """Return the extensions of all formats; of formats with many, the first few."""
    shown = [ending for one in FORMATS.values() for ending in (*one.endings[:4], *(["…"] if one.endings[4:] else []))]
    return f"{', '.join(shown)} (each also .gz), or {', '.join(ARCHIVES)}"


class _Entry(NamedTuple):
    """An entry of a folder.

    Attributes:
        path: The path as the user would name it.
        home: The absolute path that determines its id.
        rules: The rules of `.gitignore` files that apply to it.
    """

    path: str
    home: str
    rules: tuple[Rules, ...]


@dataclass(slots=True)
class _Walk:
    """Walks a folder in name order; each real folder is entered once, so that link loops end.

    Hidden files and folders, and what `.gitignore` files and the user's patterns name, are passed over. A link to
    something that the walk reaches anyway is skipped: the real path wins. A link that leads out of the folder is
    followed only on request, since an untrusted folder may link to anything.

    Attributes:
        folder: The folder as the user named it.
        top: The absolute path of the folder, with links resolved.
        glob: The pattern that names what to read of the folder; None for everything.
    """

    folder: str
    top: str
    options: ReadOptions
    coverage: Coverage
    glob: Glob | None = None
    choice: Choice = field(init=False)
    entered: set[str] = field(default_factory=set)
    linked: set[str] = field(default_factory=set)
    ignored: Counter[str] = field(default_factory=Counter)
    omitted: Counter[str] = field(default_factory=Counter)
    outside: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.choice = Choice.of(self.folder, self.options)

    def sources(self) -> Iterator[Source | RecordError]:
        """Yield the files, sorted by name; at the end, warn about what was left out."""
        self.entered.add(self.top)
        stack = self._listed(_Entry(self.folder, self.top, () if self.options.all_files else rules_above(self.top)))
        anything = False
        while stack:
            entry = stack.pop()
            try:
                met = self._met(entry)
            except OSError as error:
                self.coverage.unread(self._origin(entry.home))  # a link may lead to a disk that is not mounted
                reached = error.errno not in (errno.ENOENT, errno.ELOOP) or format_of(entry.path, self.options)
                origin, reason = self._origin(entry.home), f"cannot be read: {error.strerror}"
                met = _problem(entry.path, reason, origin) if reached else None
            if isinstance(met, list):
                stack += met
            elif met is not None:
                anything = True
                yield met
        if anything:
            self._warn()

    def _met(self, entry: _Entry) -> Source | RecordError | list[_Entry] | None:
        """Return a file as a source, or the entries of a folder; None if the entry is skipped.

        Raises:
            OSError: If the entry cannot be examined.
        """
        path, home, rules = entry
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            target = self._target(path, home)
            if target is None:
                return None
            home, mode = target, os.stat(path).st_mode
        is_folder = stat.S_ISDIR(mode)
        if not is_folder and not stat.S_ISREG(mode):
            return None
        if self.glob and not self.glob.concerns(_inner(path, self.folder), is_folder=is_folder):
            return None
        reason = self._reason(path, home, rules, is_folder=is_folder)
        if reason:
            self._pass_over(home, reason)
            return None
        if is_folder:
            real = os.path.realpath(path)
            if real in self.entered:
                return None
            self.entered.add(real)
            return self._listed(_Entry(path, home, () if is_repository(path) else rules))
        source = source_of(path, self._origin(home), self.options)
        if source is None:
            self.ignored[kind_of(path)] += 1
        elif isinstance(source, Source) and is_left_out(path, source.format, self.options, partial(_head_of, path)):
            self._pass_over(home, GENERATED)
            return None
        return source

    def _reason(self, path: str, home: str, rules: tuple[Rules, ...], *, is_folder: bool) -> str | None:
        """Return why a file or folder is passed over, or None if it is not."""
        if reason := self.choice.reason(path, is_folder=is_folder):
            return reason
        if self.options.all_files:
            return None
        if is_folder and (os.path.basename(path) in CACHES or is_marked(path)):
            return CACHED
        return IGNORED if is_ignored(rules, home, is_folder=is_folder) else None

    def _pass_over(self, home: str, reason: str) -> None:
        self.omitted[reason] += 1
        self.coverage.passed_over(self._origin(home))

    def _listed(self, folder: _Entry) -> list[_Entry]:
        """Return the entries of a folder, the last name first."""
        path, home, rules = folder
        if not os.access(path, os.X_OK):  # its files could be listed, but not examined
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        rules = () if self.options.all_files else rules + rules_in(path, home)
        place = os.path.join(self.top, _inner(path, self.folder))
        entries = []
        for name in sorted(os.listdir(path), reverse=True):
            if is_hidden(name, self.options):
                self.coverage.passed_over(self._origin(os.path.join(home, name)))
            elif self.coverage.concerns(os.path.join(place, name)):
                entries.append(_Entry(os.path.join(path, name), os.path.join(home, name), rules))
        return entries

    def _target(self, path: str, home: str) -> str | None:
        """Return the path that determines the id of a link's target; None if the link is skipped."""
        real = os.path.realpath(path, strict=True)
        if real in self.linked:
            return None
        inner = os.path.relpath(real, self.top) if _is_below(real, self.top) else None
        if inner is not None:
            hidden = any(part.startswith(".") for part in Path(inner).parts if part != ".")
            hidden = hidden and not self.options.all_files
            reached = not hidden and (os.path.isdir(real) or recognized(real, self.options, partial(_head_of, real)))
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
        tell_left_out(self.folder, self.ignored, self.omitted)
        if self.outside:
            links = f"{len(self.outside)} links" if len(self.outside) > 1 else "a link"
            warnings.warn(
                f'did not follow {links} out of "{shown(self.folder)}" ({printable(self.outside[0])}'
                f"{' …' if len(self.outside) > 1 else ''}); pass `follow_links` to read their targets",
                stacklevel=2,
            )


def _inner(path: str, folder: str) -> str:
    return path.removeprefix(folder).lstrip(os.sep)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
