"""Fetching public evaluation data sets from the Hugging Face hub, in the layouts that `semsearch eval` reads.

<folder>/<set>/                      the SentEval or BEIR layout
<folder>/<set>/semsearch.lock.json   the commit of each repository and the sha256 of every file; written last
<folder>/.fetch/<set>/               downloads and unfinished files, removed once the set is complete

Data sets are pinned to commits, so the same command will fetch the same files later. No code from a repository is run,
and this module is independent of the evaluation.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import textwrap
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import platformdirs
from filelock import FileLock, Timeout

from semsearch.datasets.hub import Listing, download, git_id, list_files
from semsearch.datasets.registry import DataSet, Part, find_set
from semsearch.errors import SourceError
from semsearch.files import hash_file
from semsearch.paths import as_path

LOCK = "semsearch.lock.json"
WORK = ".fetch"
MAIN = "main"


@dataclass(frozen=True, slots=True)
class Lock:
    """Commits and checksums of a complete data set.

    Attributes:
        revisions: Commit of each repository.
        sources: sha256 of each downloaded file, by `repository/file`.
        files: sha256 of each converted file, by path relative to the data set's folder.
    """

    revisions: Mapping[str, str]
    sources: Mapping[str, str]
    files: Mapping[str, str]


NOTHING = Lock({}, {}, {})


@dataclass(frozen=True, slots=True)
class Fetched:
    """A complete data set on disk.

    Attributes:
        new: Whether this call downloaded anything.
    """

    dataset: DataSet
    folder: Path
    lock: Lock
    new: bool

    @property
    def command(self) -> list[str]:
        """The command that evaluates on this data set, as a list of words."""
        return ["semsearch", *(word.format(folder=self.folder) for word in self.dataset.command)]


def default_folder() -> Path:
    """Return the folder for data sets: $SEMSEARCH_DATA_CACHE, or else a folder in the user's cache folder."""
    named = os.environ.get("SEMSEARCH_DATA_CACHE")
    return Path(named).expanduser() if named else platformdirs.user_cache_path("semsearch") / "data"


def fetch(name: str, to: str | Path, *, refresh: bool = False) -> Fetched:
    """Fetch a data set; if it is already complete, no network is needed.

    Files listed in a lock are fetched at the same commit and must have the same checksums. No existing file changes
    until everything has been downloaded and verified.

    Args:
        name: A key of SETS.
        to: Folder for data sets.
        refresh: Whether to fetch the hub's current version, regardless of pinned commits.

    Raises:
        UsageError: If the name is unknown, or `to` is not a path.
        SourceError: If the hub cannot be reached or lacks a file, a checksum differs, or the folder cannot be written
            or contains other files.
    """
    dataset, to = find_set(name), as_path(to, "to")
    folder = to / name
    try:
        lock = read_lock(folder)
        if lock and not refresh and _is_intact(folder, lock):
            return Fetched(dataset, folder, lock, new=False)
        if lock is None and folder.exists() and any(folder.iterdir()):
            raise SourceError(
                f"{str(folder)!r} contains files but no {LOCK}, so semsearch will not replace them; "
                "move them elsewhere, or choose another folder with `to`"
            )
        with _workplace(to, name) as work:
            made = _make(dataset, lock or NOTHING, work, refresh)
            _install(work / "made", folder, made, lock)
    except OSError as error:
        reason = error.strerror or error
        raise SourceError(
            f"{str(to)!r} cannot be used ({reason}); fix that, or choose another folder with `to`"
        ) from None
    return Fetched(dataset, folder, made, new=True)


def read_lock(folder: str | Path) -> Lock | None:
    """Read the lock in a data set's folder, or return None if there is none.

    Raises:
        SourceError: If the lock is damaged.
        UsageError: If `folder` is not a path.
    """
    folder = as_path(folder, "folder")
    try:
        lock = Lock(**json.loads((folder / LOCK).read_text(encoding="utf-8")))
        pairs = [pair for column in asdict(lock).values() for pair in column.items()]
        usable = all(isinstance(word, str) for pair in pairs for word in pair) and all(map(_is_inside, lock.files))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError):
        usable = False
    if not usable:
        raise SourceError(f"{str(folder / LOCK)!r} is damaged; remove {str(folder)!r} and fetch it again")
    return lock


