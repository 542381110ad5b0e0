"""LiteLLM, used with our embeddings, reranking and vector stores under the names of several providers."""

from __future__ import annotations

from typing import Any

import litellm
import pytest
from conftest import QUESTION, TEXTS, Server


def test_embeddings(server: Server):
    answer: Any = litellm.embedding(model="openai/sample", input=TEXTS, api_base=f"{server.url}/v1", api_key=server.key)
    vectors = [one["embedding"] for one in answer.data]
    assert vectors == [pytest.approx(row, abs=2e-3) for row in server.expected["vectors"]]


@pytest.mark.parametrize(
    ("model", "path"),
    [("cohere/sample", ""), ("jina_ai/sample", "/v1/rerank"), ("hosted_vllm/sample", "")],
)
def test_rerank(server: Server, model: str, path: str):
    answer: Any = litellm.rerank(
        model=model, query=QUESTION, documents=TEXTS, top_n=2, api_base=server.url + path, api_key=server.key
    )
    order = sorted(range(3), key=lambda index: -server.expected["cosines"][index])
    assert [one["index"] for one in answer.results] == order[:2]


@pytest.mark.parametrize(("provider", "path"), [("openai", "/v1"), ("pg_vector", "")])
def test_vector_store_search(server: Server, provider: str, path: str):
    page: Any = litellm.vector_stores.search(
        vector_store_id="sample",
        query=QUESTION,
        custom_llm_provider=provider,
        api_base=server.url + path,
        api_key=server.key,
    )
    assert page["data"][0]["file_id"] == server.expected["hits"][0]
    assert page["data"][0]["content"][0]["text"]
