"""Haystack's own test suite on our document store, pipelines with our retriever, and its filters against ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from haystack import Document, Pipeline
from haystack.components.writers import DocumentWriter
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy, FilterPolicy
from haystack.errors import FilterError
from haystack.testing.document_store import CountDocumentsByFilterTest, DocumentStoreBaseExtendedTests
from haystack.tools import create_tool_from_function
from haystack.utils.filters import document_matches_filter
from hypothesis import given, settings
from hypothesis import strategies as st

from semsearch import Index, WordHashEncoder
from semsearch.filters.haystack import from_haystack
from semsearch.integrations.haystack import SemsearchDocumentStore, SemsearchRetriever
from semsearch.integrations.records import to_document


@pytest.fixture
def document_store(tmp_path: Path) -> Iterator[SemsearchDocumentStore]:
    with Index.open(tmp_path / "i", create=True, encoder=WordHashEncoder(64)) as index:
        yield SemsearchDocumentStore.of(index)


class TestDocumentStore(DocumentStoreBaseExtendedTests, CountDocumentsByFilterTest):
    @pytest.fixture
    def document_store(self, tmp_path: Path) -> Iterator[SemsearchDocumentStore]:
        with Index.open(tmp_path / "i", create=True, encoder=WordHashEncoder(64)) as index:
            yield SemsearchDocumentStore.of(index)

    @staticmethod
    def assert_documents_are_equal(received: list[Document], expected: list[Document]) -> None:
        """Compare documents without embeddings, which the store does not keep, as the index computes its own.

        Haystack's suite asks stores to override this method for such differences.
        """
        assert received == [replace(one, embedding=None) for one in expected]

    def test_write_documents(self, document_store: Any) -> None:
        """Check the default policy, which Haystack leaves to the store: duplicates fail, and nothing is written."""
        one, two = Document(content="one"), Document(content="two")
        assert document_store.write_documents([one]) == 1
        with pytest.raises(DuplicateDocumentError):
            document_store.write_documents([two, one])
        self.assert_documents_are_equal(document_store.filter_documents(), [one])


def test_what_is_written_comes_back(document_store: SemsearchDocumentStore):
    meta = {"title": "T", "doc_id": "x", "tags": ["a", None], "deep": {"at": datetime(2026, 11, 29, tzinfo=UTC)}}
    document_store.write_documents([Document(id="1", content="a gull", meta=meta)])
    (found,) = document_store.filter_documents({"field": "meta.deep.at", "operator": ">", "value": "2026-11-28"})
    assert found == Document(id="1", content="a gull", meta={**meta, "deep": {"at": "2026-11-29T00:00:00+00:00"}})
    assert document_store.count_documents_by_filter({"field": "meta.doc_id", "operator": "==", "value": "x"}) == 1
    with pytest.raises(ValueError, match="'2' has no content; expected text"):
        document_store.write_documents([Document(id="2", meta={"a": 1})])
    twice = [Document(id="3", content="old"), Document(id="3", content="new")]
    assert document_store.write_documents(twice, DuplicatePolicy.OVERWRITE) == 2
    assert document_store.filter_documents({"field": "id", "operator": "==", "value": "3"}) == twice[1:]


def test_a_pipeline_writes_retrieves_and_can_be_saved(tmp_path: Path):
    store = SemsearchDocumentStore(str(tmp_path / "i"), model="hash:512")
    writing = Pipeline()
    writing.add_component("writer", DocumentWriter(store))
    documents = [
        Document(id="1", content="The heron waits in the reeds.", meta={"year": 2021}),
        Document(id="2", content="A gull cries over the harbor.", meta={"year": 2019}),
        Document(id="3", content="The gull steals bread.", meta={}),
    ]
    assert writing.run({"writer": {"documents": documents}})["writer"]["documents_written"] == 3
    pipeline = Pipeline()
    recent = {"field": "meta.year", "operator": "!=", "value": 2019}
    retriever = SemsearchRetriever(store, filters=recent, top_k=2, mode="dense", filter_policy=FilterPolicy.MERGE)
    pipeline.add_component("retriever", retriever)
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=["semsearch.integrations.haystack"])
    for one in (pipeline, again):
        found = one.run({"retriever": {"query": "the gull"}})["retriever"]["documents"]
        assert [document.id for document in found] == ["3", "1"]
        assert found[0].content == "The gull steals bread."
        assert found[0].score > found[1].score > 0
        assert 0 <= found[1].meta["confidence"] <= found[0].meta["confidence"] <= 1
        more = {"query": "gull", "filters": {"field": "id", "operator": "!=", "value": "3"}, "top_k": 9}
        assert [document.id for document in one.run({"retriever": more})["retriever"]["documents"]] == ["1"]
    with pytest.raises(FilterError, match="ISO 8601"):
        SemsearchRetriever(store).run("gull", {"field": "meta.year", "operator": ">", "value": "soon"})
    deep: dict[str, Any] = recent
    for n in range(30):  # valid, but too deep for SQLite
        deep = {"operator": "OR" if n % 2 else "AND", "conditions": [deep, *[recent] * 8]}
    with pytest.raises(FilterError, match="nested too deeply for SQLite"):
        store.filter_documents(deep)
    assert SemsearchRetriever(store, min_confidence=0.5).run("qqzzyy blorp") == {"documents": []}


def test_passages_of_long_documents(tmp_path: Path):
    text = "heron and gull and crane and tern " * 20
    with Index.open(tmp_path / "i", create=True, encoder=WordHashEncoder(64, max_tokens=16)) as index:
        index.add([{"_id": "a", "text": text, "title": "Birds"}])
        found = SemsearchRetriever(SemsearchDocumentStore.of(index), top_k=2, unit="passage").run("crane")["documents"]
    for one in found:
        assert one.content == text[one.meta["start"] : one.meta["end"]]
        assert one.id == f"a#chars={one.meta['start']}-{one.meta['end']}"
        assert (one.meta["doc_id"], one.meta["title"]) == ("a", "Birds")


def test_the_tool_of_an_index_is_one_for_haystack(document_store: SemsearchDocumentStore):
    document_store.write_documents([Document(id="1", content="a gull")])
    tool = create_tool_from_function(document_store.index.as_tool("search_birds", min_confidence=None))
    assert tool.name == "search_birds"
    assert tool.parameters["required"] == ["query"]
    assert [found["id"] for found in tool.invoke(query="gull")] == ["1"]


# --- their filters against ours

DATES = [
    "2020-02-01",
    "2020-02-01T00:00Z",
    "2020-01-31T23:59:59",
    "2020-02-01 01:00:00.5+01:00",
    "2020-01-31T23:00-01:30",
]
MOMENTS = st.sampled_from(DATES)
SCALARS = st.integers(2, 5) | st.sampled_from([2.5, "a", "A", ""]) | MOMENTS
VALUES = SCALARS | st.none() | st.lists(SCALARS, max_size=2)
KINDS = {  # one type per field, because Haystack cannot compare different types
    "n": (st.integers(2, 5) | st.floats(2, 5), st.integers(2, 5)),
    "at": (MOMENTS, MOMENTS),
    "any": (VALUES, VALUES),
    "title": (st.sampled_from(["a", "A"]), VALUES),
}


def conditions(name: str) -> st.SearchStrategy[dict[str, Any]]:
    _, asked = KINDS[name]
    field = st.sampled_from([f"meta.{name}", name, f"meta.deep.{name}", f"deep.{name}"])
    simple = st.builds(dict, field=field, operator=st.sampled_from(["==", "!="]), value=asked | st.none())
    several = st.builds(
        dict, field=field, operator=st.sampled_from(["in", "not in"]), value=st.lists(asked, max_size=3)
    )
    order = st.sampled_from([">", ">=", "<", "<="])
    ordered = st.builds(dict, field=field, operator=order, value=asked | st.none())
    return simple | several | ordered if name in ("n", "at") else simple | several


FILTERS = st.recursive(
    st.sampled_from(list(KINDS)).flatmap(conditions),
    lambda inner: st.builds(
        dict, operator=st.sampled_from(["AND", "OR", "NOT"]), conditions=st.lists(inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = {name: stored for name, (stored, _) in KINDS.items()}
META = st.fixed_dictionaries({}, optional={**FIELDS, "deep": st.fixed_dictionaries({}, optional=FIELDS)})


@settings(max_examples=500, deadline=None)
@given(FILTERS, META)
def test_a_filter_holds_where_haystack_says_so(filters: dict[str, Any], meta: dict[str, Any]):
    from python_filters import matches

    stored = to_document("1", "text", meta)
    ours = matches(from_haystack(filters), stored.doc_id, stored.title, stored.metadata)
    assert ours == document_matches_filter(filters, Document(id="1", content="text", meta=meta))
