"""Test files that appear only when complete, copies of folders, and hashes, also across a fork."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from forking import told

from semsearch import files
from semsearch.errors import SourceError, UsageError
from semsearch.files import (
    building,
    copy_folder,
    hash_ahead,
    hash_file,
    is_regular,
    open_regular,
    remove,
    write_bytes,
)

CONTENT = {"graph.bin": bytes(range(256)) * 100, "graph.xml": b"<net/>", "empty": b""}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for name, data in CONTENT.items():
        (folder / name).write_bytes(data)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_copy_has_the_same_files_and_nothing_else_is_left(source, tmp_path):
    copy_folder(source, tmp_path / "copy")
    assert content(tmp_path / "copy") == content(source) == CONTENT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "source"]


def test_a_copy_that_is_there_is_not_written_again(source, tmp_path):
    copy_folder(source, tmp_path / "copy")
    before = (tmp_path / "copy" / "graph.bin").stat()
    copy_folder(source, tmp_path / "copy")
    copy_folder(source, source)
    after = (tmp_path / "copy" / "graph.bin").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert content(source) == CONTENT


@pytest.mark.parametrize("damage", ["flipped", "missing", "more"])
def test_another_content_is_replaced(source, tmp_path, damage):
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    if damage == "flipped":
        (copy / "graph.bin").write_bytes(CONTENT["graph.bin"][::-1])  # same size
    elif damage == "missing":
        (copy / "graph.bin").unlink()
    else:
        (copy / "left over").touch()
    copy_folder(source, copy)
    assert content(copy) == CONTENT


@pytest.mark.parametrize("call", ["fsync", "copyfileobj"])
def test_a_copy_that_fails_leaves_nothing(source, tmp_path, monkeypatch, call):
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os if call == "fsync" else files.shutil, call, fail)
    with pytest.raises(OSError, match="No space left"):
        copy_folder(source, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_what_an_interrupted_copy_left_is_no_hindrance(source, tmp_path):
    (tmp_path / "copy.new").mkdir()
    (tmp_path / "copy.new" / "half").touch()
    copy_folder(source, tmp_path / "copy")
    assert content(tmp_path / "copy") == CONTENT


def test_every_file_and_folder_of_a_copy_is_synced_before_it_appears(source, tmp_path, monkeypatch):
    synced: list[tuple[str, bool]] = []
    sync = files.sync
    monkeypatch.setattr(
        files, "sync", lambda path: (synced.append((path.name, (tmp_path / "copy").exists())), sync(path))
    )
    copy_folder(source, tmp_path / "copy")
    assert sorted(synced[:-2]) == [(name, False) for name in sorted(CONTENT)]
    assert re.fullmatch(r"copy\.[0-9a-f]{16}\.new", synced[-2][0])
    assert synced[-1] == (tmp_path.name, True)


def test_a_link_in_the_place_of_a_copy_is_replaced_and_what_it_leads_to_is_left(source, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "letter").write_text("mine")
    (tmp_path / "copy").symlink_to(theirs, target_is_directory=True)
    copy_folder(source, tmp_path / "copy")
    assert not (tmp_path / "copy").is_symlink()
    assert content(tmp_path / "copy") == CONTENT
    assert (theirs / "letter").read_text() == "mine"


def test_a_copy_takes_no_files_from_elsewhere(source, tmp_path):
    (tmp_path / "secret").write_text("mine")
    (source / "graph.xml").unlink()
    (source / "graph.xml").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="is a link or not a regular file"):
        copy_folder(source, tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret", "source"]


@pytest.mark.parametrize("planted", ["link", "pipe", "device", "folder", "link to nothing"])
def test_what_is_no_regular_file_is_not_opened(tmp_path, planted):
    path = tmp_path / "planted"
    (tmp_path / "file").write_bytes(b"x")
    if planted == "pipe":
        os.mkfifo(path)  # opening it would block forever
    elif planted == "folder":
        path.mkdir()
    else:
        path.symlink_to({"link": tmp_path / "file", "device": "/dev/zero"}.get(planted, tmp_path / "nothing"))
    assert not is_regular(path)
    with pytest.raises(OSError, match="is a link or not a regular file"):
        open_regular(path)
    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"x"
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "nothing")


def test_a_file_takes_the_place_of_a_link_and_not_of_what_it_leads_to(tmp_path):
    (tmp_path / "theirs").write_bytes(b"theirs")
    (tmp_path / "ours").symlink_to(tmp_path / "theirs")
    write_bytes(tmp_path / "ours", b"o", b"urs")
    assert (tmp_path / "theirs").read_bytes() == b"theirs"
    assert (tmp_path / "ours").read_bytes() == b"ours"
    assert not (tmp_path / "ours").is_symlink()


@pytest.mark.parametrize("kind", ["file", "folder", "link", "nothing"])
def test_removing_goes_no_further_than_a_link(tmp_path, kind):
    path, theirs = tmp_path / "x", tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "letter").touch()
    {"file": path.touch, "link": lambda: path.symlink_to(theirs), "nothing": lambda: None}.get(kind, path.mkdir)()
    if kind == "folder":
        (path / "inner").symlink_to(theirs)
    remove(path)
    assert not os.path.lexists(path)
    assert os.listdir(theirs) == ["letter"]


@pytest.mark.parametrize("name", CONTENT)
def test_a_hash_is_sha256(source, name):
    expected = hashlib.sha256(CONTENT[name]).hexdigest()
    hash_ahead([source / name, source / "missing"])
    assert hash_file(source / name) == hash_file(source / name) == expected


def test_a_file_that_changed_is_hashed_again_and_one_that_did_not_is_read_once(source, monkeypatch):
    path = source / "graph.bin"
    hash_file(path)
    with monkeypatch.context() as patched:
        patched.setattr(files, "_digest", lambda *_: "read again")
        assert hash_file(path) == hashlib.sha256(CONTENT["graph.bin"]).hexdigest()
    path.write_bytes(b"other")
    assert hash_file(path) == hashlib.sha256(b"other").hexdigest()


def test_a_failure_is_not_remembered(source, monkeypatch):
    def fail(*_: object) -> str:
        raise PermissionError("not now")

    with monkeypatch.context() as patched:
        patched.setattr(files, "_digest", fail)
        with pytest.raises(PermissionError):
            hash_file(source / "graph.bin")
    assert hash_file(source / "graph.bin") == hashlib.sha256(CONTENT["graph.bin"]).hexdigest()


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), KeyboardInterrupt()])
def test_nobody_waits_for_a_thread_that_could_not_be_started(source, monkeypatch, error):
    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(files.Thread, "start", fail)
        with pytest.raises(type(error)):
            hash_ahead([source / "graph.bin"])
    assert hash_file(source / "graph.bin") == hashlib.sha256(CONTENT["graph.bin"]).hexdigest()


def test_threads_that_ask_at_once_read_a_file_once(source, monkeypatch):
    read: list[Path] = []
    digest = files._digest
    monkeypatch.setattr(files, "_digest", lambda path, size: (read.append(path), digest(path, size))[1])
    (source / "graph.bin").write_bytes(bytes(2**22))
    with ThreadPoolExecutor(8) as threads:
        found = {*threads.map(hash_file, [source / "graph.bin"] * 32)}
    assert found == {hashlib.sha256(bytes(2**22)).hexdigest()}
    assert len(read) == 1


FORK = """
from pathlib import Path
from semsearch.files import hash_ahead, hash_file
one, two = map(Path, sys.argv[1:])
hash_ahead([one])
print(hash_file(one))
in_child(lambda: hash_file(two))
in_child(lambda: hash_file(one))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_file_is_hashed_in_a_child_whatever_its_parent_hashed(source):
    names = ("graph.bin", "graph.xml")
    hashes = [hashlib.sha256(CONTENT[name]).hexdigest() for name in names]
    assert told(FORK, *(source / name for name in names)) == [hashes[0], hashes[1], hashes[0]]


