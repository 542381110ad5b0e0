"""Test export and the way back: the same search results to the last digit, and no vectors that do not belong there."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import CountingEncoder, index_content, index_corpus
from memory_store import MemoryStore
from odd_documents import ODD

from semsearch import Chunking, Index, WordHashEncoder
from semsearch.errors import DamagedError, MismatchError, RecordError, SourceError, UsageError
from semsearch.stores.base import Store
from semsearch.stores.local.care.verify import verify_folder
from semsearch.stores.open import Location, open_store
from semsearch.stores.postgres.address import parse_address

ENCODER = WordHashEncoder(64)
CUT = Chunking(tokens=40, overlap=8)
TEXT = "heron number{n} waits in C++ 京都 "
DOCUMENTS: list[dict[str, Any]] = [
    *({"_id": f"d{n}", "title": f"T{n}", "text": TEXT.format(n=n) * (1 + n % 20), "year": n} for n in range(40)),
    {"_id": "empty", "text": ""},
    {
        "_id": "odd",
        "text": 'lines\nand\u2028separators\r\n\ttabs "quotes" \\ 🦩',
        "metadata": {"tags": ["a"], "text": 1},
    },
    *ODD[:3],
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "index"
    index_corpus(folder, DOCUMENTS, ENCODER, chunking=CUT)
    with Index.open(folder, encoder=ENCODER) as index:
        index.delete(["d3"])
        index.add([{"_id": "d3", "text": "back again", "year": 3}])
    return folder


def exported(folder: Location, path: Path, vectors: Any = None) -> Path:
    with Index.open(folder) as index:
        index.export(path, vectors=vectors)
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().decode().split("\n")[:-1]]


def answers(folder: Location) -> dict[str, list[tuple]]:
    """Return all that a search returns but the confidence, which depends on when the index was measured."""
    with Index.open(folder, encoder=ENCODER) as index:
        return {
            f"{mode} {unit}": [
                (hit.doc_id, hit.score, hit.title, hit.text, hit.start, hit.end, hit.metadata)
                for hit in index.search("heron number7 waits in C++", 60, mode=mode, unit=unit)
            ]
            for mode in ("dense", "keyword", "hybrid")
            for unit in ("document", "passage")
        }


def reindexed(path: Path, folder: Location, vectors: Path | None = None, chunking: Chunking = CUT) -> CountingEncoder:
    encoder = CountingEncoder(ENCODER)
    with Index.open(folder, create=True, encoder=encoder, chunking=chunking) as index:
        index.add(path, vectors=vectors)
    return encoder


@pytest.mark.parametrize("kind", ["base64", "npy", "none"])
def test_an_exported_index_indexed_anew_gives_the_same_results(built, tmp_path, kind):
    given = {"base64": "base64", "npy": tmp_path / "rows.npy", "none": None}[kind]
    path = exported(built, tmp_path / "corpus.jsonl", given)
    encoder = reindexed(path, tmp_path / "again", given if kind == "npy" else None)
    assert (encoder.passages == []) == (kind != "none")
    assert answers(tmp_path / "again") == answers(built)
    assert index_content(tmp_path / "again") == index_content(built)
    assert verify_folder(tmp_path / "again") == []


@pytest.fixture(params=["memory", "postgres"])
def copied(built: Path, request: pytest.FixtureRequest) -> Store:
    """Return a copy of the index in another kind of store."""
    store = MemoryStore() if request.param == "memory" else open_store(request.getfixturevalue("postgres").url())
    Index.copy(built, store)
    return store


@pytest.mark.parametrize("vectors", [None, "base64", "rows.npy"])
def test_every_store_exports_the_same_files(built, copied, tmp_path, monkeypatch, vectors):
    for name, place in (("folder", built), ("other", copied)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        exported(place, Path("corpus.jsonl"), vectors)
    ours, theirs = ({one.name: one.read_bytes() for one in (tmp_path / n).iterdir()} for n in ("folder", "other"))
    assert ours.keys() == {"corpus.jsonl", *([vectors] if vectors == "rows.npy" else [])}
    assert ours == theirs
    copied.close()


@pytest.mark.parametrize("kind", ["base64", "npy"])
def test_an_exported_index_is_indexed_in_a_database_without_encoding(built, tmp_path, postgres, kind):
    rows = tmp_path / "rows.npy" if kind == "npy" else None
    path, place = exported(built, tmp_path / "corpus.jsonl", rows or "base64"), postgres.url()
    assert reindexed(path, place, rows).passages == []
    ours, theirs = answers(built), answers(place)
    for name, hits in ours.items():
        assert [hit[1] for hit in theirs[name]] == pytest.approx([hit[1] for hit in hits], abs=1e-6)
        assert sorted(hit[2:6] for hit in theirs[name]) == sorted(hit[2:6] for hit in hits)


def test_a_missing_vector_in_a_database_is_named(built, tmp_path, postgres):
    place = postgres.url()
    Index.copy(built, place)
    with postgres.connect() as connection:
        connection.execute(f"DELETE FROM {parse_address(place).schema}.vectors WHERE passage = 8")
    with pytest.raises(DamagedError, match="is damaged: passage 8 has no vector"):
        exported(place, tmp_path / "corpus.jsonl", "base64")
    assert os.listdir(tmp_path) == []
    assert len(lines(exported(place, tmp_path / "corpus.jsonl"))) == len(DOCUMENTS)


def test_each_line_is_a_document_as_it_was_given_with_its_vectors(built, tmp_path):
    documents = {one["_id"]: one for one in DOCUMENTS}
    found = lines(exported(built, tmp_path / "corpus.jsonl", "base64"))
    exported(built, tmp_path / "rows.jsonl", tmp_path / "rows.npy")
    rows = np.load(tmp_path / "rows.npy", allow_pickle=False)
    assert [one["_id"] for one in found] == [one["_id"] for one in DOCUMENTS if one["_id"] != "d3"] + ["d3"]
    at = 0
    for line in found:
        if line["_id"] != "d3":
            given = documents[line["_id"]]
            rest = {key: value for key, value in given.items() if key not in ("_id", "title", "text", "metadata")}
            assert (line["title"], line["text"]) == (given.get("title", ""), given["text"])
            assert line["metadata"] == {**rest, **given.get("metadata", {})}
        spans, title = line["_passages"]["spans"], line["title"]
        expected = ENCODER.encode_documents([f"{title} {line['text'][start:end]}" for start, end in spans])
        vectors = np.frombuffer(base64.b64decode(line["_passages"]["vectors"]), "<f4").reshape(-1, 64)
        assert np.array_equal(vectors, expected)
        assert np.array_equal(rows[at : at + len(spans)], expected)
        at += len(spans)
    assert len(rows) == at
    assert lines(tmp_path / "rows.jsonl") == [
        {**line, "_passages": {key: value for key, value in line["_passages"].items() if key != "vectors"}}
        for line in found
    ]


def test_float16_vectors_are_rescaled_to_unit_length(built, tmp_path):
    path = exported(built, tmp_path / "corpus.jsonl", tmp_path / "rows.npy")
    rows = np.load(tmp_path / "rows.npy", allow_pickle=False)
    np.save(tmp_path / "half.npy", rows.astype(np.float16))
    reindexed(path, tmp_path / "again", tmp_path / "half.npy")
    exported(tmp_path / "again", tmp_path / "again.jsonl", tmp_path / "again.npy")
    again = np.load(tmp_path / "again.npy", allow_pickle=False)
    np.testing.assert_allclose(again, rows, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(again[again.any(1)], axis=1), 1, atol=1e-6)


def changed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return lambda path: np.save(path, change(np.load(path, allow_pickle=False)))


def archive(path: Path) -> None:
    np.savez(path.with_suffix(".npz"), rows=np.zeros(3))
    path.with_suffix(".npz").rename(path)


def put(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(rows: np.ndarray) -> np.ndarray:
        rows[5, 7] = value
        return rows

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(lambda rows: rows[:-1]), r"rows.npy' has [\d,]+ rows, but the documents have [\d,]+ passages"),
        (changed(lambda rows: np.concatenate([rows, rows[:1]])), r"has [\d,]+ rows, but the documents have"),
        (changed(lambda rows: rows[:, :32]), r"has the shape \[\d+, 32\]; expected \[passages, 64\] of float32"),
        (changed(lambda rows: rows.reshape(-1)), r"has the shape \[\d+\]"),
        (changed(lambda rows: rows.astype(np.float64)), r"has float64 \[\d+, 64\]; expected"),
        (changed(lambda rows: rows.astype(">f4")), "has >f4"),
        (changed(np.asfortranarray), r"has float32 \[\d+, 64\]; expected .* in C order"),
        (changed(put(np.nan)), "vector 5 is not finite; expected numbers without NaN and infinity"),
        (changed(put(np.inf)), "vector 5 is not finite"),
        (changed(lambda rows: 2 * rows), "vector 0 has length 2; expected unit vectors"),
        (lambda path: np.save(path, np.array([{}], object), allow_pickle=True), "is not a file of NumPy"),
        (lambda path: path.write_bytes(b"text"), "is not a file of NumPy"),
        (lambda path: path.write_bytes(b""), "is not a file of NumPy"),
        (lambda path: os.truncate(path, 5_000), "is not a file of NumPy"),
        (lambda path: path.unlink(), "is not a file;"),
        (archive, "is not a file of NumPy"),
    ],
)
def test_a_file_of_vectors_that_cannot_belong_to_the_corpus_is_refused(built, tmp_path, change, message):
    path = exported(built, tmp_path / "corpus.jsonl", tmp_path / "rows.npy")
    change(tmp_path / "rows.npy")
    with pytest.raises(UsageError, match=message) as caught:
        reindexed(path, tmp_path / "again", tmp_path / "rows.npy")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "again").exists()


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the field with the passages in the second line."""
    found = lines(path)
    change(found[1]["_passages"])
    path.write_text("".join(f"{json.dumps(line)}\n" for line in found), encoding="utf-8")


