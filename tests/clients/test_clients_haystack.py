"""Haystack's clients for OpenAI, Cohere and Jina, used with our server."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import QUESTION, TEXTS, Server
from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.utils import Secret
from haystack_integrations.components.embedders.jina import JinaTextEmbedder
from haystack_integrations.components.rankers.cohere import CohereRanker
from haystack_integrations.components.rankers.jina import JinaRanker


def test_embedders(server: Server):
    wishes: Any = {"model": "sample", "api_base_url": f"{server.url}/v1", "api_key": Secret.from_token(server.key)}
    documents = OpenAIDocumentEmbedder(**wishes, progress_bar=False).run([Document(content=text) for text in TEXTS])
    vectors = [document.embedding for document in documents["documents"]]
    assert vectors == [pytest.approx(row, abs=2e-3) for row in server.expected["vectors"]]
    assert len(OpenAITextEmbedder(**wishes).run(QUESTION)["embedding"]) == server.expected["dim"]


def test_jinas_embedder(server: Server):
    embedder: Any = JinaTextEmbedder(
        model="sample", base_url=f"{server.url}/v1/embeddings", api_key=Secret.from_token(server.key)
    )
    assert len(embedder.run(QUESTION)["embedding"]) == server.expected["dim"]


RANKERS = {
    "jina": lambda url, key: JinaRanker(
        model="sample", base_url=f"{url}/v1/rerank", api_key=Secret.from_token(key), top_k=2
    ),
    "cohere": lambda url, key: CohereRanker(model="sample", api_base_url=url, api_key=Secret.from_token(key), top_k=2),
}


@pytest.mark.parametrize("kind", RANKERS)
def test_rankers(server: Server, kind: str):
    ranker: Any = RANKERS[kind](server.url, server.key)
    found = ranker.run(query=QUESTION, documents=[Document(content=text) for text in TEXTS])["documents"]
    order = sorted(range(3), key=lambda index: -server.expected["cosines"][index])
    assert [document.content for document in found] == [TEXTS[index] for index in order[:2]]
    assert 1 >= found[0].score >= found[1].score >= 0
