"""A front end: the filters of OpenAI's vector store search to the syntax tree.

    {"type": "and", "filters": [{"type": "gte", "key": "year", "value": 2020}, {"type": "in", "key": "lang", ...}]}

OpenAI documents the operators (API reference, "Search vector store") and says nothing about what they mean where an
attribute is missing or of another type, so here they mean what ours mean, see `syntax.py`: a document without the
attribute meets no comparison, `ne` and `nin` included, and text equals no number. A key is a path such as `author.name`
where it can be read as one, and otherwise the name itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from semsearch.errors import FilterError
from semsearch.filters.notation import read_key
from semsearch.filters.syntax import And, Comparison, Filter, Or, Value, check_depth, join

COMPARISONS = {"eq": "=", "ne": "!=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "in": "in", "nin": "not in"}
"""Their operators and ours."""

COMPOUNDS: Mapping[str, type[And] | type[Or]] = {"and": And, "or": Or}
"""Their connectives and ours."""

EXAMPLE = '{"type": "eq", "key": "lang", "value": "en"}'


def from_openai(filters: Mapping[str, object]) -> Filter:
    """Read a filter such as `{"type": "gte", "key": "year", "value": 2020}`.

    Raises:
        FilterError: It is not possible; one line that says which part.
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
        raise FilterError(f"the key of a filter is {key!r:.60}; expected the name of an attribute, as text")
    if "value" not in part:
        raise FilterError(f"the filter {kind!r} of {key!r:.60} has no value; expected one such as {EXAMPLE}")
    return _OPERANDS.get(operator, _one)(read_key(key), key, operator, part["value"])


def _one(path: tuple[str, ...], key: str, operator: str, value: object) -> Filter:
    if isinstance(value, list | tuple):
        raise FilterError(f"{key!r:.60} is compared with a list: write in or nin for one of several values")
    return Comparison(path, operator, (cast("Value", value),))


def _several(path: tuple[str, ...], key: str, operator: str, values: object) -> Filter:
    if not isinstance(values, list | tuple):
        raise FilterError(f"{key!r:.60}: in and nin take a list of values, got {type(values).__name__}")
    return Comparison(path, operator, tuple(values))


_OPERANDS: dict[str, Callable[[tuple[str, ...], str, str, object], Filter]] = {"in": _several, "not in": _several}
"""How a value is read where it is not a single one."""