def coded(rows: np.ndarray) -> str:
    return base64.b64encode(rows.astype("<f4").tobytes()).decode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda field: field.update(vectors="?"), 'the vectors in "_passages" are not base64'),
        (lambda field: field.update(vectors=7), "are not base64"),
        (lambda field: field.update(vectors=coded(np.ones(32))), r"have 128 bytes; expected float32 \[1, 64\]"),
        (
            lambda field: field.update(vectors=coded(np.full(64 * len(field["spans"]), np.nan))),
            "vector 0 is not finite",
        ),
        (
            lambda field: field.update(vectors=coded(np.ones(64 * len(field["spans"])))),
            "vector 0 has length 8; expected unit vectors",
        ),
        (lambda field: field.update(spans=[[0, 10**9]]), 'the spans in "_passages" are'),
        (lambda field: field.update(spans=[[True, 5]]), 'the spans in "_passages" are'),
        (lambda field: field.update(spans="all"), 'the spans in "_passages" are'),
        (
            lambda field: field.update(spans=[[0, 5]], vectors=coded(ENCODER.encode_documents(["a"]))),
            r"document 'd1' has vectors for 1 passages other than the \d+ into which this index cuts it",
        ),
    ],
)
def test_vectors_in_a_line_that_cannot_be_used_make_it_a_bad_record(built, tmp_path, change, message):
    path = exported(built, tmp_path / "corpus.jsonl", "base64")
    rewrite(path, change)
    with pytest.raises(RecordError, match=message) as caught:
        reindexed(path, tmp_path / "again")
    assert caught.value.source == f"{path}:2"


