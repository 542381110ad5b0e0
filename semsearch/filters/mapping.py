"""Front end that converts Python mappings to the syntax tree.

    {"year": {">=": 2020, "<": 2024}, "author.name": "Ada", "editor": None, "not": {"lang": {"in": ["de", "fr"]}}}

Entries are joined by `and`, as are several operators for one field. A plain value means `=`, and None means `is null`.
Keys are paths, as in expressions: a dot steps into an object, and backquotes enclose unusual names. `and` and `or` take
a list of mappings, and `not` takes one mapping; put a field of such a name in backquotes. The semantics of filters are
defined in `syntax.py`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from typing import cast

from semsearch.errors import FilterError
from semsearch.filters.notation import SYNONYMS, read_operator, read_path, write_path
from semsearch.filters.syntax import LISTING, OPERATORS, And, Comparison, Filter, Not, Or, Value, check_depth, join

EXAMPLE = "{'year': {'>=': 2020}, 'lang': 'en'}"

_ELSEWHERE = {"eq": "=", "ne": "!=", "neq": "!=", "gt": ">", "gte": ">=", "ge": ">=", "lt": "<", "lte": "<="}
_ELSEWHERE |= {"le": "<=", "nin": "not in", "=>": ">=", "=<": "<=", "like": "contains", "is": "is null"}
_ELSEWHERE |= {"startswith": "starts with", "endswith": "ends with", "prefix": "starts with"}
"""Names of operators in other filter languages, for hints in error messages."""

_Path = tuple[str, ...]


def from_mapping(conditions: Mapping[str, object]) -> Filter:
    """Read a mapping such as `{"year": {">=": 2020}, "lang": "en"}`.

    Raises:
        FilterError: If a key, an operator or a value is invalid; the message names the key.
    """
    return _every_entry(conditions, 0)


def _every_entry(mapping: Mapping[str, object], level: int) -> Filter:
    check_depth(level)
    if not mapping:
        raise FilterError(f"the filter is empty: write a condition such as {EXAMPLE}")
    return join(And, [part for key, value in mapping.items() for part in _entry(key, value, level)])


def _entry(key: object, value: object, level: int) -> list[Filter]:
    """Read an entry of a mapping: a connective, or the comparisons of a field."""
    if not isinstance(key, str):
        raise FilterError(f"a key of the filter is {key!r:.60}; expected the name of a field as a string")
    if connective := _CONNECTIVES.get(key.lower()):
        return [connective(key, value, level)]
    path = read_path(key)
    if path is None:
        hint = f"write {write_path((key,))!r:.60} for a field of that name" if key else "expected the name of a field"
        raise FilterError(f"the key {key!r:.60} is not a field name: {hint}")
    return list(_field(path, key, value))


def _several(kind: type[And] | type[Or], key: str, value: object, level: int) -> Filter:
    if not isinstance(value, list | tuple):
        raise FilterError(f"{key!r} takes a list of mappings, got {type(value).__name__}")
    if not value:
        raise FilterError(f"{key!r} takes a list of at least one mapping, got an empty one")
    return join(kind, [_operand(key, "joins mappings", part, level) for part in value])


def _operand(key: str, expects: str, value: object, level: int) -> Filter:
    if not isinstance(value, Mapping):
        raise FilterError(f"{key!r} {expects} such as {EXAMPLE}, got {value!r:.60}")
    return _every_entry(value, level + 1)


_CONNECTIVES: dict[str, Callable[[str, object, int], Filter]] = {
    "and": lambda key, value, level: _several(And, key, value, level),
    "or": lambda key, value, level: _several(Or, key, value, level),
    "not": lambda key, value, level: Not(_operand(key, "takes a mapping", value, level)),
}


def _field(path: _Path, key: str, value: object) -> list[Comparison]:
    """Compare a field with a plain value, with None, or by each operator of a mapping."""
    if value is None:
        return [Comparison(path, "is null")]
    if not isinstance(value, Mapping):
        if _is_list(value):
            raise FilterError(
                f"{key!r:.60} is compared with a {type(value).__name__}: write {{'in': [...]}} for one of several, "
                "or {'contains': ...} for a list that contains a value"
            )
        return [_compare(path, "=", value)]
    if not value:
        raise FilterError(f"{key!r:.60} is compared with an empty mapping; expected an operator such as {{'>=': 2020}}")
    return [_operation(path, key, word, operand) for word, operand in value.items()]


def _operation(path: _Path, key: str, word: object, operand: object) -> Comparison:
    operator = read_operator(word) if isinstance(word, str) else ""
    if operator not in OPERATORS:
        raise FilterError(_unknown_operator(path, key, word))
    return _READERS.get(operator, _compare)(path, operator, operand)


def _compare(path: _Path, operator: str, value: object) -> Comparison:
    if value is None:
        instead = {"is null": operator != "!="}
        raise FilterError(f"{write_path(path)!r:.60}: {operator} does not take None; write {instead}")
    return Comparison(path, operator, (cast("Value", value),))


def _among(path: _Path, operator: str, values: object) -> Comparison:
    if not _is_list(values):
        raise FilterError(f"{write_path(path)!r:.60}: {operator} takes a list of values, got {type(values).__name__}")
    return Comparison(path, operator, tuple(cast("Collection[Value]", values)))


def _nullness(path: _Path, operator: str, wanted: object) -> Comparison:
    if not isinstance(wanted, bool):
        raise FilterError(f"{write_path(path)!r:.60}: {operator} takes True or False, got {wanted!r:.60}")
    opposite = {"is null": "is not null", "is not null": "is null"}
    return Comparison(path, operator if wanted else opposite[operator])


_READERS: dict[str, Callable[[_Path, str, object], Comparison]] = {
    **dict.fromkeys(LISTING, _among),
    **dict.fromkeys(("is null", "is not null"), _nullness),
}
"""Functions that read the operand of an operator if it is not a single value."""


def _is_list(value: object) -> bool:
    return isinstance(value, Collection) and not isinstance(value, str | bytes | bytearray | Mapping)


def _unknown_operator(path: _Path, key: str, word: object) -> str:
    """Return a message with the known operators, the one probably meant, and how to name a field inside an object."""
    text = str(word).lower().removeprefix("$")
    meant = _ELSEWHERE.get(text) or next(iter(difflib.get_close_matches(text, [*OPERATORS, *SYNONYMS], n=1)), "")
    hint = f", did you mean {meant!r}?" if meant else ""
    if text and not meant:
        hint = f"; if it is a field inside an object, write {write_path((*path, str(word)))!r:.60} as the key"
    return f"{key!r:.60} has an unknown operator {word!r:.60}{hint} (known: {', '.join(OPERATORS)})"
