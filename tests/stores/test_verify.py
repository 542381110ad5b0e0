"""Test verification: every kind of damage is named, in any byte that is read."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import CountingEncoder, Quantized, entry, index_corpus, index_in_parts, open_writer, reopen_writer, sql
from memory_store import MemoryStore

from semsearch import Index, WordHashEncoder
from semsearch.errors import NoIndexError, SchemaError, UsageError
from semsearch.stores.local.care.verify import LISTED, verify_folder
from semsearch.stores.local.store import LocalStore
from semsearch.stores.local.words.files import texts_of, write_words
from semsearch.stores.words.postings import build
from semsearch.verify import VerifyResult

ENCODER = WordHashEncoder(16)
DOCUMENTS = [
    {"_id": f"d{n}", "title": f"T{n}", "text": f"heron number{n} waits in C++ 3.11.{n} 京都", "year": n}
    for n in range(60)
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an index with a segment, a deletion in it, and a document outside segments."""
    return index_in_parts(tmp_path_factory.mktemp("built") / "index", DOCUMENTS, ENCODER)


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    """Return a copy of that index, to be damaged."""
    return Path(shutil.copytree(built, tmp_path / "index"))


def verified(folder: Path, **wishes: Any) -> VerifyResult:
    return Index.verify(folder, encoder=ENCODER, **wishes)


def problems(folder: Path, **wishes: Any) -> list[str]:
    return [str(problem) for problem in verified(folder, **wishes).problems]


def content(folder: Path) -> dict[str, list[tuple]]:
    """Return the rows of all tables but that of sqlite-utils, read with sqlite3."""
    names = "SELECT name FROM sqlite_master WHERE type = 'table'"
    with closing(sqlite3.connect(folder / "passages.sqlite")) as connection:
        connection.text_factory = bytes
        tables = [name.decode() for (name,) in connection.execute(names)]
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables if name[0] != "_"}


def test_an_intact_index_has_no_problem_and_its_passages_get_the_same_vectors(folder):
    encoder = CountingEncoder(ENCODER)
    result = Index.verify(folder, encoder=encoder, sample=10)
    assert result
    assert (result.problems, result.notes) == ([], [])
    assert result.encoded == len(encoder.passages) > 5
    assert set(encoder.passages) <= {f"{one['title']} {one['text']}" for one in DOCUMENTS}
    assert verified(folder, sample=0).encoded == 0
    assert Index.verify(folder, sample=1_000).encoded == 59  # loads the encoder by its name


@pytest.mark.parametrize(
    ("statement", "parts"),
    [
        ("UPDATE settings SET value = '\"x\"' WHERE key = 'origin'", ["settings: 'origin' does not match"]),
        ("UPDATE settings SET value = '7' WHERE key = 'background'", ["settings: 'background' does not match"]),
        ("DELETE FROM settings WHERE key = 'roots'", ["its setting 'roots' is missing"]),
        ("INSERT INTO fields VALUES ('color')", ["settings: the list of metadata fields", "'color'"]),
        ("UPDATE documents SET text = text || 'x' WHERE doc_id = 'd7'", ["documents: document 'd7' does not match"]),
        ("UPDATE documents SET title = 'x' WHERE doc_id = 'd7'", ["documents: document 'd7' does not match"]),
        ("UPDATE documents SET metadata = '{}' WHERE doc_id = 'd7'", ["documents: document 'd7' does not match"]),
        ("UPDATE documents SET id = 999 WHERE doc_id = 'd7'", ["database: row 8 of passages refers to a missing row"]),
        ("UPDATE passages SET end = end - 1 WHERE id = 8", ["document 'd7': passage 8 does not match its checksum"]),
        ("DELETE FROM passages WHERE id = 8", ["document 'd7': it has 0 passages instead of 1"]),
        (
            "UPDATE vectors SET vector = zeroblob(64) WHERE passage = 8",
            ["vectors: the vector of passage 8 of document"],
        ),
        ("UPDATE vectors SET vector = 'abc' WHERE passage = 8", ["vectors: the vector of passage 8 of document 'd7'"]),
        ("DELETE FROM vectors WHERE passage = 8", ["vectors: 1 passages have no vector"]),
        ("INSERT INTO vectors VALUES (99, zeroblob(64), 0)", ["vectors: 1 vectors belong to no passage"]),
        ("INSERT INTO deleted VALUES (8)", ["segments: the segments and the list of deletions do not match"]),
        ("DELETE FROM deleted", ["segments: the segments and the list of deletions do not match the passages"]),
        ("UPDATE segments SET words_digest = words_digest + 1", ["segments: the records of 1 segments are damaged"]),
        ("UPDATE sqlite_sequence SET seq = 5 WHERE name = 'passages'", ["numbers of passages are counted from 5"]),
        ("CREATE TABLE more (x)", ["its tables are not the ones that semsearch creates"]),
    ],
)
def test_damage_in_the_database_is_named(folder, statement, parts):
    sql(folder, "PRAGMA foreign_keys = OFF", statement)
    found = "\n".join(problems(folder))
    for part in parts:
        assert part in found


