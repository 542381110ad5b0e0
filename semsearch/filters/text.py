"""A filter over documents, compiled to one parameterised SQLite condition.

    year >= 2020 and (lang = 'en' or tags contains "survey") and not author.name is null

The language is two-valued and typed like JSON: `year >= 2020` matches JSON numbers only, a missing field or one of
another type makes a comparison false, and `not` is plain negation. `!=` and `not in` hold only for documents that
have the field (neither missing nor null). A list is matched by `contains`; in text, `contains` looks for a part of it,
ignoring case letter by letter. `doc_id` and `title` are the columns; every other field lives in the JSON object
`metadata`; a dot steps into an object, and backquotes hold names with other characters (or the language's words).

This module does not know which fields exist (`check_fields` is told), and it never runs the SQL.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache, partial
from reprlib import repr as shortened
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn, cast

from semsearch.errors import FilterError

if TYPE_CHECKING:
    from lark import Lark, Token, Transformer

BUILT_IN = ("doc_id", "title")
LISTED = 20  # fields that a message names
MAX_LENGTH = 10_000  # characters of an expression
MAX_NEEDLE = 1_000  # characters after `contains`: SQLite takes a GLOB pattern of 50,000 bytes
MAX_STACK = 40  # of the 100 entries of SQLite's parser stack (before 3.46); about one per level of nesting
WIDTH = 8  # operands in one SQL chain: SQLite counts each as a level of an expression tree of at most 1,000

_GRAMMAR = r"""
    ?either: both (_OR both)*
    ?both: negated (_AND negated)*
    ?negated: _NOT negated -> negate | "(" either ")" | compare
    compare: field (EQUALITY | CONTAINS) value
        | field ORDER scalar
        | field (IN | NOT_IN) "(" value ("," value)* ")"
        | field (IS_NULL | IS_NOT_NULL)
    field: name ("." name)~0..15
    name: NAME | QUOTED_NAME
    ?value: scalar | BOOLEAN -> literal
    scalar: (STRING | NUMBER) -> literal

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
    BOOLEAN.2: /(true|false)(?![\w-])/i
    NAME: /[^\W\d]([\w-]*\w)?/
    QUOTED_NAME: /`([^`]|``)+`/
    STRING: /'([^']|'')*'|"([^"]|"")*"/
    NUMBER: /[+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?/i
    %ignore /\s+/
"""
_EXPECTED = {  # what to ask for, by the first of these terminals that the parser would have taken
    "BOOLEAN": "a value ('text', a number, true or false)",
    "STRING": "'text' or a number",
    "_AND": "'and' or 'or'",
    "EQUALITY": "an operator (= != < <= > >= in, not in, contains, is null, is not null)",
    "NAME": "a field name",
    "COMMA": "',' or ')'",
    "LPAR": "'('",
    "RPAR": "')'",
}
_SUFFIXES = {"": "=", "__ne": "!=", "__lt": "<", "__lte": "<=", "__gt": ">", "__gte": ">="}
_SUFFIXES |= {"__in": "in", "__contains": "contains"}
_QUOTES = "'\"`"
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # SQLite ends text at NUL, UTF-8 has no surrogates

