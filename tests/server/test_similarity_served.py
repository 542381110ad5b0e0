"""Test that a server gives the vectors and scores of an encoder that ranks by dot product."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from contract_serving import served
from fakes import ranking_checkpoint
from sentence_transformers import SentenceTransformer

from semsearch import Index

TEXTS = ["the heron waits in the reeds", "bread", "a heron", "a letter from the garden by the old stone wall"]
QUERY = "a heron in the water"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ranking_checkpoint(tmp_path_factory.mktemp("served") / "model", "dot")


@pytest.fixture(scope="module")
def peer(model: Path) -> SentenceTransformer:
    return SentenceTransformer(str(model), device="cpu")


@pytest.fixture(scope="module")
def client(model: Path) -> Iterator[httpx.Client]:
    with Index.open(model.parent / "birds", create=True, model=model, runtime="torch", device="cpu") as index:
        index.add([{"_id": f"d{n}", "text": text} for n, text in enumerate(TEXTS)])
    with served({"birds": model.parent / "birds"}) as client:
        yield client


def post(client: httpx.Client, path: str, status: int = 200, **body: Any) -> Any:
    response = client.post(path, json=body)
    assert response.status_code == status, response.text
    return response.json()


def test_the_list_of_indexes_has_the_similarity(client: httpx.Client):
    (index,) = client.get("/indexes").json()["indexes"]
    assert index["similarity"] == "dot"


@pytest.mark.parametrize("dimensions", [None, 9])
def test_embeddings_are_those_of_the_encoder(client: httpx.Client, peer: SentenceTransformer, dimensions: int | None):
    expected = peer.encode(TEXTS, truncate_dim=dimensions)
    wish = {"dimensions": dimensions} if dimensions else {}
    answer = post(client, "/v1/embeddings", model="birds", input=TEXTS, encoding_format="float", **wish)
    found = [one["embedding"] for one in answer["data"]]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(post(client, "/embed", inputs=TEXTS, **wish), expected, rtol=1e-3, atol=1e-3)
    refused = post(client, "/embed", 422, inputs=TEXTS, normalize=True)
    assert "vectors ranked by 'dot' keep their lengths" in refused["error"]


def test_any_texts_are_ranked_by_dot_products(client: httpx.Client, peer: SentenceTransformer):
    scores = peer.similarity(peer.encode(QUERY), peer.encode(TEXTS))[0].tolist()
    raw = post(client, "/rerank", query=QUERY, texts=TEXTS, raw_scores=True)
    assert {one["index"]: one["score"] for one in raw} == pytest.approx(dict(enumerate(scores)), rel=1e-3)
    ranked = post(client, "/v2/rerank", query=QUERY, documents=TEXTS)["results"]
    assert [one["index"] for one in ranked] == sorted(range(4), key=lambda n: -scores[n])
    assert all(0 <= one["relevance_score"] <= 1 for one in ranked)
    hits = post(client, "/search", query=QUERY, mode="dense", k=4)["hits"]
    assert {hit["kind"] for hit in hits} == {"dot"}
    sure = {int(hit["id"][1:]): hit["confidence"] for hit in hits}
    assert {one["index"]: one["relevance_score"] for one in ranked} == pytest.approx(sure, rel=1e-3)


def test_points_near_a_vector_are_those_of_the_search(client: httpx.Client, peer: SentenceTransformer):
    scores = peer.similarity(peer.encode(QUERY), peer.encode(TEXTS))[0].tolist()
    vector = peer.encode(QUERY).tolist()
    body = {"query": {"nearest": vector}, "limit": 4, "score_threshold": 0.0001}
    points = post(client, "/collections/birds/points/query", **body)["result"]["points"]
    assert [one["payload"]["metadata"]["doc_id"] for one in points] == [
        f"d{n}" for n in sorted(range(4), key=lambda n: -scores[n])
    ]
