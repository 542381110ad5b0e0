"""Filters as users give them."""

from __future__ import annotations

from collections.abc import Mapping

from semsearch.errors import FilterError
from semsearch.filters.text import Filter, parse


def read_filter(where: str | Mapping[str, object] | Filter | None) -> Filter | None:
    """A filter from an expression; None stays None.

    Raises:
        FilterError: It does not parse, or is no filter.
    """
    if where is None or isinstance(where, Filter):
        return where
    if not isinstance(where, str):
        raise FilterError(f"`where` is {where!r:.60}; expected an expression such as year >= 2020")
    return parse(where)
