"""The door to the front ends of Python: whatever a caller gives as `where` to a filter, or None."""

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
    """Read a filter in any of the ways it can be written in Python; None stays None.

    Raises:
        FilterError: It is none of those, or makes no possible filter.
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
