"""Keeping an index up to date while its files change.

The system's notifications say which paths have changed, and a run of `Index.add` that is restricted to these decides
what that means: it walks the folders as any run does, so the same files are read under the same ids, and documents
whose files are gone are deleted. A path may therefore be reported once too often, but must not be missed.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from semsearch.corpus.formats.table import format_of
from semsearch.corpus.given import glob_of
from semsearch.corpus.gzipped import ending_of
from semsearch.corpus.roots import outermost
from semsearch.corpus.sources import STDIN, ReadOptions
from semsearch.corpus.walk import as_written
from semsearch.errors import LockedError, SourceError, UsageError
from semsearch.messages import first_line, listed
from semsearch.paths import real_place, shown
from semsearch.urls import scheme_of, without_secrets

if TYPE_CHECKING:
    from watchfiles.main import FileChange

    from semsearch.index import Index
    from semsearch.ingest import IngestResult

log = logging.getLogger(__name__)

MODIFIED = 2
"""The kind of a change, in watchfiles, that neither adds nor deletes a path."""

QUIET_MS, LONGEST_MS = 200, 600
"""Changes are passed on once there have been none for the first time, at the latest after the second."""

POLL_MS = 1_000
"""Time between two looks at all files where there are no notifications; modification times count in whole seconds."""

AGAIN_SECONDS = 1.5 * POLL_MS / 1_000
"""Time after which a changed path is looked at again when polling."""

MANY = 2_000
"""Number of changed paths from which on everything is looked at, because the system may have dropped notifications."""

IGNORE_FILES = (".gitignore",)
"""Hidden files that decide which files of their folder are read."""

REMOTE = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "fuse.", "fuseblk", "vboxsf", "prl_fs", "virtiofs", "drvfs")
"""Beginnings of the types of file systems that others can write to without notifications on this machine."""

MOUNTS = "/proc/self/mounts"
"""Where Linux lists file systems with their folders and types."""


@dataclass(frozen=True, slots=True)
class Update:
    """An index that was brought up to date.

    Attributes:
        result: What was done.
        seconds: Time that it took.
    """

    result: IngestResult
    seconds: float


def watch(
    index: Index,
    paths: Iterable[str | os.PathLike[str]],
    *,
    options: ReadOptions | None = None,
    replace: bool = False,
    poll: bool = False,
    first: Callable[[], IngestResult] | None = None,
) -> Iterator[Update]:
    """Bring an index up to date with files and folders, and then again whenever these change, until the caller stops.

    The index mirrors the files: documents whose files are gone are deleted. A bad record or file is skipped, and read
    again when it changes. Others can write to the index between updates.

    Args:
        index: The index.
        paths: Files and folders.
        options: How to read files.
        replace: Let a document replace one with the same id from another file.
        poll: Look for changes every second instead of relying on notifications by the system; this is the default on
            network file systems, and where notifications fail.
        first: Brings the index up to date at first, after changes have begun to be noted; None for `Index.add` with
            `delete_missing`.

    Yields:
        The first update, and each later one that changed something or met bad records.

    Raises:
        UsageError: If the paths contain standard input, or the watchfiles package is missing.
        SourceError: If one of the paths does not exist, or a folder no longer does; its documents are kept.
        Any error of `Index.add`, except that an index that is locked is waited for.
    """
    given = [as_written(path, f"paths[{number}]") for number, path in enumerate(paths)]
    reading = options or ReadOptions()
    with closing(_Changes(given, reading, os.path.realpath(index.location), poll)) as changes:
        yield _timed(first or partial(index.add, given, options=options, delete_missing=True))
        log.info("%s", changes)
        waiting = False
        pending: set[str] = set()
        while True:
            pending |= changes.next()
            if not pending:
                continue
            _check_folders(changes.folders)
            there = [path for path in given if os.path.exists(path)]
            wishes: dict[str, Any] = {"options": options, "skip_bad": True, "replace": replace, "delete_missing": True}
            try:
                update = _timed(partial(index.add, there, **wishes, only=pending))
            except LockedError as error:
                if not waiting:
                    log.warning("the changes have to wait: %s", error)
                waiting = True
                continue
            _forget_vanished(update.result)
            if any((update.result.encoded, update.result.described, update.result.deleted, update.result.bad)):
                changes.repeat(pending)
                yield update
            waiting, pending = False, set()


def _timed(run: Callable[[], IngestResult]) -> Update:
    started = time.perf_counter()
    result = run()
    return Update(result, time.perf_counter() - started)


def _check_folders(folders: Sequence[str]) -> None:
    """Check that folders still exist: without its folder, as after unmounting a disk, no document is known to be gone.

    Raises:
        SourceError: If one does not.
    """
    for folder in folders:
        if not os.path.isdir(folder):
            raise SourceError(f'"{shown(folder)}" no longer exists; its documents are kept, restore it and watch again')


def _forget_vanished(result: IngestResult) -> None:
    """Leave out the errors of files that vanished before they could be read."""
    there = [error for error in result.errors if error.origin is None or os.path.lexists(str(error.origin))]
    result.bad -= len(result.errors) - len(there)
    result.errors = there


@dataclass(slots=True)
class _Changes:
    """Notices changes to files and folders from the moment it is created.

    Attributes:
        given: The files and folders as the user named them.
        options: How files are read, which decides what can be a document.
        ignored: Absolute path of a folder in which changes do not count, that of the index.
        poll: Whether to look at all files, rather than being notified.
        folders: The given folders, and those that contain the given files, as absolute paths with links resolved.
    """

    given: Sequence[str]
    options: ReadOptions
    ignored: str
    poll: bool
    folders: list[str] = field(init=False)
    _tops: list[str] = field(init=False)
    _files: set[str] = field(init=False)
    _streams: list[Generator[set[FileChange], None, None]] = field(default_factory=list)
    _again: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in self.given:
            if path == STDIN:
                raise UsageError("standard input cannot be watched; give files or folders as `paths`")
            if scheme_of(path):
                raise UsageError(
                    f"{without_secrets(path)!r:.300} is a URL, which cannot be watched; index it again instead"
                )
            if glob_of(path):
                raise UsageError(f"{path!r:.300} is a pattern, which cannot be watched; give its folder, and `include`")
            if not os.path.exists(path):
                raise SourceError(f'"{shown(path)}" does not exist; expected a file or a folder to watch')
        real = [os.path.realpath(path) for path in self.given]
        self._tops = [path for path in real if os.path.isdir(path)]
        self._files = {path for path in real if path not in self._tops}
        self.folders = [*self._tops, *map(os.path.dirname, sorted(self._files))]
        remote = [folder for folder in self.folders if _is_remote(folder)]
        if remote and not self.poll:
            log.warning('"%s" is on a network file system, which does not tell of all changes', shown(remote[0]))
            self.poll = True
        self._open()

    def __str__(self) -> str:
        """Say how changes are noticed."""
        names = listed([f'"{shown(path)}"' for path in self.given])
        return f"looking for changes in {names} every second" if self.poll else f"watching {names} for changes"

    def next(self) -> set[str]:
        """Wait a moment for changes; return the paths that have changed, with links in their folders resolved."""
        try:
            events = {event for stream in self._streams for event in next(stream)}
            found = set().union(*(self._concerned(change, path) for change, path in events))
            self._probe(found)
        except (OSError, RuntimeError) as error:
            self._fall_back(error)
            found = self._everything
        if len(found) > MANY:
            found = self._everything
        due = {path for path, then in self._again.items() if then <= time.monotonic()}
        self._again = {path: then for path, then in self._again.items() if path not in due}
        self.repeat(found)
        return found | due

    def repeat(self, paths: Iterable[str]) -> None:
        """Return paths once more, after the next look at all files, unless the system notifies of changes.

        A second change within a second does not show in modification times. And an update may have read a new file
        that vanishes again before that look.
        """
        if self.poll:
            self._again |= dict.fromkeys(paths, time.monotonic() + AGAIN_SECONDS)

    def close(self) -> None:
        """Stop noticing changes."""
        for stream in self._streams:
            stream.close()

    @property
    def _everything(self) -> set[str]:
        return {*self._tops, *self._files}

    def _open(self) -> None:
        """Begin to notice changes: anywhere in given folders, and directly in the folders of given files.

        An editor may replace a file by another one, which watching the file alone would miss.
        """
        beside = {os.path.dirname(path) for path in self._files}
        self._streams = [
            self._stream(folders, recursive)
            for folders, recursive in ((outermost(self._tops), True), (sorted(beside), False))
            if folders
        ]
        try:
            for stream in self._streams:
                next(stream)
        except (OSError, RuntimeError) as error:  # too many or unreadable folders, or no notifications at all
            self._fall_back(error)
        self.repeat(self._everything)

    def _stream(self, folders: Iterable[str], recursive: bool) -> Generator[set[FileChange], None, None]:
        """Return the changes in folders, some at a time, or an empty set after a moment without any."""
        try:
            from watchfiles import watch as notified
        except ImportError:
            raise UsageError(
                "watching needs watchfiles, which is not installed; pip install 'semsearch[watch]'"
            ) from None
        return notified(
            *folders,
            watch_filter=None,
            debounce=LONGEST_MS,
            step=QUIET_MS,
            rust_timeout=QUIET_MS,
            yield_on_timeout=True,
            force_polling=self.poll,
            poll_delay_ms=POLL_MS,
            recursive=recursive,
            ignore_permission_denied=self.poll,  # otherwise it would hide that there are too many folders
        )

    def _probe(self, found: set[str]) -> None:
        """Raise an error if the system has no room to watch another folder: then it does not watch each new one."""
        new = next(filter(os.path.isdir, found), None)
        if new and not self.poll:
            with closing(self._stream([new], recursive=False)) as one, suppress(FileNotFoundError):
                next(one)

    def _fall_back(self, error: Exception) -> None:
        """Look at all files from now on, because notifications have failed."""
        self.close()
        if self.poll:
            raise SourceError(f"changes cannot be noticed: {first_line(error)}") from None
        log.warning(
            "the system does not tell of changes, so all files are looked at every second: %s", first_line(error)
        )
        self.poll = True
        self._open()

    def _concerned(self, change: int, path: str) -> set[str]:
        """Return what has to be looked at because of a change to a path."""
        real = real_place(path)
        if real in self._files:
            return {real}
        through_link = real != path
        above = [top for top in self._tops if real == top or real.startswith(os.path.join(top, ""))]
        if not above:
            return self._everything if through_link and self.options.follow_links else set()
        if _is_inside(real, self.ignored) or self._is_no_document(change, real):
            return set()
        if os.path.basename(real) in IGNORE_FILES:
            real = os.path.dirname(real)
        if not self.options.all_files and all(_is_hidden(os.path.relpath(real, top)) for top in above):
            return self._everything if through_link else set()
        return self._everything if os.path.islink(real) else {real}

    def _is_no_document(self, change: int, path: str) -> bool:
        """Return whether a path is a folder among whose entries something changed, or a file in no known format."""
        if self.poll and change == MODIFIED and os.path.isdir(path):
            return True
        return bool(ending_of(path)) and format_of(path, self.options) is None and os.path.isfile(path)


def _is_inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))


def _is_hidden(inner: str) -> bool:
    return any(part.startswith(".") for part in inner.split(os.sep) if part != os.curdir)


def _is_remote(folder: str) -> bool:
    """Return whether a folder is on a file system of another computer, as far as Linux tells."""
    try:
        with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            mounts = [line.split()[1:3] for line in file]
    except OSError:
        return False
    around = [(place, kind) for place, kind in mounts if _is_inside(folder, _unescaped(place))]
    return bool(around) and max(around, key=lambda mount: len(mount[0]))[1].startswith(REMOTE)


def _unescaped(place: str) -> str:
    """Return the name of a folder, in which Linux writes spaces and the like as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), place)
