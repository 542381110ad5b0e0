"""Front end that converts the filters of OpenAI's vector store search to the syntax tree.

    {"type": "and", "filters": [{"type": "gte", "key": "year", "value": 2020}, {"type": "in", "key": "lang", ...}]}

OpenAI documents the operators (API reference, "Search vector store") but not how they treat attributes that are missing
or of another type, so here they follow our own semantics, see `syntax.py`: a document without the attribute matches no
comparison, not even `ne` and `nin`, and text never equals a number. A key is a path such as `author.name` if it parses
as one, and otherwise a single name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from semsearch.errors import FilterError
from semsearch.filters.notation import read_key
from semsearch.filters.syntax import And, Comparison, Filter, Or, Value, check_depth, join

COMPARISONS = {"eq": "=", "ne": "!=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "in": "in", "nin": "not in"}
"""OpenAI's comparison operators and ours."""

COMPOUNDS: Mapping[str, type[And] | type[Or]] = {"and": And, "or": Or}
"""OpenAI's connectives and ours."""

EXAMPLE = '{"type": "eq", "key": "lang", "value": "en"}'


def from_openai(filters: Mapping[str, object]) -> Filter:
    """Read a filter such as `{"type": "gte", "key": "year", "value": 2020}`.

    Raises:
        FilterError: If it is invalid; the message says which part.
    """
    return _read(filters, 0)


def _read(part: object, level: int) -> Filter:
    check_depth(level)
    if not isinstance(part, Mapping):
        raise FilterError(f"a filter is {part!r:.60}; expected an object such as {EXAMPLE}")
    kind = part.get("type")
    if isinstance(kind, str) and kind in COMPOUNDS:
        return _compound(kind, part.get("filters"), level)
    if not isinstance(kind, str) or kind not in COMPARISONS:
        known = ", ".join([*COMPARISONS, *COMPOUNDS])
        raise FilterError(f"the type of a filter is {kind!r:.60}; expected one of {known}")
    return _comparison(kind, part)


def _compound(kind: str, filters: object, level: int) -> Filter:
    if not isinstance(filters, list | tuple) or not filters:
        raise FilterError(f"{kind!r} takes `filters`, a list of at least one filter such as {EXAMPLE}")
    return join(COMPOUNDS[kind], [_read(part, level + 1) for part in filters])


def _comparison(kind: str, part: Mapping[str, object]) -> Filter:
    key, operator = part.get("key"), COMPARISONS[kind]
    if not isinstance(key, str) or not key:
        raise FilterError(f"the key of a filter is {key!r:.60}; expected the name of an attribute as a string")
    if "value" not in part:
        raise FilterError(f"the filter {kind!r} on {key!r:.60} has no value; expected one such as {EXAMPLE}")
    return _OPERANDS.get(operator, _one)(read_key(key), key, operator, part["value"])


def _one(path: tuple[str, ...], key: str, operator: str, value: object) -> Filter:
    if isinstance(value, list | tuple):
        raise FilterError(f"{key!r:.60} is compared with a list; use in or nin to match one of several values")
    return Comparison(path, operator, (cast("Value", value),))


def _several(path: tuple[str, ...], key: str, operator: str, values: object) -> Filter:
    if not isinstance(values, list | tuple):
        raise FilterError(f"{key!r:.60}: in and nin take a list of values, got {type(values).__name__}")
    return Comparison(path, operator, tuple(values))


_OPERANDS: dict[str, Callable[[tuple[str, ...], str, str, object], Filter]] = {"in": _several, "not in": _several}
"""Functions that read the value of an operator if it is not a single one."""
