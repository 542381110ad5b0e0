"""What the server's own API tells about a query in a language that the model does not know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fakes import tiny_checkpoint
from serving import served

from semsearch import Index

UNKNOWN, KNOWN = "怎样复制照片", "copy photos"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder: Path = tmp_path_factory.mktemp("index")
    model = tiny_checkpoint(folder / "model")
    with Index.open(folder / "index", create=True, model=model, pooler="mean", runtime="torch") as index:
        index.add([{"_id": "disk", "text": "把照片复制到硬盘。"}, {"_id": "copy", "text": "Copy photos to a drive."}])
    with served({"both": folder / "index"}) as client:
        yield client


@pytest.mark.parametrize(
    ("query", "mode", "strange"),
    [(UNKNOWN, "hybrid", True), (UNKNOWN, "dense", True), (UNKNOWN, "keyword", False), (KNOWN, "hybrid", False)],
)
def test_an_answer_tells_whether_the_model_knows_the_language(client, query: str, mode: str, strange: bool):
    found = client.post("/search", json={"query": query, "mode": mode}).json()
    assert (found["mode"], found["unknown_language"]) == (mode, strange)
    context = client.post("/context", json={"question": query, "mode": mode}).json()
    assert (context["mode"], context["unknown_language"]) == (mode, strange)
