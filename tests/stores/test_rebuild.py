"""Test rebuilding: what can be derived is made anew, and what cannot is named with the documents concerned."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from fakes import CountingEncoder, entry, index_content, index_corpus, index_in_parts, open_writer, sql
from memory_store import MemoryStore

from semsearch import Index, WordHashEncoder
from semsearch.errors import DamagedError, DiskFullError, UsageError
from semsearch.stores.local.care.verify import verify_folder
from semsearch.stores.local.vectors import segment_files

ENCODER = WordHashEncoder(64)
DOCUMENTS = [{"_id": f"d{n}", "title": f"T{n}", "text": f"heron number{n} waits in C++", "year": n} for n in range(60)]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an index with a segment, a deletion in it, and a document outside segments."""
    return index_in_parts(tmp_path_factory.mktemp("built") / "index", DOCUMENTS, ENCODER)


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    """Return a copy of that index, to be damaged."""
    return Path(shutil.copytree(built, tmp_path / "index"))


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


DERIVED = {
    "a lost segment": lambda folder: (folder / "vectors.000001.seg").unlink(),
    "a damaged segment": lambda folder: flip(folder / "vectors.000001.seg", 700),
    "a record of a segment": lambda folder: sql(folder, "UPDATE segments SET vectors_digest = 0"),
    "deletions": lambda folder: sql(folder, "DELETE FROM deleted"),
    "a wrong deletion": lambda folder: sql(folder, "INSERT INTO deleted VALUES (8)"),
    "fields": lambda folder: sql(folder, "DELETE FROM fields", "INSERT INTO fields VALUES ('color')"),
    "lost words": lambda folder: (folder / "words.000001.seg").unlink(),
    "damaged words": lambda folder: flip(folder / "words.000001.seg", 700),
    "numbers": lambda folder: sql(folder, "UPDATE sqlite_sequence SET seq = 1"),
    "background": lambda folder: sql(folder, "UPDATE settings SET value = '7' WHERE key = 'background'"),
    "no background": lambda folder: sql(folder, "DELETE FROM settings WHERE key = 'background'"),
    "a vector that a segment has": lambda folder: sql(
        folder, "UPDATE vectors SET vector = zeroblob(256) WHERE passage = 8"
    ),
}


@pytest.mark.parametrize("damage", DERIVED)
def test_what_follows_from_the_rest_is_made_anew(folder, damage):
    expected = index_content(folder)
    DERIVED[damage](folder)
    assert damage == "no background" or verify_folder(folder)
    encoder = CountingEncoder(ENCODER)
    with Index.open(folder, encoder=encoder) as index:
        result = index.rebuild()
        assert result
        assert (result.failed, result.notes, result.lost) == ([], [], [])
        assert {"fields", "segments"} <= set(result.rebuilt)
        assert ("background" in result.rebuilt) == ("background" in damage)
        assert (result.recovered == 1) == (damage == "a vector that a segment has")
        assert index.background is not None
        assert index.search("number7", 1, mode="keyword")[0].doc_id == "d7"
    assert encoder.passages == []
    assert verify_folder(folder) == []
    assert index_content(folder) == expected
    assert len(list(folder.glob("vectors.*"))) == 1


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE vectors SET vector = zeroblob(256) WHERE passage = 8",
        "DELETE FROM vectors WHERE passage = 8",
        "UPDATE documents SET text = text || 'x' WHERE doc_id = 'd7'",
        "DELETE FROM passages WHERE document = (SELECT id FROM documents WHERE doc_id = 'd7')",
    ],
)
def test_what_follows_from_nothing_else_is_named_and_indexed_again(folder, damage):
    (folder / "vectors.000001.seg").unlink()
    sql(folder, damage)
    with Index.open(folder, encoder=ENCODER) as index:
        result = index.rebuild()
        assert not result
        assert result.lost == ["d7"]
        assert result.failed[0].startswith("1 documents are damaged, such as 'd7'; index the same corpus again")
    index_corpus(folder, DOCUMENTS, ENCODER)
    assert verify_folder(folder) == []


def test_segments_stay_while_the_database_has_damaged_vectors(folder):
    sql(folder, "UPDATE vectors SET vector = zeroblob(256), checksum = 1 WHERE passage = 8")
    with Index.open(folder, encoder=ENCODER) as index:
        result = index.rebuild()
        assert "segments" not in result.rebuilt
        assert "the segments stay as they are, because" in result.failed[1]
        assert index.search("heron number7 waits", 1, mode="dense")[0].doc_id == "d7"


def test_damaged_settings_are_an_error(folder):
    sql(folder, "UPDATE settings SET value = '7' WHERE key = 'encoder'")
    with pytest.raises(DamagedError, match="its setting 'encoder' is corrupt"):
        Index.open(folder)


def test_a_missing_checkpoint_leaves_a_note(folder):
    sql(folder, "DELETE FROM settings WHERE key = 'background'")
    value = "replace(value, 'hash:64', '/no/model')"
    sql(folder, f"UPDATE settings SET value = {value} WHERE key = 'encoder'")
    with closing(sqlite3.connect(folder / "passages.sqlite", isolation_level=None)) as connection:
        from semsearch.stores.local.guard import checksum

        connection.create_function("checksum", -1, checksum)
        connection.execute("UPDATE settings SET checksum = checksum(key, value)")
    with Index.open(folder) as index:
        result = index.rebuild()
    assert result
    assert result.notes[0].startswith("the scores of unrelated pairs were not measured: ")


def test_transformed_vectors_are_rebuilt(tmp_path):
    rows = np.random.default_rng(0).normal(size=(1_200, 4)).astype(np.float32)
    with open_writer(tmp_path, transform="whiten:3") as writer:
        writer.commit(entry(f"d{n}", row[None]) for n, row in enumerate(rows))
        writer.fit()
        writer.seal(final=True)
    before = (tmp_path / "vectors.000001.seg").read_bytes()
    flip(tmp_path / "vectors.000001.seg", 9_000)
    with Index.open(tmp_path) as index:
        assert index._store.rebuild()
    assert (tmp_path / "vectors.000002.seg").read_bytes()[:-500] == before[:-500]
    assert verify_folder(tmp_path) == []


def test_a_full_disk_leaves_the_index_usable(folder, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    (folder / "vectors.000001.seg").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(segment_files, "writing_arrays", full)
        with Index.open(folder, encoder=ENCODER) as index, pytest.raises(DiskFullError, match="free some space"):
            index.rebuild()
    with Index.open(folder, encoder=ENCODER) as index:
        assert index.search("heron number7 waits", 1, mode="dense")[0].doc_id == "d7"
        assert index.rebuild()
    assert verify_folder(folder) == []


def test_another_kind_of_store_cannot_be_rebuilt():
    store = MemoryStore()
    with Index.open(store, create=True, encoder=ENCODER) as index:
        index.add(DOCUMENTS)
        for call in (index.rebuild, lambda: index.backup("x")):
            with pytest.raises(UsageError, match="is not a folder on this machine, so semsearch cannot"):
                call()
