"""Test backups and their restoration: complete or absent, of one committed state, and never over an index unasked."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import CountingEncoder, Quantized, index_content, index_corpus, reopen_writer
from older_index import make_older_index

from semsearch import Index, WordHashEncoder, files
from semsearch.errors import (
    DamagedError,
    DiskFullError,
    LockedError,
    NoIndexError,
    SchemaError,
    SourceError,
    UsageError,
)
from semsearch.stores.local.care import backup as room
from semsearch.stores.local.care.verify import verify_folder
from semsearch.stores.local.lock import hold_lock

ENCODER = WordHashEncoder(64)
DOCUMENTS = [{"_id": f"d{n}", "text": f"heron number{n} waits", "year": n} for n in range(50)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    index_corpus(tmp_path / "index", DOCUMENTS, ENCODER)
    return tmp_path / "index"


@pytest.fixture
def saved(folder: Path, tmp_path: Path) -> Path:
    back_up(folder, tmp_path / "saved")
    return tmp_path / "saved"


def back_up(folder: Path, target: Path) -> None:
    with Index.open(folder) as index:
        index.backup(target)


def ids(folder: Path) -> list[str]:
    with Index.open(folder, encoder=ENCODER) as index:
        assert index.search("heron number7 waits", 1, mode="dense")[0].doc_id == "d7"
        return index.select(None)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "writer.lock"}


def full(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_backup_is_an_index_with_the_same_content_and_segments(folder, saved):
    assert files_of(saved)["vectors.000001.seg"] == files_of(folder)["vectors.000001.seg"]
    assert sorted(os.listdir(saved)) == ["passages.sqlite", "vectors.000001.seg", "words.000001.seg"]
    assert index_content(saved) == index_content(folder)
    assert verify_folder(saved) == []
    assert ids(saved) == ids(folder)
    index_corpus(folder, [{"_id": "new", "text": "later"}], ENCODER)
    assert len(ids(saved)) == 50


def test_an_8_bit_model_belongs_to_it(tmp_path):
    (tmp_path / "graph").mkdir()
    (tmp_path / "graph" / "graph.bin").write_bytes(b"weights")
    index_corpus(tmp_path / "index", DOCUMENTS, Quantized(tmp_path / "graph"))
    back_up(tmp_path / "index", tmp_path / "saved")
    (artifact,) = (tmp_path / "saved").glob("encoder-*")
    assert (artifact / "graph.bin").read_bytes() == b"weights"


def test_a_backup_beside_a_writer_has_one_committed_state(folder, tmp_path):
    stop, errors = threading.Event(), list[BaseException]()

    def write() -> None:
        try:
            with Index.open(folder, encoder=ENCODER) as index:
                n = 0
                while not stop.is_set():
                    index.add([{"_id": f"a{n}", "text": f"twin {n}"}, {"_id": f"b{n}", "text": f"twin {n}"}])
                    with reopen_writer(folder) as writer:
                        for segment in writer._catalog.segments():
                            writer._sealer._write_segment(segment.first, segment.last, replaces=[segment])
                    n += 1
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for n in range(4):
            back_up(folder, tmp_path / f"saved{n}")
    finally:
        stop.set()
        thread.join()
    assert errors == []
    for n in range(4):
        found = ids(tmp_path / f"saved{n}")
        assert found[:50] == [f"d{n}" for n in range(50)]
        assert [one[0] for one in found[50:]] == ["a", "b"] * ((len(found) - 50) // 2)  # both of a batch or none
        assert verify_folder(tmp_path / f"saved{n}") == []


def test_a_segment_that_is_replaced_just_before_it_is_copied_is_no_error(folder, tmp_path, monkeypatch):
    open_regular = room.open_regular
    replaced = []

    def late(path: Path) -> Any:
        if not replaced:
            with reopen_writer(folder) as writer:
                replaced.extend(writer._catalog.segments())
                for segment in replaced:
                    writer._sealer._write_segment(segment.first, segment.last, replaces=[segment])
        return open_regular(path)

    monkeypatch.setattr(room, "open_regular", late)
    back_up(folder, tmp_path / "saved")
    assert len(replaced) == 1
    assert sorted(os.listdir(tmp_path / "saved")) == ["passages.sqlite", "vectors.000002.seg", "words.000002.seg"]


def test_an_existing_target_is_refused(folder, saved):
    with pytest.raises(UsageError, match=r"`target` .* exists already"):
        back_up(folder, saved)


def test_a_damaged_index_gets_no_backup(folder, tmp_path):
    data = bytearray((folder / "vectors.000001.seg").read_bytes())
    data[700] ^= 1
    (folder / "vectors.000001.seg").write_bytes(data)
    with pytest.raises(DamagedError, match=r"was not copied, because it is damaged: segments: .*; run semsearch rebui"):
        back_up(folder, tmp_path / "saved")
    (folder / "vectors.000001.seg").unlink()
    with pytest.raises(DamagedError, match=r"its file vectors.000001.seg is missing; run semsearch rebuild"):
        back_up(folder, tmp_path / "saved")
    assert sorted(os.listdir(tmp_path)) == ["index"]


@pytest.mark.parametrize("place", ["copyfileobj", "verify_folder"])
def test_a_disk_that_fills_leaves_no_partial_backup(folder, tmp_path, monkeypatch, place):
    monkeypatch.setattr(*((room.shutil, place) if place == "copyfileobj" else (room, place)), full)
    with pytest.raises(DiskFullError, match="No space left on device"):
        back_up(folder, tmp_path / "saved")
    assert sorted(os.listdir(tmp_path)) == ["index"]


def test_what_killed_runs_left_half_made_is_removed_by_the_next_one(folder, tmp_path):
    names = ("saved.0123456789abcdef.new", "index.0123456789abcdef.new", "saved.new", "other.0123456789abcdef.new")
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "passages.sqlite").write_bytes(b"half")
    back_up(folder, tmp_path / "saved")
    assert sorted(os.listdir(tmp_path)) == sorted(["index", "saved", *names[1:]])
    Index.restore(tmp_path / "saved", folder, replace=True)
    assert sorted(os.listdir(tmp_path)) == sorted(["index", "saved", *names[2:]])


def test_too_little_space_is_said_before_anything_is_written(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1_000))
    with pytest.raises(DiskFullError, match=r"copying .* takes 0 MB of space, but only 0 MB are free; nothing was"):
        back_up(folder, tmp_path / "saved")
    with Index.open(folder) as index, pytest.raises(DiskFullError, match=r"compacting .* takes 0 MB"):
        index.compact()


def test_a_target_that_cannot_be_written_is_one_line(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="cannot write"):
        back_up(folder, tmp_path / "file" / "saved")


def test_a_backup_is_restored_to_a_new_or_empty_folder(saved, tmp_path):
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "new" / "index", tmp_path / "empty"):
        Index.restore(saved, target)
        assert index_content(target) == index_content(saved)
        assert verify_folder(target) == []


def test_an_index_is_replaced_only_if_asked(folder, saved):
    index_corpus(folder, [{"_id": "new", "text": "later"}], ENCODER)
    with pytest.raises(UsageError, match=r"there is an index in .* already; choose another folder, or pass `replace`"):
        Index.restore(saved, folder)
    with Index.open(folder, encoder=CountingEncoder(ENCODER)) as reader:
        assert len(reader) == 51
        assert reader.search("later", 1)[0].doc_id == "new"
        Index.restore(saved, folder, replace=True)
        assert len(reader) == 50  # without reopening
        assert reader.search("later number7", 1)[0].doc_id == "d7"
        index_corpus(folder, [{"_id": "newer", "text": "later"}], ENCODER)
        assert reader.search("later", 1)[0].doc_id == "newer"
    assert sorted(os.listdir(folder.parent)) == ["index", "saved"]


def test_a_damaged_backup_replaces_nothing(folder, saved):
    before = files_of(folder)
    with closing(sqlite3.connect(saved / "passages.sqlite")) as connection:
        connection.execute("UPDATE documents SET text = 'x' WHERE doc_id = 'd7'")
        connection.commit()
    with pytest.raises(DamagedError, match=r"was not copied, because it is damaged: documents: document 'd7'"):
        Index.restore(saved, folder, replace=True)
    os.truncate(saved / "passages.sqlite", 9_000)
    with pytest.raises(DamagedError):
        Index.restore(saved, folder, replace=True)
    assert files_of(folder) == before
    assert sorted(os.listdir(folder.parent)) == ["index", "saved"]


def test_a_damaged_index_can_be_replaced(folder, saved):
    os.truncate(folder / "passages.sqlite", 100)
    Index.restore(saved, folder, replace=True)
    assert ids(folder) == ids(saved)


def test_an_index_that_is_being_written_is_not_replaced(folder, saved):
    with hold_lock(folder), pytest.raises(LockedError, match=f"is being written by process {os.getpid()}"):
        Index.restore(saved, folder, replace=True)


def test_what_is_no_index_is_neither_restored_nor_replaced(folder, saved, tmp_path):
    with pytest.raises(NoIndexError, match="no index in"):
        Index.restore(tmp_path / "nothing", tmp_path / "new")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("years of work")
    with pytest.raises(NoIndexError, match=r"contains other files \(letter"):
        Index.restore(saved, tmp_path / "home", replace=True)
    (folder / "letter").write_text("years of work")
    with pytest.raises(NoIndexError, match=r"contains other files \(letter"):
        Index.restore(saved, folder, replace=True)
    with pytest.raises(UsageError, match="is the backup itself"):
        Index.restore(saved, saved, replace=True)


@pytest.mark.parametrize("exchanges", [True, False])
def test_an_error_in_the_last_step_leaves_the_old_index_whole(folder, saved, monkeypatch, exchanges):
    before = files_of(folder)
    with monkeypatch.context() as patch:
        if not exchanges:
            patch.setattr(files, "_exchange", lambda *_: False)
        patch.setattr(files, "sync_all", full)
        with pytest.raises(DiskFullError):
            Index.restore(saved, folder, replace=True)
    assert files_of(folder) == before
    with monkeypatch.context() as patch:
        if not exchanges:
            patch.setattr(files, "_exchange", lambda *_: False)
        Index.restore(saved, folder, replace=True)
    assert ids(folder) == ids(saved)
    assert sorted(os.listdir(folder.parent)) == ["index", "saved"]


KILLED = """
import os, sys
from semsearch import Index, files
real = files._exchange
files._exchange = lambda *names: os._exit(9) if sys.argv[3] == "before" else (real(*names), os._exit(9))
Index.restore(sys.argv[1], sys.argv[2], replace=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs an exchange of names")
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_around_the_exchange_leaves_one_whole_index(folder, saved, when):
    index_corpus(folder, [{"_id": "new", "text": "later"}], ENCODER)
    done = subprocess.run([sys.executable, "-c", KILLED, str(saved), str(folder), when], capture_output=True)
    assert done.returncode == 9, done.stderr
    assert len(ids(folder)) == (51 if when == "before" else 50)
    assert verify_folder(folder) == []
    Index.restore(saved, folder, replace=True)  # takes over the lock of the dead process
    assert len(ids(folder)) == 50


def test_an_older_index_is_migrated_and_its_segments_are_written(tmp_path):
    older = make_older_index(tmp_path / "older", DOCUMENTS)
    shutil.copytree(older, tmp_path / "copy")
    with pytest.raises(SchemaError, match=r"schema 1, now 6\); bring it up to date first, with semsearch migrate"):
        verify_folder(older)
    assert Index.migrate(older) == (1, 6)
    assert len(list(older.glob("vectors.*.seg"))) == 1
    assert Index.migrate(older) == (6, 6)
    assert verify_folder(older) == []
    assert len(ids(tmp_path / "copy")) == 50  # opening does the same, except for segments
    assert Index.migrate(tmp_path / "copy") == (6, 6)
    assert sorted(os.listdir(tmp_path / "copy")) == sorted(os.listdir(older))
    with pytest.raises(NoIndexError):
        Index.migrate(tmp_path / "nothing")
