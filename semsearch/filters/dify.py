"""Front end that converts the metadata conditions of Dify's external knowledge API to the syntax tree.

    {"logical_operator": "and", "conditions": [{"name": "year", "comparison_operator": "≥", "value": 2020}, ...]}

Dify's documentation names the operators; what it leaves open works as in Dify's own knowledge bases:

*   A condition that lacks a required value is ignored, such as one whose variable was empty in a workflow.
*   If the field is missing, only `empty` and `null` hold; negated operators do not.
*   Text that looks like a number, `true` or `false` also equals that number or boolean, because most forms send text.
*   `in` and `not in` take a list, or comma-separated text; if it is empty, `in` never holds and `not in` always does.
*   `>`, `<`, `≥` and `≤` compare numbers; `before` and `after` compare numbers (Unix time in seconds) or text (ISO
    dates).

`contains` and similar operators ignore case and look into lists, as ours do. `empty` includes empty text; `null` does
not. If a condition names several fields, one match is enough; a negated operator must hold for every field.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, cast

from semsearch.errors import FilterError
from semsearch.filters.notation import read_key
from semsearch.filters.syntax import And, Comparison, Filter, Not, Or, Value, join

_Path: TypeAlias = tuple[str, ...]
_Reader: TypeAlias = Callable[[_Path, object], Filter]

EXAMPLE = '{"name": "year", "comparison_operator": "≥", "value": 2020}'


def from_dify(condition: Mapping[str, object]) -> Filter | None:
    """Read a `metadata_condition`; return None if it contains no condition.

    Raises:
        FilterError: If it is invalid; the message says which part.
    """
    connective, conditions = condition.get("logical_operator"), condition.get("conditions")
    if not isinstance(connective, str | None) or connective not in _CONNECTIVES:
        raise FilterError(f"`logical_operator` is {connective!r:.60}; expected 'and' or 'or'")
    if not isinstance(conditions, list | tuple | None):
        raise FilterError(f"`conditions` is {conditions!r:.60}; expected a list of objects such as {EXAMPLE}")
    parts = [part for one in conditions or () if (part := _read(one)) is not None]
    return join(_CONNECTIVES[connective], parts) if parts else None


_CONNECTIVES: dict[str | None, type[And] | type[Or]] = {None: And, "and": And, "or": Or}


def _read(condition: object) -> Filter | None:
    if not isinstance(condition, Mapping):
        raise FilterError(f"a condition is {condition!r:.60}; expected an object such as {EXAMPLE}")
    operator, value = condition.get("comparison_operator"), condition.get("value")
    if not isinstance(operator, str) or operator not in OPERATORS:
        raise FilterError(f"`comparison_operator` is {operator!r:.60}; expected one of {', '.join(OPERATORS)}")
    names = condition.get("name")
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) and name for name in names):
        raise FilterError(f"the name in a condition is {names!r:.60}; expected a field name or a list of field names")
    if value is None and operator not in VALUELESS:
        return None
    try:
        return join(And if operator in NEGATED else Or, [OPERATORS[operator](read_key(name), value) for name in names])
    except _ValueError as error:
        raise FilterError(f"{', '.join(names)!r:.60}: {operator} {error}") from None


class _ValueError(Exception):
    """An invalid value; the message is to be prefixed with the operator."""


def _containing(path: _Path, value: object) -> Filter:
    return join(Or, [Comparison(path, "contains", (one,)) for one in _readings(value)])


def _without(path: _Path, value: object) -> Filter:
    return And((Comparison(path, "is not null"), Not(_containing(path, value))))


def _affixed(operator: str) -> _Reader:
    return lambda path, value: Comparison(path, operator, (_text(value),))


def _equal(path: _Path, value: object) -> Filter:
    return Comparison(path, "in", tuple(_readings(value)))


def _unequal(path: _Path, value: object) -> Filter:
    return Comparison(path, "not in", tuple(_readings(value)))


def _among(path: _Path, value: object) -> Filter:
    values = [reading for one in _listed(value) for reading in _readings(one)]
    if not values:  # no document can match this
        return And((Comparison(path, "is null"), Comparison(path, "is not null")))
    return Comparison(path, "in", tuple(values))


def _not_among(path: _Path, value: object) -> Filter:
    values = [reading for one in _listed(value) for reading in _readings(one)]
    if not values:  # every document matches this
        return Or((Comparison(path, "is null"), Comparison(path, "is not null")))
    return Comparison(path, "not in", tuple(values))


def _null(path: _Path, value: object) -> Filter:
    return Comparison(path, "is null")


def _not_null(path: _Path, value: object) -> Filter:
    return Comparison(path, "is not null")


def _empty(path: _Path, value: object) -> Filter:
    return Or((Comparison(path, "is null"), Comparison(path, "=", ("",))))


def _not_empty(path: _Path, value: object) -> Filter:
    return Comparison(path, "!=", ("",))


def _ordered(symbol: str) -> _Reader:
    def read(path: _Path, value: object) -> Filter:
        number = _number(value)
        if number is None:
            raise _ValueError(f"takes a number, got {value!r:.60}")
        return Comparison(path, symbol, (number,))

    return read


def _dated(symbol: str) -> _Reader:
    def read(path: _Path, value: object) -> Filter:
        number = _number(value)
        return Comparison(path, symbol, (_text(value) if number is None else number,))

    return read


OPERATORS: dict[str, _Reader] = {
    **{"contains": _containing, "not contains": _without},
    **{"start with": _affixed("starts with"), "end with": _affixed("ends with")},
    **{"is": _equal, "=": _equal, "is not": _unequal, "≠": _unequal, "in": _among, "not in": _not_among},
    **{"empty": _empty, "not empty": _not_empty, "null": _null, "not null": _not_null},
    **{">": _ordered(">"), "<": _ordered("<"), "≥": _ordered(">="), "≤": _ordered("<=")},
    **{"before": _dated("<"), "after": _dated(">")},
    **{">=": _ordered(">="), "<=": _ordered("<="), "‹": _ordered("<"), "!=": _unequal, "==": _equal},
}
"""Every operator of Dify, and at the end alternative spellings of some."""

VALUELESS = ("empty", "not empty", "null", "not null")
"""Operators that take no value."""

NEGATED = ("not contains", "is not", "≠", "!=", "not in", "not empty", "not null")
"""Operators that must hold for every field if a condition names several."""


def _text(value: object) -> str:
    """Return text unchanged, and a number or boolean as JSON writes it."""
    if isinstance(value, str):
        return value
    if not isinstance(value, int | float):
        raise _ValueError(f"takes text, got {value!r:.60}")
    return json.dumps(value)


def _readings(value: object) -> list[Value]:
    """Return the possible readings of a value: itself and, for text, also the number or boolean that it spells."""
    if not isinstance(value, str):
        if not isinstance(value, int | float):
            raise _ValueError(f"takes text or a number, got {value!r:.60}")
        return [value]
    number = _number(value)
    booleans = {"true": True, "false": False}
    return [value, *([] if number is None else [number]), *([booleans[value]] if value in booleans else [])]


def _number(value: object) -> int | float | None:
    """Return a value that is a number, or the finite 64-bit number that a text spells; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if not isinstance(value, str):
        return value
    if not _NUMBER.fullmatch(value):
        return None
    number = float(value) if len(value) > 19 or not _WHOLE.fullmatch(value) else int(value)
    return number if math.isfinite(number) and (isinstance(number, float) or -(2**63) <= number < 2**63) else None


_WHOLE = re.compile(r"-?[0-9]+")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def _listed(value: object) -> Sequence[object]:
    """Return the values of a list or of comma-separated text, without nulls and without spaces around commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, list | tuple):
        return [cast("object", one) for one in value if one is not None]
    return [value]
