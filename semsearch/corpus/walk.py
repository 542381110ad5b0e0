"""Finding the files of a path and their formats, by name and extension, or by content if there is no extension."""

from __future__ import annotations

import errno
import gzip
import os
import stat
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from semsearch.corpus.formats.code import is_generated, language_of_script
from semsearch.corpus.formats.table import ARCHIVES, FORMATS, format_of
from semsearch.corpus.gzipped import CORRUPT, ending_of, open_bytes
from semsearch.corpus.ignored import Rules, is_ignored, is_repository, rules_above, rules_in, rules_of
from semsearch.corpus.plain import is_text
from semsearch.corpus.roots import Coverage, outermost
from semsearch.corpus.sources import STDIN, ReadOptions, Source
from semsearch.errors import RecordError, SourceError
from semsearch.paths import as_path
from semsearch.types import Origin

BEIR_CORPUS = ("corpus.jsonl", "corpus.jsonl.gz")
"""Names of the file with the documents in the BEIR layout."""

BEIR_OTHERS = ("queries.jsonl", "queries.jsonl.gz", "qrels")
"""Names of the other files and folders in the BEIR layout."""

STORES = frozenset({".git", ".hg", ".svn"})
"""Names of the folders in which version control keeps its history, which is never read."""

CACHES = {
    "node_modules": "packages that npm installs",
    "bower_components": "packages that Bower installs",
    "__pypackages__": "packages that PDM installs",
    "__pycache__": "compiled Python modules",
    "__MACOSX": "what macOS adds to archives",
}
"""Names of folders that hold what can be downloaded or made again, with what is in them."""

MARKERS = {"pyvenv.cfg": b"", "CACHEDIR.TAG": b"Signature: 8a477f597d28d172789f06886806bc55"}
"""Names of files that mark such a folder, with their first bytes: virtual environments of Python, and caches by the
Cache Directory Tagging Specification, such as Cargo's `target`."""

IGNORED, CACHED, GENERATED = "in .gitignore", "caches", "generated"
EXCLUDED, NOT_INCLUDED = "excluded", "not included"
"""Reasons why files and folders are passed over, as messages name them."""

HEAD = 2**12
"""Number of bytes by which a file without an extension is recognized as text."""


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
    for name in BEIR_CORPUS if may_be_beir(options) else ():
        if os.path.isfile(os.path.join(path, name)):
            entries = {entry: os.path.isdir(os.path.join(path, entry)) for entry in os.listdir(path)}
            if unread := what_is_beside(path, name, entries, options):
                warnings.warn(f"{unread} (pass their paths to read them too)", stacklevel=2)
            return os.path.join(path, name)
    return path


def may_be_beir(options: ReadOptions) -> bool:
    """Return whether a folder or an archive in the BEIR layout is recognized, rather than read file by file."""
    return options.format in (None, "jsonl")


def corpus_among(paths: Iterable[str], options: ReadOptions) -> str | None:
    """Return the file with the documents of an archive in the BEIR layout; None if it is in no such layout.

    Args:
        paths: The paths of its files, of which the layout may be that of the only folder at the top.
        options: Options for reading.
    """
    at_top: set[str] = set()
    tops: list[str] = []
    met: dict[str, set[str]] = {}
    for path in paths if may_be_beir(options) else ():
        top, _, name = path.rpartition("/")
        first = path.partition("/")[0]
        if first not in tops[:2]:
            tops = [*tops[:1], first]
        if name in BEIR_CORPUS and "/" not in top:
            met.setdefault(top, set()).add(name)
            at_top.update(() if top else (name,))
    top = tops[0] if len(tops) == 1 else ""
    found = at_top or met.get(top, set())
    return None if not found else "/".join(filter(None, ("" if at_top else top, min(found))))


def what_is_beside(folder: str, corpus: str, entries: Mapping[str, bool], options: ReadOptions) -> str:
    """Return a warning about what is not read because its folder is in the BEIR layout; empty if there is nothing.

    Args:
        folder: The folder or archive, for the message.
        corpus: The file that is read.
        entries: Names of what lies beside it, with whether each is a folder.
        options: Options for reading.
    """
    tables = any(name in BEIR_OTHERS for name in entries)  # next to queries, tables are evaluation data
    hidden = [
        name
        for name, is_folder in sorted(entries.items())
        if not name.startswith(".")
        and name not in (*BEIR_CORPUS, *BEIR_OTHERS)
        and (is_folder or (format_of(name, options) and not (tables and _has_own_ids(name, options))))
    ]
    if not hidden:
        return ""
    listed = ", ".join(hidden[:8]) + (" …" if len(hidden) > 8 else "")
    return f'"{shown(folder)}" contains {corpus}, which is read as the whole corpus; not read: {printable(listed)}'


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


