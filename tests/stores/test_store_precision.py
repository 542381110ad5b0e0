"""Test the precision of stored vectors: what is searched are the decoded vectors, wherever they are read from.

Vectors are decoded here with sqlite3, struct and NumPy, and searched by brute force.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Outcome, call
from fakes import CountingEncoder, entry, index_spec, open_reader, tiny_checkpoint
from older_index import make_older_index

from semsearch import Encoder, Index, WordHashEncoder
from semsearch.corpus.chunking import Chunking
from semsearch.errors import DamagedError, MismatchError, UsageError
from semsearch.reencode import reencode
from semsearch.stores.local.array_file import open_arrays
from semsearch.stores.local.care.verify import verify_folder
from semsearch.stores.local.store import LocalStore
from semsearch.stores.local.vectors.ann import kinds
from semsearch.types import STORE_PRECISIONS, EncoderSettings

DIM = 10
CHUNKING = Chunking()
EACH = pytest.mark.parametrize("precision", STORE_PRECISIONS)
EACH_LOSSY = pytest.mark.parametrize("precision", ["float16", "int8"])
DOCUMENTS = [{"_id": f"d{n}", "text": f"heron number{n} waits {'long ' * (n % 7)}", "year": n} for n in range(120)]
ENCODER = WordHashEncoder(64)


def random_rows(n: int = 300, *, unit: bool = True, seed: int = 0) -> np.ndarray:
    """Return vectors, the first of which is zero and the second and third of which are equal."""
    rows = np.random.default_rng(seed).normal(size=(n, DIM)) * 3
    rows[:1], rows[2:3] = 0, rows[1:2]
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(unit & (lengths > 0), lengths, 1)).astype(np.float32)


def write(folder: Path, rows: np.ndarray, precision: str | None, *, seal: bool = True, **wishes: Any) -> None:
    options = wishes.pop("vectors", {})
    spec = index_spec(DIM, **wishes)
    with LocalStore(folder).write(spec, CHUNKING.to_json(), vectors=options, store_precision=precision) as writer:
        for start in range(0, len(rows), 100):
            writer.commit([entry(f"d{n}", rows[n : n + 1]) for n in range(start, min(start + 100, len(rows)))])
        writer.fit()
        if seal:
            writer.seal(final=True)


def blobs(folder: Path) -> list[bytes]:
    with closing(sqlite3.connect(folder / "passages.sqlite")) as connection:
        return [blob for (blob,) in connection.execute("SELECT vector FROM vectors ORDER BY passage")]


def decoded(folder: Path, precision: str, dim: int = DIM) -> np.ndarray:
    """Decode all vectors, without semsearch."""
    if precision != "int8":
        return (
            np.frombuffer(b"".join(blobs(folder)), {"float32": "<f4", "float16": "<f2"}[precision])
            .reshape(-1, dim)
            .astype("f4")
        )
    values = [struct.unpack(f"<f{dim}b", blob) for blob in blobs(folder)]
    return np.array([np.float32(scale) * np.array(codes, np.float32) for scale, *codes in values], np.float32)


def brute(similarity: str, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    if similarity == "euclidean":
        return -np.linalg.norm(queries[:, None].astype(float) - rows[None], axis=2)
    return queries.astype(float) @ rows.astype(float).T


def check_scores(folder: Path, queries: np.ndarray, expected: np.ndarray, *, exact: bool = False) -> None:
    """Check that each score is that of the vector, and that the ten best are found."""
    with open_reader(folder) as reader:
        scores, passages = reader.search_vectors(queries, 10, None)
        assert reader.similarities(queries, passages[0].tolist())[0] == pytest.approx(scores[0], abs=1e-5, rel=1e-6)
    assert scores == pytest.approx(np.take_along_axis(expected, passages - 1, 1), abs=1e-5, rel=1e-6)
    best = -np.sort(-expected, axis=1)[:, :10]
    assert np.isclose(scores, best, rtol=1e-6, atol=1e-5).mean() > 0.9  # a graph may miss some
    if exact:
        assert scores == pytest.approx(best, abs=1e-5, rel=1e-6)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build a graph over segments of more than 100 rows."""
    monkeypatch.setattr(kinds, "EXACT_BYTES", 4 * DIM * 100)


