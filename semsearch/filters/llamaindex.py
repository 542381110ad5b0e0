"""A front end: LlamaIndex's metadata filters to the syntax tree.

    {"condition": "and", "filters": [{"key": "year", "operator": ">=", "value": 2020}, ...]}

This is what `MetadataFilters.model_dump(mode="json")` gives; filters may be nested. They mean what LlamaIndex's own
store in memory makes of them (`llama_index.core.vector_stores.utils`):

*   Where the field is missing or null, `!=` and `nin` are true and everything else but `is_empty` is false.
*   `contains`: the field is a list that has the value, or a text of which it is a part, in the same case. `any` and
    `all` ask that of one or each of several values.
*   `text_match` and `text_match_insensitive`: the field is a text of which the value is a part.
*   `is_empty`: the field is missing, null, empty text or an empty list.
*   `not` joins filters none of which is true.
*   A key is one name, dots and all.

Types are JSON's, so that `== 1` is not true of a field that is true; and where their comparison of different types is
an error, ours is false.
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
    """Read metadata filters as plain values.

    Raises:
        FilterError: A key, an operator or a value is not possible; one line that names the key.
    """
    return _joined(filters, 0)


def _joined(filters: Mapping[str, object], level: int) -> Filter:
    check_depth(level)
    condition, parts = filters.get("condition"), filters.get("filters")
    if not isinstance(condition, str | None) or condition not in CONDITIONS:
        raise FilterError(f"the condition is {condition!r:.60}; expected and, or, not")
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
        raise FilterError(f"the key of a filter is {key!r:.60}; expected the name of a field, as text")
    if not isinstance(operator, str) or operator not in OPERATORS:
        raise FilterError(f"{key!r:.60} has an unknown operator {operator!r:.60} (known: {', '.join(OPERATORS)})")
    try:
        return OPERATORS[operator](metadata_path([key]), part.get("value"))
    except _ValueError as error:
        raise FilterError(f"{key!r:.60}: {operator} takes {error}") from None


class _ValueError(Exception):
    """What is wrong with a value, for a message that names the key and the operator."""


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
"""Every operator of LlamaIndex's `FilterOperator`."""


def _is_text(path: _Path) -> Filter:
    return compare(path, ">=", (EMPTY_TEXT,))  # every text is, and nothing else


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
