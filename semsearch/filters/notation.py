"""Spelling of names, values and operators in the filter language, for parsing and for printing.

    year    author.name    `publication year`    'it''s'    2020.5    true

This module knows neither the tree nor the grammar: it converts single names, values and operators to text and back.
"""

from __future__ import annotations

import json
import re

NAME = r"[^\W\d]([\w-]*\w)?"
"""A name that needs no quotes, unless it is a reserved word."""

QUOTED_NAME = r"`([^`]|``)+`"
"""Any other name; a backquote inside it is doubled."""

SYNONYMS = {"==": "=", "<>": "!="}
"""Alternative spellings of operators, and the canonical ones."""

_RESERVED = re.compile("and|or|not|in|contains|true|false", re.IGNORECASE)
_NAME = re.compile(NAME)
_PATH = re.compile(rf"(?:{NAME}|{QUOTED_NAME})(?:\.(?:{NAME}|{QUOTED_NAME}))*")
_STEP = re.compile(rf"{NAME}|{QUOTED_NAME}")


def either_case(char: str) -> str:
    """Return the forms of a character in any case; itself alone if it has no others of one character."""
    return "".join(sorted({form for form in (char, char.lower(), char.upper(), char.title()) if len(form) == 1}))


def write_path(path: tuple[str, ...]) -> str:
    """Write the names of a path separated by dots, with backquotes around names that need them."""
    return ".".join(name if _is_plain(name) else "`" + name.replace("`", "``") + "`" for name in path)


def read_path(text: str) -> tuple[str, ...] | None:
    """Return the names of a path such as ``author.`pen name` ``; None if the text is not a path."""
    if not _PATH.fullmatch(text):
        return None
    steps = [step.group() for step in _STEP.finditer(text)]
    if any(_RESERVED.fullmatch(step) for step in steps):
        return None
    return tuple(unquote(step) if step.startswith("`") else step for step in steps)


def read_key(text: str) -> tuple[str, ...]:
    """Read a key from another system's filter: as a path if it parses as one, otherwise as a single name."""
    return read_path(text) or (text,)


def write_key(path: tuple[str, ...]) -> str:
    """Write a path as a key that `read_key` parses back; a single name is left as it is if possible."""
    return path[0] if len(path) == 1 and read_key(path[0]) == path else write_path(path)


def write_value(value: str | int | float) -> str:
    """Write text in single quotes, and numbers and booleans as in JSON."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else json.dumps(value)


def unquote(text: str) -> str:
    """Remove the surrounding quotes, of any kind, and undo the doubling of quotes inside."""
    return text[1:-1].replace(text[0] * 2, text[0])


def read_operator(text: str) -> str:
    """Return an operator in canonical spelling: lower case, single spaces, no synonym; it may be unknown."""
    operator = " ".join(text.lower().split())
    return SYNONYMS.get(operator, operator)


def _is_plain(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and not _RESERVED.fullmatch(name)
