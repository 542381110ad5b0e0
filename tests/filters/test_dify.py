"""Tests for Dify's conditions: hand-written trees, agreement with a small interpreter, and one-line errors."""

from __future__ import annotations

import json
import operator
import re
from typing import Any

import pytest
from filter_examples import TEXT
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_store import MemoryStore
from python_filters import matches, part_of

from semsearch import Index, WordHashEncoder
from semsearch.errors import FilterError
from semsearch.filters.dify import OPERATORS, VALUELESS, from_dify
from semsearch.filters.text import parse


def one(name: Any, comparison: str, value: Any = None) -> dict[str, Any]:
    return {"conditions": [{"name": name, "comparison_operator": comparison, "value": value}]}


@pytest.mark.parametrize(
    ("condition", "expression"),
    [
        (one("tag", "contains", "AI"), "tag contains 'AI'"),
        (one("tag", "contains", "7"), "tag contains '7' or tag contains 7"),
        (one("tag", "not contains", "AI"), "tag is not null and not tag contains 'AI'"),
        (one("path", "start with", "docs/"), "path starts with 'docs/'"),
        (one("path", "end with", 7), "path ends with '7'"),
        (one("lang", "is", "en"), "lang in ('en')"),
        (one("year", "is", "2020"), "year in ('2020', 2020)"),
        (one("open", "is", "true"), "open in ('true', true)"),
        (one("year", "=", 2020), "year in (2020)"),
        (one("year", "=", "2020.5"), "year in ('2020.5', 2020.5)"),
        (one("lang", "is not", "en"), "lang not in ('en')"),
        (one("year", "≠", 2020), "year not in (2020)"),
        (one("lang", "in", ["en", None, "de"]), "lang in ('en', 'de')"),
        (one("lang", "in", "en, de,"), "lang in ('en', 'de')"),
        (one("lang", "not in", "en"), "lang not in ('en')"),
        (one("lang", "in", []), "lang is null and lang is not null"),
        (one("lang", "not in", " , "), "lang is null or lang is not null"),
        (one("lang", "empty"), "lang is null or lang = ''"),
        (one("lang", "not empty", "x"), "lang != ''"),
        (one("lang", "null"), "lang is null"),
        (one("lang", "not null"), "lang is not null"),
        (one("year", ">", 2020), "year > 2020"),
        (one("year", "<", "2020"), "year < 2020"),
        (one("year", "≥", 2020), "year >= 2020"),
        (one("year", "≤", -1.5), "year <= -1.5"),
        (one("date", "before", "2024-01-01"), "date < '2024-01-01'"),
        (one("date", "after", 1_704_067_200), "date > 1704067200"),
        (one("date", "after", "1704067200"), "date > 1704067200"),
        (one(["category", "tag"], "contains", "AI"), "category contains 'AI' or tag contains 'AI'"),
        (one(["category", "tag"], "is not", "AI"), "category not in ('AI') and tag not in ('AI')"),
        (
            {"logical_operator": "or", "conditions": one("a", "=", 1)["conditions"] + one("b", "=", 2)["conditions"]},
            "a in (1) or b in (2)",
        ),
        (
            {"logical_operator": None, "conditions": one("a", "=", 1)["conditions"] + one("b", "=", 2)["conditions"]},
            "a in (1) and b in (2)",
        ),
    ],
)
def test_a_condition_reads_as_the_expression(condition, expression):
    assert from_dify(condition) == parse(expression)


@pytest.mark.parametrize("condition", [{}, {"conditions": None}, {"conditions": []}, one("a", "is", None)])
def test_without_a_condition_there_is_no_filter(condition):
    assert from_dify(condition) is None


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"logical_operator": "xor"}, "`logical_operator` is 'xor'; expected 'and' or 'or'"),
        ({"logical_operator": ["and"]}, "`logical_operator` is ['and']; expected 'and' or 'or'"),
        ({"conditions": "a"}, "`conditions` is 'a'; expected a list of objects such as"),
        ({"conditions": [7]}, "a condition is 7; expected an object such as"),
        (one("a", "like", 1), "`comparison_operator` is 'like'; expected one of contains, not contains, start with,"),
        (one("a", None, 1), "`comparison_operator` is None"),  # type: ignore[arg-type]
        (one(None, "is", 1), "the name in a condition is None; expected a field name or a list of field names"),
        (one([], "is", 1), "the name in a condition is []"),
        (one(["a", ""], "is", 1), "the name in a condition is ['a', '']"),
        (one("a", ">", "soon"), "'a': > takes a number, got 'soon'"),
        (one("a", "≥", "1_000"), "'a': ≥ takes a number, got '1_000'"),
        (one("a", "<", "nan"), "'a': < takes a number, got 'nan'"),
        (one("a", "<", True), "'a': < takes a number, got True"),
        (one("a", "<", [1]), "'a': < takes a number, got [1]"),
        (one("a", "is", ["x"]), "'a': is takes text or a number, got ['x']"),
        (one("a", "in", [["x"]]), "'a': in takes text or a number, got ['x']"),
        (one("a", "start with", {"x": 1}), "'a': start with takes text, got {'x': 1}"),
        (one("a", "contains", "x\x00"), "'a': text with a NUL character"),
        (one("a", "=", 2**64), "'a': the integer does not fit into 64 bits"),
    ],
)
def test_what_is_wrong_with_a_condition_is_one_line(condition, message):
    with pytest.raises(FilterError) as caught:
        from_dify(condition)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