def test_other_chunking_is_refused(built, tmp_path):
    path = exported(built, tmp_path / "corpus.jsonl", "base64")
    with pytest.raises(RecordError, match=r"has vectors for \d+ passages other than the 1 into which this index cuts"):
        reindexed(path, tmp_path / "again", chunking=Chunking())


@pytest.mark.parametrize("kind", ["base64", "npy"])
def test_vectors_of_another_encoder_are_refused_with_what_differs(built, tmp_path, kind):
    rows = tmp_path / "rows.npy" if kind == "npy" else None
    path = exported(built, tmp_path / "corpus.jsonl", rows or "base64")
    other = WordHashEncoder(64, max_tokens=100)
    with Index.open(tmp_path / "again", create=True, encoder=other, chunking=CUT) as index:
        with pytest.raises(MismatchError, match=r"corpus.jsonl:1: the vectors come from another encoder .* max_tokens"):
            index.add(path, vectors=rows)
        rewrite(path, lambda field: None)
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines(path)[1:]), encoding="utf-8")
        with pytest.raises(MismatchError, match=r"its fingerprint is [0-9a-f]{12}…, not [0-9a-f]{12}…"):
            index.add(path, vectors=rows)
    assert not (tmp_path / "again").exists()


def test_a_corpus_that_was_not_exported_has_no_vectors(built, tmp_path):
    exported(built, tmp_path / "corpus.jsonl", tmp_path / "rows.npy")
    plain = exported(built, tmp_path / "plain.jsonl")
    with pytest.raises(RecordError, match=r'plain.jsonl:1: no "_passages" with the passages of the vectors'):
        reindexed(plain, tmp_path / "again", tmp_path / "rows.npy")
    with Index.open(tmp_path / "again", create=True, encoder=ENCODER, chunking=CUT) as index:
        with pytest.raises(UsageError, match="`vectors` belong to exported files"):
            index.add(DOCUMENTS, vectors=tmp_path / "rows.npy")
        with pytest.raises(UsageError, match="a corpus that can be read twice"):
            index.add("-", vectors=tmp_path / "rows.npy")