@EACH
@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("where", ["tail", "exact", "graph"])
def test_scores_are_those_of_the_decoded_vectors(tmp_path, small, precision, similarity, where):
    rows = random_rows(unit=similarity == "cosine")
    queries = random_rows(20, unit=similarity == "cosine", seed=1)
    factory = "HNSW16,SQ8" if where == "graph" else "Flat"
    options = {"vector_index": factory, "target_recall": 1.0}
    write(tmp_path, rows, precision, seal=where != "tail", similarity=similarity, vectors=options)
    found = decoded(tmp_path, precision)
    assert found == pytest.approx(rows, abs=0.0 if precision == "float32" else 0.02 * float(np.abs(rows).max()))
    check_scores(tmp_path, queries, brute(similarity, queries, found), exact=where != "graph")
    with open_reader(tmp_path) as reader:
        built = [segment["kind"] for segment in reader.status()["vectors"]["segments"]]
        assert reader.vectors_of([1, 2, 3, 4]) == pytest.approx(found[:4], rel=1e-6)
        assert not reader.vectors_of([1]).any()
        assert reader.storage.store_precision == reader.status()["storage"]["store_precision"] == precision
    assert built == ([] if where == "tail" else [factory])
    assert blobs(tmp_path)[1] == blobs(tmp_path)[2]
    assert {len(blob) for blob in blobs(tmp_path)} == {{"float32": 40, "float16": 20, "int8": 14}[precision]}
    assert verify_folder(tmp_path) == []


@EACH
def test_a_segment_has_the_same_bytes_as_the_database(tmp_path, precision):
    write(tmp_path, random_rows(), precision)
    with open_reader(tmp_path) as reader:
        (segment,) = reader._open().segments()
    rows = open_arrays(tmp_path / segment.vectors, segment.vectors_digest).array("rows")
    assert rows.dtype.str == {"float32": "<f4", "float16": "<f2", "int8": "|u1"}[precision]
    assert [row.tobytes() for row in rows] == blobs(tmp_path)


def test_float32_is_the_default_and_the_bytes_are_those_of_the_vectors(tmp_path):
    rows = random_rows()
    write(tmp_path, rows, None)
    assert b"".join(blobs(tmp_path)) == rows.astype("<f4").tobytes()
    with open_reader(tmp_path) as reader:
        expected = {"store_precision": "float32", "mean_cosine": None, "overlap": None, "measured": 0}
        assert reader.status()["storage"] == expected


@EACH
@pytest.mark.parametrize("transform", ["center", "whiten:4"])
def test_a_transform_is_fitted_on_decoded_vectors_and_its_results_are_searched_as_they_are(
    tmp_path, small, precision, transform
):
    rows, queries = random_rows(), random_rows(20, seed=1)
    write(tmp_path, rows, precision, transform=transform, vectors={"vector_index": "HNSW16,SQ8", "target_recall": 1.0})
    found = decoded(tmp_path, precision).astype(float)
    centered = found - found.mean(0)
    matrix = np.eye(DIM)
    if transform != "center":
        variance, axes = np.linalg.eigh(np.cov(centered.T, bias=True))
        matrix = (axes / np.sqrt(variance))[:, ::-1][:, :4]
    sides = [(each - found.mean(0)) @ matrix for each in (queries, found)]
    units = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides]
    check_scores(tmp_path, queries, units[0] @ units[1].T)
    assert verify_folder(tmp_path) == []
    with open_reader(tmp_path) as reader:
        (segment,) = reader._open().segments()
        storage = reader.storage
    assert open_arrays(tmp_path / segment.vectors, segment.vectors_digest).array("rows").dtype == np.float32
    if precision != "float32":
        with_loss = [(each - found.mean(0)) @ matrix for each in (rows[1:], found[1:])]
        assert storage.mean_cosine == pytest.approx(mean_cosine(*with_loss), abs=1e-5)


