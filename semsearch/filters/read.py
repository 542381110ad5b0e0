"""Entry point for Python callers, which converts any accepted form of `where` to a filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from semsearch.errors import FilterError
from semsearch.filters.mapping import EXAMPLE, from_mapping
from semsearch.filters.syntax import And, Comparison, Filter, Not, Or
from semsearch.filters.text import parse

Where: TypeAlias = str | Mapping[str, object] | Filter
"""An expression, a mapping, or a syntax tree."""


def read_filter(where: Where | None) -> Filter | None:
    """Read a filter in any of the forms that are accepted in Python; None stays None.

    Args:
        where: An expression, a mapping, a syntax tree, or None for no filter.

    Raises:
        FilterError: If it is none of these, or is not a valid filter.
    """
    match where:
        case None | Comparison() | And() | Or() | Not():
            return where
        case str():
            return parse(where)
        case Mapping():
            return from_mapping(where)
    raise FilterError(
        f"`where` is {where!r:.60}; expected an expression such as \"year >= 2020 and lang = 'en'\", "
        f"a mapping such as {EXAMPLE}, or None"
    )
