"""The syntax tree of filters, and the semantics of a filter.

    And((Comparison(("year",), ">=", (2020,)), Not(Comparison(("author", "name"), "is null"))))

Every front end builds this tree and every back end compiles it, so neither needs to know the other. This module knows
nothing about notation or databases. A filter has the same semantics in every back end:

*   It is true or false for each document, never unknown; `And`, `Or` and `Not` are those of two-valued logic.
*   The path `("doc_id",)` is the document's id and `("title",)` its title. Every other path starts in the metadata, a
    JSON object, and each further name steps into an object. Names are compared exactly. A field is missing if an object
    lacks the name, or if there is no object to step into; a path never steps into a list. A missing field and a field
    that is null are the same.
*   Types are those of JSON. Two values are equal if both are text, both numbers or both booleans, and they are the
    same: 1 equals 1.0, but neither true nor '1'. Numbers are compared exactly, as 64-bit integers and doubles; an
    integer in the metadata that is neither counts as the nearest double. A list or an object never equals a value.
*   `=`: the field equals the value. `in`: it equals one of the values.
*   `!=`: the field is not null and does not equal the value; every list or object meets this. `not in`: the field
    is not null and equals none of the values.
*   `<`, `<=`, `>`, `>=`: the field has the same type as the value, text or number, and compares to it in that order.
    Text is ordered by code point.
*   `contains`: the field is a list with an element equal to the value; or both are text, and the value is a substring
    of the field, ignoring case letter by letter: a character of the value matches itself and its lower, upper and title
    case if these are single characters. Empty text is a substring of every text.
*   `starts with`, `ends with`: both are text, and the field starts or ends with the value, ignoring case as `contains`
    does. They are false for a list.
*   `contains exactly`: both are text, and the value is a case-sensitive substring of the field. It is false for a list.
*   `is list`: the field is a list whose elements equal the values, in this order; without values, an empty list.
*   `is before`, `is after`, `is at`: both are text that is an ISO 8601 date or time, see `semsearch.moments`, and the
    field is earlier than the value, later, or the same moment. A date stands for its midnight. If only one of the two
    names its offset from UTC, their local times are compared.
*   `is null`: the field is missing or null. `is not null`: it is neither.

`Comparison` rejects whatever a document cannot contain or a database cannot be asked, with the same FilterError for
every front end.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from semsearch.errors import FilterError
from semsearch.filters.notation import write_path, write_value
from semsearch.messages import listed
from semsearch.moments import clock

BUILT_IN = ("doc_id", "title")
"""Names of the paths that are not in the metadata."""

MAX_DEPTH = 40
"""Maximum number of `and`, `or`, `not` above a comparison: back ends recurse, and databases have their own stacks."""

MAX_STEPS = 16
"""Maximum number of names in a path."""

MAX_NEEDLE = 1_000
"""Maximum number of characters after `contains`, `contains exactly`, `starts with` or `ends with`."""

LISTING = ("in", "not in", "is list")
"""Operators that are written with a list of values in parentheses."""

LISTED = 20
"""Maximum number of fields that a message lists."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # databases end text at NUL, and UTF-8 has no surrogates