def mean_cosine(ours: np.ndarray, theirs: np.ndarray) -> float:
    ours, theirs = (each.astype(float) for each in (ours, theirs))
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(((ours * theirs).sum(1) / lengths).mean())


@EACH_LOSSY
@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_the_loss_is_that_of_the_first_passages_that_are_not_zero(tmp_path, monkeypatch, precision, similarity):
    monkeypatch.setattr("semsearch.stores.loss.SAMPLE", 250)
    rows = random_rows(unit=similarity == "cosine")
    write(tmp_path, rows, precision, similarity=similarity)
    exact, found = rows[1:251], decoded(tmp_path, precision)[1:251].astype(float)
    neighbors = []
    for each in (exact, found):
        scores = brute(similarity, each, each)
        np.fill_diagonal(scores, -np.inf)
        neighbors.append(np.argsort(-scores, axis=1)[:, :10])
    overlap = np.mean([len({*ours} & {*theirs}) / 10 for ours, theirs in zip(*neighbors, strict=True)])
    with open_reader(tmp_path) as reader:
        storage = reader.storage
    assert storage.measured == 250
    assert storage.mean_cosine == pytest.approx(mean_cosine(exact, found), abs=1e-6)
    assert storage.overlap == pytest.approx(overlap, abs=4e-3)  # of nearly equal scores, either may come first
    assert 0.9 < storage.overlap <= 1
    assert (storage.overlap < 0.998) == (precision == "int8")


def test_the_loss_of_few_passages_does_not_replace_that_of_many(tmp_path):
    write(tmp_path, random_rows(50), "int8")
    write(tmp_path, random_rows(20, seed=1), "int8")
    with open_reader(tmp_path) as reader:
        first = reader.storage
    assert first.measured == 49
    write(tmp_path, random_rows(60, seed=2), None)
    with open_reader(tmp_path) as reader:
        assert reader.storage.measured == 59
        assert reader.storage != first


@pytest.mark.parametrize(
    ("precision", "value", "expected"),
    [
        ("float16", 70_000.0, "'d1' has components of up to 7e+04, which are too large to store it as float16; choose"),
        ("float16", 1e-9, "'d1' has components of up to 1e-09, which are too small to store it as float16; choose"),
        ("int8", np.nan, "'d1' has components that are not finite"),
        ("float32", np.inf, "'d1' has components that are not finite"),
    ],
)
def test_a_vector_beyond_the_range_is_refused_with_its_batch(tmp_path, precision, value, expected):
    rows = np.ones((2, DIM), np.float32)
    rows[1] = value
    with pytest.raises(UsageError) as caught:
        write(tmp_path, rows, precision, similarity="dot")
    assert expected in str(caught.value)
    assert "`store_precision`" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert blobs(tmp_path) == []
    if np.isfinite(value):  # there is nothing yet that would have to be stored again
        write(tmp_path, rows, "int8", similarity="dot")
        assert decoded(tmp_path, "int8") == pytest.approx(rows, rel=1e-6)
        assert verify_folder(tmp_path) == []


def test_an_open_reader_notices_that_an_empty_index_gets_another_precision(tmp_path):
    write(tmp_path, random_rows(0), "float16")
    with open_reader(tmp_path) as reader:
        assert reader.storage.store_precision == "float16"
        write(tmp_path, random_rows(8), "int8")
        assert reader.storage.store_precision == "int8"
        assert reader.vectors_of([2]) == pytest.approx(decoded(tmp_path, "int8")[1:2])


