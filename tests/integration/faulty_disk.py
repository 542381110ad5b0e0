"""A file system that fails: every change that Python makes to files below a folder can be the last one.

`FaultyDisk` replaces the functions of `os` and `io` that write, synchronize, rename, unlink, truncate, and create and
remove folders, counts their calls, and at the n-th call does what a `Fault` says. It can also forget what was not
synchronized, as a power failure may: the contents of files that were written but not synchronized, and for each folder
the latest creations, renamings and removals in it since it was synchronized.

SQLite writes by itself, so its calls are neither counted nor forgotten; whatever it has written counts as being on
disk. Its own tests cover power failures (sqlite.org/testing.html, section 4). Here, its writes are cut off by limits on
the sizes of files and by SIGKILL.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NoReturn

from semsearch import files

KINDS = ("before", "after", "short", "error", "errors", "power")
"""What happens at a call: the process dies before it, after it, or after half of a write; the call fails, or it and all
later ones do; the power fails before it."""

BUFFER = 2_048
"""Size of the buffer of a file in bytes, so that even a small file takes several writes."""

TO_STALL = 40
"""Number of failing calls after which the disk works again, in case something tries forever."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong at which call, counted from 1; see `KINDS`."""

    kind: str = ""
    at: int = 0
    seed: int = 0


class FaultyDisk:
    """Counts the changes below a folder, and carries out a fault.

    Attributes:
        calls: The names of the calls so far.
    """

    def __init__(self, root: Path, fault: Fault, shadow: Path) -> None:
        """Watch the files below `root`; `shadow` is an empty folder that keeps what may have to come back."""
        self._root, self._fault, self._shadow = str(root), fault, shadow
        self._lock = threading.Lock()
        self._unsynced: dict[int, str] = {}  # inode to path
        self._pending: list[tuple[int, Callable[[], object]]] = []  # inode of the folder, and how to undo the change
        self._kept = 0
        self.calls: list[str] = []
        self._real = {name: getattr(os, name) for name in (*CHANGES, "fsync")}

    def install(self) -> None:
        """Replace the functions, for the rest of this process."""
        for name in CHANGES:
            setattr(os, name, self._changing(name))
        os.fsync = self._fsync
        shutil._use_fd_functions = False  # so that paths are whole
        self._open_really = io.open
        io.open = self._open
        exchange = files._exchange
        files._exchange = lambda one, other: self.do("exchange", lambda: exchange(one, other))  # a pair of renamings

    def do(self, name: str, work: Callable[[], Any], partly: Callable[[], object] | None = None) -> Any:
        """Do something that changes files, unless this is the call at which it fails."""
        with self._lock:
            self.calls.append(name)
            number = len(self.calls)
        fault = self._fault
        failing = fault.kind == "errors" and fault.at <= number < fault.at + TO_STALL
        if number != fault.at and not failing:
            return work()
        if fault.kind in ("error", "errors"):
            code = errno.EIO if name in ("fsync", "unlink", "remove", "rmdir") else errno.ENOSPC
            raise OSError(code, os.strerror(code))
        if fault.kind == "power":
            self._lose()
        elif fault.kind == "after":
            work()
        elif fault.kind == "short" and partly:
            partly()
        die()

    def wrote(self, descriptor: int, path: str) -> None:
        """Note that a file has contents that are not synchronized."""
        self._unsynced[os.fstat(descriptor).st_ino] = path

    def _changing(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def change(path: Any, *others: Any, **wishes: Any) -> Any:
            if not self._is_ours(path):
                return real(path, *others, **wishes)
            return self.do(name, lambda: self._noted(name, str(path), [str(each) for each in others], wishes))

        return change

    def _noted(self, name: str, path: str, others: list[str], wishes: dict[str, Any]) -> None:
        """Make a change, and note how to undo it."""
        real, undo = self._real, list[Callable[[], object]]()
        if name in ("unlink", "remove"):
            kept = self._keep(path)
            undo.append(lambda: os.link(kept, path))
        elif name == "rmdir":
            undo.append(lambda: real["mkdir"](path))
        elif name == "mkdir":
            undo.append(lambda: shutil.rmtree(path, ignore_errors=True))
        elif name in ("rename", "replace"):
            (target,) = others
            undo.append(lambda: real["rename"](target, path))
            if os.path.isfile(target):
                replaced = self._keep(target)
                undo.append(lambda: os.link(replaced, target))
            if os.path.isfile(path):
                self._unsynced = {inode: target if old == path else old for inode, old in self._unsynced.items()}
        (real["mkdir"](path, 0o777) if name == "mkdir" else real[name](path, *others, **wishes))
        inode = os.stat(os.path.dirname(path)).st_ino
        self._pending += [(inode, one) for one in reversed(undo)]

    def _keep(self, path: str) -> str:
        """Keep a file that is about to lose its name."""
        self._kept += 1
        kept = str(self._shadow / str(self._kept))
        os.link(path, kept)
        return kept

    def _fsync(self, descriptor: int) -> None:
        self.do("fsync", lambda: self._real["fsync"](descriptor))
        inode = os.fstat(descriptor).st_ino
        self._unsynced.pop(inode, None)
        self._pending = [(folder, undo) for folder, undo in self._pending if folder != inode]

    def _open(self, path: Any, mode: str = "r", *others: Any, **wishes: Any) -> Any:
        if not set("wxa+") & set(mode) or "b" not in mode or not self._is_ours(path):
            return self._open_really(path, mode, *others, **wishes)
        existed = os.path.exists(path)
        raw = self.do("open", lambda: _Raw(self, str(path), mode.replace("b", "")))
        if not existed:
            self._pending.append((os.stat(os.path.dirname(path)).st_ino, lambda: _forget(str(path))))
        return (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw, BUFFER)

    def _is_ours(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(self._root)

    def _lose(self) -> None:
        """Lose what is not synchronized, or a part of it."""
        rng = Random(self._fault.seed)
        for name, real in self._real.items():
            setattr(os, name, real)
        for path in self._unsynced.values():
            size = os.path.getsize(path) if os.path.exists(path) else 0
            if size:
                os.truncate(path, rng.choice((0, size // 2, size)))
                with self._open_really(path, "r+b") as file:
                    file.write(bytes(min(rng.choice((0, size // 3)), os.path.getsize(path))))
        for folder in dict.fromkeys(folder for folder, _ in self._pending):
            changes = [number for number, (one, _) in enumerate(self._pending) if one == folder]
            del changes[rng.randint(0, len(changes)) :]
            self._pending = [one for number, one in enumerate(self._pending) if number not in changes]
        for _, undo in reversed(self._pending):
            try:
                undo()
            except OSError:  # what it was in is gone as well
                pass


CHANGES = ("replace", "rename", "unlink", "remove", "rmdir", "mkdir", "truncate")


class _Raw(io.FileIO):
    """A file whose writes and truncations count."""

    def __init__(self, disk: FaultyDisk, path: str, mode: str) -> None:
        super().__init__(path, mode)
        self._disk, self._path = disk, path

    def write(self, data: Any) -> int:
        half = bytes(data)[: len(data) // 2]
        written = self._disk.do("write", lambda: super(_Raw, self).write(data), lambda: super(_Raw, self).write(half))
        self._disk.wrote(self.fileno(), self._path)
        return int(written)

    def truncate(self, size: int | None = None) -> int:
        return int(self._disk.do("truncate", lambda: super(_Raw, self).truncate(size)))


def _forget(path: str) -> None:
    os.unlink(path)


def die() -> NoReturn:
    """End this process at once, as SIGKILL does."""
    os._exit(137)
