"""Test an index as a function for agents: what frameworks read from it and what it returns."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from semsearch import Index, WordHashEncoder
from semsearch.errors import FilterError, UsageError
from semsearch.tool import NAME, name_for

PAGES = "heron and gull and crane and tern " * 20
DOCUMENTS = [
    {
        "_id": "a",
        "text": PAGES,
        "title": "Birds",
        "year": 2020,
        "page_starts": [0, 300],
        "url": "https://birds.example",
    },
    {"_id": "b", "text": "Bread needs an hour to rise.", "year": 2019},
]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path / "My notes (2026)", create=True, encoder=WordHashEncoder(64, max_tokens=16)) as opened:
        opened.add(DOCUMENTS)
        yield opened


def test_a_tool_has_a_name_a_signature_and_a_description(index: Index):
    tool = index.as_tool()
    assert tool.__name__ == tool.__qualname__ == "search_my_notes_2026"
    assert inspect.signature(tool).parameters["k"].default == 5
    assert list(inspect.signature(tool).parameters) == ["query", "k"]
    assert get_type_hints(tool) == {"query": str, "k": int, "return": list[dict[str, Any]]}
    assert all(not isinstance(one.annotation, str) for one in inspect.signature(tool).parameters.values())
    told = inspect.getdoc(tool) or ""
    assert told.startswith("Search the documents of 'My notes (2026)' by meaning and by words.")
    assert "Args:\n    query: A question" in told
    assert "    k: Maximum number of passages" in told
    named = index.as_tool("birds", "Knows birds.\n", k=2)
    assert (named.__name__, (named.__doc__ or "").splitlines()[0]) == ("birds", "Knows birds.")
    assert inspect.signature(named).parameters["k"].default == 2


def test_a_tool_answers_with_json_that_says_where_a_passage_stands(index: Index):
    found = index.as_tool(min_confidence=None, where="year = 2020")("crane", k=9)
    assert json.loads(json.dumps(found)) == found
    assert {one["id"] for one in found} == {"a"}
    assert len(found) > 5
    for one in found:
        assert one["text"] == PAGES[one["start"] : one["end"]]
        assert (one["title"], one["url"], one["metadata"]["year"]) == ("Birds", "https://birds.example", 2020)
        assert one["page"] == (2 if one["start"] >= 300 else 1)
        assert 0 <= one["confidence"] <= 1
    assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)
    (bread,) = index.as_tool(k=1)("how long does bread need to rise")
    assert (bread["id"], bread["url"], bread["page"]) == ("b", None, None)


def test_a_tool_finds_nothing_for_nonsense_and_in_an_empty_index(index: Index, tmp_path: Path):
    assert index.as_tool()("qqzzyy blorp") == []
    with Index.open(tmp_path / "new", create=True, encoder=WordHashEncoder(64)) as empty:
        assert empty.as_tool()("bread") == []


def test_what_makes_no_tool_is_refused_at_once(index: Index):
    for wrong, message in (
        ({"name": "search my notes"}, "`name` is 'search my notes'; expected up to 64 letters"),
        ({"name": "x" * 65}, "expected up to 64 letters"),
        ({"name": ""}, "`name` is ''"),
        ({"k": 0}, "`k` must be at least 1, got 0"),
        ({"mode": "fuzzy"}, "unknown mode 'fuzzy'"),
        ({"min_confidence": 2}, "`min_confidence` is 2"),
    ):
        with pytest.raises(UsageError, match=message):
            index.as_tool(**wrong)  # type: ignore[arg-type]
    with pytest.raises(FilterError):
        index.as_tool(where="year >")
    with pytest.raises(UsageError, match="the query is empty"):
        index.as_tool()(" ")


@pytest.mark.parametrize(
    ("index_name", "expected"),
    [
        ("notes", "search_notes"),
        ("Größe-2", "search_gr_e_2"),
        ("日本語", "search_index"),
        ("x" * 99, "search_" + "x" * 50),
    ],
)
def test_every_index_has_a_name_that_clients_take(index_name, expected):
    assert name_for(index_name) == expected
    assert NAME.fullmatch(expected)
