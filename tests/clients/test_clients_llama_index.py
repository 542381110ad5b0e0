"""LlamaIndex's clients for OpenAI-like servers, TEI, Ollama, Cohere and Jina, used with our server."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import QUESTION, TEXTS, Server
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.embeddings.ollama import OllamaEmbedding
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.jinaai_rerank import JinaRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference as TeiRerank

EMBEDDERS = {
    "openai": lambda url, key: OpenAILikeEmbedding(model_name="sample", api_base=f"{url}/v1", api_key=key),
    "tei": lambda url, key: TextEmbeddingsInference(model_name="sample", base_url=url, auth_token=f"Bearer {key}"),
    "ollama": lambda url, key: OllamaEmbedding(
        model_name="sample", base_url=url, client_kwargs={"headers": {"Authorization": f"Bearer {key}"}}
    ),
}
RERANKERS = {
    "tei": lambda url, key: TeiRerank(base_url=url, auth_token=f"Bearer {key}", top_n=2),
    "cohere": lambda url, key: CohereRerank(base_url=url, api_key=key, model="sample", top_n=2),
    "jina": lambda url, key: JinaRerank(base_url=f"{url}/v1", api_key=key, model="sample", top_n=2),
    "jina at the root": lambda url, key: JinaRerank(base_url=url, api_key=key, model="sample", top_n=2),
}


@pytest.mark.parametrize("kind", EMBEDDERS)
def test_embeddings(server: Server, kind: str):
    model: Any = EMBEDDERS[kind](server.url, server.key)
    vectors = model.get_text_embedding_batch(TEXTS)
    assert [list(vector) for vector in vectors] == [pytest.approx(row, abs=2e-3) for row in server.expected["vectors"]]
    assert len(model.get_query_embedding(QUESTION)) == server.expected["dim"]


@pytest.mark.parametrize("kind", RERANKERS)
def test_rerankers(server: Server, kind: str):
    reranker: Any = RERANKERS[kind](server.url, server.key)
    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(n)), score=0.0) for n, text in enumerate(TEXTS)]
    found = reranker.postprocess_nodes(nodes, QueryBundle(QUESTION))
    order = sorted(range(3), key=lambda index: -server.expected["cosines"][index])
    assert [one.node.node_id for one in found] == [str(index) for index in order[:2]]
    assert 1 >= found[0].score >= found[1].score >= 0
