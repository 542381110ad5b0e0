"""Tests for OpenAI's filters: hand-written trees, agreement with a small interpreter, and one-line errors."""

from __future__ import annotations

import operator
from typing import Any

import pytest
from filter_examples import METADATA, NUMBERS, TEXT
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_store import MemoryStore
from python_filters import field_of, matches

from semsearch import Index, WordHashEncoder
from semsearch.errors import FilterError
from semsearch.filters.notation import read_key, write_key
from semsearch.filters.openai import COMPARISONS, from_openai
from semsearch.filters.text import parse


def compare(kind: str, key: str, value: Any) -> dict[str, Any]:
    return {"type": kind, "key": key, "value": value}


@pytest.mark.parametrize(
    ("filters", "expression"),
    [
        (compare("eq", "lang", "en"), "lang = 'en'"),
        (compare("ne", "lang", "en"), "lang != 'en'"),
        (compare("gt", "year", 2020), "year > 2020"),
        (compare("gte", "year", 2020.5), "year >= 2020.5"),
        (compare("lt", "year", "2020"), "year < '2020'"),
        (compare("lte", "year", -1), "year <= -1"),
        (compare("eq", "open", True), "open = true"),
        (compare("in", "lang", ["en", 1]), "lang in ('en', 1)"),
        (compare("nin", "lang", ["en"]), "lang not in ('en')"),
        (compare("eq", "author.name", "Ada"), "author.name = 'Ada'"),
        (compare("eq", "publication year", 1), "`publication year` = 1"),
        (compare("eq", "`a.b`", 1), "`a.b` = 1"),
        (compare("eq", "and", 1), "`and` = 1"),
        ({"type": "and", "filters": [compare("eq", "a", 1), compare("eq", "b", 2)]}, "a = 1 and b = 2"),
        ({"type": "or", "filters": [compare("eq", "a", 1)]}, "a = 1"),
        (
            {"type": "and", "filters": [compare("eq", "a", 1), {"type": "or", "filters": [compare("eq", "b", 1)] * 2}]},
            "a = 1 and (b = 1 or b = 1)",
        ),
        ({**compare("eq", "lang", "en"), "note": "unknown fields are of no account"}, "lang = 'en'"),
    ],
)
def test_a_filter_reads_as_the_expression(filters, expression):
    assert from_openai(filters) == parse(expression)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({}, "the type of a filter is None; expected one of eq, ne, gt, gte, lt, lte, in, nin, and, or"),
        (compare("like", "a", 1), "the type of a filter is 'like'; expected one of eq,"),
        (compare(["eq"], "a", 1), "the type of a filter is ['eq']"),  # type: ignore[arg-type]
        ({"type": "and"}, '\'and\' takes `filters`, a list of at least one filter such as {"type": "eq"'),
        ({"type": "or", "filters": []}, "'or' takes `filters`"),
        ({"type": "or", "filters": {"type": "eq"}}, "'or' takes `filters`"),
        ({"type": "or", "filters": [None]}, "a filter is None; expected an object such as"),
        ({"type": "eq", "value": 1}, "the key of a filter is None; expected the name of an attribute as a string"),
        (compare("eq", "", 1), "the key of a filter is ''"),
        (compare("eq", 5, 1), "the key of a filter is 5"),  # type: ignore[arg-type]
        ({"type": "eq", "key": "a"}, "the filter 'eq' on 'a' has no value"),
        (compare("eq", "a", None), "'a': expected text, a number or a boolean, got NoneType"),
        (compare("eq", "a", ["x"]), "'a' is compared with a list; use in or nin"),
        (compare("eq", "a", {"x": 1}), "'a': expected text, a number or a boolean, got dict"),
        (compare("in", "a", "x"), "'a': in and nin take a list of values, got str"),
        (compare("in", "a", []), "'a': in takes at least one value, got none"),
        (compare("nin", "a", [None]), "'a': expected text, a number or a boolean, got NoneType"),
        (compare("gt", "a", True), "'a': > compares text or numbers, got True"),
        (compare("eq", "a", 2**63), "'a': the integer does not fit into 64 bits"),
        (compare("eq", "a\x00", 1), "the field name 'a\\x00' has a NUL character"),
        (compare("eq", "a", "\x00"), "'a': text with a NUL character"),
    ],
)
def test_what_is_wrong_with_a_filter_is_one_line(filters, message):
    with pytest.raises(FilterError) as caught:
        from_openai(filters)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_a_filter_nested_too_deeply_is_refused_also_one_that_holds_itself():
    endless: dict[str, Any] = {"type": "and"}
    endless["filters"] = [endless]
    with pytest.raises(FilterError, match="nested too deeply"):
        from_openai(endless)


