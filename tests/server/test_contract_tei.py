"""The embedding routes of TEI and Ollama, and the routes that their clients call first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from contract_serving import make_index, served

from semsearch import WordHashEncoder
from semsearch.version import __version__


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with served({"birds": make_index(tmp_path_factory.mktemp("tei") / "birds", 64)}) as client:
        yield client


def post(client: httpx.Client, path: str, status: int = 200, **body: Any) -> Any:
    response = client.post(path, json=body)
    assert response.status_code == status, response.text
    return response.json()


EXPECTED = WordHashEncoder(64).encode_documents(["a heron", "bread"]).tolist()


def test_tei_embeds_one_text_or_several(client: httpx.Client):
    assert post(client, "/embed", inputs=["a heron", "bread"]) == [pytest.approx(row) for row in EXPECTED]
    nulls = {"truncate": None, "prompt_name": None, "dimensions": None}
    assert post(client, "/embed", inputs="a heron", normalize=True, **nulls) == [pytest.approx(EXPECTED[0])]
    (cut,) = post(client, "/embed", inputs="a heron", truncate=False, prompt_name="query", dimensions=60)
    assert len(cut) == 60


def test_tei_tells_about_the_model(client: httpx.Client):
    info = client.get("/info").json()
    assert info["model_type"] == {"embedding": {"pooling": "word-hash"}}
    assert (info["model_id"], info["max_input_length"], info["max_client_batch_size"]) == ("hash:64", 256, 2_048)
    assert client.get("/health").status_code == 200


def test_a_model_of_a_folder_is_told_by_its_last_name():
    from dataclasses import replace

    from semsearch.server.embedding import shown_name

    spec = WordHashEncoder(64).spec
    assert shown_name(replace(spec, model="/home/ada/models/mini/")) == "mini"
    assert shown_name(replace(spec, model="sentence-transformers/all-MiniLM-L6-v2")) == (
        "sentence-transformers/all-MiniLM-L6-v2"
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"inputs": ""}, "`inputs` has an empty text at position 0"),
        ({"inputs": []}, "`inputs` is []"),
        ({"inputs": [[1, 2]]}, "tokens of another model's tokenizer"),
        ({"inputs": "x", "normalize": False}, "`normalize` is false"),
        ({"inputs": "x", "prompt_name": "poem"}, "`prompt_name` is 'poem'; expected one of query,"),
        ({"inputs": "x", "dimensions": 65}, "`dimensions` is 65; expected 1 to 64"),
        ({"inputs": ["x"] * 2_049}, "2,049 texts; expected at most 2,048"),
        ({}, "`inputs` is missing"),
    ],
)
def test_what_is_wrong_is_told_in_teis_shape(client: httpx.Client, body: Any, message: str):
    answer = post(client, "/embed", 422, **body)
    assert set(answer) == {"error", "error_type"}
    assert message in answer["error"]
    assert answer["error_type"] == "Validation"


def test_ollama_embeds_one_text_or_several(client: httpx.Client):
    answer = post(client, "/api/embed", model="birds", input=["a heron", "bread"], truncate=True, keep_alive="5m")
    assert answer["embeddings"] == [pytest.approx(row) for row in EXPECTED]
    assert (answer["model"], answer["prompt_eval_count"]) == ("birds", 3)
    latest = post(client, "/api/embed", model="birds:latest", input="bread", options={})
    assert latest["embeddings"] == [pytest.approx(EXPECTED[1])]


@pytest.mark.parametrize("empty", ["", []])
def test_ollama_is_asked_to_load_a_model_by_nothing(client: httpx.Client, empty: Any):
    assert post(client, "/api/embed", model="birds", input=empty) == {"model": "birds", "embeddings": []}


def test_ollama_lists_the_indexes_as_models(client: httpx.Client):
    (model,) = client.get("/api/tags").json()["models"]
    assert (model["name"], model["model"], model["details"]["parent_model"]) == ("birds", "birds", "hash:64")
    assert client.get("/api/version").json() == {"version": __version__}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"model": "llama3", "input": "x"}, 404, "unknown model 'llama3'; expected the name of an index: birds"),
        ({"model": "birds", "input": ["x", ""]}, 400, "`input` has an empty text at position 1"),
        ({"model": "birds", "input": 7}, 400, "`input` is 7"),
        ({"model": "birds"}, 400, "is missing"),
    ],
)
def test_what_is_wrong_is_told_in_ollamas_shape(client: httpx.Client, body: Any, status: int, message: str):
    answer = post(client, "/api/embed", status, **body)
    assert set(answer) == {"error"}
    assert message in answer["error"]
