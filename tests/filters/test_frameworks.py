"""Tests for what frameworks' filters need besides the tree: constants, and fields that no document has."""

from __future__ import annotations

import pytest
from filter_examples import DOCUMENTS, TITLES
from python_filters import matches

from semsearch.filters.frameworks import EVERYTHING, NOTHING, all_of, any_of, compare, missing, settle
from semsearch.filters.syntax import Filter, Not
from semsearch.filters.text import parse

YEAR = parse("year = 1")


def ask(filter: Filter) -> str:
    return "".join(doc_id for doc_id, data in DOCUMENTS.items() if matches(filter, doc_id, TITLES.get(doc_id), data))


@pytest.mark.parametrize(
    ("expression", "settled"),
    [
        ("year = 1", YEAR),
        ("year is null", parse("year is null")),
        ("x = 1", NOTHING),
        ("x.year = 1", NOTHING),
        ("x is not null", NOTHING),
        ("x is null", EVERYTHING),
        ("not x = 1", EVERYTHING),
        ("not x is null", NOTHING),
        ("not (x = 1 or year = 1)", Not(YEAR)),
        ("year = 1 and x = 1", NOTHING),
        ("year = 1 and x is null", YEAR),
        ("x is null and y is null", EVERYTHING),
        ("year = 1 or x is null", EVERYTHING),
        ("year = 1 or x = 1", YEAR),
        ("x = 1 or y = 1", NOTHING),
        ("doc_id = 'a' and title is null", parse("doc_id = 'a' and title is null")),
    ],
)
def test_fields_that_no_document_has_are_decided(expression, settled):
    assert settle(parse(expression), {"year"}) == settled


def test_the_constants_hold_everywhere_and_nowhere():
    assert (ask(EVERYTHING), ask(NOTHING)) == ("abcdefgh", "")
    assert (all_of([]), any_of([])) == (EVERYTHING, NOTHING)
    assert all_of([YEAR]) is any_of([YEAR]) is YEAR


def test_an_empty_title_is_a_missing_one():  # d has an empty title, h none
    assert ask(missing(("title",))) == "dh"
    assert ask(missing(("lang",))) == "deh"
    assert ask(compare(("title",), "contains", ("",))) == "abcefg"
    assert ask(compare(("title",), "<", ("B",))) == "a"
    assert ask(compare(("lang",), "=", ("",))) == "g"
