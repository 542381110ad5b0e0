"""LangChain's own test suites on our retriever, vector store and embeddings, and its components that use them.

Its DocumentIndexerTestSuite is left out: it is for implementations of DocumentIndex, which LangChain currently
advises against.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.tools import StructuredTool
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)

from semsearch import Encoder, Index, WordHashEncoder
from semsearch.errors import MismatchError, ModelError
from semsearch.integrations.langchain import (
    SemsearchEmbeddings,
    SemsearchReranker,
    SemsearchRetriever,
    SemsearchVectorStore,
    encoder_of,
)

BIRDS = [
    {"_id": "1", "text": "The heron waits in the reeds.", "year": 2021, "title": "Heron"},
    {"_id": "2", "text": "A gull cries over the harbor.", "year": 2019},
    {"_id": "3", "text": "Bread needs an hour to rise.", "year": 2019},
    {"_id": "4", "text": "The gull steals bread.", "year": 2020},
]


@pytest.fixture
def birds(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path / "birds", create=True, encoder=WordHashEncoder(512)) as opened:
        opened.add(BIRDS)
        yield opened


class TestVectorStoreWithForeignEmbeddings(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Any:
        return SemsearchVectorStore.open(tmp_path / "i", self.get_embeddings())


class TestVectorStoreWithOurEncoder(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Any:
        return SemsearchVectorStore(Index.open(tmp_path / "i", create=True, encoder=WordHashEncoder(64)), mode="hybrid")


class TestRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def opened(self, birds: Index) -> None:
        self.birds = birds

    @property
    def retriever_constructor(self) -> type[SemsearchRetriever]:
        return SemsearchRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"index": self.birds}

    @property
    def retriever_query_example(self) -> str:
        return "the bread of a gull"


class TestEmbeddings(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[SemsearchEmbeddings]:
        return SemsearchEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"encoder": Encoder.load()}


def test_a_retriever_shows_passages_and_where_they_stand(birds: Index):
    retriever = SemsearchRetriever(index=birds, k=2, where={"year": 2021}, mode="dense")
    (found,) = retriever.invoke("the heron")
    assert (found.id, found.page_content) == ("1#chars=0-29", "The heron waits in the reeds.")
    assert {name: found.metadata[name] for name in ("year", "title", "doc_id", "start", "end")} == {
        "year": 2021,
        "title": "Heron",
        "doc_id": "1",
        "start": 0,
        "end": 29,
    }
    (hit,) = birds.search("the heron", mode="dense", where="year = 2021")
    assert (found.metadata["score"], found.metadata["confidence"]) == (hit.score, hit.confidence)
    assert SemsearchRetriever(index=birds, min_confidence=0.5).invoke("qqzzyy blorp") == []


def test_langchains_indexing_adds_changes_and_deletes(tmp_path: Path):
    store = SemsearchVectorStore.open(tmp_path / "i", DeterministicFakeEmbedding(size=6))
    records = InMemoryRecordManager("here")
    records.create_schema()

    def bring(*documents: Document) -> dict[str, int]:
        return index(list(documents), records, store, cleanup="full", source_id_key="source", key_encoder="sha256")

    one, two, three = (Document(text, metadata={"source": text[0]}) for text in ("a one", "b two", "c three"))
    assert bring(one, two) == {"num_added": 2, "num_updated": 0, "num_skipped": 0, "num_deleted": 0}
    assert bring(one, two)["num_skipped"] == 2
    assert bring(two, three) == {"num_added": 1, "num_updated": 0, "num_skipped": 1, "num_deleted": 1}
    assert sorted(found.page_content for found in store.similarity_search("x", k=9)) == ["b two", "c three"]


def test_documents_come_back_whole_with_their_metadata_whatever_it_is_called(tmp_path: Path):
    store = SemsearchVectorStore(Index.open(tmp_path / "i", create=True, encoder=WordHashEncoder(64, max_tokens=16)))
    odd = {"title": "T", "doc_id": 7, "_metadata": {"x": None}, "tags": ["a", 1], "nested": {"y": 2.5}}
    text = "heron and gull and crane and tern " * 20
    store.add_texts([text, "bread"], [odd, {"title": ""}], ids=["a", "b"])
    assert len(store.index.search("heron", 20, unit="passage")) > 2
    assert store.similarity_search("heron", 1) == [Document(id="a", page_content=text, metadata=odd)]
    assert store.get_by_ids(["b", "?", "a", "b"])[0] == Document(id="b", page_content="bread", metadata={"title": ""})
    assert store.similarity_search("heron", 9, filter="`_metadata`.doc_id = 7 and title = 'T'")[0].id == "a"
    assert store.similarity_search("heron", 9, filter={"title": "?"}) == []
    with pytest.raises(TypeError, match="wher"):
        store.similarity_search("heron", wher="x")
    with pytest.raises(ValueError, match="1 ids for 2 texts"):
        store.add_texts(["x", "y"], ids=["1"])
    assert store.add_texts([]) == []
    assert store.delete() is True
    assert store.index.select() == []


def test_scores_relevance_and_diversity(tmp_path: Path):
    store = SemsearchVectorStore.from_texts(
        ["gull gull", "gull gull harbor", "gull bread"],
        SemsearchEmbeddings(WordHashEncoder(512)),
        ids=["1", "2", "3"],
        metadatas=[{"n": n} for n in range(3)],
    )
    scored = store.similarity_search_with_score("gull", 3)
    assert [(found.id, round(score, 3)) for found, score in scored] == [("1", 1), ("2", 0.894), ("3", 0.707)]
    relevant = store.similarity_search_with_relevance_scores("gull", 3)
    assert [found.id for found, _ in relevant] == ["1", "2", "3"]
    assert all(0 <= relevance <= 1 for _, relevance in relevant)
    assert store.max_marginal_relevance_search("gull", 2, lambda_mult=1.0) == [found for found, _ in scored[:2]]
    assert [one.id for one in store.max_marginal_relevance_search("gull", 2, lambda_mult=0.2)] == ["1", "3"]
    retriever = store.as_retriever(search_type="mmr", search_kwargs={"k": 1, "filter": "n >= 2"})
    assert [one.id for one in retriever.invoke("gull")] == ["3"]
    folder = Path(store.index.location)
    assert folder.exists()
    store.index.close()
    del store, retriever
    assert not folder.exists()


class Other(DeterministicFakeEmbedding):
    """Embeddings whose class has another name."""


class Named(DeterministicFakeEmbedding):
    model: Any = object()  # as in some classes, an object whose repr contains an address
    model_name: str = "gull-1"


class Broken(DeterministicFakeEmbedding):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[1.0]] * (len(texts) + 1)


def test_an_index_knows_the_embeddings_that_it_was_built_with(tmp_path: Path):
    SemsearchVectorStore.open(tmp_path / "i", DeterministicFakeEmbedding(size=6)).add_texts(["gull"])
    with pytest.raises(MismatchError, match="dim 6, not 7"):
        SemsearchVectorStore.open(tmp_path / "i", DeterministicFakeEmbedding(size=7))
    with pytest.raises(MismatchError, match="langchain/DeterministicFakeEmbedding, not foreign:langchain/Other"):
        SemsearchVectorStore.open(tmp_path / "i", Other(size=6))
    assert encoder_of(Named(size=6)).spec.model == "foreign:langchain/Named/gull-1"
    assert encoder_of(Named(size=6), "mine").spec.model == "foreign:mine"
    alone = SemsearchVectorStore.open(tmp_path / "i", mode="keyword")
    assert [one.page_content for one in alone.similarity_search("gull")] == ["gull"]
    with pytest.raises(ModelError, match="vectors of another program's model, 'langchain/DeterministicFakeEmbedding'"):
        SemsearchVectorStore.open(tmp_path / "i").similarity_search("gull")
    with pytest.raises(ModelError, match=r"returned \[\[1.0\], \[1.0\]\] for 1 texts; expected a vector for each"):
        SemsearchVectorStore.open(tmp_path / "j", Broken(size=6)).add_texts(["gull"])


async def test_a_threshold_of_relevance_leaves_nothing_for_nonsense(birds: Index):
    store = SemsearchVectorStore(birds)
    for search in (store.similarity_search_with_relevance_scores, store.asimilarity_search_with_relevance_scores):
        answer = search("the heron waits in the reeds", k=9, score_threshold=0.5)
        found = answer if isinstance(answer, list) else await answer
        assert [(document.id, relevance > 0.5) for document, relevance in found] == [("1", True)]
    options = {"search_type": "similarity_score_threshold", "search_kwargs": {"score_threshold": 0.5, "k": 9}}
    assert [one.id for one in await store.as_retriever(**options).ainvoke("the heron waits in the reeds")] == ["1"]
    assert store.as_retriever(**options).invoke("qqzzyy blorp") == []


class CommonWords:
    """A reranker that scores by the number of words in common."""

    def scores(self, query: str, passages: Sequence[str]) -> list[int]:
        return [len(set(query.split()) & set(text.split())) for text in passages]


def test_a_reranker_puts_the_best_first_and_leaves_what_it_was_given():
    given = [Document("a gull", metadata={"n": 1}), Document("gull and bread", id="x"), Document("a heron")]
    reranker = SemsearchReranker(reranker=CommonWords(), top_n=2)
    found = reranker.compress_documents(given, "bread of a gull")
    assert found == [
        Document("a gull", metadata={"n": 1, "relevance_score": 2.0}),
        Document("gull and bread", id="x", metadata={"relevance_score": 2.0}),
    ]
    assert given[0].metadata == {"n": 1}
    assert len(SemsearchReranker(reranker=CommonWords(), top_n=None).compress_documents(given, "owl")) == 3
    assert reranker.compress_documents([], "owl") == []


def test_the_tool_of_an_index_is_one_for_langchain(birds: Index):
    tool = StructuredTool.from_function(birds.as_tool(min_confidence=None), parse_docstring=True)
    assert (tool.name, set(tool.args)) == ("search_birds", {"query", "k"})
    assert tool.args["query"]["description"] == "A question or a few words, in plain language."
    assert tool.args["k"]["default"] == 5
    assert [found["id"] for found in tool.invoke({"query": "gull", "k": 1})] == [birds.search("gull", 1)[0].doc_id]
