"""Tests for the PostgreSQL back end, on a real server: the answers by hand, and agreement with the SQLite back end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from filter_examples import ANSWERS, FILTERS, METADATA, TITLES_OF_ANY_KIND
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres_server import Server
from test_meaning import CASES, HAND_MADE, Corpus, ask_sqlite

from semsearch.filters.postgres import comparable, compile_filter, moments_in
from semsearch.filters.syntax import Filter
from semsearch.filters.text import parse

Ask = Callable[[Filter, Corpus], str]


@pytest.fixture(scope="module")
def ask(postgres: Server) -> Iterator[Ask]:
    """Return a function like `ask_sqlite`."""
    with postgres.connect() as connection:
        connection.execute(
            "CREATE TEMP TABLE documents (doc_id text, title text, fields jsonb, moments jsonb)",
        )

        def asked(filter: Filter, corpus: Corpus) -> str:
            connection.execute("TRUNCATE documents")
            for doc_id, (title, metadata) in corpus.items():
                moments = moments_in((doc_id, title or ""), metadata)
                row = (doc_id, title, json.dumps(comparable(metadata)), json.dumps(moments))
                connection.execute("INSERT INTO documents VALUES (%s, %s, %s, %s)", row)
            condition = compile_filter(filter)
            sql = f'SELECT doc_id, {condition.sql} FROM documents ORDER BY doc_id COLLATE "C"'
            verdicts = connection.execute(sql, condition.parameters or None).fetchall()
            assert {verdict for _, verdict in verdicts} <= {False, True}
            return "".join(doc_id for doc_id, verdict in verdicts if verdict)

        yield asked


@pytest.mark.parametrize(("expression", "expected"), ANSWERS)
def test_answers_by_hand(ask: Ask, expression: str, expected: str):
    assert ask(parse(expression), HAND_MADE) == expected


@pytest.mark.parametrize(("needle", "found", "not_found"), CASES)
def test_contains_ignores_case_letter_by_letter(ask: Ask, needle: str, found: str, not_found: str):
    for text, expected in [*((char, "a") for char in found), *((char, "") for char in not_found)]:
        assert ask(parse(f"title contains '{needle}'"), {"a": (f"<{text}>", {"x": "-"})}) == expected


def test_an_integer_of_more_than_64_bits_counts_as_the_nearest_double(ask: Ask):
    corpus: Corpus = {"a": (None, {"n": 2**64 + 1}), "b": (None, {"n": 10**400}), "c": (None, {"n": -(10**400)})}
    assert ask(parse("n = 18446744073709551616.0"), corpus) == "a"
    assert ask(parse("n > 1e308"), corpus) == "b"
    assert ask(parse("n < 0"), corpus) == "c"


def test_the_sql_holds_no_text_of_the_user():
    found: set[str] = set()
    for expression, _ in ANSWERS:
        condition = compile_filter(parse(expression))
        assert condition.sql.count("%s") == len(condition.parameters)
        found |= set(re.findall(r"\w+", condition.sql.lower()))
    ours = "select from as one value false coalesce not and or in case when then else end is documents fields moments "
    ours += "doc_id title s text jsonb jsonb_typeof jsonb_array_elements to_jsonb string number null array collate c "
    assert found <= set((ours + "strpos utc clock 0").split())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filter=FILTERS, corpus=st.lists(st.tuples(TITLES_OF_ANY_KIND, METADATA), min_size=1, max_size=5))
def test_it_agrees_with_sqlite_on_random_filters_and_documents(ask: Ask, filter: Filter, corpus: list[Any]):
    documents = dict(zip("abcde", corpus, strict=False))
    assert ask(filter, documents) == ask_sqlite(filter, documents)
