"""Back end that compiles the syntax tree to one parameterized SQLite condition on the table `documents`.

The table has the columns `doc_id`, `title` and `metadata` (a JSON object), and the functions of `semsearch.moments` are
registered with the connection. This module never runs the SQL. It respects the limits of SQLite's parser, which other
back ends do not share.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from semsearch.errors import FilterError
from semsearch.filters.notation import either_case
from semsearch.filters.syntax import And, Comparison, Filter, Not, Or, Value, comparisons_of, is_built_in
from semsearch.moments import clock, utc

MAX_STACK = 40  # of 100 entries in SQLite's parser stack (before 3.46); about one per level of nesting
WIDTH = 8  # operands in one SQL chain: SQLite counts each as a level of an expression tree of at most 1,000
MAX_SQL = 900_000  # ASCII characters; some builds of SQLite accept at most 1,000,000 bytes per statement

_Test: TypeAlias = tuple[str, tuple[Value, ...]]
"""SQL condition on a row `field` of json_each, and its parameters."""


@dataclass(frozen=True, slots=True)
class Condition:
    """An SQL condition on documents; it is 1 or 0 for each document, never NULL.

    Attributes:
        sql: A boolean expression over the table `documents`, with ? placeholders and no user input.
        parameters: One value per placeholder, in order.
    """

    sql: str
    parameters: tuple[Value, ...]


def compile_filter(filter: Filter) -> Condition:
    """Compile a filter for SQLite.

    Raises:
        FilterError: If it is nested too deeply, or has more comparisons than SQLite accepts in one statement.
    """
    part = _compiled(filter)
    if len(part.sql) > MAX_SQL:
        count = sum(1 for _ in comparisons_of(filter))
        raise FilterError(
            f"the filter has {count:,} comparisons, too many for one SQLite statement: "
            "use one `in` to compare a field with many values, or split the filter"
        )
    return Condition(part.sql, part.parameters)


@dataclass(frozen=True, slots=True)
class _Part:
    """A compiled part, and the depth that SQLite's parser stack reaches in it."""

    sql: str
    parameters: tuple[Value, ...]
    stack: int = 0

    def __post_init__(self) -> None:
        if self.stack > MAX_STACK:
            raise FilterError(f"the filter is nested too deeply for SQLite (about {MAX_STACK} levels): flatten it")


def _compiled(filter: Filter) -> _Part:
    match filter:
        case Comparison():
            return _compare(filter)
        case Not(operand):
            return _negate(_compiled(operand))
        case And(operands):
            return _join("and", [_compiled(operand) for operand in operands])
        case Or(operands):
            return _join("or", [_compiled(operand) for operand in operands])


def _join(word: str, parts: Sequence[_Part]) -> _Part:
    """Join parts by `and` or `or`, deepest first, because a later part starts with two more entries on the stack."""
    while len(parts) > WIDTH:
        parts = [_join(word, parts[start : start + WIDTH]) for start in range(0, len(parts), WIDTH)]
    if len(parts) == 1:
        return parts[0]
    parts = sorted(parts, key=lambda part: -part.stack)
    sql = "(" + f" {word} ".join(part.sql for part in parts) + ")"
    parameters = tuple(value for part in parts for value in part.parameters)
    return _Part(sql, parameters, 1 + max(parts[0].stack, 2 + parts[1].stack))


def _negate(part: _Part) -> _Part:
    return _Part(f"not {part.sql}", part.parameters, 1 + part.stack)


def _compare(comparison: Comparison) -> _Part:
    """Compile a comparison; the row `field` is the last name of the path, and without a row it is false, never NULL."""
    path, operator = comparison.path, comparison.operator
    if operator == "is null":
        return _negate(_compare(Comparison(path, "is not null")))
    test, parameters = _OPERATORS[operator](comparison.values)
    if is_built_in(path):
        tables, keys = f"json_each(json_array(documents.{path[0]})) as field", ""
        path = ()
    else:
        tables, keys = _steps(len(path))
    return _Part(f"exists (select 1 from {tables} where {keys}{test})", (*path, *parameters))


