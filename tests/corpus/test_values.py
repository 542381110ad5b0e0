"""Test the conversion of Python values against expected values, the json module and NumPy's lists."""

from __future__ import annotations

import json
import re
from collections import OrderedDict, deque
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import PurePosixPath
from types import MappingProxyType
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semsearch import Index
from semsearch.corpus.readers import as_records
from semsearch.corpus.values import as_json, literal
from semsearch.errors import RecordError

Kind = Enum("Kind", {"bird": "heron", "none": None})
Level = IntEnum("Level", {"high": 3})
Tone = StrEnum("Tone", {"low": "low"})
ID = UUID("12345678-1234-5678-1234-567812345678")

PLAIN = {
    "UUID": (ID, "12345678-1234-5678-1234-567812345678"),
    "path": (PurePosixPath("a/b.txt"), "a/b.txt"),
    "date": (date(2026, 1, 2), "2026-01-02"),
    "moment": (datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "2026-01-02T03:04:00+00:00"),
    "time": (time(3, 4), "03:04:00"),
    "decimal": (Decimal("12.5"), 12.5),
    "decimal whose zeros count": (Decimal("1.10"), "1.10"),
    "enumerations": ([Kind.bird, Kind.none, Level.high, Tone.low], ["heron", None, 3, "low"]),
    "set": ({3, 1, 2}, [1, 2, 3]),
    "set of texts": (frozenset({"b", "a"}), ["a", "b"]),
    "mixed set": ({"a", 1, None}, ["a", 1, None]),
    "tuple and others": ([(1, 2), deque("ab"), range(2)], [[1, 2], ["a", "b"], [0, 1]]),
    "mappings": (OrderedDict(a=MappingProxyType({"b": 1})), {"a": {"b": 1}}),
    "keys": ({1: "b", None: "c", ID: "d", 2.5: "e"}, {"1": "b", "null": "c", str(ID): "d", "2.5": "e"}),
    "NumPy numbers": ([np.int64(3), np.float64(0.5), np.float32(0.25), np.bool_(True)], [3, 0.5, 0.25, True]),
    "NumPy text": (np.str_("x"), "x"),
    "NumPy arrays": ({"a": np.arange(4).reshape(2, 2), "b": np.array(7)}, {"a": [[0, 1], [2, 3]], "b": 7}),
    "NumPy objects": (np.array([ID, None], dtype=object), [str(ID), None]),
    "NumPy moments": (np.array(["2026-01-02T03:04"], dtype="datetime64[ns]"), ["2026-01-02T03:04:00.000000000"]),
    "NumPy day": (np.datetime64("2026-01-02"), "2026-01-02"),
}  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), PLAIN.values(), ids=PLAIN)
def test_values_become_those_of_json(value, expected):
    found = as_json(value)
    assert found == expected
    assert json.dumps(found) == json.dumps(expected)  # distinguishes True from 1
    (document,) = as_records([{"_id": "a", "text": "x", "field": value}])
    assert document.metadata == {"field": expected}


def circle() -> list[object]:
    inner: dict[str, object] = {}
    inner["parent"], inner["again"] = inner, inner
    return [inner]


UNFIT = {
    "NaN": (float("nan"), '"field" is nan, which JSON cannot represent; use None or omit the field'),
    "NumPy's infinity": (np.float32("inf"), '"field" is inf'),
    "decimal NaN": (Decimal("NaN"), '"field" is nan'),
    "in a list": ([1, [float("-inf")]], '"field" is -inf'),
    "bytes": (b"x", "\"field\" is b'x' (bytes); expected text, a number"),
    "complex": (np.complex64(1), '"field" is (1+0j) (complex)'),
    "duration": (timedelta(1), "(timedelta)"),
    "function": (len, "(builtin_function_or_method)"),
    "generator": ((n for n in ()), "(generator)"),
    "object with line ends": (type("T", (), {"__repr__": lambda self: "a\nb"})(), '"field" is a b (T)'),
    "nesting": (json.loads("[" * 101 + "]" * 101), "nested deeper than 100 levels"),
    "itself": (circle(), 'contains itself'),
    "a key twice": ({1: "a", "1": "b"}, 'two fields are named "1"'),
    "a key that is a list": ({(1, 2): "a"}, "the name of a field is [1, 2]; expected text"),
    "half a character": ({"a": "\ud800"}, "a lone surrogate (\\ud800)"),
}  # fmt: skip


@pytest.mark.parametrize(("value", "reason"), UNFIT.values(), ids=UNFIT)
def test_what_json_cannot_hold_is_a_bad_record_with_its_number(value, reason):
    good = {"_id": "a", "text": "x"}
    first, error, last = as_records([good, {"_id": "b", "text": "x", "field": value}, good])
    assert (first.doc_id, last.doc_id) == ("a", "a")
    assert isinstance(error, RecordError)
    assert error.place == "<record>:2"
    assert reason in error.reason
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    "doc_id", [ID, np.int64(7), PurePosixPath("a/b"), date(2026, 1, 2), Decimal("1.10"), np.str_("k")]
)
def test_ids_become_text(doc_id):
    (document,) = as_records([{"_id": doc_id, "text": "x"}])
    assert document.doc_id == str(doc_id)
    assert type(document.doc_id) is str


def test_pandas_nothing_is_a_bad_record():
    class NaT(datetime):  # as in pandas: a date that is not equal to itself
        def __eq__(self, other):
            return False

        __hash__ = datetime.__hash__

    (error,) = as_records([{"_id": "a", "text": "x", "when": NaT(2026, 1, 1)}])
    assert re.search('"when" is nan', error.reason)


def test_numpy_records_are_found_by_a_filter(tmp_path):
    with Index.open(tmp_path / "index", create=True, model="hash:64") as index:
        years = np.array([2019, 2021])
        result = index.add([{"_id": n, "text": f"text {n}", "year": year, "at": ID} for n, year in enumerate(years)])
        assert (result.documents, result.bad) == (2, 0)
        assert [hit.doc_id for hit in index.search("text", where="year >= 2020")] == ["1"]
        assert [hit.doc_id for hit in index.search("text", where=f"at = '{ID}' and year < 2020")] == ["0"]


@given(st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_that_python_prints_is_read_back_or_stays_text(number):
    written = json.dumps(number)
    found = literal(written)
    assert found in (number, written)
    assert str(found) == written


@given(st.from_regex(r"-?[0-9]{1,4}(\.[0-9]{1,4})?(e[0-9]{1,2})?", fullmatch=True))
def test_no_literal_loses_how_it_was_written(text):
    assert str(literal(text)) == text
