"""Converting Python objects, and text from files, to JSON values.

Functions raise ValueError with the reason; their callers add the file and the line.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import date, time
from decimal import Decimal
from enum import Enum
from math import isfinite, nan
from pathlib import PurePath
from typing import Any
from uuid import UUID

MAX_NESTING = 100
"""Maximum depth of lists and objects in metadata; far below the depth at which serializing exhausts Python's stack."""

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(\.[0-9]+)?(?:e[+-]?[0-9]{1,3})?")
"""JSON numbers, except integers of 19 or more digits, which some JSON parsers round."""

_EXPECTED = "expected text, a number, True, False, None, a date, a UUID, a path, or a list, set or mapping of these"


def literal(text: str) -> str | int | float:
    """Return a number if the text is exactly how that number prints, otherwise the text.

    `7` and `0.5` become numbers, while `007`, `1.10`, `1e5` and `1234e56`, which may be codes or versions, remain text.
    """
    if NUMBER.fullmatch(text) is None:
        return text
    number = int(text) if text.lstrip("-").isdigit() else float(text)
    return number if str(number) == text else text


def as_json(value: object, name: str = "", within: tuple[int, ...] = ()) -> Any:
    """Convert a value to JSON types.

    Dates and times become text in ISO 8601 format; UUIDs and paths, text; enumeration members, their values; NumPy
    numbers and arrays, numbers and lists; sets, sorted lists; decimals, numbers if they print the same, otherwise text.

    Args:
        value: Any Python value.
        name: Name of its field, for messages.
        within: The `id` of each list and object that contains the value.

    Raises:
        ValueError: If the value has another type, is not finite, is nested too deeply, contains itself, or is text
            with a NUL character.
    """
    if type(value) is str and "\0" in value:
        raise ValueError(f"a NUL character in {shown(name) if name else 'the metadata'}; remove it")
    if value is None or type(value) in (str, bool, int):
        return value
    if isinstance(value, float):  # also numpy.float64, whose repr differs
        if isfinite(value):
            return float(value)
        raise ValueError(f'"{name}" is {float(value)}, which JSON cannot represent; use None or omit the field')
    if len(within) >= MAX_NESTING:
        raise ValueError(f"metadata is nested deeper than {MAX_NESTING} levels; flatten it")
    if id(value) in within:
        raise ValueError(f'"{name}" contains itself; remove the reference')
    return _as_plain(value, name, (*within, id(value)))


def _as_plain(value: object, name: str, within: tuple[int, ...]) -> Any:
    """Convert a value that is not already a plain JSON scalar."""
    if isinstance(value, Mapping):
        return _as_object(value, within)
    for kind, convert in _SCALARS.items():
        if isinstance(value, kind):
            return as_json(convert(value), name, within)
    if isinstance(value, Set):
        return sorted((as_json(each, name, within) for each in value), key=json.dumps)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [as_json(each, name, within) for each in value]
    if hasattr(value, "tolist"):
        return as_json(_listed(value), name, within)
    raise ValueError(f'"{name}" is {shown(value)} ({type(value).__name__}); {_EXPECTED}')


_SCALARS: dict[type, Callable[[Any], object]] = {
    Enum: lambda value: value.value,
    str: str,
    int: int,
    date: lambda value: value.isoformat() if value == value else nan,  # pandas' NaT is a date that differs from itself
    time: lambda value: value.isoformat(),
    UUID: str,
    PurePath: str,
    Decimal: lambda value: literal(str(value)) if value.is_finite() else nan,
}
"""Conversions of scalars that JSON lacks, or whose class derives from a JSON type; the first match applies."""


def _listed(value: Any) -> object:
    """Convert a NumPy value to Python; times become text, since their lists may be counts of nanoseconds."""
    moments = getattr(getattr(value, "dtype", None), "kind", "") in ("M", "m")
    return value.astype(str).tolist() if moments else value.tolist()


def _as_object(value: Mapping[Any, object], within: tuple[int, ...]) -> dict[str, Any]:
    """Convert a mapping, whose keys become text."""
    found: dict[str, Any] = {}
    for key, inner in value.items():
        plain = as_json(key, "the name of a field", within)
        if isinstance(plain, list | dict):
            raise ValueError(f"the name of a field is {shown(key)}; expected text")
        written = plain if isinstance(plain, str) else json.dumps(plain)
        if written in found:
            raise ValueError(f'two fields are named "{written}", one of them as {type(key).__name__}; rename one')
        found[written] = as_json(inner, written, within)
    return found


def shown(value: object) -> str:
    """Return a value for a message, as JSON if possible, shortened to one line."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    return textwrap.shorten(text, 60, placeholder=" …")
