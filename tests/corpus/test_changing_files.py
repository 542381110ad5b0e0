"""Test files that change while they are read, and files of each format that are not what their names say."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from test_readers import SAMPLES

from semsearch.corpus.formats.table import FORMATS
from semsearch.corpus.readers import read_corpus
from semsearch.errors import RecordError
from semsearch.types import Document

LINES = b"".join(b'{"_id": "%d", "text": "%s"}\n' % (n, b"heron " * 20_000) for n in range(4))
"""Records of 120 kB, so that the file is longer than what is read at once."""


def folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


@pytest.mark.parametrize("name", [f"b{one.endings[0]}" for one in FORMATS.values()])
def test_a_file_that_disappears_is_an_error_and_the_others_are_read(tmp_path, name):
    records = read_corpus(folder(tmp_path, {"a.txt": b"first", name: b"x", "c.txt": b"last"}))
    first = next(records)
    (tmp_path / name).unlink()
    error, last = records
    assert isinstance(error, RecordError)
    assert str(error) == f"{tmp_path}/{name}: cannot be read: No such file or directory"
    assert (first.text, last.text) == ("first", "last")


def test_a_file_that_shrinks_ends_with_an_error_and_the_others_are_read(tmp_path):
    records = read_corpus(folder(tmp_path, {"a.jsonl": LINES, "b.txt": b"last"}))
    first = next(records)
    with open(tmp_path / "a.jsonl", "r+b") as file:
        file.truncate(len(LINES) // 2 - 10)
    *rest, last = records
    assert (first.doc_id, last.text) == ("0", "last")
    assert any(isinstance(one, RecordError) and one.line == 2 for one in rest)
    assert len(rest) < 4


def test_a_file_that_grows_is_read_to_its_new_end(tmp_path):
    records = read_corpus(folder(tmp_path, {"a.jsonl": LINES, "b.txt": b"last"}))
    next(records)
    with open(tmp_path / "a.jsonl", "ab") as file:
        file.write(b'{"_id": "new", "text": "x"}\n')
    assert [one.doc_id for one in records] == ["1", "2", "3", "new", "b.txt"]


@pytest.mark.parametrize("written", [b"", b"\0\1\2\3" * 100, b"%PDF-1.7\n", b"PK\3\4" + bytes(60), b"\x7fELF" * 40])
@pytest.mark.parametrize("name", [one.name for one in FORMATS.values()])
def test_what_is_no_file_of_its_format_gives_a_line_and_nothing_on_the_screen(tmp_path, name, written, capfd):
    ending = FORMATS[name].endings[0]
    files = {f"a{ending}": written, f"b{ending}": SAMPLES.get(name, b"x"), "c.txt": b"last"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        records = list(read_corpus(folder(tmp_path, files)))
    errors = [one for one in records if isinstance(one, RecordError)]
    assert all("\n" not in str(one) and str(one).startswith(f"{tmp_path}/a{ending}") for one in errors)
    assert isinstance(records[-1], Document)
    assert {one.origin.file for one in records if isinstance(one, Document)} >= {f"b{ending}", "c.txt"}
    assert capfd.readouterr() == ("", "")


def test_a_cell_of_50_mb_is_text_in_csv(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"id,text\n1," + b"heron " * 8_500_000 + b"\n2,last\n")
    first, last = read_corpus(tmp_path / "a.csv")
    assert (len(first.text) > 50_000_000, last.text) == (True, "last")
