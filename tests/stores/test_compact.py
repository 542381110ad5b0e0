"""Test compaction: space is returned and, with `secure`, no byte of deleted texts and vectors is left in any file."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from fakes import index_corpus

from semsearch import Index, WordHashEncoder
from semsearch.errors import DiskFullError, LockedError
from semsearch.stores.local import database
from semsearch.stores.local.care.verify import verify_folder
from semsearch.stores.local.vectors import segment_files

ENCODER = WordHashEncoder(64)
DOCUMENTS = [{"_id": f"d{n}", "text": f"heron number{n} waits {n * n}", "year": n} for n in range(300)]
SECRET = {
    "_id": "Xanthippe",
    "title": "Quetzalcoatl",
    "text": "wolframite C++2b zyxwvuts",
    "Popocatepetl": "Tezcatlipoca",
}
MARKS = [
    *(b"Xanthippe", b"Quetzalcoatl", b"quetzalcoatl", b"wolframite", b"wolframit", b"zyxwvuts"),
    *(b"Popocatepetl", b"Tezcatlipoca", "c\U000f002b\U000f002b2b".encode()),
    ENCODER.encode_documents(["Quetzalcoatl wolframite C++2b zyxwvuts"])[0].tobytes(),
]


@pytest.fixture(autouse=True)
def _no_help_from_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let SQLite leave deleted rows in place, as it does unless it was built otherwise, and not wait for readers."""
    connect = database.connect

    def careless(path: Path, *, write: bool = False) -> sqlite3.Connection:
        connection = connect(path, write=write)
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("PRAGMA busy_timeout = 50")
        return connection

    monkeypatch.setattr(database, "connect", careless)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return an index from which a document was deleted that lies in the middle of a segment."""
    with Index.open(tmp_path / "index", create=True, encoder=ENCODER) as index:
        index.add([*DOCUMENTS[:150], SECRET, *DOCUMENTS[150:]])
        assert len(traces(tmp_path / "index")) >= 8
        index.delete(["Xanthippe"])
    return tmp_path / "index"


def traces(folder: Path) -> list[tuple[str, bytes]]:
    """Return the marks that any file in a folder contains."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [(path.name, mark[:20]) for path in files for mark in MARKS if mark in path.read_bytes()]


def compact(folder: Path, *, secure: bool = True) -> None:
    with Index.open(folder, encoder=ENCODER) as index:
        index.compact(secure=secure)


def test_nothing_of_a_deleted_document_is_left(folder):
    assert {name for name, _ in traces(folder)} == {"passages.sqlite", "vectors.000001.seg", "words.000001.seg"}
    compact(folder)
    assert traces(folder) == []
    assert verify_folder(folder) == []
    with Index.open(folder, encoder=ENCODER) as index:
        assert len(index) == 300
        for mode in ("dense", "keyword"):
            assert index.search("heron number7 waits 49", 1, mode=mode)[0].doc_id == "d7"


def test_nor_of_a_text_that_was_replaced(folder):
    changed = {**DOCUMENTS[7], "text": SECRET["text"]}
    index_corpus(folder, [changed], ENCODER)
    index_corpus(folder, [DOCUMENTS[7]], ENCODER)
    compact(folder)
    assert traces(folder) == []
    assert verify_folder(folder) == []


def test_nor_in_the_draft_of_an_interrupted_reencoding(folder):
    index_corpus(folder / "reencode", [SECRET], WordHashEncoder(32))
    compact(folder)
    assert traces(folder) == []
    assert not (folder / "reencode").exists()


def test_space_is_returned(folder):
    with Index.open(folder, encoder=ENCODER) as index:
        index.delete([one["_id"] for one in DOCUMENTS[:250]])
        before = index.status()["bytes"]
        index.compact()
        assert index.status()["bytes"] < 0.6 * before
        assert index.search("heron number270 waits", 1, mode="keyword")[0].doc_id == "d270"
    assert verify_folder(folder) == []


def test_a_reader_of_an_old_state_keeps_it_on_disk_and_this_is_said(folder):
    with closing(sqlite3.connect(folder / "passages.sqlite", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM documents").fetchone()
        index_corpus(folder, [{"_id": "new", "text": "later"}], ENCODER)
        with pytest.raises(LockedError, match=r"is reading .*, so its old contents are still on disk; run the same"):
            compact(folder)
    compact(folder)
    assert traces(folder) == []


def test_open_searchers_go_on(folder):
    stop, errors = threading.Event(), list[BaseException]()

    def search() -> None:
        try:
            with Index.open(folder, encoder=ENCODER) as index:
                while not stop.is_set():
                    assert index.search("heron number7 waits 49", 1, mode="dense")[0].doc_id == "d7"
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=search)
    thread.start()
    for _ in range(3):
        compact(folder)
    stop.set()
    thread.join()
    assert errors == []


def test_a_disk_that_fills_leaves_the_index_as_it_was(folder, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(segment_files, "writing_arrays", full)
        with pytest.raises(DiskFullError):
            compact(folder)
    assert verify_folder(folder) == []
    compact(folder)
    assert traces(folder) == []


def test_a_vector_search_on_the_rewritten_segment_equals_brute_force(folder):
    compact(folder)
    rows = ENCODER.encode_documents([one["text"] for one in DOCUMENTS])
    query = ENCODER.encode_queries(["heron 49"])
    with Index.open(folder, encoder=ENCODER) as index:
        found = index.search("heron 49", 10, mode="dense")
    np.testing.assert_allclose([hit.score for hit in found], np.sort(rows @ query[0])[::-1][:10], atol=1e-6)