def test_another_precision_is_refused_and_the_message_says_what_to_do(tmp_path):
    write(tmp_path, random_rows(8), "int8")
    before = blobs(tmp_path)
    expected = r"are stored as int8, not float32\. Omit `store_precision` .* or reencode it with `store_precision` 'flo"
    with pytest.raises(MismatchError, match=expected):
        write(tmp_path, random_rows(8), "float32")
    with pytest.raises(MismatchError, match=expected):
        Index.open(tmp_path, store_precision="float32")
    with pytest.raises(UsageError, match=r"`store_precision` is 'int4'; expected float32, float16, int8"):
        Index.open(tmp_path, store_precision="int4")
    Index.open(tmp_path, store_precision="int8").close()
    assert blobs(tmp_path) == before


KILLED = """
import json, os, sys
import numpy as np
from semsearch.corpus.chunking import Chunking
from semsearch.stores.base import Entry
from semsearch.stores.local.store import LocalStore
from semsearch.types import Document, EncoderSpec, Passage
folder, precision, rows = sys.argv[1], sys.argv[2], np.load(sys.argv[3])
spec = EncoderSpec.from_json(json.loads(sys.argv[4]))
with LocalStore(folder).write(spec, Chunking().to_json(), store_precision=precision) as writer:
    writer.commit([Entry(Document(f"d{n}", "x"), [Passage(0, 0, 1, "x", 1)], row[None]) for n, row in enumerate(rows)])
    os.kill(os.getpid(), 9)
"""


@EACH
def test_a_run_that_was_killed_goes_on_in_the_same_precision(tmp_path, precision):
    folder, rows = tmp_path / "index", random_rows(300)
    np.save(tmp_path / "rows.npy", rows[:100])
    words = str(folder), precision, str(tmp_path / "rows.npy"), json.dumps(index_spec(DIM).to_json())
    command = [sys.executable, "-c", KILLED, *words]
    assert subprocess.run(command, check=False).returncode == -9
    with open_reader(folder) as reader:
        assert reader.storage.measured == (0 if precision == "float32" else 99)  # committed with the vectors
    with LocalStore(folder).write(index_spec(DIM), CHUNKING.to_json()) as writer:
        writer.commit([entry(f"d{n}", rows[n : n + 1]) for n in range(100, 300)])
        writer.seal(final=True)
    assert decoded(folder, precision) == pytest.approx(rows, abs=0.02)
    check_scores(folder, rows[50:60], brute("cosine", rows[50:60], decoded(folder, precision)))
    assert verify_folder(folder) == []


def test_an_older_index_is_float32(tmp_path):
    folder = make_older_index(tmp_path / "index", DOCUMENTS[:20])
    with Index.open(folder) as index:
        assert index.storage.store_precision == "float32"
        assert index.search("number7", 1)[0].doc_id == "d7"


def change(folder: Path, blob: bytes | None = None, passage: int = 8, **settings: Any) -> None:
    """Change a vector or settings, with the right checksums."""
    with closing(sqlite3.connect(folder / "passages.sqlite", isolation_level=None)) as connection:
        if blob is not None:
            row = (blob, zlib.crc32(b"%d\0" % passage + blob), passage)
            connection.execute("UPDATE vectors SET vector = ?, checksum = ? WHERE passage = ?", row)
        for key, value in settings.items():
            text = json.dumps(value)
            crc = zlib.crc32(f"{key}\0{text}".encode())
            connection.execute("UPDATE settings SET value = ?, checksum = ? WHERE key = ?", (text, crc, key))


@EACH_LOSSY
@pytest.mark.parametrize("kind", ["long", "short", "empty", "nan", "infinite"])
def test_a_vector_that_no_index_writes_is_damage(tmp_path, precision, kind):
    write(tmp_path, random_rows(40), precision)
    good = blobs(tmp_path)[7]
    number = struct.pack("<e" if precision == "float16" else "<f", np.nan if kind == "nan" else np.inf)
    bad = {"long": good + bytes(DIM), "short": good[:-1], "empty": b""}.get(kind, number + good[len(number) :])
    change(tmp_path, bad)
    assert any("of document 'd7'" in str(problem) for problem in verify_folder(tmp_path))
    for file in tmp_path.glob("vectors.*"):
        file.unlink()
    with open_reader(tmp_path) as reader, pytest.raises(DamagedError, match=r"1 vectors are corrupt, .* 'd7'; index"):
        reader.search_vectors(random_rows(4), 3, None)


