"""Concurrent requests: each gets the answer that it would get alone, even while documents are added and deleted."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from serving import build, served

from semsearch import Index
from semsearch.server.settings import Settings

WORDS = "plants water saving money bread heron winter garden photo travel light metal music river stone".split()


def documents(n: int) -> list[dict[str, Any]]:
    chosen = random.Random(0)
    return [{"_id": str(i), "text": " ".join(chosen.choices(WORDS, k=12)), "n": i} for i in range(n)]


def asked(n: int) -> dict[str, Any]:
    """Return one of many different search requests."""
    chosen = random.Random(n)
    return {
        "query": " ".join(chosen.sample(WORDS, chosen.randint(1, 6))),
        "k": chosen.randint(1, 20),
        "mode": chosen.choice([None, "dense", "keyword", "hybrid"]),
        "where": chosen.choice([None, "n >= 50", {"n": {"<": 100}}]),
        "unit": chosen.choice(["document", "passage"]),
    }


def at_once(client: httpx.Client, clients: int, requests: int, ask: Callable[[httpx.Client, int], Any]) -> list[Any]:
    """Send numbered requests from many clients, each with its own connection, and return the answers in order."""

    def work(first: int) -> list[tuple[int, Any]]:
        with httpx.Client(base_url=client.base_url, timeout=60) as own:
            return [(number, ask(own, number)) for number in range(first, requests, clients)]

    with ThreadPoolExecutor(clients) as pool:
        answers = [pair for some in pool.map(work, range(clients)) for pair in some]
    return [answer for _, answer in sorted(answers, key=lambda pair: pair[0])]


def search(client: httpx.Client, number: int) -> Any:
    answer = client.post("/search", json=asked(number))
    assert answer.status_code == 200, answer.text
    return answer.json()


def same(ours: dict[str, Any], theirs: dict[str, Any], tolerance: float) -> None:
    """Assert that two answers have the same hits; hits whose scores differ by at most the tolerance may swap places."""
    assert [ours[name] for name in ("query", "mode")] == [theirs[name] for name in ("query", "mode")]
    scores = [[hit["score"] for hit in answer["hits"]] for answer in (ours, theirs)]
    assert scores[0] == pytest.approx(scores[1], abs=tolerance)
    places = {hit["id"]: hit["score"] for hit in theirs["hits"]}
    for hit in ours["hits"]:
        assert places.get(hit["id"], scores[1][-1]) == pytest.approx(hit["score"], abs=tolerance)


@pytest.mark.parametrize("batching", [True, False])
def test_no_answer_is_mixed_up(tmp_path, batching):
    with served({"notes": build(tmp_path / "notes", documents(200))}, Settings(batching=batching)) as client:
        together = at_once(client, 16, 200, search)
        for number, ours in enumerate(together):
            same(ours, search(client, number), 1e-6)


@pytest.mark.slow
def test_no_answer_of_the_model_is_mixed_up(tmp_path):
    with Index.open(tmp_path / "notes", create=True, runtime="torch", precision="float32") as index:
        index.add(documents(100))
    with served({"notes": tmp_path / "notes"}, Settings(runtime="torch")) as client:
        together = at_once(client, 16, 96, search)
        for number, ours in enumerate(together):
            same(ours, search(client, number), 1e-4)
        again = client.post("/search", json={"query": "bread and water", "k": 3, "rerank": True}).json()["hits"]
        asked = {"question": "bread and water", "min_confidence": 0, "rerank": True}
        excerpts = client.post("/context", json=asked).json()["excerpts"]
    with Index.open(tmp_path / "notes", runtime="torch") as index:
        expected = index.search("bread and water", 3, rerank="late-interaction")
        context = index.context("bread and water", min_confidence=0, rerank="late-interaction")
    assert [one["id"] for one in excerpts] == [one.doc_id for one in context.excerpts]
    assert [one["score"] for one in excerpts] == pytest.approx([one.score for one in context.excerpts], abs=1e-4)
    assert [hit["id"] for hit in again] == [hit.doc_id for hit in expected]
    assert [hit["score"] for hit in again] == pytest.approx([hit.score for hit in expected], abs=1e-4)


@pytest.mark.slow
def test_answers_are_consistent_while_documents_come_and_go(tmp_path):
    """Check that a search finds both documents of a pair or neither, since one request adds or deletes both."""
    with served({"notes": build(tmp_path / "notes", documents(100))}) as client:
        until = time.monotonic() + 8
        pairs = 0

        def write(own: httpx.Client, number: int) -> None:
            nonlocal pairs
            while time.monotonic() < until:
                ids = [f"{number}-{half}" for half in "ab"]
                added = [{"id": doc_id, "text": f"zebra {doc_id}"} for doc_id in ids]
                assert own.post("/documents", json={"documents": added}).json()["encoded"] == 2
                assert own.post("/documents/delete", json={"ids": ids}).json()["deleted"] == ids
                pairs += 1

        def read(own: httpx.Client, number: int) -> None:
            while time.monotonic() < until:
                mode = random.choice(["dense", "keyword", "hybrid"])
                answer = own.post("/search", json={"query": "zebra", "k": 60, "mode": mode})
                assert answer.status_code == 200, answer.text
                found = {hit["id"] for hit in answer.json()["hits"] if "-" in hit["id"]}
                assert {doc_id[:-1] + other for doc_id in found for other in "ab"} == found, mode

        at_once(client, 6, 6, lambda own, number: write(own, number) if number < 2 else read(own, number))
        assert pairs > 3
        left = client.post("/search", json={"query": "zebra", "k": 60, "mode": "keyword"}).json()["hits"]
        assert left == []