def _steps(count: int) -> tuple[str, str]:
    """Return the joined tables and the conditions on their keys that step into nested objects."""
    rows = [*(f"outer{depth}" for depth in range(1, count)), "field"]
    objects = ["documents.metadata", *(f"iif({row}.type = 'object', {row}.value, '{{}}')" for row in rows[:-1])]
    tables = (f"json_each({value}) as {row}" for value, row in zip(objects, rows, strict=True))
    return ", ".join(tables), "".join(f"{row}.key = ? and " for row in rows)


def _among(values: Sequence[Value], row: str = "field") -> _Test:
    """Test for equality with one of the values, by JSON types; the values are passed as one JSON parameter."""
    chosen = "select replace(type, 'real', 'integer'), value from json_each(?)"
    test = f"(replace({row}.type, 'real', 'integer'), {row}.value) in ({chosen})"
    return test, (json.dumps(list(values), ensure_ascii=False),)


def _not_among(values: Sequence[Value]) -> _Test:
    test, parameters = _among(values)
    return f"field.type <> 'null' and not ({test})", parameters


def _ordered(symbol: str, values: Sequence[Value]) -> _Test:
    (value,) = values
    types = "('text')" if isinstance(value, str) else "('integer', 'real')"
    return f"field.type in {types} and field.value {symbol} ?", (value,)


def _contains(values: Sequence[Value]) -> _Test:
    """Test for an element of a list or a part of a text; uses GLOB, because lower() and LIKE only know ASCII."""
    (value,) = values
    test, parameters = _among(values, "element")
    elements = "json_each(iif(field.type = 'array', field.value, '[]')) as element"
    listed = f"exists (select 1 from {elements} where {test})"
    if not isinstance(value, str):
        return listed, parameters
    part, pattern = _like(value, "*", "*")
    return f"({listed} or {part})", (*parameters, *pattern)


def _like(value: Value, before: str, after: str) -> _Test:
    """Test for a text that contains the value in any case, with these patterns around it."""
    pattern = before + "".join(map(_pattern, str(value))) + after  # MAX_NEEDLE fits SQLite's limit of 50,000 bytes
    return "field.type = 'text' and field.value glob ?", (pattern,)


def _is_list(values: Sequence[Value]) -> _Test:
    """Test for a list with as many elements, each equal to the value at its position."""
    pairs = "json_each(iif(field.type = 'array', field.value, '[]')) as element join json_each(?) as wanted using (key)"
    same = (
        "replace(element.type, 'real', 'integer') = replace(wanted.type, 'real', 'integer') "
        "and element.value is wanted.value"
    )
    equal = f"(select count(*) from {pairs} where {same}) = ?"
    listed = json.dumps(list(values), ensure_ascii=False)
    return (
        f"field.type = 'array' and json_array_length(field.value) = ? and {equal}",
        (len(values), listed, len(values)),
    )


def _moment(symbol: str, values: Sequence[Value]) -> _Test:
    """Compare a moment in UTC if both sides name an offset, otherwise by local time."""
    shown, exact = clock(values[0]), utc(values[0])
    tests = {f"moment_utc(field.value) {symbol} ?": exact, f"moment_clock(field.value) {symbol} ?": shown}
    asked = {test: value for test, value in tests.items() if value is not None}
    return f"field.type = 'text' and coalesce({', '.join(asked)}, 0)", tuple(asked.values())


def _pattern(char: str) -> str:
    forms = either_case(char)
    return f"[{forms}]" if len(forms) > 1 or char in "*?[" else char


_OPERATORS: dict[str, Callable[[Sequence[Value]], _Test]] = {
    **dict.fromkeys(("=", "in"), _among),
    **dict.fromkeys(("!=", "not in"), _not_among),
    **{symbol: partial(_ordered, symbol) for symbol in ("<", "<=", ">", ">=")},
    "contains": _contains,
    "starts with": lambda values: _like(values[0], "", "*"),
    "ends with": lambda values: _like(values[0], "*", ""),
    "contains exactly": lambda values: ("field.type = 'text' and instr(field.value, ?) > 0", (values[0],)),
    "is list": _is_list,
    **{name: partial(_moment, symbol) for name, symbol in (("is before", "<"), ("is after", ">"), ("is at", "="))},
    "is not null": lambda _: ("field.type <> 'null'", ()),
}
