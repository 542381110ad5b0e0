"""Turning the validation errors that pydantic reports for a JSON object into a one-line message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from semsearch.corpus.values import shown


def first_problem(errors: Sequence[Mapping[str, Any]], given: object) -> str:
    """Describe the first invalid field: its path, its value, and what was expected.

    Args:
        errors: Output of `ValidationError.errors`; at least one error.
        given: The validated object, which resolves the paths in the errors.
    """
    places = [_place(error, given) for error in errors]
    first, place = errors[0], places[0]
    others = len(set(places)) - 1
    more = f" (and {others} more)" if others else ""
    if first["type"] == "missing":
        return f"`{place}` is missing{more}"
    if first["type"] == "extra_forbidden":
        return f"`{place}` is not recognized{more}"
    said = dict.fromkeys(error["msg"] for error, where in zip(errors, places, strict=True) if where == place)
    wishes = [message.partition(" should ")[2] for message in said]
    reason = f"it should {' or '.join(wishes)}" if all(wishes) else first["msg"]
    return f"`{place}` is {shown(first['input'])}; {reason}{more}"


def _place(error: Mapping[str, Any], given: object) -> str:
    """Return the path of a field, such as `documents.0.text`, without the union members that pydantic tried."""
    way: list[str] = []
    for part in error["loc"]:
        inside = (isinstance(given, Mapping) and part in given) or (isinstance(given, list) and isinstance(part, int))
        if not inside:
            break
        way.append(str(part))
        given = given[part]  # type: ignore[index]
    if error["type"] == "missing":
        way.append(str(error["loc"][-1]))
    return ".".join(way)[:60]
