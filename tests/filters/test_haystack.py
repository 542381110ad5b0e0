"""Tests for Haystack's filters: answers by hand, and agreement with an interpreter of Haystack's documentation."""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from filter_examples import DATES
from hypothesis import given, settings
from hypothesis import strategies as st
from python_filters import equal, kind, matches, moment

from semsearch.errors import FilterError
from semsearch.filters.frameworks import EVERYTHING, NOTHING, settle
from semsearch.filters.haystack import CONNECTIVES, OPERATORS, from_haystack
from semsearch.filters.syntax import fields_of
from semsearch.integrations.records import to_document

# --- the interpreter


def holds(part: dict[str, Any], doc_id: str, meta: dict[str, Any]) -> bool:
    """Tell whether a filter holds for a document; see https://docs.haystack.deepset.ai/docs/metadata-filtering."""
    if "field" in part:
        return COMPARE[part["operator"]](value_of(part["field"], doc_id, meta), part["value"])
    verdicts = [holds(condition, doc_id, meta) for condition in part["conditions"]]
    return {"AND": all(verdicts), "OR": any(verdicts), "NOT": not all(verdicts)}[part["operator"]]


def value_of(field: str, doc_id: str, meta: dict[str, Any]) -> Any:
    if field == "id":
        return doc_id
    root, *names = field.split(".")
    found: Any = meta if root == "meta" and names else meta.get(root) if not names else None
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def same(one: Any, other: Any) -> bool:
    if isinstance(other, list):
        return isinstance(one, list) and len(one) == len(other) and all(map(same, one, other))
    return one is other is None or equal(one, other) or in_time(operator.eq)(one, other)


def in_time(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def holds(one: Any, other: Any) -> bool:
        one, other = (moment(each) if isinstance(each, str) else each for each in (one, other))
        if not (isinstance(one, datetime) and isinstance(other, datetime)):
            return False
        if (one.tzinfo is None) != (other.tzinfo is None):
            one, other = one.replace(tzinfo=None), other.replace(tzinfo=None)
        return compare(one, other)

    return holds


def ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda one, other: (
        in_time(compare)(one, other) or (kind(one) == kind(other) == "number" and compare(one, other))
    )


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": same,
    "!=": lambda one, other: not same(one, other),
    ">": ordered(operator.gt),
    ">=": ordered(operator.ge),
    "<": ordered(operator.lt),
    "<=": ordered(operator.le),
    "in": lambda one, others: any(same(one, other) for other in others),
    "not in": lambda one, others: not any(same(one, other) for other in others),
}

# --- random filters and documents

SCALARS = st.integers(-2, 2) | st.sampled_from([0.5, True, False, "a", "A", "ab", ""]) | DATES
VALUES = SCALARS | st.none() | st.lists(SCALARS, max_size=2)
MOMENTS = DATES.filter(lambda text: moment(text) is not None)
FIELDS = st.sampled_from(
    [
        "meta.x",
        "meta.y",
        "x",
        "meta.y.x",
        "meta.title",
        "meta.doc_id",
        "doc_id",
        "id",
        "score",
        "x.y",
        "meta._metadata",
        "meta.",
    ]
)
COMPARISONS = (
    st.builds(dict, field=FIELDS, operator=st.sampled_from(["==", "!="]), value=VALUES)
    | st.builds(
        dict,
        field=FIELDS,
        operator=st.sampled_from([">", ">=", "<", "<="]),
        value=st.integers(-2, 2)
        | st.floats(-2, 2)
        | MOMENTS
        | st.none()
        | st.datetimes(timezones=st.none() | st.just(UTC)),
    )
    | st.builds(dict, field=FIELDS, operator=st.sampled_from(["in", "not in"]), value=st.lists(VALUES, max_size=3))
)
FILTERS = st.recursive(
    COMPARISONS,
    lambda inner: st.builds(
        dict, operator=st.sampled_from(["AND", "OR", "NOT"]), conditions=st.lists(inner, max_size=3)
    ),
    max_leaves=6,
)
NESTED = VALUES | st.dictionaries(st.sampled_from("xy"), VALUES, max_size=2)
METADATA = st.fixed_dictionaries(
    {},
    optional={"x": NESTED, "y": NESTED, "doc_id": NESTED, "_metadata": NESTED, "title": st.sampled_from(["a", "Ab"])},
)


@settings(max_examples=500, deadline=None)
@given(FILTERS, st.lists(METADATA, min_size=1, max_size=5))
def test_a_filter_means_what_haystack_documents(filters, documents):
    tree = from_haystack(filters)
    stored = [to_document(f"id-{n}", "text", metadata) for n, metadata in enumerate(documents)]
    expected = [holds(filters, f"id-{n}", metadata) for n, metadata in enumerate(documents)]
    assert [matches(tree, one.doc_id, one.title, one.metadata) for one in stored] == expected
    known = {name for one in stored for name in one.metadata}
    settled = settle(tree, known)
    assert [matches(settled, one.doc_id, one.title, one.metadata) for one in stored] == expected
    assert fields_of(settled) <= known
    assert settled in (EVERYTHING, NOTHING) or not {str(EVERYTHING), str(NOTHING)} & {str(settled)}