@pytest.mark.parametrize("change", ["lost", "flipped", "other words", "other counts", "a passage less"])
def test_damage_in_the_words_is_named(folder, change):
    with Index.open(folder, encoder=ENCODER) as index:
        index.compact(secure=True)
    path = next(folder.glob("words.*"))
    if change == "lost":
        path.unlink()
        assert problems(folder) == [f"words: {path.name}: the file is missing"]
        return
    if change == "flipped":
        data = bytearray(path.read_bytes())
        data[700] ^= 1
        path.write_bytes(data)
        assert problems(folder) == [f"words: {path.name}: the file is damaged"]
        return
    with LocalStore(folder) as store, store.snapshot():
        (record,) = store._open().segments()
        texts = [list(text) for text in texts_of(store._database, record.first, record.last)]
    row = [number for number, *_ in texts].index(8)
    texts[row][2] = "zebra" if change == "other words" else f"{texts[row][2]} {texts[row][2]}"
    if change == "a passage less":
        del texts[row]
    digest = write_words(path, build(tuple(text) for text in sorted(texts)))
    record = replace(record, words_digest=digest)
    with closing(sqlite3.connect(folder / "passages.sqlite", isolation_level=None)) as connection:
        connection.execute("UPDATE segments SET words_digest = ?, checksum = ?", (digest, record.checksum))
    found = "\n".join(problems(folder))
    assert f"words: {path.name}: " in found
    assert "the words of passage 8 of document 'd7' are not those of its text" in found or change == "a passage less"


def with_checksum(folder: Path, passage: int, blob: bytes) -> None:
    """Store a vector with the right checksum, as a faulty encoder would have had it stored."""
    crc = zlib.crc32(b"%d\0" % passage + blob)
    with closing(sqlite3.connect(folder / "passages.sqlite", isolation_level=None)) as connection:
        connection.execute("UPDATE vectors SET vector = ?, checksum = ? WHERE passage = ?", (blob, crc, passage))


@pytest.mark.parametrize(
    ("vector", "length"), [(np.full(16, 0.5), "length 2"), (np.full(16, np.nan), "nan"), (np.full(16, np.inf), "inf")]
)
def test_a_vector_that_is_no_unit_vector_is_named(folder, vector, length):
    with_checksum(folder, 8, vector.astype("<f4").tobytes())
    found = "\n".join(problems(folder))
    assert "vectors: the vector of passage 8 of document 'd7' has length" in found
    assert length in found


def test_a_vector_of_another_text_is_seen_in_the_segment_and_by_encoding_again(folder):
    with_checksum(folder, 8, ENCODER.encode_documents(["another text"])[0].astype("<f4").tobytes())
    first, second = problems(folder)
    assert first == "segments: vectors.000001.seg: the vector of passage 8 is not the one in the database"
    assert second.startswith("encoder: 1 of 59 passages get another vector when they are encoded again, such as")
    assert "'d7'" in second


def test_many_problems_of_a_kind_are_counted(folder):
    sql(folder, "UPDATE documents SET text = text || 'x'")
    named = [line for line in problems(folder) if line.startswith("documents: document")]
    assert len(named) == LISTED
    assert f"documents: {59 - LISTED} more problems of this kind" in problems(folder)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda path: path.unlink(), "the file is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "is not the one that was written"),
        (lambda path: path.write_bytes(b""), "is not the one that was written"),
    ],
)
def test_a_segment_that_is_not_the_one_that_was_written_is_named(folder, change, found):
    change(folder / "vectors.000001.seg")
    (problem,) = verified(folder).problems
    assert problem.derived
    assert found in problem.found


def test_a_segment_of_another_index_is_named(folder, tmp_path):
    index_corpus(tmp_path / "other", DOCUMENTS[5:], ENCODER)
    shutil.copy(tmp_path / "other" / "vectors.000001.seg", folder)
    assert problems(folder) == [
        "segments: vectors.000001.seg: the file is missing, or is not the one that was written",
    ]


def test_a_flipped_bit_anywhere_in_a_segment_is_noticed(folder):
    path, rng = folder / "vectors.000001.seg", random.Random(0)
    data = path.read_bytes()
    for place in [0, 8, 63, len(data) - 1, *rng.sample(range(len(data)), 100)]:
        flipped = bytearray(data)
        flipped[place] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        assert [problem.part for problem in verify_folder(folder)] == ["segments"], place


