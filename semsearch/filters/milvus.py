"""Back end that compiles the syntax tree to a boolean expression of Milvus, and documents to the fields that it reads.

Milvus has no types that a filter language could rely on, and treats missing JSON keys in its own way. So the fields say
explicitly what is known of a document:

    facts     numbers, hashes of what is true of it: that a field has a value, is of a type, or contains an element
    values    a JSON object of the numbers and texts of its fields, and of the dates and times in them

A comparison of `values` is always guarded by the fact that there is such a value. So every expression is true or false
for each document, and `not` means the same as elsewhere. A condition means what `sqlite.py` makes of the same filter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from hashlib import blake2b
from itertools import islice, product
from typing import Any, TypeAlias

from semsearch.filters.notation import either_case
from semsearch.filters.syntax import And, Comparison, Filter, Not, Or, Value
from semsearch.moments import clock, utc

Path: TypeAlias = tuple[str, ...]

LARGEST = 1.7976931348623157e308

WILDCARDS = str.maketrans("%_\\", "\ufdd0\ufdd1\ufdd2")
"""Replaces what `like` treats specially by noncharacters of Unicode, since versions of Milvus escape it differently."""

SPELLINGS = 64
"""Maximum number of spellings that are tried of a text with letters whose forms differ from theirs, such as the Kelvin
sign."""

ANY, NUMBER, TEXT, LOCAL, EXACT = "any", "number", "text", "clock", "utc"
"""Facts about the type of a value: it is not null, it is a number or a text, or a moment of which this is known."""

FOLDED, PLAIN = "folded", "plain"
"""Further forms of a text, for `like`: with letters in one case, and with wildcards replaced, if it has any."""

EQUAL, HAS, LIST = "=", "has", "list"
"""Facts about a value: it is this scalar, it is a list with this element, or it is this list."""


def compile_filter(filter: Filter) -> str:
    """Compile a filter for Milvus; every text in it is escaped."""
    match filter:
        case Comparison():
            return _OPERATORS[filter.operator](filter.path, filter.values)
        case Not(operand):
            return f"(not {compile_filter(operand)})"
        case And(operands):
            return f"({' and '.join(map(compile_filter, operands))})"
        case Or(operands):
            return f"({' or '.join(map(compile_filter, operands))})"


def describe(doc_id: str, title: str | None, metadata: Mapping[str, Any]) -> tuple[list[int], dict[str, Any]]:
    """Return the fields `facts` and `values` of a document."""
    facts, values = set[int](), dict[str, Any]()
    for path, value in _leaves((), {**metadata, "doc_id": doc_id, "title": title}):
        facts |= {fact(path, kind, detail) for kind, detail in _known(value)}
        values |= {_key(path, kind): one for kind, one in _comparable(value)}
    return sorted(facts), values


def fact(path: Path, kind: str, detail: str = "") -> int:
    """Return the number of a fact, from 0 to 2⁶³ - 1."""
    spelled = json.dumps([path, kind, detail]).encode()
    return int.from_bytes(blake2b(spelled, digest_size=8).digest(), "big") >> 1


def folded(text: str) -> str:
    """Return a text with each letter in one of its forms, if these are the forms of each other."""
    return "".join(map(_fold, text))


@lru_cache(maxsize=4_096)
def _fold(char: str) -> str:
    return either_case(char)[0] if _is_mutual(char) else char


@lru_cache(maxsize=4_096)
def _is_mutual(char: str) -> bool:
    """Return whether each form of a letter has the same forms; k is a form of the Kelvin sign, but not vice versa."""
    forms = either_case(char)
    return all(either_case(form) == forms for form in forms)


def _leaves(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    """Yield the values that paths lead to, each with its path; those of a document are its fields."""
    if path:
        yield path, value
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves((*path, name), inner)


def _known(value: Any) -> Iterator[tuple[str, str]]:
    """Yield what is known of a value: kinds of facts, with their details."""
    if value is None:
        return
    yield ANY, ""
    if isinstance(value, list | tuple):
        yield LIST, _spelled_list(value)
        yield from ((HAS, _spelled(one)) for one in value if isinstance(one, str | int | float))
    elif isinstance(value, str | int | float):
        yield EQUAL, _spelled(value)
    yield from ((kind, "") for kind, _ in _comparable(value) if kind != FOLDED)


def _comparable(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the forms in which a value is compared."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield NUMBER, max(min(_number(value), LARGEST), -LARGEST)
    if isinstance(value, str):
        yield TEXT, value
        yield FOLDED, folded(value).translate(WILDCARDS)
        if (plain := value.translate(WILDCARDS)) != value:
            yield PLAIN, plain
        yield from ((kind, one) for kind, one in ((LOCAL, clock(value)), (EXACT, utc(value))) if one is not None)


def _number(value: int | float) -> int | float:
    """Return a number as JSON can store it: an integer of 64 bits, or a double; equal ones are the same."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    return value


