"""Files and folders that appear when they are complete, and what their content hashes to."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from io import BufferedReader
from mmap import ACCESS_READ, mmap
from pathlib import Path
from threading import Thread
from typing import IO, TypeAlias

from semsearch.errors import SourceError

_Version: TypeAlias = tuple[int, Path, int, int]
"""A process, and a file with its size in bytes and its time of change in nanoseconds."""

_HASHES: dict[_Version, Future[str]] = {}
"""By process too: after a fork, nobody waits for what another process began to hash."""


def make_folder(folder: Path) -> None:
    """Make a folder to write into, unless it is there.

    Raises:
        SourceError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"cannot write {str(folder)!r}: {error.strerror}") from None


def is_regular(path: Path) -> bool:
    """Say whether a path itself is a regular file: no link to one, no pipe, no device, and not missing."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file to read its bytes; a file of a folder that somebody else may have made.

    Raises:
        OSError: It cannot be opened, or is a link, a pipe or a device, which are not touched.
    """
    if not is_regular(path):  # also where the system knows no O_NOFOLLOW; opening a device may already do something
        path.lstat()
        raise OSError(errno.EINVAL, "is a link, or no regular file", str(path))
    descriptor = os.open(path, os.O_RDONLY | _CAUTIOUS)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError(errno.EINVAL, "is no regular file", str(path))


_CAUTIOUS = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY", "O_CLOEXEC"))
"""Flags that follow no link and do not wait for the other end of a pipe."""


def unused_name(path: Path, ending: str) -> Path:
    """Return a name beside a path that nobody can have foreseen, and put something else there."""
    return path.with_name(f"{path.name}.{secrets.token_hex(8)}.{ending}")


def write_bytes(path: Path, *parts: bytes) -> None:
    """Write a file that appears when it is complete and on the disk; what had the name before is replaced.

    Raises:
        OSError: It cannot be written; no part of it is left.
    """
    temporary = unused_name(path, "tmp")
    try:
        with temporary.open("xb") as file:  # which follows no link
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()  # on a full disk its bytes are the room that is wanted
        raise
    sync(path.parent)


@contextmanager
def writing(path: Path) -> Iterator[IO[str]]:
    """Open a text file that appears when it is complete; a pipe or a device is written to as it goes.

    Raises:
        SourceError: It cannot be written.
    """
    target = Path(os.path.realpath(path))  # a link stays one
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
    """Copy a folder of regular files; the copy is there whole or not at all, also after a loss of power.

    Nothing is written where the copy is there already; a target with other content is replaced.

    Args:
        source: Holds regular files only.
        target: The copy, whose parent exists.

    Raises:
        OSError: The source cannot be read, or the copy cannot be written.
    """
    if _is_same(source, target):
        return
    half_made = unused_name(target, "new")
    try:
        half_made.mkdir()
        for path in sorted(source.iterdir()):
            with open_regular(path) as file, (half_made / path.name).open("xb") as copy:
                shutil.copyfileobj(file, copy)
        for path in (*half_made.iterdir(), half_made):
            sync(path)
        remove(target)
        half_made.rename(target)
    finally:
        with suppress(OSError):
            remove(half_made)
    sync(target.parent)


def remove(path: Path) -> None:
    """Remove a file, a folder with all that is in it, or a link but not what it leads to; nothing where it is gone."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_same(source: Path, target: Path) -> bool:
    """Say whether the target is the source, or holds the same files with the same content."""
    if target.is_symlink() or not target.is_dir():
        return False
    names = sorted(os.listdir(source))
    return target.samefile(source) or (
        sorted(os.listdir(target)) == names
        and all(is_regular(target / name) for name in names)
        and all(hash_file(source / name) == hash_file(target / name) for name in names)
    )


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk."""
    windows = os.name == "nt"
    if windows and path.is_dir():  # it syncs no folders
        return
    descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hash_file(path: Path) -> str:
    """Return a file's sha256 in hex; a file is read once per process while its size and time of change stay the same.

    Raises:
        OSError: The file cannot be read.
    """
    version, ours = _version(path), Future[str]()
    known = _HASHES.setdefault(version, ours)
    if known is ours:
        _hash([(version, ours)])
    return known.result()


def hash_ahead(paths: Iterable[Path]) -> None:
    """Start to hash files on another thread; `hash_file` waits for one that is being hashed, and meets its errors."""
    claimed: list[tuple[_Version, Future[str]]] = []
    try:
        for path in paths:
            with suppress(OSError):
                claimed.append((_version(path), Future()))
        claimed = [(version, ours) for version, ours in claimed if _HASHES.setdefault(version, ours) is ours]
        Thread(target=_hash, args=(claimed,), name="semsearch-hash").start()
    except BaseException as error:  # Ctrl-C, or no thread to be had: nobody may wait for these
        for version, ours in claimed:
            _give_up(version, ours, error)
        raise


def _version(path: Path) -> _Version:
    entry = path.stat()
    return os.getpid(), path.resolve(), entry.st_size, entry.st_mtime_ns


def _hash(claimed: Iterable[tuple[_Version, Future[str]]]) -> None:
    """Hash files one after the other; each system call costs a turn of the interpreter, so there are few of them."""
    for version, ours in claimed:
        try:
            ours.set_result(_digest(*version[1:3]))
        except BaseException as error:
            _give_up(version, ours, error)


def _give_up(version: _Version, ours: Future[str], error: BaseException) -> None:
    """Hand an error to those who wait; the next one tries again."""
    if _HASHES.get(version) is ours:
        del _HASHES[version]
    if not ours.done():
        ours.set_exception(error)


def _digest(path: Path, size: int) -> str:
    if not size:  # there is nothing to map
        return hashlib.sha256().hexdigest()
    with path.open("rb", buffering=0) as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        return hashlib.sha256(data).hexdigest()  # in one call, during which other threads run