_Value = str | int | float
_Test = tuple[str, tuple[_Value, ...]]  # SQL over a row `field` of json_each, and its parameters


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on documents: it is true or false for each, never NULL.

    Attributes:
        sql: A boolean expression over the table `documents`, with ? placeholders and no text of the user's.
        parameters: One value per placeholder, in order.
        fields: The top-level metadata fields it reads, without doc_id and title.
    """

    sql: str
    parameters: tuple[str | int | float, ...]
    fields: frozenset[str]

    def __and__(self, other: Filter) -> Filter:
        """Both conditions."""
        return Filter(f"({self.sql} and {other.sql})", self.parameters + other.parameters, self.fields | other.fields)


def parse(expression: str) -> Filter:
    """Compile an expression such as `year >= 2020 and lang = 'en'`.

    Raises:
        FilterError: It does not parse; the message is one line and marks the place.
    """
    from lark.exceptions import UnexpectedInput, UnexpectedToken

    if not expression.strip():
        raise FilterError("the filter is empty: write a condition such as year >= 2020 and lang = 'en'")
    if len(expression) > MAX_LENGTH:
        raise FilterError(f"the filter has {len(expression):,} characters, at most {MAX_LENGTH:,} are allowed")
    try:
        return cast("_Node", _parser().parse(expression)).filter
    except _LiteralError as error:
        _fail(expression, error.token.start_pos or 0, error.token, str(error))
    except UnexpectedToken as error:
        token, accepted = error.token, error.accepts
        expected = next((words for name, words in _EXPECTED.items() if name in accepted), "the end")
        start = (token.start_pos or 0) if token else len(expression)
        _fail(expression, start, token, f"expected {expected}, got {shortened(str(token)) if token else 'the end'}")
    except UnexpectedInput as error:
        start = error.pos_in_stream or 0
        char = expression[start]
        _fail(expression, start, char, f"{'unclosed quote' if char in _QUOTES else 'unexpected'} {char!r}")


def from_keywords(**conditions: object) -> Filter:
    """Compile keywords to the filter that the same conditions, joined by `and`, would parse to.

    `lang="en"`, `year__gte=2020`, `year__in=[2019, 2020]`, `tags__contains="survey"`; each names a top-level field.

    Raises:
        FilterError: A suffix is unknown, or a value is neither text, a finite 64-bit number nor a boolean.
    """
    if not conditions:
        raise FilterError("no filter conditions: give some, such as lang='en' or year__gte=2020")
    return _join("and", [_keyword(keyword, value) for keyword, value in conditions.items()]).filter


def check_fields(filter: Filter, known: Collection[str]) -> None:
    """Refuse a filter that reads a metadata field that no document has.

    Raises:
        FilterError: Names the field, the known ones, and the closest of them.
    """
    for name in sorted(filter.fields.difference(known)):
        closest = difflib.get_close_matches(name, sorted({*known, *BUILT_IN}), n=1)
        hint = f", did you mean {closest[0]!r}?" if closest else ""
        names = sorted(known)
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        listed = (", ".join(map(repr, names[:LISTED])) or "none") + more
        raise FilterError(f"no document has a field {name!r}{hint} (known: {listed}; built in: {', '.join(BUILT_IN)})")


@dataclass(frozen=True, slots=True)
class _Node:
    """A compiled part, and how deep SQLite's parser stack gets in it."""

    filter: Filter
    stack: int = 0

    def __post_init__(self) -> None:
        if self.stack > MAX_STACK:
            raise FilterError(f"the filter is nested too deeply (about {MAX_STACK} levels are allowed): flatten it")


def _join(word: str, nodes: Sequence[_Node]) -> _Node:
    """Join by `and` or `or`, the deepest first: the others would hold two more entries of the stack beneath it."""
    while len(nodes) > WIDTH:
        nodes = [_join(word, nodes[start : start + WIDTH]) for start in range(0, len(nodes), WIDTH)]
    if len(nodes) == 1:
        return nodes[0]
    nodes = sorted(nodes, key=lambda node: -node.stack)
    parts = [node.filter for node in nodes]
    sql = "(" + f" {word} ".join(part.sql for part in parts) + ")"
    parameters = tuple(value for part in parts for value in part.parameters)
    fields = frozenset(name for part in parts for name in part.fields)
    return _Node(Filter(sql, parameters, fields), 1 + max(nodes[0].stack, 2 + nodes[1].stack))


def _negate(node: _Node) -> _Node:
    part = node.filter
    return _Node(Filter(f"not {part.sql}", part.parameters, part.fields), 1 + node.stack)


def _compare(path: tuple[str, ...], operator: str, values: Sequence[_Value] = ()) -> _Node:
    """Compile one comparison; the path's last name is the row `field`, and without a row it is false, never NULL."""
    if operator == "is null":
        return _negate(_compare(path, "is not null"))
    test, parameters = _OPERATORS[operator](values)
    if path[0] in BUILT_IN and len(path) == 1:
        tables, keys = f"json_each(json_array(documents.{path[0]})) as field", ""
        path = ()
    else:
        tables, keys = _steps(len(path))
    sql = f"exists (select 1 from {tables} where {keys}{test})"
    return _Node(Filter(sql, (*path, *parameters), frozenset(path[:1])))


def _steps(count: int) -> tuple[str, str]:
    """Return the joined tables and the conditions on their keys that step into nested objects."""
    rows = [*(f"outer{depth}" for depth in range(1, count)), "field"]
    objects = ["documents.metadata", *(f"iif({row}.type = 'object', {row}.value, '{{}}')" for row in rows[:-1])]
    tables = (f"json_each({value}) as {row}" for value, row in zip(objects, rows, strict=True))
    return ", ".join(tables), "".join(f"{row}.key = ? and " for row in rows)


def _among(values: Sequence[_Value], row: str = "field") -> _Test:
    """Equal to one of the values, in JSON's types; they travel as one JSON parameter."""
    chosen = "select replace(type, 'real', 'integer'), value from json_each(?)"
    test = f"(replace({row}.type, 'real', 'integer'), {row}.value) in ({chosen})"
    return test, (json.dumps(list(values), ensure_ascii=False),)


def _not_among(values: Sequence[_Value]) -> _Test:
    test, parameters = _among(values)
    return f"field.type <> 'null' and not ({test})", parameters


def _ordered(symbol: str, values: Sequence[_Value]) -> _Test:
    (value,) = values
    if isinstance(value, bool):
        raise ValueError(f"{symbol} compares text or numbers, got {value!r}")
    types = "('text')" if isinstance(value, str) else "('integer', 'real')"
    return f"field.type in {types} and field.value {symbol} ?", (value,)