@pytest.mark.parametrize("value", ["float32", "float16", "int4", None, [], 7])
def test_a_changed_precision_is_damage(tmp_path, value):
    write(tmp_path, random_rows(40), "int8")
    change(tmp_path, store_precision=value)
    with pytest.raises(DamagedError, match=r"vectors are corrupt|its setting 'store_precision' is not one"):
        with open_reader(tmp_path) as reader:
            reader.search_vectors(random_rows(4), 3, None)
    assert verify_folder(tmp_path)


@pytest.mark.parametrize("value", [None, [], {"measured": 7}, {"mean_cosine": 1.0, "overlap": "x", "measured": 1}])
def test_a_damaged_loss_costs_no_answer_and_is_reset_by_a_rebuild(tmp_path, value):
    write(tmp_path, random_rows(40), "int8")
    change(tmp_path, store_loss=value)
    with open_reader(tmp_path) as reader:
        assert reader.search_vectors(random_rows(4)[1:2], 1, None)[1].tolist() == [[2]]
        with pytest.raises(DamagedError, match="'store_loss' is not valid; run semsearch rebuild"):
            reader.status()
    (problem,) = verify_folder(tmp_path)
    assert problem.derived
    with LocalStore(tmp_path) as store:
        assert store.rebuild().reset == ["store_loss"]
    assert verify_folder(tmp_path) == []


@EACH
def test_a_damaged_vector_is_recovered_from_its_segment(tmp_path, precision):
    write(tmp_path, random_rows(), precision)
    before = blobs(tmp_path)
    with closing(sqlite3.connect(tmp_path / "passages.sqlite", isolation_level=None)) as connection:
        connection.execute("UPDATE vectors SET vector = zeroblob(length(vector)) WHERE passage IN (5, 300)")
    with LocalStore(tmp_path) as store:
        result = store.rebuild()
    assert result
    assert result.recovered == 2
    assert blobs(tmp_path) == before
    assert verify_folder(tmp_path) == []


