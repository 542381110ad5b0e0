"""Writing files and folders atomically, and hashing file contents."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from io import BufferedReader
from mmap import ACCESS_READ, mmap
from pathlib import Path
from threading import Thread
from typing import IO, BinaryIO, TypeAlias

from semsearch.errors import SourceError, UsageError

_Version: TypeAlias = tuple[int, Path, int, int]
"""Process id, file path, size in bytes and modification time in nanoseconds."""

_HASHES: dict[_Version, Future[str]] = {}
"""Hashes by file version. The key includes the process, so that a forked child never waits for its parent's threads."""


def make_folder(folder: Path) -> None:
    """Create a folder to write into, unless it exists.

    Raises:
        SourceError: If the folder cannot be created.
    """
    try:
        make_lasting(folder)
    except OSError as error:
        raise SourceError(f"cannot write {str(folder)!r}: {error.strerror}") from None


def make_lasting(folder: Path) -> None:
    """Create a folder and its parents, unless they exist, and wait until their names are on disk.

    Raises:
        OSError: If the folder cannot be created.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        with suppress(PermissionError):  # a folder that may be written to but not read
            sync(one.parent)


def is_regular(path: Path) -> bool:
    """Return whether a path is itself a regular file: not a link to one, a pipe or a device, and not missing."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading bytes, in a folder that may come from someone else.

    Raises:
        OSError: If the file cannot be opened, or is a link, a pipe or a device; these are not touched.
    """
    if not is_regular(path):  # for systems without O_NOFOLLOW; merely opening a device can have side effects
        path.lstat()
        raise OSError(errno.EINVAL, "is a link or not a regular file", str(path))
    descriptor = os.open(path, os.O_RDONLY | _CAUTIOUS)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError(errno.EINVAL, "is not a regular file", str(path))


_CAUTIOUS = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY", "O_CLOEXEC"))
"""Flags that do not follow links and do not wait for the other end of a pipe."""


def unused_name(path: Path, ending: str) -> Path:
    """Return an unpredictable name next to a path, so that nobody can have put something else there."""
    return path.with_name(f"{path.name}.{secrets.token_hex(8)}.{ending}")


@contextmanager
def creating(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing bytes that appears once it is complete and on disk, replacing any of that name.

    Raises:
        OSError: If the file cannot be written; no partial file is left behind.
    """
    temporary = unused_name(path, "tmp")
    try:
        with temporary.open("x+b") as file:  # does not follow links
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()  # on a full disk, this frees the space that is needed
        raise
    sync(path.parent)


def write_bytes(path: Path, *parts: bytes) -> None:
    """Write a file atomically; see `creating`."""
    with creating(path) as file:
        for part in parts:
            file.write(part)


@contextmanager
def writing(path: Path) -> Iterator[IO[str]]:
    """Open a text file for writing that appears once it is complete; a pipe or a device is written to directly.

    Raises:
        SourceError: If the file cannot be written.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    temporary = unused_name(target.with_name(f".{target.name}"), "tmp")
    try:
        direct = target.exists() and not target.is_file()
        with (target if direct else temporary).open("w" if direct else "x", encoding="utf-8") as file:
            yield file
        if not direct:
            temporary.replace(target)
    except OSError as error:
        raise SourceError(f"cannot write {str(path)!r}: {error.strerror}") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder of regular files atomically: the copy is complete or absent, even after a power failure.

    Nothing is written if an identical copy exists; a target with other content is replaced.

    Args:
        source: A folder that contains regular files only.
        target: The copy; its parent must exist.

    Raises:
        OSError: If the source cannot be read, or the copy cannot be written.
    """
    if _is_same(source, target):
        return
    with replacing(target) as half_made:
        for path in sorted(source.iterdir()):
            with open_regular(path) as file, (half_made / path.name).open("xb") as copy:
                shutil.copyfileobj(file, copy)


