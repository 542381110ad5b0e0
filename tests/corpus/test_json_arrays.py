"""Test JSON files against JSON lines with the same records, and against the json module."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory import peak_within
from test_readers import BAD_JSON

from semsearch.corpus.formats import json_records
from semsearch.corpus.readers import Coverage, ReadOptions, read_corpus
from semsearch.errors import RecordError
from semsearch.types import Document


def read(path: Path, content: str | bytes, **options: str) -> list[Document | RecordError]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_corpus(path, ReadOptions(**options)))


def test_an_array_by_hand(tmp_path):
    path = tmp_path / "a.json"
    text = '\ufeff[\n {"_id": "a", "title": "T", "text": "x", "n": 1.50, "big": 12345678901234567890, "e": 1E2},\n'
    text += ' {"id": 2, "text": "ä",\n  "tags": ["p", null]}\n]\n'
    expected = [
        Document("a", "x", "T", {"n": 1.5, "big": 12345678901234567890, "e": 100.0}, f"{path}:2"),
        Document("2", "ä", "", {"tags": ["p", None]}, f"{path}:3"),
    ]
    found = read(path, text)
    assert found == expected
    assert [type(found[0].metadata[name]) for name in ("n", "big", "e")] == [float, int, float]
    assert read(path, text.removeprefix("\ufeff").encode("utf-16")) == expected
    assert list(read_corpus(path.with_suffix(".json"))) == expected
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert [one.doc_id for one in read_corpus(tmp_path / "b.json.gz")] == ["a", "2"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcß", max_size=3), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip
RECORDS = st.lists(st.dictionaries(st.sampled_from(["_id", "text", "title", "m", "n"]), VALUES, max_size=5), max_size=5)


@pytest.mark.parametrize("block", [1, 7, 2**16])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(made=RECORDS, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_any_records_are_read_as_lines_of_json_are(tmp_path, monkeypatch, block, made, ascii_only, indent):
    monkeypatch.setattr(json_records, "BLOCK", block)
    lines = "".join(json.dumps(record, ensure_ascii=ascii_only) + "\n" for record in made)
    by_line = read(tmp_path / "a.jsonl", lines)
    array = read(tmp_path / "a.json", json.dumps(made, ensure_ascii=ascii_only, indent=indent))
    assert [told(one) for one in array] == [told(one) for one in by_line]


def told(one: Document | RecordError) -> object:
    return one.reason if isinstance(one, RecordError) else replace(one, source="")


IN_ORDER = [case for case in BAD_JSON if case not in ("malformed", "cut off", "nesting", "raw NUL", "not UTF-8")]


@pytest.mark.parametrize("case", IN_ORDER)
def test_a_bad_record_is_an_error_and_the_next_is_read(tmp_path, case):
    line, reason = BAD_JSON[case]
    before, error, after = read(tmp_path / "a.json", '[{"id":1,"text":""},\n' + line + ',\n{"id":2,"text":""}]')
    assert (before.doc_id, after.doc_id) == ("1", "2")
    assert (error.line, reason in error.reason) == (2, True), error


@pytest.mark.parametrize(
    ("rest", "line", "reason"),
    [
        (b"", 2, 'expected "," or "]"'),
        (b",", 2, "Expecting value"),
        (b",]", 2, "Expecting value"),
        (b' {"id": 2, "text": ""}]', 2, 'expected "," or "]"'),
        (b',\n{"id": 2 "text": ""}]', 3, "Expecting ',' delimiter"),
        (b',\n{"id": 2, "text": "x', 3, "Unterminated string"),
        (b',{"id": 2, "text": tru}]', 2, "Expecting value"),
        (b',{"id": 2, "text": "\0"}]', 2, "Invalid control character"),
        (b',{"id": 2, "text": "\xff"}]', 2, "not valid utf-8"),
        (b"," + b"[" * 100_000, 2, "nested too deeply"),
        (b"] {}", 2, "more text after the end of the array"),
    ],
)
def test_what_makes_the_rest_unreadable_is_an_error_after_the_records_before(tmp_path, monkeypatch, rest, line, reason):
    monkeypatch.setattr(json_records, "BLOCK", 4)
    path = tmp_path / "a.json"
    path.write_bytes(b'[\n{"id": 1, "text": "first"}' + rest)
    coverage = Coverage()
    first, error = read_corpus(path, coverage=coverage)
    assert (first.doc_id, error.line) == ("1", line)
    assert reason in error.reason
    assert not coverage.lacks(coverage.given[0])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the file is empty; expected an array of objects"),
        ("5", "the file starts with '5'; expected an array of objects"),
        ("<html>", "the file starts with '<'"),
        ("PK\x03\x04", "the file starts with 'P'"),
        ('{"a": 1}', "an object with one array of records"),
        ('{"a": [{"id": 1}], "b": [{"id": 2}]}', "an object with one array of records"),
        ('{"id": 1, "text": "x"}\n{"id": 2, "text": "y"}', "if each line is an object, read it with the format jsonl"),
        ('{"id": 1, "text": NaN}', "NaN is not a JSON number"),
        ('{"id": 1, "text": "x"', "not valid JSON"),
        ('{"id": 1, "text": ' + "[" * 100_000, "nested too deeply; flatten it"),
    ],
)
def test_a_file_without_records_is_an_error_that_says_what_was_expected(tmp_path, text, reason):
    (error,) = read(tmp_path / "a.json", text)
    assert reason in error.reason
    assert "\n" not in str(error)


def test_a_single_object_is_a_record_or_holds_one_array_of_records(tmp_path):
    path = tmp_path / "a.json"
    one = {"id": 1, "text": "x", "authors": [{"name": "Ann"}]}
    assert read(path, json.dumps(one, indent=1)) == [Document("1", "x", "", {"authors": [{"name": "Ann"}]}, str(path))]
    wrapped = {"version": 2, "tags": ["a"], "data": [{"id": 1, "text": "x"}, {"id": 2}]}
    first, error = read(path, json.dumps(wrapped))
    assert (first.doc_id, first.source) == ("1", f"{path}, record 1")
    assert str(error).startswith(f'{path}, record 2: no "text" field')
    assert read(path, "[]") == []
    assert read(path, '{"n": 5, "body": "x"}', id_field="n", text_field="body") == [
        Document("5", "x", source=str(path))
    ]


def test_what_is_too_long_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(json_records, "MAX_LINE_BYTES", 100_000)
    monkeypatch.setattr(json_records, "MAX_FILE_BYTES", 100_000)
    path = tmp_path / "a.json"
    (error,) = read(path, '[{"id": 1, "text": "' + "x" * 500_000 + '"}]')
    assert "a record longer than 100000 characters" in error.reason
    (error,) = read(path, '{"id": 1, "text": "' + "x" * 500_000 + '"}')
    assert "an object longer than 100000 bytes; expected an array of records" in error.reason


@pytest.mark.parametrize("between", [", ", ",\n"])
def test_an_array_of_6_mb_takes_little_memory(tmp_path, between):
    record = json.dumps({"id": 1, "text": "word " * 200, "n": 0.5})
    (tmp_path / "a.json").write_text(f"[{between.join([record] * 6_000)}]")
    path = tmp_path / "a.json"
    assert peak_within(2_000_000, lambda: sum(isinstance(one, Document) for one in read_corpus(path))) == 6_000