def _contains(values: Sequence[_Value]) -> _Test:
    """An element of a list, or a part of a text; by GLOB, because lower() and LIKE know only ASCII."""
    (value,) = values
    test, parameters = _among(values, "element")
    elements = "json_each(iif(field.type = 'array', field.value, '[]')) as element"
    listed = f"exists (select 1 from {elements} where {test})"
    if not isinstance(value, str):
        return listed, parameters
    if len(value) > MAX_NEEDLE:
        raise FilterError(f"contains takes at most {MAX_NEEDLE:,} characters, got {len(value):,}")
    pattern = "*" + "".join(map(_either_case, value)) + "*"
    return f"({listed} or field.type = 'text' and field.value glob ?)", (*parameters, pattern)


def _either_case(char: str) -> str:
    forms = sorted({form for form in (char, char.lower(), char.upper(), char.title()) if len(form) == 1})
    return f"[{''.join(forms)}]" if len(forms) > 1 or char in "*?[" else char


_OPERATORS: dict[str, Callable[[Sequence[_Value]], _Test]] = {
    **dict.fromkeys(("=", "==", "in"), _among),
    **dict.fromkeys(("!=", "<>", "not in"), _not_among),
    **{symbol: partial(_ordered, symbol) for symbol in ("<", "<=", ">", ">=")},
    "contains": _contains,
    "is not null": lambda _: ("field.type <> 'null'", ()),
}


def _checked(value: object) -> _Value:
    """Return a value that JSON and SQLite hold exactly; a ValueError says why it is none."""
    if not isinstance(value, str | int | float):
        raise ValueError(f"expected text, a number or a boolean, got {type(value).__name__}")
    if isinstance(value, str) and _UNSTORABLE.search(value):
        raise ValueError("text with a NUL character or a lone surrogate matches nothing")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("the integer does not fit into 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("the number is not finite")
    return value


def _keyword(keyword: str, value: object) -> _Node:
    name = keyword.split("__", 1)[0]
    operator = _SUFFIXES.get(keyword.removeprefix(name))
    if operator is None:
        known = ", ".join(suffix for suffix in _SUFFIXES if suffix)
        raise FilterError(f"unknown suffix in {keyword!r}: known are {known}; nested fields need an expression")
    if operator == "in" and not isinstance(value, list | tuple | set | frozenset):
        raise FilterError(f"{keyword}: expected a list of values, got {type(value).__name__}")
    try:
        values = value if operator == "in" else [value]
        return _compare((str(_checked(name)),), operator, [_checked(member) for member in cast("list[object]", values)])
    except ValueError as error:
        raise FilterError(f"{keyword}: {error}") from None


class _LiteralError(Exception):
    """A literal that parses but that no document can hold."""

    def __init__(self, token: Token, reason: str) -> None:
        self.token = token
        super().__init__(reason)


def _literal(children: list[Token]) -> _Value:
    (token,) = children
    try:
        return _checked(_LITERALS[token.type](token))
    except ValueError as error:
        raise _LiteralError(token, str(error)) from None


def _comparison(children: list[Any]) -> _Node:
    path, operator, *values = children
    return _compare(path, " ".join(operator.lower().split()), values)


def _number(text: str) -> int | float:
    if not text.lstrip("+-").isdecimal():
        return float(text)
    return int(text) if len(text) <= 20 else 2**63  # int() has a limit of its own; _checked refuses this


def _unquoted(text: str) -> str:
    return text[1:-1].replace(text[0] * 2, text[0])


_LITERALS: dict[str, Callable[[str], _Value]] = {
    "STRING": _unquoted,
    "QUOTED_NAME": _unquoted,
    "NAME": str,
    "NUMBER": _number,
    "BOOLEAN": lambda text: text.lower() == "true",
}


@cache
def _parser() -> Lark:
    """Build the parser, which compiles while it parses: lark calls one function per rule with the rule's children."""
    from lark import Lark

    actions = SimpleNamespace(
        either=partial(_join, "or"),
        both=partial(_join, "and"),
        negate=lambda children: _negate(*children),
        compare=_comparison,
        field=tuple,
        name=_literal,
        literal=_literal,
    )
    return Lark(
        _GRAMMAR, start="either", parser="lalr", lexer="basic", transformer=cast("Transformer[Any, Any]", actions)
    )


def _fail(expression: str, start: int, found: str, reason: str) -> NoReturn:
    """Raise the error with about 30 characters on either side of what was found, on one line."""
    end = start + len(found)
    before, after = expression[:start], expression[end:]
    marked = f"{'…' * (start > 30)}{before[-30:]}»{expression[start:end][:60]}«{after[:30]}{'…' * (len(after) > 30)}"
    line = "".join(char if char.isprintable() else " " for char in marked)
    raise FilterError(f"filter column {start + 1}: {reason}: {line}")
