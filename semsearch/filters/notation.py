"""How names, values and operators are spelled in the filter language, for those who read it and those who write it.

    year    author.name    `publication year`    'it''s'    2020.5    true

This module knows neither the tree nor the grammar: it goes from one name, value or operator to text and back.
"""

from __future__ import annotations

import json
import re

NAME = r"[^\W\d]([\w-]*\w)?"
"""A name that needs no quotes, unless it is a reserved word."""

QUOTED_NAME = r"`([^`]|``)+`"
"""Any other name; a backquote in it is doubled."""

SYNONYMS = {"==": "=", "<>": "!="}
"""Operators with a second spelling."""

_RESERVED = re.compile("and|or|not|in|contains|true|false", re.IGNORECASE)
_NAME = re.compile(NAME)
_PATH = re.compile(rf"(?:{NAME}|{QUOTED_NAME})(?:\.(?:{NAME}|{QUOTED_NAME}))*")
_STEP = re.compile(rf"{NAME}|{QUOTED_NAME}")


def write_path(path: tuple[str, ...]) -> str:
    """Write the names of a path with dots between them, odd ones in backquotes."""
    return ".".join(name if _is_plain(name) else "`" + name.replace("`", "``") + "`" for name in path)


def read_path(text: str) -> tuple[str, ...] | None:
    """Return the names of a path such as ``author.`pen name` ``; None where the text is not a path."""
    if not _PATH.fullmatch(text):
        return None
    steps = [step.group() for step in _STEP.finditer(text)]
    if any(_RESERVED.fullmatch(step) for step in steps):
        return None
    return tuple(unquote(step) if step.startswith("`") else step for step in steps)


def read_key(text: str) -> tuple[str, ...]:
    """Read the path that a foreign client means by a key: a path where it is one, else the one name."""
    return read_path(text) or (text,)


def write_key(path: tuple[str, ...]) -> str:
    """Write a path as a key for foreign clients, which `read_key` takes back; a name stands as it is if it can."""
    return path[0] if len(path) == 1 and read_key(path[0]) == path else write_path(path)


def write_value(value: str | int | float) -> str:
    """Write text in single quotes, numbers and booleans as JSON does."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else json.dumps(value)


def unquote(text: str) -> str:
    """Take off the quotes, of any kind, and halve those inside that are doubled."""
    return text[1:-1].replace(text[0] * 2, text[0])


def read_operator(text: str) -> str:
    """Return an operator in its one spelling: lower case, single spaces, no synonym; it need not be known."""
    operator = " ".join(text.lower().split())
    return SYNONYMS.get(operator, operator)


def _is_plain(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and not _RESERVED.fullmatch(name)
