"""A filter back end in plain Python, written from the semantics stated in `semsearch/filters/syntax.py`.

It evaluates one document at a time. Tests compare every database back end with it, and the in-memory store uses it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from semsearch.filters.syntax import And, Comparison, Filter, Not, Or, Value

Values = tuple[Value, ...]


def matches(filter: Filter, doc_id: str, title: str | None, metadata: Mapping[str, Any]) -> bool:
    """Return whether a filter matches a document."""
    match filter:
        case And(operands):
            return all(matches(operand, doc_id, title, metadata) for operand in operands)
        case Or(operands):
            return any(matches(operand, doc_id, title, metadata) for operand in operands)
        case Not(operand):
            return not matches(operand, doc_id, title, metadata)
        case Comparison(("doc_id",), symbol, values):
            return HOLDS[symbol](doc_id, values)
        case Comparison(("title",), symbol, values):
            return HOLDS[symbol](title, values)
        case Comparison(path, symbol, values):
            return HOLDS[symbol](field_of(metadata, path), values)


def field_of(metadata: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """Return the JSON value at the end of a path, or None if it is null or missing."""
    found: Any = metadata
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


TYPES = {"boolean": bool, "number": (int, float), "text": str, "list": (list, tuple), "object": Mapping}
"""JSON types by name; the first match counts, because a Python bool is also an int."""


def kind(value: Any) -> str:
    """Return the name of the JSON type of a value."""
    return next((name for name, types in TYPES.items() if isinstance(value, types)), "null")


def number(value: Any) -> Any:
    """Return the value, with an integer of more than 64 bits replaced by the nearest double."""
    if kind(value) != "number" or -(2**63) <= value < 2**63:
        return value
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def equal(field: Any, value: Value) -> bool:
    return kind(field) == kind(value) and number(field) == value


def among(field: Any, values: Values) -> bool:
    return any(equal(field, value) for value in values)


def not_among(field: Any, values: Values) -> bool:
    return field is not None and not among(field, values)


def ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Values], bool]:
    return lambda field, values: kind(field) == kind(values[0]) and compare(number(field), values[0])


def contains(field: Any, values: Values) -> bool:
    if kind(field) == "list":
        return any(equal(element, values[0]) for element in field)
    return kind(field) == kind(values[0]) == "text" and part_of(str(values[0]), field)


def moment(text: Any) -> datetime | None:
    """Parse a date or time in ISO 8601, where 24:00 is the end of a day."""
    if kind(text) != "text" or not re.match(r"\d{4}-\d\d-\d\d($|[T ]\d\d:)", text):
        return None
    try:
        if re.search("[T ]24:00(:00)?$", text):
            return datetime.fromisoformat(text[:10]) + timedelta(days=1)
        found = datetime.fromisoformat(text)
        return found if found.astimezone(UTC) or True else None
    except (ValueError, OverflowError):
        return None


def in_time(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Values], bool]:
    def holds(field: Any, values: Values) -> bool:
        one, other = moment(field), moment(values[0])
        if one is None or other is None:
            return False
        if (one.tzinfo is None) != (other.tzinfo is None):
            one, other = one.replace(tzinfo=None), other.replace(tzinfo=None)
        return compare(one, other)

    return holds


def one_end(whole: Callable[[str, int], str]) -> Callable[[Any, Values], bool]:
    return lambda field, values: (
        kind(field) == "text"
        and len(str(values[0])) <= len(field)
        and part_of(str(values[0]), whole(field, len(str(values[0]))))
    )


def part_of(needle: str, text: str) -> bool:
    """Return whether the text contains the needle, ignoring case where the other case is a single character."""
    forms = [{form for form in (char, char.lower(), char.upper(), char.title()) if len(form) == 1} for char in needle]
    starts = range(len(text) - len(needle) + 1)
    return any(all(text[start + n] in each for n, each in enumerate(forms)) for start in starts)


HOLDS: dict[str, Callable[[Any, Values], bool]] = {
    "=": among,
    "in": among,
    "!=": not_among,
    "not in": not_among,
    "<": ordered(operator.lt),
    "<=": ordered(operator.le),
    ">": ordered(operator.gt),
    ">=": ordered(operator.ge),
    "contains": contains,
    "contains exactly": lambda field, values: kind(field) == "text" and str(values[0]) in field,
    "is list": lambda field, values: (
        kind(field) == "list" and len(field) == len(values) and all(map(equal, field, values))
    ),
    "is before": in_time(operator.lt),
    "is after": in_time(operator.gt),
    "is at": in_time(operator.eq),
    "starts with": one_end(lambda text, n: text[:n]),
    "ends with": one_end(lambda text, n: text[len(text) - n :]),
    "is null": lambda field, _: field is None,
    "is not null": lambda field, _: field is not None,
}
