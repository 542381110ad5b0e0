"""Test Parquet files that pyarrow has written."""

from __future__ import annotations

import datetime
import gzip
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from semsearch.corpus.readers import Coverage, ReadOptions, read_corpus
from semsearch.corpus.records import ReadingWarning
from semsearch.errors import RecordError
from semsearch.types import Document

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def write(path: Path, columns: dict[str, object], **options: object) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def test_rows_by_hand(tmp_path):
    day, moment = datetime.date(2024, 1, 2), datetime.datetime(2024, 1, 2, 3, 4, 5, 678_901)
    columns = {
        "_id": [7, 8],
        "title": ["T", None],
        "text": pa.array(["x", "y"]).dictionary_encode(),
        "day": [day, None],
        "moment": pa.array([moment, None], pa.timestamp("ns")),
        "there": pa.array([moment, None], pa.timestamp("us", "Europe/Berlin")),
        "time": pa.array([1_500, None], pa.time64("ns")),
        "price": [Decimal("1.50"), Decimal("2.25")],
        "score": [0.5, None],
        "flag": [True, None],
        "tags": [["a", "b"], []],
        "who": [{"name": "Ann", "n": 1}, None],
        "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int32())),
    }
    path = write(tmp_path / "a.parquet", columns)
    metadata = {
        "day": "2024-01-02",
        "moment": "2024-01-02T03:04:05.678901",
        "there": "2024-01-02T04:04:05.678901+01:00",
        "time": "00:00:00.000001",
        "price": "1.50",
        "score": 0.5,
        "flag": True,
        "tags": ["a", "b"],
        "who": {"name": "Ann", "n": 1},
        "map": [["k", 1]],
    }
    expected = [
        Document("7", "x", "T", metadata, f"{path}, row 1"),
        Document("8", "y", "", {"price": 2.25, "tags": []}, f"{path}, row 2"),
    ]
    assert list(read_corpus(path)) == expected
    (tmp_path / "b.parquet.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert [one.doc_id for one in read_corpus(tmp_path / "b.parquet.gz")] == ["7", "8"]


def test_fields_can_be_named(tmp_path):
    path = write(tmp_path / "a.parquet", {"n": [1], "body": ["x"], "text": ["no"]})
    (document,) = read_corpus(path, ReadOptions(id_field="n", text_field="body"))
    assert (document.doc_id, document.text, document.metadata) == ("1", "x", {"text": "no"})


def test_a_bad_row_is_an_error_with_its_number(tmp_path):
    far = [0, 2**62, 0, 0, 0, 0, 0]
    path = write(
        tmp_path / "a.parquet",
        {
            "id": ["a", "b", None, "d", "", "f", "g"],
            "text": ["x", "x", "x", None, "x", "a\0b", "x"],
            "n": [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, float("nan")],
            "far": pa.array(far, pa.timestamp("us")),
        },
    )
    first, *errors = read_corpus(path)
    assert first.doc_id == "a"
    assert [(one.source, one.reason.split(";")[0]) for one in errors] == [
        (f"{path}, row 2", "a value that Python cannot represent (date value out of range)"),
        (f"{path}, row 3", '"id" is null'),
        (f"{path}, row 4", '"text" is null'),
        (f"{path}, row 5", '"id" is empty'),
        (f"{path}, row 6", 'a NUL character in "text"'),
        (f"{path}, row 7", '"n" is nan, which JSON cannot represent'),
    ]


def test_columns_that_json_cannot_represent_are_left_out_with_a_warning(tmp_path):
    columns = {"id": ["a"], "text": ["x"], "image": [{"bytes": b"GIF", "path": "p"}], "raw": [[b"x"]]}
    path = write(tmp_path / "a.parquet", {**columns, "took": pa.array([5], pa.duration("s"))})
    with pytest.warns(ReadingWarning, match=r"a.parquet: left out columns of bytes or durations: image, raw, took$"):
        assert list(read_corpus(path)) == [Document("a", "x", source=f"{path}, row 1")]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"id": [1], "body": ["x"]}, 'no "text" field (found: id, body); specify the text field with `text_field`'),
    ],
)
def test_a_file_without_the_required_columns_is_one_error(tmp_path, columns, reason):
    (error,) = read_corpus(write(tmp_path / "a.parquet", columns))
    assert error.reason == reason


def test_a_broken_file_is_an_error(tmp_path):
    text = [f"heron {n}" * 50 for n in range(2000)]
    data = write(tmp_path / "a.parquet", {"id": range(2000), "text": text}, use_dictionary=False).read_bytes()
    noise = b"\xff" * 300
    for content in (b"", b"x", b"PAR1" * 5, b"id,text\n1,x\n", data[:-10], data[:5000] + noise + data[5300:]):
        (tmp_path / "a.parquet").write_bytes(content)
        coverage = Coverage()
        *_, error = read_corpus(tmp_path / "a.parquet", coverage=coverage)
        assert isinstance(error, RecordError)
        assert "not a valid Parquet file" in error.reason
        assert "\n" not in str(error)
        assert not coverage.lacks(coverage.given[0])


def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", {"id": [1], "text": ["x"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (error,) = read_corpus(path)
    assert error.reason == "Parquet files need pyarrow, which is not installed; pip install 'semsearch[parquet]'"


MEASURE = """
import resource, sys
import pyarrow.parquet
from semsearch.corpus.readers import read_corpus
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(sum(1 for one in read_corpus(sys.argv[1])), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_row_group_of_100_mb_takes_little_memory(tmp_path):
    texts = [f"{number} " + "heron " * 1000 for number in range(17_000)]
    path = write(tmp_path / "a.parquet", {"id": range(17_000), "text": texts}, use_dictionary=False)
    run = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    n_read, kilobytes = map(int, run.stdout.split())
    assert n_read == 17_000
    assert kilobytes < 40_000
