"""Test a server whose indexes are in databases: it answers in its contracts what the same index in a folder does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import NOTES, build, served

from semsearch import Index

ASKED = {"index": "notes", "query": "water by the heron", "k": 3}


def answers(client: httpx.Client) -> list[Any]:
    """Return what a client gets for one question by each contract, and for a document that it adds and deletes."""
    found = [client.post("/search", json={**ASKED, "mode": mode}).json()["hits"] for mode in ("dense", "keyword")]
    filtered = client.post("/search", json={**ASKED, "where": "year >= 2020"}).json()["hits"]
    dify = {"knowledge_id": "notes", "query": ASKED["query"]}
    records = client.post("/retrieval", json={**dify, "retrieval_setting": {"top_k": 2, "score_threshold": 0}}).json()
    openai = client.post("/v1/vector_stores/notes/search", json={"query": ASKED["query"], "max_num_results": 2}).json()
    added = client.post("/documents", json={"index": "notes", "documents": [{"id": "new", "text": "reeds and herons"}]})
    after = client.post("/search", json={**ASKED, "query": "reeds"}).json()["hits"]
    gone = client.post("/documents/delete", json={"index": "notes", "ids": ["new", "nothing"]})
    assert (added.status_code, gone.json()["deleted"]) == (200, ["new"])
    hits = [[(hit["id"], round(hit["score"], 5)) for hit in hits] for hits in (*found, filtered, after)]
    contents = [[record["content"] for record in records["records"]], [one["file_id"] for one in openai["data"]]]
    assert after[0]["id"] == "new"
    return [hits, contents]


@pytest.fixture(params=["postgres", "milvus"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "milvus":
        pytest.importorskip("milvus_lite")
        return f"milvus://{(tmp_path / 'index.db').as_posix()}?index=notes"
    return str(request.getfixturevalue("postgres").url())


def test_a_database_is_served_like_a_folder(place: str, tmp_path: Path):
    folder = build(tmp_path / "notes")
    assert Index.copy(folder, place).documents == len(NOTES)
    with served({"notes": folder}) as client:
        expected = answers(client)
    with served({"notes": place}) as client:
        assert answers(client) == expected
