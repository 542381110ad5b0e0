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

from semsearch.corpus.beir import BEIR_CORPUS, has_own_ids, may_be_beir, what_is_beside
from semsearch.corpus.formats.table import ARCHIVES, FORMATS, format_of
from semsearch.corpus.gzipped import ending_of, open_bytes
from semsearch.corpus.ignored import Rules, is_ignored, is_repository, rules_above, rules_in
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
    what_is_ignored,
    what_is_passed_over,
)
from semsearch.corpus.sources import STDIN, ReadOptions, Source
from semsearch.errors import RecordError, SourceError
from semsearch.paths import as_path, printable, shown
from semsearch.types import Origin


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
    by_line = [path for path in real if os.path.isfile(path) and has_own_ids(path, options)]
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
    for name in BEIR_CORPUS if may_be_beir(options) else ():
        if os.path.isfile(os.path.join(path, name)):
            entries = {entry: os.path.isdir(os.path.join(path, entry)) for entry in os.listdir(path)}
            if unread := what_is_beside(path, name, entries, options):
                warnings.warn(f"{unread} (pass their paths to read them too)", stacklevel=2)
            return os.path.join(path, name)
    return path


def _sources(given: str, origin: Origin, options: ReadOptions, coverage: Coverage) -> Iterator[Source | RecordError]:
    """Find the files of a path."""
    if given == STDIN:
        return iter((Source("<stdin>", STDIN, format_of(given, options) or "jsonl", origin),))
    if os.path.isdir(given):
        walk = _Walk(given, os.path.realpath(given), options, coverage)
        found = walk.sources()
        first = next(found, None)
        if first is None:
            if coverage.only is not None:
                return iter(())
            raise SourceError(
                f'"{shown(given)}" contains no files in a supported format{walk.passed()}; expected {_endings()}'
            )
        return chain((first,), found)
    if not coverage.concerns(os.path.realpath(given)):
        return iter(())
    source = source_of(given, origin, options)
    if source is None:
        what = "has an unknown extension" if ending_of(given) else "has no extension and is not text"
        raise SourceError(f'"{shown(given)}" {what}; expected {_endings()}, or set its format with `format`')
    return iter((source,))


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
    """

    folder: str
    top: str
    options: ReadOptions
    coverage: Coverage
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
        place = os.path.join(self.top, path.removeprefix(self.folder).lstrip(os.sep))
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

    def passed(self) -> str:
        """Return how many files and folders were passed over and why, as the rest of a sentence."""
        return f"; passed over: {counts(self.omitted)}" if self.omitted else ""

    def _warn(self) -> None:
        if self.ignored:
            warnings.warn(what_is_ignored(self.folder, self.ignored), stacklevel=2)
        if self.omitted:
            warnings.warn(what_is_passed_over(self.folder, self.omitted), stacklevel=2)
        if self.outside:
            links = f"{len(self.outside)} links" if len(self.outside) > 1 else "a link"
            warnings.warn(
                f'did not follow {links} out of "{shown(self.folder)}" ({printable(self.outside[0])}'
                f"{' …' if len(self.outside) > 1 else ''}); pass `follow_links` to read their targets",
                stacklevel=2,
            )


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
