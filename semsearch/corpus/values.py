"""JSON values from what programs hand over, and from what files hold as text.

Functions raise ValueError with the reason; their callers know the file and the line.
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
"""JSON's numbers, except for integers of 19 digits and more, which some readers of JSON round."""

_EXPECTED = "expected text, a number, True, False, None, a date, a UUID, a path, or a list, set or mapping of these"


def literal(text: str) -> str | int | float:
    """Return a number if the text is how that number is printed, else the text.

    So `7` and `0.5` are numbers, while `007`, `1.10`, `1e5` and `1234e56`, which may be codes or versions, stay text.
    """
    if NUMBER.fullmatch(text) is None:
        return text
    number = int(text) if text.lstrip("-").isdigit() else float(text)
    return number if str(number) == text else text


def as_json(value: object, name: str = "", within: tuple[int, ...] = ()) -> Any:
    """Return a value as JSON has it.

    Dates and times become text as in ISO 8601; UUIDs and paths, text; enumerations, their values; NumPy's numbers and
    arrays, numbers and lists; sets, sorted lists; decimals, a number if it is printed alike, else text.

    Args:
        value: Any Python value.
        name: Its field, for messages.
        within: What `id` gives for the lists and objects around it.

    Raises:
        ValueError: It is of another type, not finite, nested too deeply, holds itself, or is text with a NUL.
    """
    if type(value) is str and "\0" in value:
        raise ValueError(f"a NUL character in {shown(name) if name else 'the metadata'}; remove it")
    if value is None or type(value) in (str, bool, int):
        return value
    if isinstance(value, float):  # also numpy.float64, which is printed in its own way
        if isfinite(value):
            return float(value)
        raise ValueError(f'"{name}" is {float(value)}, which JSON lacks; use None or omit the field')
    if len(within) >= MAX_NESTING:
        raise ValueError(f"metadata is nested deeper than {MAX_NESTING} levels; flatten it")
    if id(value) in within:
        raise ValueError(f'"{name}" holds itself; leave out the reference')
    return _as_plain(value, name, (*within, id(value)))


def _as_plain(value: object, name: str, within: tuple[int, ...]) -> Any:
    """Convert what is not a plain JSON scalar already."""
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
"""What becomes of scalars that JSON lacks, or that are of a class derived from JSON's; the first fit counts."""


def _listed(value: Any) -> object:
    """Convert what NumPy made to Python's values; moments to text, since their lists may be counts of nanoseconds."""
    moments = getattr(getattr(value, "dtype", None), "kind", "") in ("M", "m")
    return value.astype(str).tolist() if moments else value.tolist()


def _as_object(value: Mapping[Any, object], within: tuple[int, ...]) -> dict[str, Any]:
    """Convert a mapping; its keys become text."""
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
    """Return a value for a message, in JSON if it is JSON, shortened to one line."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    return textwrap.shorten(text, 60, placeholder=" …")