def test_a_flipped_bit_in_the_database_is_noticed_unless_nothing_reads_it(folder):
    path, rng, noticed = folder / "passages.sqlite", random.Random(1), 0
    data, rows = path.read_bytes(), content(folder)
    for place in rng.sample(range(len(data)), 60):
        flipped = bytearray(data)
        flipped[place] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        try:
            found = verify_folder(folder)
        except (NoIndexError, SchemaError):
            found = ["refused"]
        noticed += bool(found)
        assert found or content(folder) == rows, place
    assert noticed > 10  # most bytes of so small a database are not in use


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.99])
def test_a_truncated_database_is_a_problem_or_none(folder, share):
    path = folder / "passages.sqlite"
    os.truncate(path, int(share * path.stat().st_size))
    try:
        assert any(problem.part == "database" for problem in verified(folder).problems)
    except NoIndexError:
        assert share < 0.01


def test_what_is_no_index_is_refused(tmp_path):
    with pytest.raises(NoIndexError):
        Index.verify(tmp_path)
    with pytest.raises(UsageError, match=r"so semsearch cannot verify it"):
        Index.verify(MemoryStore())
    with pytest.raises(UsageError, match=r"`sample` must be at least 0"):
        Index.verify(tmp_path, sample=-1)


def test_stray_files_and_an_encoder_that_is_gone_are_notes(folder, tmp_path):
    (folder / "vectors.000099.seg").write_bytes(b"left by a crash")
    sql(folder, "UPDATE settings SET value = replace(value, 'hash:16', '/no/model') WHERE key = 'encoder'")
    with closing(sqlite3.connect(folder / "passages.sqlite", isolation_level=None)) as connection:
        (value,) = connection.execute("SELECT value FROM settings WHERE key = 'encoder'").fetchone()
        crc = zlib.crc32(b"encoder\0" + value.encode())
        connection.execute("UPDATE settings SET checksum = ? WHERE key = 'encoder'", (crc,))
    result = Index.verify(folder)
    assert result
    assert result.notes[0].startswith("vectors.000099.seg is not part of the index")
    assert result.notes[1].startswith("no passage was encoded again: ")
    assert "/no/model" in result.notes[1]


def test_an_8_bit_model_that_is_damaged_is_named(tmp_path):
    (tmp_path / "graph").mkdir()
    (tmp_path / "graph" / "graph.bin").write_bytes(b"weights")
    encoder = Quantized(tmp_path / "graph")
    index_corpus(tmp_path / "index", DOCUMENTS, encoder)
    (problem,) = Index.verify(tmp_path / "index", encoder=encoder).problems
    assert str(problem).startswith("artifacts: the 8-bit model in encoder-")


def test_transformed_vectors_are_compared_with_the_segment(tmp_path):
    rows = np.random.default_rng(0).normal(size=(2_000, 4)).astype(np.float32)
    with open_writer(tmp_path, transform="whiten:3") as writer:
        writer.commit(entry(f"d{n}", row[None]) for n, row in enumerate(rows))
        writer.fit()
        writer.seal(final=True)
        writer.delete(["d5"])
    assert verify_folder(tmp_path) == []
    with_checksum(tmp_path, 8, rows[9].astype("<f4").tobytes())
    assert [str(problem) for problem in verify_folder(tmp_path)] == [
        "segments: vectors.000001.seg: the vector of passage 8 is not the one in the database"
    ]


def test_a_writer_may_replace_segments_meanwhile(folder):
    def write(part: str) -> None:
        if part == "segments":
            with reopen_writer(folder) as writer:
                writer.commit([entry("new", ENCODER.encode_documents(["new"]), "new")])
                for segment in writer._catalog.segments():
                    writer._sealer._write_segment(segment.first, segment.last, replaces=[segment])

    assert verify_folder(folder, write) == []
    assert sorted(path.name for path in folder.glob("vectors.*")) == ["vectors.000002.seg"]
    assert verify_folder(folder) == []


def test_it_reads_a_folder_without_write_permission(folder):
    if not hasattr(os, "geteuid") or (os.geteuid() == 0 and not shutil.which("setpriv")):
        pytest.skip("cannot give up write permission here")
    program = "import sys; from semsearch import Index; print(Index.verify(sys.argv[1]))"
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"] if os.geteuid() == 0 else []
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    folder.chmod(0o555)
    try:
        done = subprocess.run([*drop, sys.executable, "-c", program, str(folder)], capture_output=True, text=True)
    finally:
        folder.chmod(0o755)
    assert done.stdout == "VerifyResult(problems=[], notes=[], encoded=59)\n", done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