def test_documents_from_memory_such_as_those_of_a_client_are_encoded_whatever_they_claim(built, tmp_path):
    (line, *_) = lines(exported(built, tmp_path / "corpus.jsonl", "base64"))
    encoder = CountingEncoder(ENCODER)
    with Index.open(tmp_path / "again", create=True, encoder=encoder, chunking=CUT) as index:
        assert index.add([line]).taken == 0
        assert index.documents(["d0"])["d0"].metadata["_passages"] == line["_passages"]
    assert len(encoder.passages) == len(line["_passages"]["spans"])


def test_lines_whose_vectors_are_left_out_are_encoded(built, tmp_path):
    path = exported(built, tmp_path / "corpus.jsonl", tmp_path / "rows.npy")
    assert reindexed(path, tmp_path / "again").passages
    with Index.open(tmp_path / "again") as index:
        assert "_passages" not in index.fields()


def test_an_export_appears_as_a_whole_or_not_at_all(built, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("semsearch.files.os.fsync", full)
    with pytest.raises(SourceError, match=r"cannot write .*rows.npy': No space left on device"):
        exported(built, tmp_path / "corpus.jsonl", tmp_path / "rows.npy")
    assert os.listdir(tmp_path) == []
    with pytest.raises(UsageError, match=r"`vectors` is 'rows.txt'; expected 'base64' or the name of a file that"):
        exported(built, tmp_path / "corpus.jsonl", "rows.txt")


def test_a_damaged_vector_is_named(built, tmp_path):
    shutil.copytree(built, tmp_path / "index")
    with closing(sqlite3.connect(tmp_path / "index" / "passages.sqlite", isolation_level=None)) as connection:
        connection.execute("DELETE FROM vectors WHERE passage = 8")
    with pytest.raises(DamagedError, match="vectors for"):
        exported(tmp_path / "index", tmp_path / "corpus.jsonl", "base64")
    assert os.listdir(tmp_path) == ["index"]