# --- semantics


def interpret(filters: dict[str, Any], attributes: dict[str, Any]) -> bool:
    """Tell whether a document's attributes meet a filter, according to the docstring of `filters/openai.py`."""
    if filters["type"] in ("and", "or"):
        return {"and": all, "or": any}[filters["type"]](interpret(part, attributes) for part in filters["filters"])
    found, value = field_of(attributes, read_key(filters["key"])), filters["value"]
    if found is None:
        return False
    return {
        "eq": lambda: same(found, value),
        "ne": lambda: not same(found, value),
        "in": lambda: any(same(found, one) for one in value),
        "nin": lambda: not any(same(found, one) for one in value),
        "gt": lambda: ordered(operator.gt, found, value),
        "gte": lambda: ordered(operator.ge, found, value),
        "lt": lambda: ordered(operator.lt, found, value),
        "lte": lambda: ordered(operator.le, found, value),
    }[filters["type"]]()


def same(one: Any, other: Any) -> bool:
    return type_of(one) == type_of(other) and type_of(one) != "other" and one == other


def ordered(compare: Any, one: Any, other: Any) -> bool:
    return type_of(one) == type_of(other) and type_of(one) in ("text", "number") and compare(one, other)


def type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number" if isinstance(value, int | float) else "other"


KEYS = st.sampled_from(["x", "y", "é", "not", "x.y", 'q"\\`.$', "`x`"])
SMALL = TEXT | NUMBERS
LEAVES = (
    st.builds(compare, st.sampled_from(["eq", "ne"]), KEYS, SMALL | st.booleans())
    | st.builds(compare, st.sampled_from(["gt", "gte", "lt", "lte"]), KEYS, SMALL)
    | st.builds(compare, st.sampled_from(["in", "nin"]), KEYS, st.lists(SMALL | st.booleans(), min_size=1, max_size=3))
)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.fixed_dictionaries(
        {"type": st.sampled_from(["and", "or"]), "filters": st.lists(inner, min_size=1, max_size=3)}
    ),
    max_leaves=8,
)
WIDE = st.deferred(lambda: METADATA).filter(lambda found: not has_wide_integer(found))


def has_wide_integer(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(has_wide_integer, value.values()))
    if isinstance(value, list):
        return any(map(has_wide_integer, value))
    return isinstance(value, int) and not -(2**63) <= value < 2**63


@settings(max_examples=300, deadline=None)
@given(FILTERS, WIDE)
def test_the_tree_means_what_the_filter_means(filters, attributes):
    assert matches(from_openai(filters), "id", None, attributes) == interpret(filters, attributes)


def test_the_interpreter_and_the_front_end_know_the_same_operators():
    kinds = {kind: [1] if kind in ("in", "nin") else 1 for kind in COMPARISONS}
    assert all(isinstance(interpret(compare(kind, "x", value), {"x": 1}), bool) for kind, value in kinds.items())


def test_a_search_in_a_store_in_memory():
    with Index.open(MemoryStore(), create=True, encoder=WordHashEncoder(64)) as index:
        index.add([{"_id": f"d{year}", "text": "a heron in the reeds", "year": year} for year in (2019, 2020, 2021)])
        index.add([{"_id": "none", "text": "a heron without a year"}])
        for filters, expected in [
            (compare("gte", "year", 2020), ["d2020", "d2021"]),
            (compare("ne", "year", 2020), ["d2019", "d2021"]),
            (compare("nin", "year", [2019, 2020]), ["d2021"]),
        ]:
            hits = index.search("heron", mode="keyword", where=from_openai(filters))
            assert sorted(hit.doc_id for hit in hits) == expected
        with pytest.raises(FilterError, match="no document has a field 'yaer', did you mean 'year'"):
            index.search("heron", mode="keyword", where=from_openai(compare("eq", "yaer", 1)))


NAMES = st.text(st.sampled_from('ab.`- ünot"'), min_size=1, max_size=5) | st.sampled_from(["not", "in", "a.b", "`a`"])


@given(st.lists(NAMES, min_size=1, max_size=4).map(tuple))
def test_every_path_can_be_written_as_a_key_that_reads_back(path):
    assert read_key(write_key(path)) == path


def test_most_keys_are_written_as_they_are():
    assert [write_key(path) for path in [("year",), ("pub year",), ("in",), ("a", "b"), ("a.b",)]] == [
        *("year", "pub year", "in", "a.b"),
        "`a.b`",
    ]