def test_the_interpreter_knows_every_operator():
    assert set(COMPARE) == set(OPERATORS)
    assert set(CONNECTIVES) == {"AND", "OR", "NOT"}


# --- by hand

DOCUMENTS = {
    "a": {"year": 2019, "at": "1969-07-21T20:17:40", "tags": ["x", "y"], "title": "Moon"},
    "b": {"year": 2021, "at": "1969-07-21T21:17:40+01:00", "author": {"name": "Ada"}, "title": ""},
    "c": {"year": None, "at": "the moon", "tags": [], "doc_id": "own"},
    "d": {},
}


def ask(field: str, symbol: str, value: Any) -> str:
    tree = from_haystack({"field": field, "operator": symbol, "value": value})
    stored = [to_document(doc_id, "", metadata) for doc_id, metadata in DOCUMENTS.items()]
    return "".join(one.doc_id for one in stored if matches(tree, one.doc_id, one.title, one.metadata))


@pytest.mark.parametrize(
    ("field", "symbol", "value", "expected"),
    [
        ("meta.year", "==", 2019, "a"),
        ("year", "==", 2019.0, "a"),
        ("meta.year", "!=", 2019, "bcd"),
        ("meta.year", "==", None, "cd"),
        ("meta.year", "!=", None, "ab"),
        ("meta.year", ">", 2019, "b"),
        ("meta.year", ">=", 2019, "ab"),
        ("meta.year", "<", None, ""),
        ("meta.year", "in", [2019, None], "acd"),
        ("meta.year", "not in", [2019, 2021], "cd"),
        ("meta.year", "in", [], ""),
        ("meta.year", "not in", [], "abcd"),
        ("meta.at", "==", "1969-07-21 20:17:40.000", "a"),
        ("meta.at", ">", "1969-07-21T20:00", "ab"),
        ("meta.at", ">=", "1969-07-21T20:17:40Z", "ab"),
        ("meta.at", "<=", datetime(1969, 7, 21, 20, 17, 40, tzinfo=UTC), "ab"),
        ("meta.at", "<", datetime(1969, 7, 21), ""),
        ("meta.tags", "==", ["x", "y"], "a"),
        ("meta.tags", "==", [], "c"),
        ("meta.tags", "!=", ["x", "y"], "bcd"),
        ("meta.author.name", "==", "Ada", "b"),
        ("author.name", "==", "Ada", ""),
        ("meta.title", "==", "Moon", "a"),
        ("meta.title", "==", None, "bcd"),
        ("meta.doc_id", "==", "own", "c"),
        ("id", "in", ["a", "d"], "ad"),
        ("score", "==", None, "abcd"),
    ],
)
def test_answers_by_hand(field, symbol, value, expected):
    assert ask(field, symbol, value) == expected


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ([], "a condition is []; expected one such as {'field': 'meta.year'"),
        ({"conditions": []}, "a condition has no 'operator': {'conditions': []}"),
        ({"operator": "AND"}, "a condition has no 'conditions'"),
        ({"operator": "and", "conditions": []}, "unknown logical operator 'and'; expected one of AND, OR, NOT"),
        ({"operator": "AND", "conditions": {}}, "the conditions are {}; expected a list"),
        ({"operator": "AND", "conditions": [{"operator": "==", "value": "x"}]}, "a condition has no 'conditions'"),
        ({"field": "meta.x", "value": 1}, "a condition has no 'operator'"),
        ({"field": "meta.x", "operator": "=="}, "a condition has no 'value'"),
        ({"field": 5, "operator": "==", "value": 1}, "the field of a condition is 5"),
        ({"field": "meta.x", "operator": "=", "value": 1}, "unknown operator '=' for 'meta.x' (known: ==, !=, >,"),
        ({"field": "meta.x", "operator": ">", "value": "1"}, "'meta.x': > compares text only if it is an ISO 8601"),
        ({"field": "meta.x", "operator": "<=", "value": [1]}, "'meta.x': <= compares numbers or dates, got [1]"),
        ({"field": "meta.x", "operator": "<=", "value": True}, "compares numbers or dates, got True"),
        ({"field": "meta.x", "operator": "in", "value": 1}, "'meta.x': in takes a list of values, got 1"),
        ({"field": "meta.x", "operator": "not in", "value": (1, 2)}, "not in takes a list of values, got (1, 2)"),
        ({"field": "meta.x", "operator": "==", "value": {}}, "takes text, a number, a boolean, None, a date or a list"),
        ({"field": "meta.x", "operator": "==", "value": [[1]]}, "compares a list of strings, numbers and booleans"),
        ({"field": "meta.x", "operator": "==", "value": float("nan")}, "the number is not finite"),
        ({"field": "meta.x", "operator": "==", "value": "a\0"}, "NUL"),
        ({"field": "content", "operator": "==", "value": "x"}, "'content' cannot be filtered on"),
        ({"field": "meta", "operator": "==", "value": None}, "'meta' cannot be filtered on"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_it(filters, message):
    with pytest.raises(FilterError) as caught:
        from_haystack(filters)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def test_deep_nesting_is_refused_also_of_a_filter_that_holds_itself():
    endless: dict[str, Any] = {"operator": "AND"}
    endless["conditions"] = [endless]
    with pytest.raises(FilterError, match="nested too deeply"):
        from_haystack(endless)
