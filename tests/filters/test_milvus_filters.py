"""Tests for the Milvus back end, on milvus-lite: the answers by hand, and agreement with the SQLite back end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filter_examples import ANSWERS, FILTERS, METADATA, TITLES_OF_ANY_KIND
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_meaning import CASES, HAND_MADE, Corpus, ask_sqlite

from semsearch.filters.milvus import compile_filter, describe
from semsearch.filters.syntax import Filter
from semsearch.filters.text import parse

Ask = Callable[[Filter, Corpus], str]

pymilvus = pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Return a function like `ask_sqlite`."""
    client = pymilvus.MilvusClient(uri=str(Path(tmp_path_factory.mktemp("milvus")) / "filters.db"))
    kinds = pymilvus.DataType
    schema = client.create_schema(auto_id=False)
    schema.add_field("doc_id", kinds.VARCHAR, is_primary=True, max_length=9)
    schema.add_field("facts", kinds.ARRAY, element_type=kinds.INT64, max_capacity=4_096)
    schema.add_field("values", kinds.JSON)
    schema.add_field("nothing", kinds.FLOAT_VECTOR, dim=2)
    params = client.prepare_index_params()
    params.add_index("nothing", index_type="FLAT", metric_type="L2")
    client.create_collection("documents", schema=schema, index_params=params, consistency_level="Strong")

    def asked(filter: Filter, corpus: Corpus) -> str:
        client.delete("documents", filter='doc_id != ""')
        rows = []
        for doc_id, (title, metadata) in corpus.items():
            facts, values = describe(doc_id, title, metadata)
            rows.append({"doc_id": doc_id, "facts": facts, "values": values, "nothing": [0.0, 0.0]})
        client.insert("documents", rows)
        found = client.query("documents", filter=compile_filter(filter), output_fields=["doc_id"])
        negated = client.query("documents", filter=f"not {compile_filter(filter)}", output_fields=["doc_id"])
        yes, no = ({row["doc_id"] for row in rows} for rows in (found, negated))
        assert (yes | no, yes & no) == (set(corpus), set())  # true or false for every document
        return "".join(sorted(yes))

    yield asked
    client.close()


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


@pytest.mark.parametrize("text", ['a"b', "a\\b", "a\\", "%", "_", "a\nb", "a\tb", "a\rb", "{x}", "'", "𝄞 京都"])
def test_texts_with_signs_that_mean_something_to_milvus_mean_themselves(ask: Ask, text: str):
    corpus: Corpus = {"a": (f"x{text}y", {"n": text}), "b": ("xay", {"n": "a"}), "c": (None, {})}
    value = text.replace("'", "''")
    assert ask(parse(f"title contains '{value}'"), corpus) == "a"
    assert ask(parse(f"title contains exactly '{value}'"), corpus) == "a"
    assert ask(parse(f"n = '{value}'"), corpus) == "a"
    assert "a" in ask(parse(f"n <= '{value}'"), corpus)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filter=FILTERS, corpus=st.lists(st.tuples(TITLES_OF_ANY_KIND, METADATA), min_size=1, max_size=5))
def test_it_agrees_with_sqlite_on_random_filters_and_documents(ask: Ask, filter: Filter, corpus: list[Any]):
    documents = dict(zip("abcde", corpus, strict=False))
    assert ask(filter, documents) == ask_sqlite(filter, documents)