AMID = """
import threading, time
from pathlib import Path
from semsearch import files
started, digest = threading.Event(), files._digest

def slow(path, size):
    started.set()
    time.sleep(1)
    return digest(path, size)

files._digest = slow
one = Path(sys.argv[1])
files.hash_ahead([one])
started.wait()
in_child(lambda: files.hash_file(one))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_amid_hashing_is_no_hindrance(source):
    assert told(AMID, source / "graph.bin") == [hashlib.sha256(CONTENT["graph.bin"]).hexdigest()]


def test_a_folder_appears_once_it_is_complete(tmp_path):
    target = tmp_path / "parent" / "folder"
    with building(target) as half_made:
        (half_made / "inner").mkdir()
        (half_made / "inner" / "file").write_text("content")
        assert not target.exists()
    assert (target / "inner" / "file").read_text() == "content"
    assert [*target.parent.iterdir()] == [target]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_folder_that_cannot_be_completed_leaves_nothing(tmp_path, error):
    def fail() -> None:
        with building(tmp_path / "folder") as half_made:
            (half_made / "file").write_text("content")
            raise error

    with pytest.raises(SourceError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        fail()
    assert str(caught.value) in ("", f"cannot write '{tmp_path / 'folder'}': No space left on device")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("kind", ["file", "full folder", "link"])
def test_a_folder_is_not_built_over_something_else(tmp_path, kind):
    target = tmp_path / "target"
    if kind == "file":
        target.write_text("mine")
    elif kind == "full folder":
        (target / "mine").mkdir(parents=True)
    else:
        (tmp_path / "empty").mkdir()
        target.symlink_to(tmp_path / "empty")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="target' exists already; give a new folder"), building(target):
        pytest.fail("nothing should be built")
    assert sorted(tmp_path.rglob("*")) == before


def test_the_names_of_a_new_folder_and_its_parents_are_synchronized(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(files, "sync", synced.append)
    files.make_folder(tmp_path / "a" / "b")
    files.make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path / "a", tmp_path]
    assert (tmp_path / "a" / "b").is_dir()
