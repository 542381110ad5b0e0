"""What an assistant is told about a query in a language that the model does not know."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from assistant import call
from fakes import tiny_checkpoint

from semsearch import Encoder, Index
from semsearch.mcp.server import create_mcp

TOLD = "does not know the language of this query"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    folder = tmp_path_factory.mktemp("index")
    encoder = Encoder.load(tiny_checkpoint(folder / "model"), "mean", device="cpu", runtime="torch")
    with Index.open(folder / "index", create=True, encoder=encoder) as index:
        index.add([{"_id": "disk", "text": "把照片复制到硬盘。"}, {"_id": "copy", "text": "Copy photos to a drive."}])
        yield create_mcp({"both": index})


@pytest.mark.parametrize("tool", ["search", "search_documents"])
def test_a_note_tells_that_the_language_is_unknown(server, tool: str):
    assert TOLD in call(server, tool, query="怎样复制照片")["note"]
    assert TOLD not in call(server, tool, query="copy photos").get("note", "")


def test_a_keyword_search_needs_no_note(server):
    answer = call(server, "search_documents", query="怎样复制照片", mode="keyword", min_confidence=0)
    assert [one["id"] for one in answer["excerpts"]] == ["disk"]
    assert TOLD not in answer.get("note", "")