def _is_inside(name: str) -> bool:
    return not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts


def _is_intact(folder: Path, lock: Lock) -> bool:
    return bool(lock.files) and all(
        (folder / name).is_file() and hash_file(folder / name) == sha for name, sha in lock.files.items()
    )


@contextmanager
def _workplace(to: Path, name: str) -> Iterator[Path]:
    """Provide a work folder for this process alone; after an error, its downloads are kept for the next run."""
    work = to / WORK / name
    work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(to / WORK / f"{name}.lock", timeout=0):
            yield work
            shutil.rmtree(work)
    except Timeout:
        raise SourceError(f"another process is fetching {name!r} to {str(to)!r}; wait until it finishes") from None


def _make(dataset: DataSet, pinned: Lock, work: Path, refresh: bool) -> Lock:
    """Download every part and convert it into the folder `made`."""
    made = work / "made"
    shutil.rmtree(made, ignore_errors=True)
    listings: dict[str, Listing] = {}
    sources: dict[str, str] = {}
    for part in dataset.parts:
        if part.repo not in listings:
            revision = MAIN if refresh else pinned.revisions.get(part.repo, part.revision)
            listings[part.repo] = list_files(part.repo, revision)
        listing = listings[part.repo]
        file = _choose(part, listing)
        if file is not None:
            source = download(listing, file, work / "hub")
            key = f"{part.repo}/{file}"
            sources[key] = _verify(source, listing, file, None if refresh else pinned.sources.get(key))
            _convert(part, source, f"{key} at {listing.commit:.12}", made)
    files = {path.relative_to(made).as_posix(): hash_file(path) for path in sorted(made.rglob("*")) if path.is_file()}
    return Lock({repo: listing.commit for repo, listing in listings.items()}, sources, files)


def _install(made: Path, folder: Path, lock: Lock, old: Lock | None) -> None:
    """Move the files into place: a new folder as a whole, otherwise file by file, the lock last."""
    (made / LOCK).write_text(f"{json.dumps(asdict(lock), indent=2)}\n", encoding="utf-8")
    if old is None:
        if folder.exists():
            folder.rmdir()
        made.rename(folder)
        return
    for name in lock.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).replace(folder / name)
    for name in old.files.keys() - lock.files.keys():
        (folder / name).unlink(missing_ok=True)
    (made / LOCK).replace(folder / LOCK)


def _choose(part: Part, listing: Listing) -> str | None:
    """Return the name of the part's file in the repository, or None if it is optional and missing."""
    names = [part.stem + ending for ending in part.endings]
    found = next((name for name in names if name in listing.files), None)
    if found is None and part.required:
        there = textwrap.shorten(", ".join(sorted(listing.files)), 200, placeholder=" …") or "nothing"
        raise SourceError(
            f"{part.repo} at {listing.commit:.12} contains none of {', '.join(names)} (found: {there}); other formats, "
            "such as Parquet, are not supported: fetch without `refresh`, or upgrade semsearch"
        )
    return found


def _verify(source: Path, listing: Listing, file: str, locked: str | None) -> str:
    """Return the sha256 of a download that matches the hub and the lock; delete any other and raise SourceError."""
    sha = hash_file(source)
    published = listing.files[file]
    for expected, by in ((published, "the hub"), (locked, LOCK)):
        actual = git_id(source) if expected and len(expected) == 40 else sha
        if expected not in (None, actual):
            source.resolve().unlink()
            source.unlink(missing_ok=True)
            raise SourceError(
                f"{listing.repo}/{file} at {listing.commit:.12} has the checksum {actual:.12}…, expected "
                f"{expected:.12}… according to {by}; fetch it again, and if that does not help, use `refresh` to "
                "get the hub's current version"
            )
    return sha


def _convert(part: Part, source: Path, name: str, made: Path) -> None:
    target = made / part.target
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        part.write(source, target)
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile, csv.Error) as error:
        raise SourceError(
            f"{name} is not in a supported format ({error}); fetch without `refresh`, or upgrade semsearch"
        ) from None
