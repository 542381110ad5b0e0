"""Tests for the semantics of filters: answers by hand for every back end, and random filters on which all agree."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from filter_examples import ANSWERS, DOCUMENTS, FILTERS, METADATA, TITLES, TITLES_OF_ANY_KIND
from hypothesis import given, settings
from hypothesis import strategies as st
from python_filters import HOLDS, matches

from semsearch.filters.sqlite import compile_filter
from semsearch.filters.syntax import OPERATORS, Filter, comparisons_of
from semsearch.filters.text import parse
from semsearch.moments import FUNCTIONS

Corpus = dict[str, tuple[str | None, dict[str, Any]]]
"""Title and metadata of each document by its id."""

HAND_MADE: Corpus = {doc_id: (TITLES.get(doc_id), metadata) for doc_id, metadata in DOCUMENTS.items()}


def ask_sqlite(filter: Filter, corpus: Corpus) -> str:
    """Return the ids that match a filter, after checking that it gives 0 or 1 for every document."""
    condition = compile_filter(filter)
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        for name, function in FUNCTIONS.items():
            connection.create_function(name, 1, function, deterministic=True)
        connection.execute("create table documents (doc_id text, title text, metadata text)")
        rows = [(doc_id, title, json.dumps(metadata)) for doc_id, (title, metadata) in corpus.items()]
        connection.executemany("insert into documents values (?, ?, ?)", rows)
        sql = f"select doc_id, {condition.sql} from documents order by doc_id"
        verdicts = connection.execute(sql, condition.parameters).fetchall()
    assert {verdict for _, verdict in verdicts} <= {0, 1}
    return "".join(doc_id for doc_id, verdict in verdicts if verdict)


def ask_python(filter: Filter, corpus: Corpus) -> str:
    return "".join(doc_id for doc_id, (title, data) in sorted(corpus.items()) if matches(filter, doc_id, title, data))


BACK_ENDS: dict[str, Callable[[Filter, Corpus], str]] = {"python": ask_python, "sqlite": ask_sqlite}
"""Functions by back end that return the sorted one-letter ids of the documents that match a filter."""

EACH_BACK_END = pytest.mark.parametrize("back_end", BACK_ENDS)


@EACH_BACK_END
@pytest.mark.parametrize(("expression", "expected"), ANSWERS)
def test_answers_by_hand(back_end, expression, expected):
    assert BACK_ENDS[back_end](parse(expression), HAND_MADE) == expected


def test_the_answers_by_hand_use_every_operator():
    used = {comparison.operator for expression, _ in ANSWERS for comparison in comparisons_of(parse(expression))}
    assert used == set(OPERATORS)
    assert set(HOLDS) == set(OPERATORS)


CASES = [  # a character of the value matches its own lower, upper and title case, if that is a single character
    ("\u212a", "k\u212a", "K"),  # the kelvin sign, whose lower case is k
    ("k", "kK", "\u212a"),
    ("ß", "ß", "SsẞS"),
    ("ẞ", "ẞß", "Ss"),
    ("ς", "ςΣ", "σ"),
    ("Σ", "Σσ", "ς"),
    ("ǆ", "ǆǅǄ", "dž"),
    ("İ", "İ", "iIı"),
    ("ı", "ıI", "iİ"),
    ("ſ", "ſS", "s"),
]


@EACH_BACK_END
@pytest.mark.parametrize(("needle", "found", "not_found"), CASES)
def test_contains_ignores_case_letter_by_letter(back_end, needle, found, not_found):
    corpus: Corpus = {"a": (None, {"x": "-"})}
    for text, expected in [*((char, "a") for char in found), *((char, "") for char in not_found)]:
        corpus["a"] = (f"<{text}>", {})
        assert BACK_ENDS[back_end](parse(f"title contains '{needle}'"), corpus) == expected


@EACH_BACK_END
def test_an_integer_of_more_than_64_bits_counts_as_the_nearest_double(back_end):
    corpus: Corpus = {"a": (None, {"n": 2**64 + 1}), "b": (None, {"n": 10**400}), "c": (None, {"n": -(10**400)})}
    assert BACK_ENDS[back_end](parse("n = 18446744073709551616.0"), corpus) == "a"
    assert BACK_ENDS[back_end](parse("n > 1e308"), corpus) == "b"
    assert BACK_ENDS[back_end](parse("n < 0"), corpus) == "c"


@EACH_BACK_END
def test_a_path_of_several_names_never_means_the_columns(back_end):
    corpus: Corpus = {"a": ("T", {"title": {"x": 1}, "doc_id": {"x": 1}}), "b": ("T", {"title": "x"})}
    for expression in ("title.x = 1", "doc_id.x = 1"):
        assert BACK_ENDS[back_end](parse(expression), corpus) == "a"


@settings(max_examples=200, deadline=None)
@given(FILTERS, st.lists(st.tuples(TITLES_OF_ANY_KIND, METADATA), min_size=1, max_size=5))
def test_all_back_ends_agree_on_random_filters_and_documents(filter, corpus):
    documents = dict(zip("abcde", corpus, strict=False))
    expected = ask_python(filter, documents)
    assert {name: ask(filter, documents) for name, ask in BACK_ENDS.items()} == dict.fromkeys(BACK_ENDS, expected)
