"""Test the writer's lock: of a live process, a dead one, and one on another computer, with and without system locks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from semsearch.errors import LockedError
from semsearch.stores.local.lock import hold_lock

if sys.platform == "win32":
    pytest.skip("replaces fcntl", allow_module_level=True)

HOLD = """
import errno, fcntl, os, sys, warnings
from pathlib import Path
def missing(*_):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
if sys.argv[2] == "soft":
    fcntl.flock = missing
    warnings.simplefilter("ignore")
from semsearch.stores.local.lock import hold_lock
with hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["flock", "soft"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the kind of lock; `soft` stands for a file system without locks, where filelock marks the file."""
    if request.param == "soft":
        import errno
        import fcntl

        def missing(*_: object) -> None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(fcntl, "flock", missing)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "flock not supported")
        yield request.param


def holder(folder: Path, kind: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(folder), kind]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_the_lock_of_a_live_process_is_respected_and_that_of_a_dead_one_taken_over(tmp_path, kind):
    process = holder(tmp_path, kind)
    here = f"is being written by process {process.pid} on {socket.gethostname()}, since 2.*; wait for it, or stop it$"
    for _ in range(2):
        with pytest.raises(LockedError, match=here), hold_lock(tmp_path):
            pass
    process.kill()
    process.communicate()
    assert (tmp_path / "writer.holder").exists()  # it could not tidy up
    with hold_lock(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / "writer.holder").read_text()
        with pytest.raises(LockedError, match=f"by process {os.getpid()} on"), hold_lock(tmp_path):
            pass
    assert not (tmp_path / "writer.holder").exists()


ELSEWHERE = (
    r"is being written by process 7 on mars{}; wait for it, or stop it there; if it is gone for good, delete "
    r"writer.lock and writer.holder in this folder$"
)


def test_a_lock_on_another_computer_is_never_taken_over(tmp_path, kind):
    since = ", since 2026-01-01T00:00:00+00:00"
    (tmp_path / "writer.holder").write_text(f"process 7 on mars{since}\n")
    if kind == "flock":  # held there, and seen here through a network file system
        lock = FileLock(tmp_path / "writer.lock")
        lock.acquire()
    else:
        (tmp_path / "writer.lock").write_text("7\nmars\n")
    for _ in range(2):
        with pytest.raises(LockedError, match=ELSEWHERE.format(since.replace("+", r"\+"))), hold_lock(tmp_path):
            pass
    if kind == "soft":
        (tmp_path / "writer.holder").unlink()  # the marker alone names it, too
        with pytest.raises(LockedError, match=ELSEWHERE.format("")), hold_lock(tmp_path):
            pass
        (tmp_path / "writer.lock").unlink()  # what the message says
    else:
        lock.release()
    with hold_lock(tmp_path):
        pass
