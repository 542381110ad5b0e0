"""Tests for reading the `where` argument: expressions, mappings, filters and None, and errors for anything else."""

from __future__ import annotations

import pytest

from semsearch.errors import FilterError
from semsearch.filters.read import read_filter
from semsearch.filters.syntax import And, Comparison, Not, Or

YEAR = Comparison(("year",), ">=", (2020,))
LANG = Comparison(("lang",), "=", ("en",))


@pytest.mark.parametrize("where", ["year >= 2020 and lang = 'en'", {"year": {">=": 2020}, "lang": "en"}])
def test_an_expression_and_a_mapping_read_as_the_same_filter(where):
    assert read_filter(where) == And((YEAR, LANG))


@pytest.mark.parametrize("where", [None, YEAR, Not(YEAR), And((YEAR, LANG)), Or((YEAR, LANG))])
def test_nothing_and_a_filter_stay_what_they_are(where):
    assert read_filter(where) is where


@pytest.mark.parametrize("where", [5, 1.5, True, b"year = 1", ["year = 1"], ("year", "=", 1), object(), And])
def test_anything_else_is_refused_with_what_is_expected(where):
    with pytest.raises(FilterError) as caught:
        read_filter(where)
    assert f"`where` is {where!r:.60}; expected an expression such as" in str(caught.value)


@pytest.mark.parametrize("where", ["", " ", {}])
def test_a_filter_without_a_condition_is_refused_not_taken_for_none(where):
    with pytest.raises(FilterError, match="the filter is empty: write a condition such as"):
        read_filter(where)
