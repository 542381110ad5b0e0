"""Front end that parses the expressions of `--where` into the syntax tree.

    year >= 2020 and (lang = 'en' or tags contains "survey") and not author.name is null

`not` binds more tightly than `and`, which binds more tightly than `or`. A dot steps into an object, and backquotes
enclose names that contain other characters or are reserved words. The semantics of filters are defined in `syntax.py`;
this module only knows how they are written.

A date without quotes stands for all of its day, and a time for its minute or second: `modified <= 2026-01-31` includes
that day, `modified > 2026-01-31` begins after it, and `modified = 2026-01-31` means some time on it. Such a comparison
becomes one or more of `is before`, `is at` and `is after`. In quotes, a date is text like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cache
from reprlib import repr as shortened
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, cast

from semsearch.errors import FilterError
from semsearch.filters.notation import NAME, QUOTED_NAME, read_operator, unquote
from semsearch.filters.syntax import MAX_STEPS, OPERATORS, And, Comparison, Filter, Not, Or, Value, check_value, join

if TYPE_CHECKING:
    from lark import Lark, Token, Transformer

MAX_LENGTH = 10_000  # maximum number of characters in an expression

_DATE = r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?)?(?![\w-])"

_GRAMMAR = rf"""
    ?either: both (_OR both)*
    ?both: negated (_AND negated)*
    ?negated: _NOT negated -> negate | "(" either ")" | compare
    compare: field (EQUALITY | CONTAINS) value
        | field (STARTS_WITH | ENDS_WITH | CONTAINS_EXACTLY | IS_MOMENT) text
        | field IS_LIST "(" (value ("," value)*)? ")"
        | field ORDER scalar
        | field (IN | NOT_IN) "(" value ("," value)* ")"
        | field (IS_NULL | IS_NOT_NULL)
    field: name ("." name)~0..{MAX_STEPS - 1}
    name: NAME | QUOTED_NAME
    ?value: scalar | BOOLEAN -> literal
    scalar: (STRING | NUMBER | DATE) -> literal
    text: (STRING | DATE) -> literal

    EQUALITY: "==" | "=" | "!=" | "<>"
    ORDER: "<=" | "<" | ">=" | ">"
    _AND.2: /and(?![\w-])/i
    _OR.2: /or(?![\w-])/i
    _NOT.2: /not(?![\w-])/i
    IN.2: /in(?![\w-])/i
    NOT_IN.3: /not\s+in(?![\w-])/i
    IS_NULL.2: /is\s+null(?![\w-])/i
    IS_NOT_NULL.2: /is\s+not\s+null(?![\w-])/i
    CONTAINS.2: /contains(?![\w-])/i
    CONTAINS_EXACTLY.3: /contains\s+exactly(?![\w-])/i
    IS_LIST.2: /is\s+list(?![\w-])/i
    IS_MOMENT.2: /is\s+(before|after|at)(?![\w-])/i
    STARTS_WITH.2: /starts\s+with(?![\w-])/i
    ENDS_WITH.2: /ends\s+with(?![\w-])/i
    BOOLEAN.2: /(true|false)(?![\w-])/i
    NAME: /{NAME}/
    QUOTED_NAME: /{QUOTED_NAME}/
    STRING: /'([^']|'')*'|"([^"]|"")*"/
    DATE.2: /{_DATE}/i
    NUMBER: /[+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?/i
    %ignore /\s+/
"""
_EXPECTED = {  # what a message says was expected, by the first of these terminals that the parser would have accepted
    "BOOLEAN": "a value ('text', a number, true or false)",
    "NUMBER": "'text' or a number",
    "STRING": "'text'",
    "_AND": "'and' or 'or'",
    "EQUALITY": f"an operator ({', '.join(OPERATORS)})",
    "NAME": "a field name",
    "COMMA": "',' or ')'",
    "LPAR": "'('",
    "RPAR": "')'",
}
_QUOTES = "'\"`"


def parse(expression: str) -> Filter:
    """Parse an expression such as `year >= 2020 and lang = 'en'`.

    Raises:
        FilterError: If it does not parse; the message marks the position.
    """
    from lark.exceptions import UnexpectedInput, UnexpectedToken

    if not expression.strip():
        raise FilterError("the filter is empty: write a condition such as year >= 2020 and lang = 'en'")
    if len(expression) > MAX_LENGTH:
        raise FilterError(f"the filter has {len(expression):,} characters, at most {MAX_LENGTH:,} are allowed")
    try:
        return cast("Filter", _parser().parse(expression))
    except _PlacedError as error:
        _fail(expression, error.token.start_pos or 0, error.token, error.reason)
    except UnexpectedToken as error:
        token, accepted = error.token, error.accepts
        expected = next((words for name, words in _EXPECTED.items() if name in accepted), "the end")
        start = (token.start_pos or 0) if token else len(expression)
        _fail(expression, start, token, f"expected {expected}, got {shortened(str(token)) if token else 'the end'}")
    except UnexpectedInput as error:
        start = error.pos_in_stream or 0
        char = expression[start]
        _fail(expression, start, char, f"{'unclosed quote' if char in _QUOTES else 'unexpected'} {char!r}")


class _PlacedError(Exception):
    """An expression that parses but contains an invalid comparison, with the offending token."""

    def __init__(self, token: Token, error: FilterError) -> None:
        self.token, self.reason = token, str(error)
        super().__init__(self.reason)


def _literal(children: list[Token]) -> Value:
    (token,) = children
    try:
        return check_value(_LITERALS[token.type](token))
    except FilterError as error:
        raise _PlacedError(token, error) from None


def _comparison(children: list[Any]) -> Filter:
    path, written, *values = children
    operator = read_operator(written)
    try:
        if operator in _DATED and any(isinstance(value, _Period) for value in values):
            return _DATED[operator](path, values)
        return Comparison(path, operator, tuple(str(one) if isinstance(one, _Period) else one for one in values))
    except FilterError as error:
        raise _PlacedError(written, error) from None


class _Period(str):
    """A date or time without quotes, as it is written; `end` is the moment at which its day, minute or second ends."""

    __slots__ = ("end",)
    end: str

    def __new__(cls, text: str) -> _Period:
        period = super().__new__(cls, text.upper())
        length = timedelta(days=1) if len(text) == 10 else timedelta(seconds=1 if text.count(":", 0, 19) == 2 else 60)
        try:
            end = datetime.fromisoformat(period) + length
        except (ValueError, OverflowError):
            raise FilterError(f"{text} is not a date or time that can be compared") from None
        period.end = end.date().isoformat() if len(text) == 10 else end.isoformat()
        return period


_Path: TypeAlias = tuple[str, ...]


def _since(path: _Path, moment: str) -> Filter:
    return Or((Comparison(path, "is at", (str(moment),)), Comparison(path, "is after", (str(moment),))))


def _until(path: _Path, moment: str) -> Filter:
    return Comparison(path, "is before", (str(moment),))


def _among(path: _Path, values: Sequence[Value]) -> Filter:
    """Compare a field with values, some of which are periods."""
    periods = [And((_since(path, one), _until(path, one.end))) for one in values if isinstance(one, _Period)]
    others = tuple(one for one in values if not isinstance(one, _Period))
    return join(Or, [*periods, *([Comparison(path, "in", others)] if others else [])])


def _not_among(path: _Path, values: Sequence[Value]) -> Filter:
    return And((Comparison(path, "is not null"), Not(_among(path, values))))


_DATED: dict[str, Callable[[_Path, Sequence[Any]], Filter]] = {
    "<": lambda path, values: _until(path, values[0]),
    "<=": lambda path, values: _until(path, values[0].end),
    ">": lambda path, values: _since(path, values[0].end),
    ">=": lambda path, values: _since(path, values[0]),
    "=": _among,
    "in": _among,
    "!=": _not_among,
    "not in": _not_among,
}
"""Comparisons with dates and times that are written without quotes."""


def _number(text: str) -> int | float:
    if not text.lstrip("+-").isdecimal():
        return float(text)
    return int(text) if len(text) <= 20 else 2**63  # int() has a length limit of its own; check_value rejects 2**63


_LITERALS: dict[str, Callable[[str], Value]] = {
    "STRING": unquote,
    "QUOTED_NAME": unquote,
    "NAME": str,
    "NUMBER": _number,
    "DATE": _Period,
    "BOOLEAN": lambda text: text.lower() == "true",
}


@cache
def _parser() -> Lark:
    """Build the parser, which creates the tree while parsing: lark calls one function per rule with its children."""
    from lark import Lark

    actions = SimpleNamespace(
        either=lambda children: Or(tuple(children)),
        both=lambda children: And(tuple(children)),
        negate=lambda children: Not(*children),
        compare=_comparison,
        field=tuple,
        name=_literal,
        literal=_literal,
    )
    return Lark(
        _GRAMMAR, start="either", parser="lalr", lexer="basic", transformer=cast("Transformer[Any, Any]", actions)
    )


def _fail(expression: str, start: int, found: str, reason: str) -> NoReturn:
    """Raise the error, with up to 30 characters on either side of the marked text, on one line."""
    end = start + len(found)
    before, after = expression[:start], expression[end:]
    marked = f"{'…' * (start > 30)}{before[-30:]}»{expression[start:end][:60]}«{after[:30]}{'…' * (len(after) > 30)}"
    line = "".join(char if char.isprintable() else " " for char in marked)
    raise FilterError(f"filter column {start + 1}: {reason}: {line}")