Value: TypeAlias = str | int | float | bool
"""Text, a finite 64-bit number, or a JSON boolean, which is not a number."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """A comparison of a field with values.

    Comparisons are equal only if they mean the same: unlike in Python, true does not equal 1.

    Attributes:
        path: The field, as one name, or as several that step into nested objects.
        operator: One of OPERATORS.
        values: As many values as the operator takes: none for `is null` and `is not null`, at least one for `in` and
            `not in`, any number for `is list`, and one for all others.

    Raises:
        FilterError: If the path, the operator or a value is invalid; the message names the field.
    """

    path: tuple[str, ...]
    operator: str
    values: tuple[Value, ...] = ()

    depth: ClassVar[int] = 0

    def __post_init__(self) -> None:
        _check_path(self.path)
        try:
            _check_values(self.operator, self.values)
        except FilterError as error:
            raise FilterError(f"{write_path(self.path)!r:.60}: {error}") from None

    def __str__(self) -> str:
        """Return the comparison as an expression of the filter language."""
        values = ", ".join(map(write_value, self.values))
        listed = f"({values})" if self.operator in LISTING else values
        return " ".join([write_path(self.path), self.operator, *([listed] if listed else [])])

    def __eq__(self, other: object) -> bool:
        return self._key == other._key if isinstance(other, Comparison) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[object, ...]:
        return self.path, self.operator, *((isinstance(value, bool), value) for value in self.values)


@dataclass(frozen=True, slots=True)
class And:
    """A filter for documents that match all of its operands.

    Attributes:
        operands: At least two filters.
        depth: Number of `and`, `or`, `not` above the deepest comparison, including this one.
    """

    operands: tuple[Filter, ...]
    depth: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", _depth_above(self, self.operands, at_least=2))

    def __str__(self) -> str:
        """Return the filter as an expression of the filter language."""
        return " and ".join(map(_as_operand, self.operands))


@dataclass(frozen=True, slots=True)
class Or:
    """A filter for documents that match at least one of its operands; its attributes are those of `And`."""

    operands: tuple[Filter, ...]
    depth: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", _depth_above(self, self.operands, at_least=2))

    def __str__(self) -> str:
        """Return the filter as an expression of the filter language."""
        return " or ".join(map(_as_operand, self.operands))


@dataclass(frozen=True, slots=True)
class Not:
    """A filter for documents that do not match its single operand; `depth` is defined as for `And`."""

    operand: Filter
    depth: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", _depth_above(self, (self.operand,), at_least=1))

    def __str__(self) -> str:
        """Return the filter as an expression of the filter language."""
        return f"not {_as_operand(self.operand)}"


Filter: TypeAlias = Comparison | And | Or | Not
"""A condition on documents; `str` returns it as an expression of the filter language that parses to the same tree."""


def join(kind: type[And] | type[Or], operands: Sequence[Filter]) -> Filter:
    """Join filters by `And` or `Or`; return a single filter unchanged."""
    return operands[0] if len(operands) == 1 else kind(tuple(operands))


def comparisons_of(filter: Filter) -> Iterator[Comparison]:
    """Yield every comparison in a filter, from left to right."""
    match filter:
        case Comparison():
            yield filter
        case Not(operand):
            yield from comparisons_of(operand)
        case And(operands) | Or(operands):
            for operand in operands:
                yield from comparisons_of(operand)


def fields_of(filter: Filter) -> frozenset[str]:
    """Return the top-level metadata fields that a filter reads; `doc_id` and `title` are not metadata."""
    paths = {comparison.path for comparison in comparisons_of(filter)}
    return frozenset(path[0] for path in paths if not is_built_in(path))


def is_built_in(path: tuple[str, ...]) -> bool:
    """Return whether a path is the document's id or title rather than a field of the metadata."""
    return len(path) == 1 and path[0] in BUILT_IN


def check_fields(filter: Filter, known: Collection[str]) -> None:
    """Reject a filter that reads a metadata field that no document has.

    Raises:
        FilterError: If there is such a field; the message names it, the known fields, and the closest of them.
    """
    for name in sorted(fields_of(filter).difference(known)):
        closest = difflib.get_close_matches(name, sorted({*known, *BUILT_IN}), n=1)
        hint = f", did you mean {closest[0]!r}?" if closest else ""
        names = listed([*map(repr, sorted(known))], LISTED) or "none"
        raise FilterError(f"no document has a field {name!r}{hint} (known: {names}; built in: {', '.join(BUILT_IN)})")


def check_depth(depth: int) -> int:
    """Return a depth if it is allowed; for front ends that recurse before there is a tree.

    Raises:
        FilterError: If there are more than MAX_DEPTH levels.
    """
    if depth > MAX_DEPTH:
        raise FilterError(f"the filter is nested too deeply (at most {MAX_DEPTH} levels are allowed): flatten it")
    return depth