# --- semantics


def interpret(operator_: str, field: Any, value: Any) -> bool:
    """Tell whether a field meets a condition, as Dify judges its own documents but looking into lists."""
    if operator_ in ("null", "not null"):
        return (field is None) == (operator_ == "null")
    if operator_ in ("empty", "not empty"):
        return (field is None or field == "") == (operator_ == "empty")
    if operator_ in ("in", "not in") and not listed(value):
        return operator_ == "not in"
    if field is None:
        return False
    positive = {
        "contains": lambda: contains(field, value),
        "start with": lambda: isinstance(field, str) and starts(as_text(value), field),
        "end with": lambda: isinstance(field, str) and ends(as_text(value), field),
        "is": lambda: equal(field, value),
        "in": lambda: any(equal(field, each) for each in listed(value)),
        ">": lambda: ordered(operator.gt, field, value),
        "<": lambda: ordered(operator.lt, field, value),
        "≥": lambda: ordered(operator.ge, field, value),
        "≤": lambda: ordered(operator.le, field, value),
        "before": lambda: ordered(operator.lt, field, value),
        "after": lambda: ordered(operator.gt, field, value),
    }
    positive |= {
        "=": positive["is"],
        "==": positive["is"],
        ">=": positive["≥"],
        "‹": positive["<"],
        "<=": positive["≤"],
    }
    negative = {"not contains": "contains", "is not": "is", "≠": "is", "!=": "is", "not in": "in"}
    return not positive[negative[operator_]]() if operator_ in negative else positive[operator_]()


def listed(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else [value]


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def as_number(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value):
        return json.loads(value) if not re.match("-?0[0-9]", value) else float(value)
    return value


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(field: Any, value: Any) -> bool:
    if isinstance(field, bool) and isinstance(value, str):
        return json.dumps(field) == value
    if is_number(field):
        return is_number(as_number(value)) and field == as_number(value)
    return type(field) is type(value) and not isinstance(field, list | dict) and field == value


def contains(field: Any, value: Any) -> bool:
    if isinstance(field, list):
        return any(equal(element, value) for element in field if element is not None)
    return isinstance(field, str) and isinstance(value, str) and part_of(value, field)


def starts(text: str, field: str) -> bool:
    return len(text) <= len(field) and part_of(text, field[: len(text)])


def ends(text: str, field: str) -> bool:
    return len(text) <= len(field) and part_of(text, field[len(field) - len(text) :])


def ordered(compare: Any, field: Any, value: Any) -> bool:
    number = as_number(value)
    if is_number(number):
        return is_number(field) and compare(field, number)
    return isinstance(field, str) and compare(field, value)


NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, -1.5, 2020])
VALUES = TEXT | NUMBERS | st.sampled_from(["1", "-2", "0.5", "2020", "true", "false", "1, 2", "a,b", "007"])
FIELDS = st.none() | VALUES | st.booleans() | st.lists(VALUES | st.booleans(), max_size=3)
NUMERIC = NUMBERS | st.sampled_from(["1", "-2", "0.5", "2020"])
CASES = st.one_of(
    st.tuples(st.sampled_from(["contains", "not contains", "start with", "end with"]), VALUES),
    st.tuples(st.sampled_from(["is", "=", "==", "is not", "≠", "!="]), VALUES),
    st.tuples(st.sampled_from(["in", "not in"]), VALUES | st.lists(VALUES, max_size=3)),
    st.tuples(st.sampled_from(VALUELESS), VALUES | st.none()),
    st.tuples(st.sampled_from([">", "<", "≥", "≤", ">=", "<="]), NUMERIC),
    st.tuples(st.sampled_from(["before", "after"]), VALUES),
)


@settings(max_examples=500, deadline=None)
@given(CASES, FIELDS)
def test_the_tree_means_what_the_condition_means(case, field):
    comparison, value = case
    filter = from_dify(one("x", comparison, value))
    assert filter is not None
    assert matches(filter, "id", None, {"x": field}) == interpret(comparison, field, value)


def test_every_operator_is_interpreted():
    for comparison in OPERATORS:
        assert interpret(comparison, "2020", "2020") in (True, False)


def test_a_search_in_a_store_in_memory():
    with Index.open(MemoryStore(), create=True, encoder=WordHashEncoder(64)) as index:
        index.add([{"_id": f"d{year}", "text": "a heron in the reeds", "year": year} for year in (2019, 2020)])
        index.add([{"_id": "none", "text": "a heron without a year"}])
        for condition, expected in [
            (one("year", "≥", "2020"), ["d2020"]),
            (one("year", "is not", "2020"), ["d2019"]),
            (one("year", "empty"), ["none"]),
            (one("year", "not in", []), ["d2019", "d2020", "none"]),
            (one("year", "in", []), []),
        ]:
            hits = index.search("heron", mode="keyword", where=from_dify(condition))
            assert sorted(hit.doc_id for hit in hits) == expected
