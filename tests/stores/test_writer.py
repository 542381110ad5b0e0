"""Test the writer: what a batch changes and, just as important, what it leaves alone, as read back with sqlite3."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from fakes import (
    CountingEncoder,
    delete_documents,
    entry,
    index_corpus,
    open_reader,
    open_writer,
    reopen_writer,
    write_to,
)

from semsearch.corpus.chunking import Chunking
from semsearch.errors import LockedError, NoIndexError, UsageError
from semsearch.stores.base import Entry, Plan
from semsearch.stores.local import sealing, tiers
from semsearch.stores.local.vectors.ann import kinds
from semsearch.types import Document

ONE = [[1.0, 0.0, 0.0, 0.0]]


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "index"


def sql(folder: Path, statement: str) -> list[tuple]:
    with closing(sqlite3.connect(folder / "passages.sqlite")) as connection:
        return connection.execute(statement).fetchall()


def segments(folder: Path) -> dict[str, tuple[str, int]]:
    """Return the SHA-256 and modification time of each segment file."""
    files = sorted(folder.glob("vectors.*"))
    return {file.name: (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns) for file in files}


def fill(folder: Path, first: int, last: int, *, vector: list[list[float]] = ONE) -> None:
    """Add or change documents as a run does: in commits of 50, each of which may be followed by sealing segments."""
    with open_writer(folder) as writer:
        for start in range(first, last, 50):
            writer.commit(entry(f"d{number}", vector) for number in range(start, min(start + 50, last)))
            writer.seal(final=False)
        writer.seal(final=True)


@pytest.fixture
def small(monkeypatch) -> None:
    """Set the segment size to 100 rows, also after merging, with at most 30 rows outside segments."""
    monkeypatch.setattr(sealing, "SEGMENT_BYTES", 4 * 4 * 100)
    monkeypatch.setattr(kinds, "EXACT_BYTES", 4 * 4 * 25)
    monkeypatch.setattr(tiers, "PER_CHANGE", 0)
    monkeypatch.setattr(sealing, "TAIL_ROWS", 30)


def test_a_plan_sorts_documents_by_what_changed(folder):
    stored = Document("emoji 😀 'quoted' 京", "text", "title", {"b": 1, "a": [1.0, None, "ü"]})
    with open_writer(folder) as writer:
        writer.commit([Entry(stored, (), np.empty((0, 4), np.float32))])
        same = Document(stored.doc_id, "text", "title", {"a": [1.0, None, "ü"], "b": 1}, source="elsewhere:3")
        assert writer.plan([same]) == Plan([], [], 1)
        described = Document(stored.doc_id, "text", "title", {"b": 2})
        assert writer.plan([described]) == Plan([], [described], 0)
        other_text, other_title = Document(stored.doc_id, "text ", "title"), Document(stored.doc_id, "text", "")
        for changed in (other_text, other_title, Document("x", "text", "title")):
            assert writer.plan([changed]) == Plan([changed], [], 0)
        assert writer.plan([]) == Plan([], [], 0)


def test_a_run_remembers_what_it_has_seen(folder):
    with open_writer(folder) as writer:
        writer.commit([entry("a", ONE), entry("b", ONE), entry("c", ONE)])
        assert writer.see(Document("b", "x", source="corpus.jsonl:1")) is None
        error = writer.see(Document("b", "x", source="corpus.jsonl:7"))
        assert str(error) == "corpus.jsonl:7: duplicate id 'b', already used in corpus.jsonl:1"
        assert writer.unseen() == [("a", None), ("c", None)]
    with reopen_writer(folder) as writer:
        assert [doc_id for doc_id, _ in writer.unseen()] == ["a", "b", "c"]


def test_a_passage_number_is_never_used_again(folder):
    used: set[int] = set()
    for number in range(4):
        with open_writer(folder) as writer:
            writer.delete([f"d{number - 1}", "same"])
            writer.commit([entry(f"d{number}", ONE * 3), entry("same", ONE * 2)])
            writer.seal(final=True)
        now = {passage for (passage,) in sql(folder, "SELECT id FROM passages")}
        assert len(now) == 5
        assert not now & used
        used |= now


def test_a_change_of_metadata_leaves_vectors_and_passages_as_they_are(folder):
    rng = np.random.default_rng(0)
    before = entry("a", rng.normal(size=(3, 4)), "some text", year=1)
    with open_writer(folder) as writer:
        writer.commit([before, entry("b", ONE)])
        everything = "SELECT passage, vector, ordinal, start, end FROM vectors JOIN passages ON passages.id = passage"
        rows = sql(folder, everything)
        assert b"".join(row[1] for row in rows[:3]) == before.vectors.astype("<f4").tobytes()
        writer.commit([], [entry("a", [], "some text", lang="en").document])
        assert sql(folder, everything) == rows
        assert sql(folder, "SELECT metadata FROM documents") == [('{"lang": "en"}',), ("{}",)]
        assert writer.fields() == ["lang"]


def test_every_commit_tells_readers_that_there_is_something_new(folder):
    def revision() -> int:
        return int(sql(folder, "SELECT value FROM settings WHERE key = 'revision'")[0][0])

    with open_writer(folder) as writer:
        steps = [revision()]
        writer.commit([entry("a", ONE)])
        steps.append(revision())
        writer.commit([], [entry("a", ONE, year=1).document])
        steps.append(revision())
        writer.delete(["a"])
        steps.append(revision())
    assert steps == sorted(set(steps))


def test_two_ids_with_the_same_text_are_two_documents(folder):
    with open_writer(folder) as writer:
        writer.commit([entry("a", ONE), entry("b", ONE)])
        assert writer.delete(["b", "missing", "b"]) == ["b"]
        assert [found.doc_id for found in writer.show([1, 2]).values()] == ["a"]
    assert delete_documents(folder, ["a", "a"]) == ["a"]
    for table in ("documents", "passages", "vectors"):
        assert sql(folder, f"SELECT count(*) FROM {table}") == [(0,)]


def test_a_batch_with_an_error_is_not_there_at_all_and_can_be_given_again(folder):
    batch = [entry("a", ONE, year=1), entry("b", ONE, lang="en")]

    broken = Entry(batch[1].document, batch[1].passages, np.empty((0, 4), np.float32))
    with open_writer(folder) as writer:
        with pytest.raises(ValueError, match="shorter"):  # raised after the documents have been written
            writer.commit([batch[0], broken])
        assert sql(folder, "SELECT (SELECT count(*) FROM documents) + (SELECT count(*) FROM fields)") == [(0,)]
        writer.commit(batch)
        assert writer.fields() == ["lang", "year"]  # recorded again, although this writer had seen them before
        assert writer.counts()["documents"] == 2


@pytest.mark.usefixtures("small")
def test_adding_ten_rows_writes_no_full_segment_again(folder):
    fill(folder, 0, 320)
    before = segments(folder)
    assert sql(folder, "SELECT n_rows FROM segments ORDER BY first") == [(100,), (100,), (100,)]
    fill(folder, 320, 330)
    assert segments(folder) == before  # 30 rows may stay outside the segments
    fill(folder, 330, 340)
    after = segments(folder)
    assert after.items() >= before.items()
    assert sql(folder, "SELECT n_rows FROM segments ORDER BY first") == [(100,), (100,), (100,), (40,)]
    fill(folder, 340, 380)
    assert segments(folder).items() >= before.items()  # only the last, small segment took in the new rows
    assert len(segments(folder)) == 4
    fill(folder, 380, 450)
    assert segments(folder).items() >= before.items()
    assert sum(n for (n,) in sql(folder, "SELECT n_rows FROM segments")) >= 420


@pytest.mark.usefixtures("small")
def test_only_a_segment_that_lost_over_a_fifth_is_made_again(folder):
    fill(folder, 0, 300)
    before = segments(folder)
    with reopen_writer(folder) as writer:
        writer.delete([f"d{number}" for number in range(100, 120)])
        writer.seal(final=True)
        assert segments(folder) == before
        assert writer.status()["deleted_rows"] == 20
        writer.delete(["d120", "d299"])
        writer.seal(final=True)
    first, second, third = sorted(before)
    after = segments(folder)
    assert {first, third} < set(after)
    assert second not in after
    assert (after[first], after[third]) == (before[first], before[third])
    assert sql(folder, "SELECT n_rows FROM segments ORDER BY first") == [(100,), (79,), (100,)]
    assert sql(folder, "SELECT passage FROM deleted") == [(300,)]


@pytest.mark.usefixtures("small")
def test_a_segment_of_which_nothing_is_left_goes_away(folder):
    fill(folder, 0, 200)
    first, second = segments(folder).items()
    delete_documents(folder, [f"d{number}" for number in range(100, 200)])
    assert segments(folder) == dict([first])
    fill(folder, 500, 540)
    with open_reader(folder) as index:
        ids = index.search_vectors(np.array(ONE, np.float32), 999, None)[1][0]
        assert sorted(ids.tolist()) == [*range(1, 101), *range(201, 241)]
    assert second[0] not in segments(folder)


def test_too_little_memory_ends_a_run_only_after_everything_is_committed_and_sealed(folder, monkeypatch):
    monkeypatch.setattr(kinds, "EXACT_BYTES", 4 * 4 * 50)
    monkeypatch.setattr(kinds, "LEAST_ROWS", 50)
    with open_writer(folder) as writer:
        writer.set_vector_options({"memory": 1})
        writer.commit(entry(f"d{number}", ONE) for number in range(60))
        with pytest.raises(UsageError, match="`memory` of 0 MiB is too little for 60 vectors"):
            writer.seal(final=True)
    for file in segments(folder):
        (folder / file).unlink()  # the next run writes it again, in the middle
    with open_writer(folder) as writer:
        writer.commit([entry("new", ONE)])
        writer.seal(final=False)
        assert len(segments(folder)) == 1
        with pytest.raises(UsageError, match="is too little for 60 vectors"):
            writer.seal(final=True)
    with open_reader(folder) as index:
        assert sorted(index.search_vectors(np.array(ONE, np.float32), 99, None)[1][0].tolist()) == [*range(1, 62)]


def test_vectors_that_replace_others_are_the_ones_found(folder):
    fill(folder, 0, 60)
    fill(folder, 20, 40, vector=[[0.0, 1.0, 0.0, 0.0]])
    with open_reader(folder) as index:
        scores, ids = index.search_vectors(np.eye(4, dtype=np.float32)[:2], 60, None)
        assert scores.sum(axis=1).tolist() == [40, 20]
        names = {found.doc_id for found in index.show(ids[1][:20].tolist()).values()}
        assert names == {f"d{number}" for number in range(20, 40)}


def test_what_a_crash_left_behind_is_swept_at_the_end_of_the_next_run(folder):
    fill(folder, 0, 10)
    (folder / "vectors.000099.seg").write_bytes(b"never recorded")
    (folder / "vectors.000002.seg.tmp").write_bytes(b"half")
    (folder / "writer.holder").write_text("process 1 on elsewhere")
    fill(folder, 10, 20)
    assert sorted(os.listdir(folder)) == ["passages.sqlite", "vectors.000001.seg", "words.000001.seg", "writer.lock"]


def test_a_second_writer_is_told_who_the_first_is(folder):
    with open_writer(folder) as writer:
        writer.commit([entry("a", ONE)])
        with pytest.raises(LockedError, match=f"process {os.getpid()} on {socket.gethostname()}, since 2"):
            open_writer(folder)
        (folder / "writer.holder").write_text("")  # the moment before the first writer has written its name
        with pytest.raises(LockedError, match="is being written by another process;"):
            reopen_writer(folder)
    assert not (folder / "writer.holder").exists()
    with reopen_writer(folder) as writer:
        assert writer.counts()["documents"] == 1


def test_reopening_what_is_not_there_makes_nothing(tmp_path):
    with pytest.raises(NoIndexError):
        delete_documents(tmp_path / "nothing", ["a"])
    assert os.listdir(tmp_path) == []


def test_only_new_text_is_encoded(folder):
    encoder = CountingEncoder()
    corpus = [{"_id": f"😀{number}", "text": f"text number {number}", "year": number} for number in range(30)]
    index_corpus(folder, corpus, encoder)
    assert len(encoder.passages) == 30
    corpus[3]["text"], corpus[4]["year"] = "another text", 1999
    report = index_corpus(folder, [*corpus[1:], {"_id": "new", "text": "new text"}], encoder, delete_missing=True)
    assert encoder.passages[30:] == ["another text", "new text"]
    assert (report.encoded, report.described, report.unchanged, report.deleted) == (2, 1, 27, 1)
    ids = {doc_id for (doc_id,) in sql(folder, "SELECT doc_id FROM documents")}
    assert ids == {f"😀{number}" for number in range(1, 30)} | {"new"}


def test_a_trickle_of_changes_does_not_pile_up_deleted_rows(folder, monkeypatch):
    monkeypatch.setattr(sealing, "TAIL_ROWS", 100)
    with open_writer(folder) as writer:
        writer.commit([entry(f"d{number}", ONE) for number in range(100)])
        writer.seal(final=True)
        for _ in range(300):  # one document outside a segment that loses no rows
            writer.commit([entry("a", ONE)])
            writer.seal(final=True)
            assert writer.status()["deleted_rows"] <= 100
        assert writer.counts()["documents"] == 101


def test_the_checkpoint_may_move_and_the_index_remembers_where_to(folder):
    with open_writer(folder) as writer:
        spec = writer.spec
        writer.commit([entry("a", ONE)])
    moved = dataclasses.replace(spec, model="/elsewhere")
    with write_to(folder, moved, Chunking().to_json(), ""):
        pass
    with open_reader(folder) as index:
        assert index.spec == moved
