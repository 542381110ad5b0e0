"""Reranking for Cohere, Jina, vLLM and TEI clients: one handler, independent document scores, and errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from contract_serving import make_index, served
from fakes import pair_checkpoint
from sentence_transformers import CrossEncoder as Peer

from semsearch import WordHashEncoder
from semsearch.server.keys import Key

PATHS = ("/rerank", "/v1/rerank", "/v2/rerank")
QUERY = "the heron in the reeds"
DOCUMENTS = ["bread in the oven", "the heron in the reeds", "a heron", "nothing in common"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with served({"birds": make_index(tmp_path_factory.mktemp("rerank") / "birds")}) as client:
        yield client


def rerank(client: httpx.Client, path: str = "/v2/rerank", status: int = 200, **body: Any) -> Any:
    response = client.post(path, json={"query": QUERY, **body})
    assert response.status_code == status, response.text
    return response.json()


@pytest.mark.parametrize("path", PATHS)
def test_half_a_character_is_refused(client: httpx.Client, path: str):
    body = b'{"query": "\\ud800x", "documents": ["water"]}'
    answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, "not valid Unicode" in answer.text) == (400, True)


def by_cosine() -> list[int]:
    encoder = WordHashEncoder(4096)
    cosines = encoder.encode_documents(DOCUMENTS) @ encoder.encode_query(QUERY)
    return sorted(range(len(DOCUMENTS)), key=lambda index: -cosines[index])


@pytest.mark.parametrize("path", PATHS)
def test_documents_are_ordered_with_scores_from_0_to_1(client: httpx.Client, path: str):
    answer = rerank(client, path, documents=DOCUMENTS, model="birds")
    scores = [one["relevance_score"] for one in answer["results"]]
    assert [one["index"] for one in answer["results"]] == by_cosine()
    assert scores == sorted(scores, reverse=True)
    assert 0 <= scores[-1] < 0.5 < scores[0] <= 1
    assert all(set(one) == {"index", "relevance_score"} for one in answer["results"])
    assert {name: answer[name] for name in ("object", "model", "meta", "usage")} == {
        "object": "rerank",
        "model": "birds",
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
        "usage": {"prompt_tokens": 5 + 4 + 5 + 2 + 3, "total_tokens": 19},
    }
    assert answer["id"]


@pytest.mark.parametrize("path", PATHS)
def test_tei_has_a_list(client: httpx.Client, path: str):
    answer = rerank(client, path, texts=DOCUMENTS, truncate=True, raw_scores=False, return_text=False)
    assert [one["index"] for one in answer] == by_cosine()
    assert all(set(one) == {"index", "score"} and 0 <= one["score"] <= 1 for one in answer)
    raw = rerank(client, path, texts=DOCUMENTS, raw_scores=True, return_text=True)
    encoder = WordHashEncoder(4096)
    for one in raw:
        cosine = encoder.encode_document(DOCUMENTS[one["index"]]) @ encoder.encode_query(QUERY)
        assert (one["score"], one["text"]) == (pytest.approx(cosine, abs=1e-6), DOCUMENTS[one["index"]])


def test_a_score_does_not_depend_on_the_other_documents(client: httpx.Client):
    together = {one["index"]: one["relevance_score"] for one in rerank(client, documents=DOCUMENTS)["results"]}
    for index, document in enumerate(DOCUMENTS):
        (alone,) = rerank(client, documents=[document])["results"]
        assert alone["relevance_score"] == pytest.approx(together[index], abs=1e-6)


@pytest.mark.parametrize(("top_n", "n"), [(None, 4), (0, 4), (1, 1), (3, 3), (100, 4)])
def test_top_n(client: httpx.Client, top_n: int | None, n: int):
    assert len(rerank(client, documents=DOCUMENTS, top_n=top_n)["results"]) == n


def test_documents_may_be_objects_and_come_back(client: httpx.Client):
    documents = [{"text": "bread", "title": "unused"}, "the heron", {"text": ""}]
    answer = rerank(client, documents=documents, return_documents=True, max_tokens_per_doc=4096, rank_fields=None)
    assert answer["results"][0]["document"]["text"] == "the heron"
    assert {one["document"]["text"] for one in answer["results"]} == {"bread", "the heron", ""}


def test_explicit_nulls_are_what_is_left_out(client: httpx.Client):
    nulls = dict.fromkeys(("model", "top_n", "return_documents", "texts", "return_text", "raw_scores", "priority"))
    assert rerank(client, documents=DOCUMENTS, **nulls)["results"] == rerank(client, documents=DOCUMENTS)["results"]


def test_without_documents_there_are_no_results(client: httpx.Client):
    answer = rerank(client, documents=[])
    assert (answer["results"], answer["usage"]["total_tokens"]) == ([], 0)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "expected either `documents` or `texts`"),
        ({"documents": ["a"], "texts": ["a"]}, 400, "expected either `documents` or `texts`"),
        ({"documents": ["a"], "query": " "}, 400, "`query` is empty; expected text"),
        ({"documents": ["a"], "query": None}, 400, "valid string"),
        ({"documents": [5]}, 400, "`documents` has 5 at position 0; expected text or an object with a `text`"),
        ({"documents": [{"image": "x"}]}, 400, "`documents` has {'image': 'x'} at position 0"),
        ({"documents": "a"}, 400, "valid list"),
        ({"documents": ["a"], "top_n": -1}, 400, "`top_n` is -1"),
        ({"documents": ["a"] * 2_049}, 400, "got 2,049 documents; expected at most 2,048"),
        (
            {"documents": ["a"], "model": "rerank-v3.5"},
            404,
            "unknown model 'rerank-v3.5'; expected the name of an index: birds",
        ),
        ({"texts": []}, 400, "`texts` is []"),
        ({"texts": [{"text": "a"}]}, 400, "`texts` has {'text': 'a'} at position 0; expected text"),
    ],
)
def test_what_is_wrong_is_told_as_each_of_the_clients_reads_it(client: httpx.Client, body, status: int, message: str):
    answer = rerank(client, status=status, **body)
    assert message in answer["message"]
    assert answer["message"] == answer["detail"] == answer["error"]
    assert answer["error_type"] == "Validation"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer K"},
        {"Authorization": "K"},
        {"Authorization": "Bearer Bearer K"},
        {"api-key": "K"},
    ],
)
def test_keys_as_clients_send_them(tmp_path, headers: dict[str, str]):
    with served({"birds": make_index(tmp_path / "birds")}, keys=(Key.parse("K"),)) as client:
        body = {"query": QUERY, "documents": DOCUMENTS}
        assert client.post("/rerank", json=body, headers=headers).status_code == 200
        wrong = client.post("/rerank", json=body)
        assert (wrong.status_code, set(wrong.json())) == (401, {"message", "detail", "error", "error_type"})


def test_a_cross_encoder_scores_where_the_server_has_one(tmp_path: Path):
    folder = pair_checkpoint(tmp_path / "model")
    expected = Peer(str(folder), device="cpu").predict([(QUERY, text) for text in DOCUMENTS])
    indexes = {"birds": make_index(tmp_path / "birds")}
    with served(indexes, rerank=f"cross-encoder:{folder}", runtime="torch", device="cpu") as client:
        for answer in (rerank(client, documents=DOCUMENTS)["results"], rerank(client, "/rerank", texts=DOCUMENTS)):
            scores = {one["index"]: one.get("relevance_score", one.get("score")) for one in answer}
            assert [scores[n] for n in range(len(DOCUMENTS))] == pytest.approx(expected.tolist(), abs=5e-3)
            assert list(scores.values()) == sorted(scores.values(), reverse=True)