def check_value(value: object) -> Value:
    """Return a value if JSON and a database can represent it exactly; for front ends that report its position.

    Raises:
        FilterError: If it is not valid text, a finite 64-bit number or a boolean; the message does not name a field.
    """
    if not isinstance(value, str | int | float):
        raise FilterError(f"expected text, a number or a boolean, got {type(value).__name__}")
    if isinstance(value, str) and _UNSTORABLE.search(value):
        raise FilterError("text with a NUL character or a lone surrogate matches nothing")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise FilterError("the integer does not fit into 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise FilterError("the number is not finite")
    return value


def _check_path(path: object) -> None:
    if not isinstance(path, tuple) or not path:
        raise FilterError(f"the path of a comparison is {path!r:.60}; expected a tuple of names such as ('year',)")
    if len(path) > MAX_STEPS:
        raise FilterError(f"the path of a comparison has {len(path)} names, at most {MAX_STEPS} are allowed")
    for name in path:
        if not isinstance(name, str) or not name:
            raise FilterError(f"a field name is {name!r:.60}; expected a non-empty string")
        if _UNSTORABLE.search(name):
            raise FilterError(f"the field name {name!r:.60} has a NUL character or lone surrogate, which no field has")


def _check_values(operator: str, values: object) -> None:
    if operator not in _VALUE_CHECKS:
        raise FilterError(f"unknown operator {operator!r:.60}; expected one of {', '.join(OPERATORS)}")
    if not isinstance(values, tuple):
        raise FilterError(f"the values are {values!r:.60}; expected a tuple such as (2020,)")
    for value in values:
        check_value(value)
    _VALUE_CHECKS[operator](operator, values)


def _none(operator: str, values: tuple[Value, ...]) -> None:
    if values:
        raise FilterError(f"{operator} takes no value, got {len(values)}")


def _one(operator: str, values: tuple[Value, ...]) -> None:
    if len(values) != 1:
        raise FilterError(f"{operator} takes one value, got {len(values)}")


def _at_least_one(operator: str, values: tuple[Value, ...]) -> None:
    if not values:
        raise FilterError(f"{operator} takes at least one value, got none")


def _orderable(operator: str, values: tuple[Value, ...]) -> None:
    _one(operator, values)
    if isinstance(values[0], bool):
        raise FilterError(f"{operator} compares text or numbers, got {values[0]!r}")


def _needle(operator: str, values: tuple[Value, ...]) -> None:
    _one(operator, values)
    if isinstance(values[0], str) and len(values[0]) > MAX_NEEDLE:
        raise FilterError(f"{operator} takes at most {MAX_NEEDLE:,} characters, got {len(values[0]):,}")


def _affix(operator: str, values: tuple[Value, ...]) -> None:
    _needle(operator, values)
    if not isinstance(values[0], str):
        raise FilterError(f"{operator} compares text, got {values[0]!r}")


def _moment(operator: str, values: tuple[Value, ...]) -> None:
    _one(operator, values)
    if clock(values[0]) is None:
        raise FilterError(f"{operator} takes a date or time such as '2026-11-29T17:15:00Z', got {values[0]!r:.60}")


_VALUE_CHECKS: dict[str, Callable[[str, tuple[Value, ...]], None]] = {
    **dict.fromkeys(("=", "!="), _one),
    **dict.fromkeys(("<", "<=", ">", ">="), _orderable),
    **dict.fromkeys(("in", "not in"), _at_least_one),
    "contains": _needle,
    **dict.fromkeys(("contains exactly", "starts with", "ends with"), _affix),
    "is list": lambda operator, values: None,
    **dict.fromkeys(("is before", "is after", "is at"), _moment),
    **dict.fromkeys(("is null", "is not null"), _none),
}

OPERATORS = tuple(_VALUE_CHECKS)
"""Every operator, in canonical spelling."""


def _depth_above(node: Filter, operands: object, at_least: int) -> int:
    """Return the depth of a node over these operands, after checking their types and number."""
    kind = type(node).__name__
    if not isinstance(operands, tuple) or len(operands) < at_least:
        raise FilterError(f"{kind} holds {operands!r:.60}; expected a tuple of at least {at_least} filters")
    for operand in operands:
        if not isinstance(operand, Filter):
            raise FilterError(f"{kind} holds {operand!r:.60}; expected a Comparison, And, Or or Not")
    return check_depth(1 + max(operand.depth for operand in operands))


def _as_operand(filter: Filter) -> str:
    return f"({filter})" if isinstance(filter, And | Or) else str(filter)
