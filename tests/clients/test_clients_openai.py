"""The clients of OpenAI (Python and Node.js), Cohere and Ollama, used with our server."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cohere
import ollama
import openai
import pytest
from conftest import NONSENSE, QUESTION, TEXTS, Server


def near(vector: Any) -> Any:
    return pytest.approx(list(vector), abs=2e-3)  # batch shapes differ, and CPUs that have bfloat16 use it


@pytest.fixture
def client(server: Server) -> Any:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0, timeout=30)


@pytest.mark.parametrize("encoding", [None, "float", "base64"])
def test_openai_embeds(client: Any, server: Server, encoding: str | None):
    wishes = {} if encoding is None else {"encoding_format": encoding}
    answer = client.embeddings.create(model="sample", input=TEXTS, **wishes)
    vectors = [one.embedding for one in answer.data]
    if encoding == "base64":  # the client decodes it only if it chose the encoding itself
        assert all(isinstance(vector, str) for vector in vectors)
    else:
        assert vectors == [near(row) for row in server.expected["vectors"]]
    assert [one.index for one in answer.data] == [0, 1, 2]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 10


def test_openai_cuts_vectors(client: Any, server: Server):
    (one,) = client.embeddings.create(model="sample", input=TEXTS[0], dimensions=64).data
    head = server.expected["vectors"][0][:64]
    length = sum(x * x for x in head) ** 0.5
    assert one.embedding == near([x / length for x in head])


def test_openai_lists_models(client: Any):
    assert [model.id for model in client.models.list()] == ["sample"]
    assert client.models.retrieve("sample").owned_by == "semsearch"


def test_openai_searches_a_vector_store(client: Any, server: Server):
    page = client.vector_stores.search("sample", query=QUESTION, max_num_results=3)
    found = page.data
    assert found[0].file_id == server.expected["hits"][0]
    assert all(0.5 <= one.score <= 1 for one in found)
    assert found[0].attributes["topic"] == "cooking"
    assert found[0].content[0].type == "text"
    late = client.vector_stores.search("sample", query=QUESTION, filters={"type": "gte", "key": "year", "value": 2020})
    assert all(one.attributes["year"] >= 2020 for one in late.data)
    both = {
        "type": "and",
        "filters": [{"type": "eq", "key": "topic", "value": "cooking"}, {"type": "in", "key": "lang", "value": ["en"]}],
    }
    assert {one.attributes["topic"] for one in client.vector_stores.search("sample", query=QUESTION, filters=both)} == {
        "cooking"
    }


def test_openai_finds_nothing_relevant_to_nonsense(client: Any):
    assert client.vector_stores.search("sample", query=NONSENSE).data == []
    assert client.vector_stores.search("sample", query=NONSENSE, ranking_options={"score_threshold": 0.0001}).data


def test_openai_raises_its_own_errors(client: Any, server: Server):
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
        client.embeddings.create(model="sample", input=[[1, 2, 3]])
    with pytest.raises(openai.NotFoundError) as caught:
        client.embeddings.create(model="text-embedding-3-small", input="x")
    assert (caught.value.code, caught.value.type) == ("model_not_found", "invalid_request_error")
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="sample", input="x", dimensions=9_999)
    assert caught.value.param == "dimensions"
    stranger = openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()


@pytest.mark.parametrize("kind", ["Client", "ClientV2"])
def test_cohere_reranks(server: Server, kind: str):
    client = getattr(cohere, kind)(api_key=server.key, base_url=server.url)
    answer = client.rerank(model="sample", query=QUESTION, documents=TEXTS, top_n=2)
    order = sorted(range(3), key=lambda index: -server.expected["cosines"][index])
    assert [one.index for one in answer.results] == order[:2]
    assert 1 >= answer.results[0].relevance_score > answer.results[1].relevance_score >= 0
    assert answer.meta.api_version.version == "2"


def test_cohere_raises_its_own_errors(server: Server):
    with pytest.raises(cohere.NotFoundError):
        cohere.ClientV2(api_key=server.key, base_url=server.url).rerank(model="x", query="x", documents=["x"])
    with pytest.raises(cohere.UnauthorizedError):
        cohere.ClientV2(api_key="wrong", base_url=server.url).rerank(model="sample", query="x", documents=["x"])


def test_ollama_embeds_and_lists(server: Server):
    client = ollama.Client(host=server.url, headers={"Authorization": f"Bearer {server.key}"})
    answer = client.embed(model="sample", input=TEXTS)
    assert answer.embeddings == [near(row) for row in server.expected["vectors"]]
    assert [model.model for model in client.list().models] == ["sample"]
    with pytest.raises(ollama.ResponseError, match="unknown model 'llama3'"):
        client.embed(model="llama3", input="x")


NODE = Path(__file__).parent / "node"


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
@pytest.mark.skipif(
    not (NODE / "node_modules/openai").exists(), reason="needs openai-node: npm ci in tests/clients/node"
)
def test_openai_node(server: Server):
    asked = json.dumps({"url": f"{server.url}/v1", "key": server.key, "texts": TEXTS, "question": QUESTION})
    done = subprocess.run(["node", "client.mjs", asked], cwd=NODE, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["vectors"] == [near(row) for row in server.expected["vectors"]]
    assert told["models"] == ["sample"]
    assert told["found"][0] == server.expected["hits"][0]
    assert told["refused"] == {"status": 404, "code": "model_not_found"}