def recognized(path: str, options: ReadOptions, head: Callable[[int], bytes]) -> str | None:
    """Return the format of a file; without an extension, `text` for text such as README, and `code` for a script.

    Args:
        path: The file, or its path inside an archive.
        options: Options for reading.
        head: Returns so many of the first bytes of the file, decompressed; called only if the name does not decide.

    Raises:
        OSError: If a file without an extension cannot be read.
    """
    named = format_of(path, options)
    if named is not None or ending_of(path):
        return named
    try:
        first = head(HEAD)
    except (gzip.BadGzipFile, *CORRUPT):
        return None
    if not is_text(first):
        return None
    return "code" if language_of_script(first) else "text"


def is_left_out(path: str, file_format: str | None, options: ReadOptions, head: Callable[[int], bytes]) -> bool:
    """Return whether a file is source code that was generated or minified, which is passed over.

    Raises:
        OSError: If it cannot be read; what is wrong with gzip data is the business of its reader.
    """
    try:
        return file_format == "code" and not options.all_files and is_generated(path, head)
    except (gzip.BadGzipFile, *CORRUPT):
        return False


def _head_of(path: str, length: int) -> bytes:
    with open_bytes(path) as file:
        return file.read(length)


def _has_own_ids(path: str, options: ReadOptions) -> bool:
    file_format = format_of(path, options)
    return file_format in FORMATS and FORMATS[file_format].own_ids


def _problem(path: str, reason: str, origin: Origin) -> RecordError:
    error = RecordError(printable(path), None, reason)
    error.origin = origin
    return error


def printable(path: str) -> str:
    """Return a printable form of a path, which may not be valid UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()


def shown(path: str) -> str:
    """Shorten a given path for a message, since it may be a whole text passed by mistake."""
    line = " ".join(printable(path).split())
    return line if len(line) <= 300 else f"{line[:299]}…"


def what_is_ignored(folder: str, ignored: Counter[str]) -> str:
    """Return a warning about the files of a folder or an archive that are not documents, counted by extension."""
    return f'ignored files in "{shown(folder)}" that are not documents: {_counts(ignored)}'


def kind_of(path: str) -> str:
    """Return the extension of a file that is no document, as messages name it."""
    return Path(path).suffix or "without an extension"


def what_is_passed_over(folder: str, omitted: Counter[str]) -> str:
    """Return a warning about what of a folder or an archive was passed over, counted by reason."""
    hint = "; pass `all_files` to read them too" if {*omitted} - {EXCLUDED, NOT_INCLUDED} else ""
    return f'passed over files and folders in "{shown(folder)}": {_counts(omitted)}{hint}'


def is_hidden(name: str, options: ReadOptions) -> bool:
    """Return whether a file or folder is passed over without being counted, by its name alone."""
    return name in STORES or (name.startswith(".") and not options.all_files)


@dataclass(frozen=True, slots=True)
class Choice:
    """The user's patterns for what lies in a folder or an archive."""

    included: Rules
    excluded: Rules

    @classmethod
    def of(cls, folder: str, options: ReadOptions) -> Choice:
        """Return the patterns of the options, which are relative to a folder."""
        return cls(rules_of(folder, options.include), rules_of(folder, options.exclude))

    def reason(self, path: str, *, is_folder: bool) -> str | None:
        """Return why a file or folder below that folder is passed over, or None if it is not."""
        if self.excluded.verdict(path, is_folder=is_folder):
            return EXCLUDED
        if self.included.rules and not is_folder and not self.included.covers(path):
            return NOT_INCLUDED
        return None


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
        if is_folder and (os.path.basename(path) in CACHES or _is_marked(path)):
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
        return f"; passed over: {_counts(self.omitted)}" if self.omitted else ""

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


def _counts(counter: Counter[str]) -> str:
    """Return all counts, the highest first, and those that are equal by name."""
    ordered = sorted(counter.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{n:,} {printable(name)}" for name, n in ordered)


def _is_marked(folder: str) -> bool:
    """Return whether a folder contains one of the MARKERS."""
    for name, head in MARKERS.items():
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            try:
                with open(path, "rb") as file:
                    if file.read(len(head)) == head:
                        return True
            except OSError:
                continue
    return False


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
