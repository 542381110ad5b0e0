"""Back end that compiles the syntax tree to one parameterized PostgreSQL condition on the table `documents`.

The table has the columns `doc_id`, `title`, `fields` (a JSON object as jsonb), and `moments`: the dates and times in
all three as text that sorts, by their spelling; see `comparable` and `moments_in`. This module never runs the SQL. A
condition means what `sqlite.py` makes of the same filter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from semsearch.filters.notation import either_case
from semsearch.filters.syntax import And, Comparison, Filter, Not, Or, Value, is_built_in
from semsearch.moments import clock, utc

_Test: TypeAlias = tuple[str, tuple[Value, ...]]
"""SQL condition on the jsonb `value`, and its parameters."""

_TEXT = "(value #>> '{}')"

_IS_TEXT = "jsonb_typeof(value) = 'string'"


@dataclass(frozen=True, slots=True)
class Condition:
    """An SQL condition on documents; it is true or false for each document, never NULL.

    Attributes:
        sql: A boolean expression over the table `documents`, with %s placeholders and no user input.
        parameters: One value per placeholder, in order.
    """

    sql: str
    parameters: tuple[Value, ...]


def compile_filter(filter: Filter) -> Condition:
    """Compile a filter for PostgreSQL."""
    match filter:
        case Comparison():
            return _compare(filter)
        case Not(operand):
            part = compile_filter(operand)
            return Condition(f"(NOT {part.sql})", part.parameters)
        case And(operands):
            return _join(" AND ", [compile_filter(operand) for operand in operands])
        case Or(operands):
            return _join(" OR ", [compile_filter(operand) for operand in operands])


def _join(word: str, parts: Sequence[Condition]) -> Condition:
    sql = f"({word.join(part.sql for part in parts)})"
    return Condition(sql, tuple(value for part in parts for value in part.parameters))


def _compare(comparison: Comparison) -> Condition:
    """Compile a comparison; `value` is what the path leads to, and a missing one is like null."""
    path, operator = comparison.path, comparison.operator
    if operator == "is null":
        part = _compare(Comparison(path, "is not null"))
        return Condition(f"(NOT {part.sql})", part.parameters)
    test, parameters = _OPERATORS[operator](comparison.values)
    if is_built_in(path):
        value, path = f"to_jsonb(documents.{path[0]})", ()
    else:  # an operator with text steps into objects only
        value = "documents.fields" + " -> %s::text" * len(path)
    sql = f"(SELECT coalesce({test}, false) FROM (SELECT {value}) AS one (value))"
    return Condition(sql, (*parameters, *path))


def _as_json(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False)


def _among(values: Sequence[Value], row: str = "value") -> _Test:
    """Test for equality with one of the values; jsonb compares JSON types, and numbers as numbers."""
    return f"{row} IN (SELECT jsonb_array_elements(%s::jsonb))", (json.dumps(list(values), ensure_ascii=False),)


def _not_among(values: Sequence[Value]) -> _Test:
    test, parameters = _among(values)
    return f"jsonb_typeof(value) <> 'null' AND NOT ({test})", parameters


def _ordered(symbol: str, values: Sequence[Value]) -> _Test:
    (value,) = values
    if isinstance(value, str):
        return f'{_IS_TEXT} AND {_TEXT} COLLATE "C" {symbol} %s', (value,)
    return f"jsonb_typeof(value) = 'number' AND value {symbol} %s::jsonb", (_as_json(value),)


def _contains(values: Sequence[Value]) -> _Test:
    """Test for an element of a list or a part of a text."""
    (value,) = values
    elements = "jsonb_array_elements(CASE WHEN jsonb_typeof(value) = 'array' THEN value ELSE '[]' END)"
    listed = f"%s::jsonb IN (SELECT {elements})"
    if not isinstance(value, str):
        return listed, (_as_json(value),)
    part, pattern = _like(value, "", "")
    return f"({listed} OR {part})", (_as_json(value), *pattern)


def _like(value: Value, before: str, after: str) -> _Test:
    """Test for a text that contains the value in any case, with these anchors around it."""
    pattern = before + "".join(map(_pattern, str(value))) + after
    return f'{_IS_TEXT} AND {_TEXT} COLLATE "C" ~ %s', (f"***:{pattern}",)


def _is_list(values: Sequence[Value]) -> _Test:
    return "jsonb_typeof(value) = 'array' AND value = %s::jsonb", (json.dumps(list(values), ensure_ascii=False),)


def _moment(symbol: str, values: Sequence[Value]) -> _Test:
    """Compare a moment in UTC if both sides name an offset, otherwise by local time."""
    shown, exact = clock(values[0]), utc(values[0])
    known = f"documents.moments -> {_TEXT} ->>"
    tests = {f"({known} 'utc') COLLATE \"C\" {symbol} %s": exact, f"({known} 'clock') COLLATE \"C\" {symbol} %s": shown}
    asked = {test: value for test, value in tests.items() if value is not None}
    return f"{_IS_TEXT} AND coalesce({', '.join(asked)}, false)", tuple(asked.values())


def moments_in(texts: Sequence[str], metadata: Mapping[str, Any]) -> dict[str, dict[str, str | None]]:
    """Return the moments among texts and the values of metadata, by their spelling, for the column `moments`."""
    found: dict[str, dict[str, str | None]] = {}
    for value in (*texts, *metadata.values()):
        if isinstance(value, Mapping):
            found |= moments_in((), value)
        elif isinstance(value, str) and (shown := clock(value)) is not None:
            found[value] = {"utc": utc(value), "clock": shown}
    return found


def comparable(value: Any) -> Any:
    """Return a JSON value for the column `fields`, in which integers of more than 64 bits are the nearest doubles."""
    if isinstance(value, Mapping):
        return {name: comparable(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [comparable(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        with suppress(OverflowError):  # beyond every double, as it is
            return float(value)
    return value


def _pattern(char: str) -> str:
    """Return a pattern for a character in any case; what is not a letter or digit is escaped."""
    forms = either_case(char)
    if len(forms) > 1:
        return f"[{forms}]"
    return char if char.isalnum() or not char.isascii() else f"\\{char}"


_OPERATORS: dict[str, Callable[[Sequence[Value]], _Test]] = {
    **dict.fromkeys(("=", "in"), _among),
    **dict.fromkeys(("!=", "not in"), _not_among),
    **{symbol: partial(_ordered, symbol) for symbol in ("<", "<=", ">", ">=")},
    "contains": _contains,
    "starts with": lambda values: _like(values[0], "^", ""),
    "ends with": lambda values: _like(values[0], "", "$"),
    "contains exactly": lambda values: (f"{_IS_TEXT} AND strpos({_TEXT}, %s) > 0", (values[0],)),
    "is list": _is_list,
    **{name: partial(_moment, symbol) for name, symbol in (("is before", "<"), ("is after", ">"), ("is at", "="))},
    "is not null": lambda _: ("jsonb_typeof(value) <> 'null'", ()),
}
