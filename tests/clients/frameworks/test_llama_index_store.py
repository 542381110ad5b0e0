"""LlamaIndex's components on our retriever and vector store, and its filters against ours.

LlamaIndex has no test suite of its own for stores.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core import Document, MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import IndexNode, NodeRelationship, TextNode
from llama_index.core.tools import FunctionTool
from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from semsearch import Index, WordHashEncoder
from semsearch.errors import FilterError, MismatchError, UsageError
from semsearch.filters.llamaindex import from_llamaindex
from semsearch.integrations.llama_index import SemsearchRetriever, SemsearchVectorStore
from semsearch.integrations.records import to_document


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path / "birds", create=True, encoder=WordHashEncoder(512)) as opened:
        yield opened


@pytest.fixture
def store(index: Index) -> SemsearchVectorStore:
    return SemsearchVectorStore(index)


NODES = [
    TextNode(
        id_="1", text="The heron waits in the reeds.", metadata={"year": 2021, "tags": ["wader"], "title": "Heron"}
    ),
    TextNode(id_="2", text="A gull cries over the harbor.", metadata={"year": 2019, "doc_id": "mine"}),
    TextNode(id_="3", text="The gull steals bread.", metadata={"tags": []}),
]


def only(key: str, value: Any, operator: str = "==") -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value, operator=FilterOperator(operator))])


def ids(store: SemsearchVectorStore, text: str = "the gull", k: int = 9, **wishes: Any) -> list[str]:
    found = store.query(VectorStoreQuery(query_str=text, similarity_top_k=k, **wishes))
    assert [node.node_id for node in found.nodes or []] == found.ids
    assert found.similarities == sorted(found.similarities or [], reverse=True)
    return list(found.ids or [])


def test_nodes_come_back_as_they_were(store: SemsearchVectorStore):
    assert store.add(NODES) == ["1", "2", "3"]
    assert store.get_nodes(["3", "1"]) == [NODES[0], NODES[2]]
    linked = IndexNode(id_="4", text="a list of birds", index_id="birds")
    store.add([linked])
    (found,) = store.get_nodes(["4"])
    assert isinstance(found, IndexNode)
    assert (found.index_id, found.text) == ("birds", "a list of birds")
    store.add([TextNode(id_="3", text="The gull sleeps.")])
    assert [node.get_content() for node in store.get_nodes(["3"])] == ["The gull sleeps."]


def test_queries_filters_and_modes(store: SemsearchVectorStore):
    assert ids(store) == []
    store.add(NODES)
    assert ids(store, k=1) == ["3"]
    assert ids(store, filters=only("year", 2019, "!=")) == ["3", "1"]
    assert ids(store, filters=only("tags", None, "is_empty")) == ["3", "2"]
    assert ids(store, filters=only("title", "ero", "text_match")) == ["1"]
    assert ids(store, filters=only("no field", 1)) == []
    assert ids(store, filters=only("no field", 1, "!=")) == ["3", "2", "1"]
    assert ids(store, node_ids=["1", "2"]) == ["2", "1"]
    assert ids(store, "gull", mode=VectorStoreQueryMode.TEXT_SEARCH) == ["3", "2"]
    assert ids(store, "gull", mode=VectorStoreQueryMode.HYBRID, hybrid_top_k=1) == ["3"]
    for wrong, message in (
        ({"mode": VectorStoreQueryMode.MMR}, "query mode 'mmr'; expected one of default, hybrid"),
        ({"alpha": 0.5}, "`alpha` is not supported"),
        ({"text": ""}, "the query has no text"),
    ):
        with pytest.raises(UsageError, match=message):
            ids(store, **wrong)
    with pytest.raises(FilterError, match="in takes a list of values"):
        ids(store, filters=only("year", "2019", "in"))


def test_nodes_are_deleted_by_source_id_and_filter(store: SemsearchVectorStore):
    parent = Document(id_="file", text="A tern dives. " * 3 + "\n\n" + "An owl sleeps. " * 3)
    store.add([*NODES, *SentenceSplitter(chunk_size=16, chunk_overlap=0)([parent])])
    assert len(store.get_nodes(filters=only("ref_doc_id", "file"))) > 1
    assert set(ids(store, "tern", doc_ids=["file"])) == {
        n.node_id for n in store.get_nodes(filters=only("doc_id", "file"))
    }
    store.delete("file")
    store.delete("no such file")
    assert [node.node_id for node in store.get_nodes()] == ["1", "2", "3"]
    store.delete_nodes()
    store.delete_nodes([])
    store.delete_nodes(["1", "?"])
    store.delete_nodes(["2", "3"], only("year", 2019))
    assert [node.node_id for node in store.get_nodes()] == ["3"]
    store.clear()
    store.clear()
    assert store.get_nodes() == []


def test_an_index_of_llama_index_over_the_store_answers_with_its_mock_model(store: SemsearchVectorStore):
    nothing = MockEmbedding(embed_dim=1)
    documents = [Document(id_=f"d{node.node_id}", text=node.text, metadata={"n": node.node_id}) for node in NODES]
    context = StorageContext.from_defaults(vector_store=store)
    built = VectorStoreIndex.from_documents(documents, storage_context=context, embed_model=nothing)
    built.insert(Document(id_="d4", text="The owl sleeps.", metadata={"n": "4"}))
    again = VectorStoreIndex.from_vector_store(store, embed_model=nothing)
    for one in (built, again):
        engine = one.as_query_engine(llm=MockLLM(), similarity_top_k=2, filters=only("n", "2", "!="))
        answer = engine.query("the gull")
        assert "The gull steals bread." in str(answer)  # the mock repeats its prompt
        assert [found.node.metadata["n"] for found in answer.source_nodes] == ["3", "1"]
        assert answer.source_nodes[0].node.ref_doc_id == "d3"
    again.delete_ref_doc("d3")
    assert [found.node.metadata["n"] for found in again.as_retriever(similarity_top_k=1).retrieve("the gull")] == ["2"]


def test_an_ingestion_pipeline_writes_into_the_store(store: SemsearchVectorStore):
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(chunk_size=16, chunk_overlap=0), MockEmbedding(embed_dim=1)],
        vector_store=store,
    )
    pipeline.run(documents=[Document(id_="file", text="A tern dives. " * 9)])
    assert {node.ref_doc_id for node in store.get_nodes()} == {"file"}


async def test_a_retriever_over_any_index_feeds_an_engine(index: Index):
    text = "heron and gull and crane and tern. " * 80
    index.add(
        [{"_id": "a", "text": text, "title": "Birds", "year": 2020}, {"_id": "b", "text": "Bread needs an hour."}]
    )
    retriever = SemsearchRetriever(index, 2, filters=only("year", 2019, ">"), mode="dense")
    found = retriever.retrieve("crane")
    assert len(found) == 2
    for one in found:
        node = one.node
        assert isinstance(node, TextNode)
        assert node.text == text[node.start_char_idx : node.end_char_idx]
        assert node.node_id == f"a#chars={node.start_char_idx}-{node.end_char_idx}"
        assert node.relationships[NodeRelationship.SOURCE].node_id == "a"  # type: ignore[union-attr]
        assert (node.metadata["title"], node.metadata["year"]) == ("Birds", 2020)
    assert [one.node.node_id for one in await retriever.aretrieve("crane")] == [one.node.node_id for one in found]
    answer = RetrieverQueryEngine.from_args(SemsearchRetriever(index, 1), llm=MockLLM()).query("bread")
    assert "Bread needs an hour." in str(answer)
    assert SemsearchRetriever(index, min_confidence=0.5).retrieve("qqzzyy blorp") == []


def test_a_retriever_shows_nodes_of_the_store_without_what_the_store_keeps(index: Index, store: SemsearchVectorStore):
    store.add(NODES)
    (found,) = SemsearchRetriever(index, 1).retrieve("harbor")
    assert {name for name in found.node.metadata if name.startswith("_")} == set()
    assert found.node.metadata["year"] == 2019


def test_an_embedding_model_of_llama_index_makes_the_vectors(tmp_path: Path):
    store = SemsearchVectorStore.open(tmp_path / "i", MockEmbedding(embed_dim=5))
    store.add(NODES)
    assert store.client.spec.dim == 5
    assert len(ids(store, k=2)) == 2
    with pytest.raises(MismatchError, match="dim 5, not 6"):
        SemsearchVectorStore.open(tmp_path / "i", MockEmbedding(embed_dim=6))


def test_the_tool_of_an_index_is_one_for_llama_index(index: Index, store: SemsearchVectorStore):
    store.add(NODES)
    tool = FunctionTool.from_defaults(index.as_tool(min_confidence=None))
    assert tool.metadata.name == "search_birds"
    assert set(tool.metadata.get_parameters_dict()["properties"]) == {"query", "k"}
    assert [found["id"] for found in tool.call(query="gull", k=1).raw_output] == ["3"]


# --- their filters against ours

TEXTS = st.text("aAbB", max_size=3)
NUMBERS = st.integers(2, 5) | st.floats(2, 5)
LISTS = st.lists(TEXTS, max_size=3)
KINDS: dict[str, tuple[Any, list[tuple[list[str], Any]]]] = {  # one type per field: LlamaIndex fails on others
    "n": (NUMBERS, [([">", ">=", "<", "<=", "==", "!="], NUMBERS), (["in", "nin"], st.lists(st.integers(2, 5)))]),
    "text": (
        TEXTS,
        [
            ([">", ">=", "<", "<=", "==", "!=", "contains", "text_match", "text_match_insensitive"], TEXTS),
            (["in", "nin", "any", "all"], LISTS),
            (["is_empty"], st.none()),
        ],
    ),
    "list": (LISTS, [(["contains"], TEXTS), (["any", "all", "==", "!="], LISTS), (["is_empty"], st.none())]),
    "title": (st.sampled_from(["a", "A"]), [(["==", "!=", "contains", "text_match"], TEXTS)]),
}


def parts(name: str) -> st.SearchStrategy[MetadataFilter]:
    _, kinds = KINDS[name]
    return st.one_of(
        st.builds(
            MetadataFilter, key=st.just(name), operator=st.sampled_from(list(map(FilterOperator, some))), value=value
        )
        for some, value in kinds
    )


FILTERS = st.builds(
    MetadataFilters,
    filters=st.lists(st.sampled_from(list(KINDS)).flatmap(parts), max_size=4),
    condition=st.sampled_from(list(FilterCondition)) | st.none(),
)
METADATA = st.fixed_dictionaries({}, optional={name: stored | st.none() for name, (stored, _) in KINDS.items()})


@settings(max_examples=500, deadline=None)
@given(FILTERS, METADATA)
def test_a_filter_holds_where_llama_index_says_so(filters: MetadataFilters, metadata: dict[str, Any]):
    from python_filters import matches

    stored = to_document("1", "text", metadata)
    ours = matches(from_llamaindex(filters.model_dump(mode="json")), stored.doc_id, stored.title, stored.metadata)
    assert ours == build_metadata_filter_fn(lambda _: metadata, filters)("1")
