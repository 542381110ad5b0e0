"""Front end that converts LlamaIndex's metadata filters to the syntax tree.

    {"condition": "and", "filters": [{"key": "year", "operator": ">=", "value": 2020}, ...]}

This is the output of `MetadataFilters.model_dump(mode="json")`; filters may be nested. Their semantics are those of
LlamaIndex's own in-memory store (`llama_index.core.vector_stores.utils`):

*   If the field is missing or null, `!=` and `nin` are true, and everything else except `is_empty` is false.
*   `contains`: the field is a list that contains the value, or text that contains it as a substring, case-sensitively.
    `any` and `all` require the same of at least one or of each of several values.
*   `text_match` and `text_match_insensitive`: the field is text that contains the value as a substring.
*   `is_empty`: the field is missing, null, empty text or an empty list.
*   `not` requires that none of its filters is true.
*   A key is a single name, even if it contains dots.

Types are those of JSON, so `== 1` does not match a field that is true; and where LlamaIndex raises an error for a
comparison of different types, the comparison is false here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias, cast

from semsearch.errors import FilterError
from semsearch.filters.frameworks import EVERYTHING, NOTHING, all_of, any_of, compare, metadata_path, missing
from semsearch.filters.syntax import And, Filter, Not, Or, Value, check_depth

_Path: TypeAlias = tuple[str, ...]

EXAMPLE = "{'key': 'year', 'operator': '>=', 'value': 2020}"

EMPTY_TEXT = ""


def from_llamaindex(filters: Mapping[str, object]) -> Filter:
    """Read metadata filters given as plain JSON values.

    Raises:
        FilterError: If a key, an operator or a value is invalid; the message names the key.
    """
    return _joined(filters, 0)


def _joined(filters: Mapping[str, object], level: int) -> Filter:
    check_depth(level)
    condition, parts = filters.get("condition"), filters.get("filters")
    if not isinstance(condition, str | None) or condition not in CONDITIONS:
        raise FilterError(f"the condition is {condition!r:.60}; expected 'and', 'or' or 'not'")
    if not isinstance(parts, list | tuple):
        raise FilterError(f"the filters are {parts!r:.60}; expected a list of filters such as {EXAMPLE}")
    return CONDITIONS[condition]([_read(part, level + 1) for part in parts]) if parts else EVERYTHING


CONDITIONS: dict[str | None, Callable[[Sequence[Filter]], Filter]] = {
    None: all_of,
    "and": all_of,
    "or": any_of,
    "not": lambda parts: Not(any_of(parts)),
}


def _read(part: object, level: int) -> Filter:
    if not isinstance(part, Mapping):
        raise FilterError(f"a filter is {part!r:.60}; expected one such as {EXAMPLE}")
    if "filters" in part:
        return _joined(part, level)
    key, operator = part.get("key"), part.get("operator", "==")
    if not isinstance(key, str) or not key:
        raise FilterError(f"the key of a filter is {key!r:.60}; expected the name of a field as a string")
    if not isinstance(operator, str) or operator not in OPERATORS:
        raise FilterError(f"{key!r:.60} has an unknown operator {operator!r:.60} (known: {', '.join(OPERATORS)})")
    try:
        return OPERATORS[operator](metadata_path([key]), part.get("value"))
    except _ValueError as error:
        raise FilterError(f"{key!r:.60}: {operator} takes {error}") from None


class _ValueError(Exception):
    """An invalid value; the message is to be prefixed with the key and the operator."""


def _equal(path: _Path, value: object) -> Filter:
    if value is None:
        return NOTHING
    if isinstance(value, list | tuple):
        return compare(path, "is list", tuple(map(_scalar, value)))
    return compare(path, "=", (_scalar(value),))


def _among(path: _Path, value: object) -> Filter:
    values = tuple(map(_scalar, _several(value)))
    return compare(path, "in", values) if values else NOTHING


def _negated(reader: Callable[[_Path, object], Filter], path: _Path, value: object) -> Filter:
    inner = reader(path, value)
    return EVERYTHING if inner == NOTHING else Not(inner)


def _ordered(operator: str, path: _Path, value: object) -> Filter:
    return compare(path, operator, (_scalar(value),))


def _contains(path: _Path, value: object) -> Filter:
    one = _scalar(value)
    listed = And((compare(path, "contains", (one,)), Not(_is_text(path))))
    return Or((listed, compare(path, "contains exactly", (one,)))) if isinstance(one, str) else listed


def _contains_any(path: _Path, value: object) -> Filter:
    return any_of([_contains(path, one) for one in _several(value)])


def _contains_all(path: _Path, value: object) -> Filter:
    return all_of([_contains(path, one) for one in _several(value)] or [Not(missing(path))])


def _matches(path: _Path, value: object) -> Filter:
    return compare(path, "contains exactly", (_text(value),))


def _matches_in_any_case(path: _Path, value: object) -> Filter:
    return And((compare(path, "contains", (_text(value),)), _is_text(path)))


def _empty(path: _Path, value: object) -> Filter:
    return Or((missing(path), compare(path, "=", (EMPTY_TEXT,)), compare(path, "is list")))


OPERATORS: dict[str, Callable[[_Path, object], Filter]] = {
    "==": _equal,
    "!=": partial(_negated, _equal),
    **{operator: partial(_ordered, operator) for operator in (">", "<", ">=", "<=")},
    "in": _among,
    "nin": partial(_negated, _among),
    "any": _contains_any,
    "all": _contains_all,
    "text_match": _matches,
    "text_match_insensitive": _matches_in_any_case,
    "contains": _contains,
    "is_empty": _empty,
}
"""Every operator of LlamaIndex's `FilterOperator`, with the function that reads its value."""


def _is_text(path: _Path) -> Filter:
    return compare(path, ">=", (EMPTY_TEXT,))  # true for any text, and for nothing else


def _scalar(value: object) -> Value:
    if not isinstance(value, str | int | float):
        raise _ValueError(f"text or a number, got {value!r:.60}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _ValueError(f"text, got {value!r:.60}")
    return value


def _several(value: object) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise _ValueError(f"a list of values, got {value!r:.60}")
    return cast("Sequence[object]", value)