def _spelled(value: Value) -> str:
    """Return a scalar as text that is equal for equal values of one JSON type."""
    return json.dumps(value if isinstance(value, str | bool) else _number(value))


def _spelled_list(values: Sequence[Any]) -> str:
    return json.dumps([_spelled(one) if isinstance(one, str | int | float) else None for one in values])


def _key(path: Path, kind: str) -> str:
    return f"{kind}{fact(path, kind):x}"


def literal(text: str) -> str:
    """Return a text as Milvus reads it in an expression."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(char, char) for char in text) + '"'


def _is(path: Path, kind: str, detail: str = "") -> str:
    return f"array_contains(facts, {fact(path, kind, detail)})"


def _guarded(path: Path, kind: str, test: str, form: str = "") -> str:
    return f'({_is(path, kind)} and values["{_key(path, form or kind)}"] {test})'


def _among(path: Path, values: Sequence[Value]) -> str:
    return f"array_contains_any(facts, [{', '.join(str(fact(path, EQUAL, _spelled(one))) for one in values)}])"


def _not_among(path: Path, values: Sequence[Value]) -> str:
    return f"({_is(path, ANY)} and not {_among(path, values)})"


def _ordered(symbol: str, path: Path, values: Sequence[Value]) -> str:
    (value,) = values
    if isinstance(value, str):
        return _guarded(path, TEXT, f"{symbol} {literal(value)}")
    if isinstance(value, bool):
        return _never(path)
    return _guarded(path, NUMBER, f"{symbol} {max(min(_number(value), LARGEST), -LARGEST)!r}")


def _never(path: Path) -> str:
    return f"({_is(path, ANY)} and not {_is(path, ANY)})"


def _contains(path: Path, values: Sequence[Value]) -> str:
    (value,) = values
    listed = _is(path, HAS, _spelled(value))
    return f"({listed} or {_like(path, value, '%', '%')})" if isinstance(value, str) else listed


def _like(path: Path, value: Value, before: str, after: str) -> str:
    """Test for a text that contains the value in any case, with these wildcards around it."""
    text = str(value)
    if all(_is_mutual(char) for char in text):
        return _guarded(path, TEXT, _pattern(folded(text), before, after), FOLDED)
    spellings = islice(product(*map(either_case, text)), SPELLINGS)
    return f"({' or '.join(_exactly(path, ''.join(one), before, after) for one in spellings)})"


def _exactly(path: Path, text: str, before: str, after: str) -> str:
    pattern = _pattern(text, before, after)
    is_plain = _guarded(path, TEXT, pattern)
    return f"({_guarded(path, PLAIN, pattern)} or (not {_is(path, PLAIN)} and {is_plain}))"


def _pattern(text: str, before: str, after: str) -> str:
    return f"like {literal(before + text.translate(WILDCARDS) + after)}"


def _moment(symbol: str, path: Path, values: Sequence[Value]) -> str:
    """Compare a moment in UTC if both sides name an offset, otherwise by local time."""
    shown, exact = clock(values[0]), utc(values[0])
    if shown is None:
        return _never(path)
    local = _guarded(path, LOCAL, f"{symbol} {literal(shown)}")
    if exact is None:
        return local
    return f"({_guarded(path, EXACT, f'{symbol} {literal(exact)}')} or (not {_is(path, EXACT)} and {local}))"


_OPERATORS: dict[str, Callable[[Path, Sequence[Value]], str]] = {
    **dict.fromkeys(("=", "in"), _among),
    **dict.fromkeys(("!=", "not in"), _not_among),
    **{symbol: partial(_ordered, symbol) for symbol in ("<", "<=", ">", ">=")},
    "contains": _contains,
    "starts with": lambda path, values: _like(path, values[0], "", "%"),
    "ends with": lambda path, values: _like(path, values[0], "%", ""),
    "contains exactly": lambda path, values: _exactly(path, str(values[0]), "%", "%"),
    "is list": lambda path, values: _is(path, LIST, _spelled_list(values)),
    **{name: partial(_moment, symbol) for name, symbol in (("is before", "<"), ("is after", ">"), ("is at", "=="))},
    "is null": lambda path, _: f"(not {_is(path, ANY)})",
    "is not null": lambda path, _: _is(path, ANY),
}
