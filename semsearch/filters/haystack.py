"""Front end that converts Haystack's filters to the syntax tree.

    {"operator": "AND", "conditions": [{"field": "meta.year", "operator": ">=", "value": 2020}, ...]}

Their semantics are those of Haystack's documentation ("Metadata filtering") and, where that leaves something open, of
`haystack.utils.filters`:

*   A missing field equals None. `!=` and `not in` are the negations of `==` and `in`, so they hold for missing fields.
*   `>`, `>=`, `<`, `<=` compare numbers with numbers and dates with dates. Lists and text that is not an ISO 8601 date
    are rejected, and nothing is greater or less than None.
*   Two texts that denote the same moment are equal.
*   `NOT` is the negation of `AND`.
*   `id` is the document's id. `meta.a.b` is a field, and so is a bare name that is not an attribute of a document.
    Anything else is missing, except `content`, `embedding` and similar attributes, which cannot be filtered on here.

Types are those of JSON, so `== 1` does not match a field that is true. A field that cannot be compared with the value
is neither greater nor less, where Haystack raises an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TypeAlias, cast

from semsearch.errors import FilterError
from semsearch.filters.frameworks import NO_FIELD, NOTHING, all_of, any_of, compare, metadata_path, missing
from semsearch.filters.syntax import Filter, Not, Value, check_depth
from semsearch.moments import clock

_Path: TypeAlias = tuple[str, ...]

EXAMPLE = "{'field': 'meta.year', 'operator': '>=', 'value': 2020}"

UNFILTERED = ("content", "blob", "embedding", "sparse_embedding", "meta")
"""Attributes that documents have but that cannot be filtered on."""

ABSENT = ("score",)
"""Attributes that stored documents do not have."""


def from_haystack(filters: Mapping[str, object]) -> Filter:
    """Read a filter such as `{"field": "meta.year", "operator": ">=", "value": 2020}`.

    Raises:
        FilterError: If a part of it is missing or invalid; the message names that part.
    """
    return _read(filters, 0)


def _read(part: object, level: int) -> Filter:
    check_depth(level)
    if not isinstance(part, Mapping):
        raise FilterError(f"a condition is {part!r:.60}; expected one such as {EXAMPLE}")
    return _comparison(part) if "field" in part else _logical(part, level)


def _logical(part: Mapping[str, object], level: int) -> Filter:
    operator, conditions = _entry(part, "operator"), _entry(part, "conditions")
    if not isinstance(operator, str) or operator not in CONNECTIVES:
        raise FilterError(f"unknown logical operator {operator!r:.60}; expected one of {', '.join(CONNECTIVES)}")
    if not isinstance(conditions, list | tuple):
        raise FilterError(f"the conditions are {conditions!r:.60}; expected a list of conditions such as {EXAMPLE}")
    return CONNECTIVES[operator]([_read(condition, level + 1) for condition in conditions])


CONNECTIVES: dict[str, Callable[[Sequence[Filter]], Filter]] = {
    "AND": all_of,
    "OR": any_of,
    "NOT": lambda conditions: Not(all_of(conditions)),
}


def _comparison(part: Mapping[str, object]) -> Filter:
    field, operator, value = part["field"], _entry(part, "operator"), _entry(part, "value")
    if not isinstance(field, str):
        raise FilterError(f"the field of a condition is {field!r:.60}; expected text such as 'meta.year'")
    if not isinstance(operator, str) or operator not in OPERATORS:
        raise FilterError(f"unknown operator {operator!r:.60} for {field!r:.60} (known: {', '.join(OPERATORS)})")
    try:
        return OPERATORS[operator](_path(field), value)
    except _ValueError as error:
        raise FilterError(f"{field!r:.60}: {operator} {error}") from None


def _entry(part: Mapping[str, object], key: str) -> object:
    if key not in part:
        raise FilterError(f"a condition has no {key!r}: {dict(part)!r:.100}; expected one such as {EXAMPLE}")
    return part[key]


def _path(field: str) -> _Path:
    root, *names = field.split(".")
    if not names:
        if field in UNFILTERED:
            raise FilterError(f"{field!r} cannot be filtered on; expected 'id', or a field such as 'meta.year'")
        return ("doc_id",) if field == "id" else NO_FIELD if field in ABSENT else metadata_path([field])
    return metadata_path(names) if root == "meta" else NO_FIELD


class _ValueError(Exception):
    """An invalid value; the message is to be prefixed with the field and the operator."""


def _equal(path: _Path, value: object) -> Filter:
    return _among(path, [value])


def _among(path: _Path, values: object) -> Filter:
    if not isinstance(values, list):
        raise _ValueError(f"takes a list of values, got {values!r:.60}")
    listed = cast("list[object]", values)
    plain = [value for value in listed if isinstance(value, str | int | float)]
    parts = [compare(path, "in", tuple(plain))] if plain else []
    others = [part for value in listed for part in _equal_otherwise(path, value)]
    return any_of([*parts, *others])


def _equal_otherwise(path: _Path, value: object) -> list[Filter]:
    """Return filters for equality beyond text, numbers and booleans: None, moments and lists."""
    if value is None:
        return [missing(path)]
    if isinstance(value, str | datetime):
        text = _moment(value)
        return [] if text is None else [compare(path, "is at", (text,))]
    if isinstance(value, list | tuple):
        if not all(isinstance(element, str | int | float) for element in value):
            raise _ValueError(f"compares a list of strings, numbers and booleans, got {value!r:.60}")
        return [compare(path, "is list", tuple(cast("Sequence[Value]", value)))]
    if not isinstance(value, int | float):
        raise _ValueError(f"takes text, a number, a boolean, None, a date or a list, got {value!r:.60}")
    return []


def _opposite(reader: Callable[[_Path, object], Filter], path: _Path, value: object) -> Filter:
    return Not(reader(path, value))


def _ordered(symbol: str, path: _Path, value: object) -> Filter:
    if value is None:
        return NOTHING
    if isinstance(value, str | datetime):
        text = _moment(value)
        if text is None:
            raise _ValueError(f"compares text only if it is an ISO 8601 date, got {value!r:.60}")
        return any_of([compare(path, operator, (text,)) for operator in _IN_TIME[symbol]])
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _ValueError(f"compares numbers or dates, got {value!r:.60}")
    return compare(path, symbol, (value,))


_IN_TIME = {">": ["is after"], ">=": ["is after", "is at"], "<": ["is before"], "<=": ["is before", "is at"]}

OPERATORS: dict[str, Callable[[_Path, object], Filter]] = {
    "==": _equal,
    "!=": partial(_opposite, _equal),
    **{symbol: partial(_ordered, symbol) for symbol in _IN_TIME},
    "in": _among,
    "not in": partial(_opposite, _among),
}
"""Every comparison operator of Haystack, with the function that reads its value."""


def _moment(value: str | datetime) -> str | None:
    text = value.isoformat() if isinstance(value, datetime) else value
    return None if clock(text) is None else text