@contextmanager
def replacing(target: Path, discard: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Provide a folder to write into that replaces the target once it is complete and on disk.

    Args:
        target: What to replace; it may be missing.
        discard: Removes the target, or raises OSError to keep it; None to remove it with its contents.

    Raises:
        OSError: If the folder cannot be written; the target stays.
    """
    with _beside(target) as half_made:
        yield half_made
        sync_all(half_made)
        (discard or remove)(target)
        half_made.rename(target)
    sync(target.parent)


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Provide a new folder beside the target; whatever is under its name at the end is removed."""
    remove_half_made(target)
    made = unused_name(target, "new")
    try:
        made.mkdir()
        yield made
    finally:
        with suppress(OSError):
            remove(made)


def remove_half_made(target: Path) -> None:
    """Remove the folders that runs which were killed have left beside their target, before it appeared.

    Of two runs with the same target, only one can succeed anyway.
    """
    half_made = re.compile(rf"{re.escape(target.name)}\.[0-9a-f]{{16}}\.new")
    with suppress(OSError):
        for path in target.absolute().parent.iterdir():
            if half_made.fullmatch(path.name):
                remove(path)


@contextmanager
def building(target: Path, parameter: str = "out") -> Iterator[Path]:
    """Provide a folder to write into that appears under its own name once it is complete and on disk.

    Args:
        target: The folder; it must not exist, or be empty.
        parameter: Name of the parameter that was given as the target, for messages.

    Raises:
        UsageError: If the target exists and is not an empty folder.
        SourceError: If the folder cannot be written.
    """
    if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        raise UsageError(f"`{parameter}` {str(target)!r} exists already; give a new folder, or remove that one first")
    make_folder(target.parent)
    try:
        with replacing(target, _remove_empty) as half_made:
            yield half_made
    except OSError as error:
        raise SourceError(f"cannot write {str(target)!r}: {error.strerror}") from None


@contextmanager
def exchanging(target: Path) -> Iterator[Path]:
    """Provide a folder to write into that takes the place of an existing one once it is complete and on disk.

    At every instant there is a complete folder of that name, where the system can exchange two names at once (Linux).
    Elsewhere a crash between two renames leaves the former folder under a name that ends in `.old`.

    Raises:
        OSError: If the folder cannot be written or exchanged; the target stays.
    """
    with _beside(target) as made:
        yield made
        sync_all(made)
        if not _exchange(made, target):
            former = unused_name(target, "old")
            target.rename(former)
            try:
                made.rename(target)
            except BaseException:
                former.rename(target)
                raise
            former.rename(made)
        sync(target.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders at once; return whether the system did."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    names = os.fsencode(one.absolute()), os.fsencode(other.absolute())
    return rename is not None and rename(_HERE, names[0], _HERE, names[1], _EXCHANGE) == 0


_HERE, _EXCHANGE = -100, 2
"""`AT_FDCWD` and `RENAME_EXCHANGE` in Linux's headers."""


def _remove_empty(folder: Path) -> None:
    """Remove an empty folder, over which Windows does not rename; one that was filled meanwhile is an OSError."""
    with suppress(FileNotFoundError):
        folder.rmdir()


def remove(path: Path) -> None:
    """Remove a file, a folder with its contents, or a link but not its target; do nothing if the path is missing."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_same(source: Path, target: Path) -> bool:
    """Return whether the target is the source, or contains the same files with the same content."""
    if target.is_symlink() or not target.is_dir():
        return False
    names = sorted(os.listdir(source))
    return target.samefile(source) or (
        sorted(os.listdir(target)) == names
        and all(is_regular(target / name) for name in names)
        and all(hash_file(source / name) == hash_file(target / name) for name in names)
    )


def sync_all(folder: Path) -> None:
    """Wait until a folder with everything in it is on disk."""
    for path in (*folder.rglob("*"), folder):
        sync(path)


def sync(path: Path) -> None:
    """Wait until a file, or the list of files in a folder, is on disk."""
    windows = os.name == "nt"
    if windows and path.is_dir():  # Windows cannot sync folders
        return
    descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in hex, cached per process by path, size and modification time.

    Raises:
        OSError: If the file cannot be read.
    """
    version, ours = _version(path), Future[str]()
    known = _HASHES.setdefault(version, ours)
    if known is ours:
        _hash([(version, ours)])
    return known.result()


def hash_ahead(paths: Iterable[Path]) -> None:
    """Start hashing files on another thread; `hash_file` waits for a file being hashed, and raises its errors."""
    claimed: list[tuple[_Version, Future[str]]] = []
    try:
        for path in paths:
            with suppress(OSError):
                claimed.append((_version(path), Future()))
        claimed = [(version, ours) for version, ours in claimed if _HASHES.setdefault(version, ours) is ours]
        Thread(target=_hash, args=(claimed,), name="semsearch-hash").start()
    except BaseException as error:  # Ctrl-C, or no thread could be started: nobody must wait for these
        for version, ours in claimed:
            _give_up(version, ours, error)
        raise


def _version(path: Path) -> _Version:
    entry = path.stat()
    return os.getpid(), path.resolve(), entry.st_size, entry.st_mtime_ns


def _hash(claimed: Iterable[tuple[_Version, Future[str]]]) -> None:
    """Hash files one after another, with few system calls: each may have to wait for the GIL."""
    for version, ours in claimed:
        try:
            ours.set_result(_digest(*version[1:3]))
        except BaseException as error:
            _give_up(version, ours, error)


def _give_up(version: _Version, ours: Future[str], error: BaseException) -> None:
    """Pass an error to the waiting callers; the next caller tries again."""
    if _HASHES.get(version) is ours:
        del _HASHES[version]
    if not ours.done():
        ours.set_exception(error)


def _digest(path: Path, size: int) -> str:
    if not size:  # an empty file cannot be mapped
        return hashlib.sha256().hexdigest()
    with path.open("rb", buffering=0) as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        return hashlib.sha256(data).hexdigest()  # a single call, which releases the GIL