@EACH_LOSSY
def test_a_changed_row_of_a_segment_is_noticed_and_read_from_the_database(tmp_path, small, precision, caplog):
    rows = random_rows()
    write(tmp_path, rows, precision, vectors={"vector_index": "HNSW16,SQ8", "target_recall": 1.0})
    (path,) = tmp_path.glob("vectors.*")
    data, wanted = bytearray(path.read_bytes()), blobs(tmp_path)[7]
    data[data.index(wanted) + 6] ^= 1
    path.write_bytes(data)
    assert any("the arrays rows are damaged" in str(problem) for problem in verify_folder(tmp_path))
    check_scores(tmp_path, rows[7:8], brute("cosine", rows[7:8], decoded(tmp_path, precision)))
    assert "1 vectors of a segment are damaged" in caplog.text


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Build an index of the same documents in each precision."""
    folders = {precision: tmp_path_factory.mktemp(precision) / "index" for precision in STORE_PRECISIONS}
    for precision, folder in folders.items():
        with Index.open(folder, create=True, encoder=ENCODER, store_precision=precision) as index:
            result = index.add(DOCUMENTS)
        assert result.storage.store_precision == precision
        assert result.storage.measured == (0 if precision == "float32" else 120)
    return folders


@EACH
def test_passages_that_are_encoded_again_have_the_same_vectors(built, precision, monkeypatch):
    monkeypatch.setattr("semsearch.verify.ROUNDING", dict.fromkeys(STORE_PRECISIONS, -0.0009))  # to be nearly exact
    assert Index.verify(built[precision], encoder=ENCODER, sample=120).problems == []


@EACH_LOSSY
def test_vectors_of_another_text_are_noticed(built, tmp_path, precision):
    shutil.copytree(built[precision], tmp_path / "index")
    for file in (tmp_path / "index").glob("vectors.*"):
        file.unlink()
    change(tmp_path / "index", blobs(tmp_path / "index")[3])
    (problem,) = Index.verify(tmp_path / "index", encoder=ENCODER, sample=120).problems[-1:]
    assert "1 of 120 passages get another vector" in str(problem)


@EACH
def test_a_backup_is_intact(built, tmp_path, precision):
    with Index.open(built[precision]) as index:
        index.backup(tmp_path / "copy")
    assert verify_folder(tmp_path / "copy") == []
    assert blobs(tmp_path / "copy") == blobs(built[precision])


@pytest.mark.parametrize(
    ("precision", "other"), [("int8", "float32"), ("int8", "int8"), ("float16", "int8"), ("float32", "float16")]
)
@pytest.mark.parametrize("form", ["base64", "rows.npy"])
def test_exported_vectors_are_decoded_and_are_stored_in_the_precision_of_the_other_index(
    built, tmp_path, precision, other, form
):
    vectors = form if form == "base64" else tmp_path / form
    with Index.open(built[precision]) as index:
        index.export(tmp_path / "all.jsonl", vectors=vectors)
    source = decoded(built[precision], precision, 64)
    if form != "base64":
        assert np.load(vectors).dtype == np.float32
        assert np.array_equal(np.load(vectors), source.astype(np.float32))
    encoder = CountingEncoder(ENCODER)
    with Index.open(tmp_path / "index", create=True, encoder=encoder, store_precision=other) as index:
        result = index.add(tmp_path / "all.jsonl", **({} if form == "base64" else {"vectors": vectors}))
    assert result.taken == 120
    found = decoded(tmp_path / "index", other, 64)
    if other in (precision, "float32"):
        assert found == pytest.approx(source, rel=2e-7)
    else:
        assert found == pytest.approx(source, abs=float(np.abs(source).max()) / 127)


@pytest.mark.parametrize(
    ("precision", "other"), [("float32", "int8"), ("int8", "float32"), ("int8", "float16"), ("int8", "int8")]
)
def test_reencoding_changes_the_precision_from_the_stored_texts(built, tmp_path, precision, other):
    shutil.copytree(built[precision], tmp_path / "index")
    with Index.open(tmp_path / "index", encoder=ENCODER) as index:
        result = index.reencode(encoder=ENCODER, store_precision=other)
        assert result.moved == (precision != other)
        assert result.storage.store_precision == index.storage.store_precision == other
        assert index.search("number7", 1)[0].doc_id == "d7"
        assert index.add([{"_id": "new", "text": "an egret"}]).encoded == 1
    assert blobs(tmp_path / "index")[:120] == blobs(built[other])
    with open_reader(tmp_path / "index") as reader, open_reader(built[other]) as expected:
        assert reader.storage == expected.storage
    assert Index.verify(tmp_path / "index", encoder=ENCODER).problems == []


def test_reencoding_keeps_the_precision_unless_told_and_discards_a_draft_in_another(built, tmp_path):
    shutil.copytree(built["int8"], tmp_path / "index")

    def stop(encoder: Any) -> None:
        raise KeyboardInterrupt

    settings = EncoderSettings()
    with LocalStore(tmp_path / "index") as store, pytest.raises(KeyboardInterrupt):
        reencode(store, settings, CHUNKING, store_precision="float32", encoder=ENCODER, expect=stop)
    assert (tmp_path / "index/reencode").is_dir()
    other = WordHashEncoder(32)
    with LocalStore(tmp_path / "index") as store:
        result = reencode(store, settings, CHUNKING, encoder=other)
        assert (result.moved, result.encoded, store.storage.store_precision) == (True, 120, "int8")
    assert {len(blob) for blob in blobs(tmp_path / "index")} == {36}
    assert verify_folder(tmp_path / "index") == []


def test_compacting_keeps_the_stored_bytes(built, tmp_path):
    shutil.copytree(built["int8"], tmp_path / "index")
    with Index.open(tmp_path / "index", encoder=ENCODER) as index:
        index.delete(["d3"])
        index.compact(secure=True)
    expected = blobs(built["int8"])
    assert blobs(tmp_path / "index") == expected[:3] + expected[4:]
    assert verify_folder(tmp_path / "index") == []


def test_vectors_of_unknown_tokens_stay_zero_and_are_not_measured(tmp_path):
    rows = random_rows(40)
    rows[10:20] = 0
    write(tmp_path / "index", rows, "int8")
    assert [not any(blob) for blob in blobs(tmp_path / "index")] == [not row.any() for row in rows]
    with open_reader(tmp_path / "index") as reader:
        assert reader.storage.measured == 29
        assert reader.storage.mean_cosine > 0.999


@EACH_LOSSY
def test_a_copy_knows_what_rounding_its_vectors_has_cost(built, tmp_path, precision):
    Index.copy(built[precision], tmp_path / "copy")
    with open_reader(built[precision]) as first, open_reader(tmp_path / "copy") as second:
        assert second.storage == first.storage
        assert (first.storage.mean_cosine < 1) == (precision == "int8")  # these float16 vectors lose less than is shown


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "birds.jsonl").write_text("\n".join(map(json.dumps, DOCUMENTS[:60])))
    return tmp_path


def index_birds(*options: str) -> Outcome:
    return call("index", "birds.jsonl", "--model", "hash:64", *options)


def test_the_commands_choose_tell_and_change_it(corpus):
    said = index_birds("--store-precision", "int8").ok().out
    assert "vectors are stored as int8: mean cosine 0.99" in said
    assert "of the ten nearest neighbors in common among 60 passages" in said
    told = call("status", "--json").ok().json["storage"]
    assert (told["store_precision"], told["measured"]) == ("int8", 60)
    assert 0.9 < told["overlap"] <= 1
    assert 0.999 < told["mean_cosine"] <= 1
    assert ["storage.store_precision", "int8"] in call("status").ok().rows
    assert index_birds("--store-precision", "int8", "--json").ok().json["storage"] == told
    index_birds("--store-precision", "float16").fails(1, "stored as int8, not float16", "reencode it with --store-prec")
    index_birds("--store-precision", "int4").fails(2, "int4")
    moved = call("reencode", "--store-precision", "float16").ok().out
    assert "vectors are stored as float16: mean cosine 1.0000" in moved
    assert call("reencode", "--store-precision", "float16", "--json").ok().json["moved"] is False
    assert call("query", "number7", "-k", "1", "--json").ok().json["hits"][0]["doc_id"] == "d7"
    assert call("verify").ok()


def test_float32_is_not_worth_a_line(corpus):
    assert "stored as" not in index_birds().ok().out


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model"))


@EACH
def test_fewer_dimensions_combine_with_every_precision(tmp_path, model, precision):
    encoder = Encoder.load(model, pooler="mean", dim=7, runtime="torch", device="cpu")
    with Index.open(tmp_path / "index", create=True, encoder=encoder, store_precision=precision) as index:
        index.add(DOCUMENTS[:20])
        found = index.search("heron number7 waits", 3, mode="dense")
        rows = decoded(tmp_path / "index", precision, 7)
        scores = np.sort(rows @ index.encoder.encode_queries(["heron number7 waits"])[0])[::-1]
    assert [hit.score for hit in found] == pytest.approx(scores[:3].tolist(), abs=1e-5)
    texts = [one["text"] for one in DOCUMENTS[:20]]
    leading = Encoder.load(model, pooler="mean", runtime="torch", device="cpu").encode_documents(texts)[:, :7]
    assert rows == pytest.approx(leading / np.linalg.norm(leading, axis=1, keepdims=True), abs=0.01)
    assert verify_folder(tmp_path / "index") == []
