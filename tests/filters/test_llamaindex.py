"""Tests for LlamaIndex's metadata filters: answers by hand, and agreement with an interpreter of their semantics."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from python_filters import equal, kind, matches, ordered

from semsearch.errors import FilterError
from semsearch.filters.frameworks import settle
from semsearch.filters.llamaindex import CONDITIONS, OPERATORS, from_llamaindex
from semsearch.filters.syntax import fields_of
from semsearch.integrations.records import to_document

# --- the interpreter


def holds(part: dict[str, Any], metadata: dict[str, Any]) -> bool:
    """Tell whether a filter holds for a node, as LlamaIndex describes its operators and treats missing fields."""
    if "filters" in part:
        verdicts = [holds(one, metadata) for one in part["filters"]]
        join = {"and": all, "or": any, "not": lambda each: not any(each), None: all}[part.get("condition")]
        return not verdicts or join(verdicts)
    field, symbol, value = metadata.get(part["key"]), part.get("operator", "=="), part["value"]
    if symbol == "is_empty":
        return field is None or field in ("", [])
    if field is None:
        return symbol in ("!=", "nin")
    return COMPARE[symbol](field, value)


def same(one: Any, other: Any) -> bool:
    if isinstance(other, list):
        return isinstance(one, list) and len(one) == len(other) and all(map(equal, one, other))
    return equal(one, other)


def has(field: Any, value: Any) -> bool:
    if isinstance(field, list):
        return any(equal(element, value) for element in field)
    return kind(field) == kind(value) == "text" and value in field


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": same,
    "!=": lambda field, value: not same(field, value),
    ">": lambda field, value: ordered(operator.gt)(field, (value,)),
    "<": lambda field, value: ordered(operator.lt)(field, (value,)),
    ">=": lambda field, value: ordered(operator.ge)(field, (value,)),
    "<=": lambda field, value: ordered(operator.le)(field, (value,)),
    "in": lambda field, values: any(equal(field, value) for value in values),
    "nin": lambda field, values: not any(equal(field, value) for value in values),
    "contains": has,
    "any": lambda field, values: any(has(field, value) for value in values),
    "all": lambda field, values: all(has(field, value) for value in values),
    "text_match": lambda field, value: kind(field) == "text" and value in field,
    "text_match_insensitive": lambda field, value: kind(field) == "text" and value.lower() in field.lower(),
}

# --- random filters and nodes

TEXTS = st.text("aAbB.", max_size=3)
SCALARS = TEXTS | st.integers(-2, 2) | st.sampled_from([0.5, 1.0])
LISTS = st.lists(SCALARS, max_size=3)
KEYS = st.sampled_from(["x", "y", "x.y", "title", "doc_id", "ref_doc_id"])


def some(symbols: list[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(dict, key=KEYS, operator=st.sampled_from(symbols), value=values)


FILTERS = st.recursive(
    some(["==", "!="], SCALARS | LISTS | st.none())
    | some([">", "<", ">=", "<=", "contains"], SCALARS)
    | some(["in", "nin", "any", "all"], LISTS)
    | some(["text_match", "text_match_insensitive"], TEXTS)
    | some(["is_empty"], st.none()),
    lambda inner: st.builds(
        dict, condition=st.sampled_from(["and", "or", "not", None]), filters=st.lists(inner, max_size=3)
    ),
    max_leaves=6,
).filter(lambda part: "filters" in part)
FIELD = SCALARS | st.booleans() | st.none() | st.lists(SCALARS | st.booleans(), max_size=3) | st.just({"x": 1})
METADATA = st.fixed_dictionaries(
    {},
    optional={
        **{"x": FIELD, "y": FIELD, "x.y": FIELD, "doc_id": FIELD, "ref_doc_id": FIELD},
        "title": st.text("aAbB.", min_size=1, max_size=3),
    },
)


@settings(max_examples=500, deadline=None)
@given(FILTERS, st.lists(METADATA, min_size=1, max_size=5))
def test_a_filter_means_what_llama_index_makes_of_it(filters, nodes):
    tree = from_llamaindex(filters)
    stored = [to_document(f"id-{n}", "text", metadata) for n, metadata in enumerate(nodes)]
    expected = [holds(filters, metadata) for metadata in nodes]
    assert [matches(tree, one.doc_id, one.title, one.metadata) for one in stored] == expected
    known = {name for one in stored for name in one.metadata}
    settled = settle(tree, known)
    assert [matches(settled, one.doc_id, one.title, one.metadata) for one in stored] == expected
    assert fields_of(settled) <= known


def test_the_interpreter_knows_every_operator():
    assert {*COMPARE, "is_empty"} == set(OPERATORS)
    assert set(CONDITIONS) == {None, "and", "or", "not"}


# --- by hand

NODES = {
    "a": {"year": 2019, "lang": "en", "tags": ["survey", "bert"], "title": "Attention"},
    "b": {"year": 2021, "lang": "EN-us", "tags": []},
    "c": {"year": "2021", "lang": None, "tags": "survey of surveys", "a.b": 1},
    "d": {"lang": "", "doc_id": "file-1"},
}


@pytest.mark.parametrize(
    ("key", "symbol", "value", "expected"),
    [
        ("year", "==", 2021, "b"),
        ("year", "!=", 2021, "acd"),
        ("lang", "==", None, ""),
        ("lang", "!=", None, "abcd"),
        ("year", ">", 2000, "ab"),
        ("year", "<=", "3", "c"),
        ("year", "in", [2019, "2021"], "ac"),
        ("year", "nin", [2019, "2021"], "bd"),
        ("year", "in", [], ""),
        ("year", "nin", [], "abcd"),
        ("tags", "contains", "survey", "ac"),
        ("tags", "contains", "Survey", ""),
        ("tags", "any", ["bert", "of"], "ac"),
        ("tags", "all", ["bert", "survey"], "a"),
        ("tags", "all", [], "abc"),
        ("tags", "any", [], ""),
        ("lang", "text_match", "EN", "b"),
        ("lang", "text_match_insensitive", "En", "ab"),
        ("tags", "text_match_insensitive", "SURVEY", "c"),
        ("tags", "is_empty", None, "bd"),
        ("lang", "is_empty", None, "cd"),
        ("title", "is_empty", None, "bcd"),
        ("title", "text_match", "", "a"),
        ("a.b", "==", 1, "c"),
        ("doc_id", "==", "file-1", "d"),
    ],
)
def test_answers_by_hand(key, symbol, value, expected):
    tree = from_llamaindex({"filters": [{"key": key, "operator": symbol, "value": value}], "condition": "and"})
    stored = [to_document(doc_id, "", metadata) for doc_id, metadata in NODES.items()]
    assert "".join(one.doc_id for one in stored if matches(tree, one.doc_id, one.title, one.metadata)) == expected


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("x", "a filter is 'x'; expected one such as {'key': 'year'"),
        ({"key": "", "value": 1}, "the key of a filter is ''"),
        ({"key": "x", "operator": "like", "value": 1}, "'x' has an unknown operator 'like' (known: ==, !=, >,"),
        ({"key": "x", "operator": ">", "value": None}, "'x': > takes text or a number, got None"),
        ({"key": "x", "operator": "in", "value": "abc"}, "'x': in takes a list of values, got 'abc'"),
        ({"key": "x", "operator": "any", "value": "abc"}, "'x': any takes a list of values, got 'abc'"),
        ({"key": "x", "operator": "contains", "value": ["a"]}, "'x': contains takes text or a number, got ['a']"),
        ({"key": "x", "operator": "text_match", "value": 5}, "'x': text_match takes text, got 5"),
        ({"key": "x", "operator": "==", "value": 2**63}, "'x': the integer does not fit into 64 bits"),
        ({"filters": {}, "condition": "and"}, "the filters are {}; expected a list of filters"),
        ({"filters": [], "condition": "xor"}, "the condition is 'xor'; expected 'and', 'or' or 'not'"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_it(part, message):
    with pytest.raises(FilterError) as caught:
        from_llamaindex({"filters": [part]})
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def test_deep_nesting_is_refused_also_of_filters_that_hold_themselves():
    endless: dict[str, Any] = {"condition": "and"}
    endless["filters"] = [endless]
    with pytest.raises(FilterError, match="nested too deeply"):
        from_llamaindex(endless)
