"""Display of hits: one line each in a pipe, several lines with highlights on a terminal, and explanations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import call, indexed, jsonl
from pseudo_terminal import NO_TERMINAL, on_terminal, plain

from semsearch import Hit
from semsearch.cli import hits
from semsearch.explain.records import Dense, Explanation, TokenShare
from semsearch.snippets import SIZE, Snippet

FILLER = "Some filler stands here. "

CODE = """Some words.

```python
class Heron:
\tdef wait(self):
        return 1
```

| bird | heron |
|---|---|
| 1 | 2 |
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder, where indexes are created in `indexes/`."""
    monkeypatch.chdir(tmp_path)


def hit(text: str) -> Hit:
    return Hit(1, "d1", 0.123456, "Title", text, 0, len(text), {}, "cosine")


# --- in a pipe


def test_a_hit_is_one_line_around_what_matches(capsys: pytest.CaptureFixture[str]):
    hits.show("herons", [hit(FILLER * 40 + "A\nheron\twaits\x1b[31m. " + FILLER * 40)])
    head, line = capsys.readouterr().out.splitlines()
    assert head.split("\t") == ["rank", "score", "doc_id", "title", "text", "similar"]
    rank, score, doc_id, title, text, similar = line.split("\t")
    assert (rank, score, doc_id, title, similar) == ("1", "0.1235", "d1", "Title", "")
    assert text[0] == text[-1] == "…"
    assert "here. A heron waits [31m. Some" in text
    assert len(text) <= SIZE + 2


def test_a_hit_without_a_match_is_its_beginning(capsys: pytest.CaptureFixture[str]):
    hits.show("heron", [hit("word " * 100)])
    text = capsys.readouterr().out.splitlines()[1].split("\t")[4]
    assert text == f"{('word ' * 48).strip()}…"


def test_json_has_the_snippet_and_where_it_and_its_matches_stand():
    indexed()
    found = call("query", "waits", "--json", "-k", 2, "--mode", "keyword").ok().json["hits"]
    assert [one["doc_id"] for one in found] == ["d", "a"]
    for one in found:
        snippet = one["snippet"]
        assert snippet["text"] == one["text"][snippet["start"] : snippet["end"]]
        assert [snippet["text"][a:b] for a, b in snippet["highlights"]] == [{"a": "waits", "d": "wait"}[one["doc_id"]]]
        assert "explanation" not in one


# --- on a terminal


@NO_TERMINAL
def test_lines_code_and_tables_stay_as_they_are_and_matches_are_highlighted():
    indexed("code", [{"_id": "c", "text": CODE}])
    shown, _ = on_terminal("query", "heron waits", "--mode", "keyword")
    assert plain(shown)[1:9] == [
        "     Some words.",
        "     ```python",
        "     class Heron:",
        "         def wait(self):",
        "             return 1",
        "     ```",
        "     | bird | heron |",
        "     |---|---|…",
    ]
    assert shown.count("\x1b[1;35m") == 3


@NO_TERMINAL
def test_no_control_of_a_document_reaches_the_terminal():
    evil = "heron \x1b[2J \x9b31m \u202e \x07 \x1b]0;owned\x07 he\u202dron\r\n\x0bheron"
    indexed("evil", [{"_id": "\x1b[31mid", "title": "\x1b]0;T\x07", "text": evil}])
    shown, _ = on_terminal("query", "heron", "--explain")
    for bad in ("\x1b[2J", "\x9b", "\u202e", "\u202d", "\x07", "\x1b]", "\x0b"):
        assert bad not in shown
    assert shown.count("\x1b[1;35m") == 3


@NO_TERMINAL
def test_a_terminal_says_why_below_each_hit():
    indexed()
    shown, _ = on_terminal("query", "water", "-k", 1, "--explain")
    lines = [line.strip() for line in plain(shown) if line.strip()]
    assert lines[0].split()[-2:] == ["Bread", "b"]
    assert lines[1] == "Flour, water and salt."
    assert "hybrid = " in lines[2]
    assert lines[3].startswith("meaning: cosine 0.4472, ")
    assert "water +0.447" in lines[3]
    assert lines[-1].startswith("words: BM25 ")


# --- explanations


def test_piped_explanations_are_one_more_column():
    indexed()
    rows = call("query", "water", "-k", 2, "--explain", "--mode", "dense").ok().rows
    assert rows[0] == ["rank", "score", "doc_id", "title", "text", "why", "similar"]
    assert rows[1][5] == "meaning: cosine 0.4472; water +0.447, 4 more +0.000"
    assert [len(row) for row in rows] == [7, 7, 7]


@pytest.mark.parametrize("options", [("--mode", "dense"), ("--mode", "keyword"), (), ("--fusion", "rrf")])
def test_explanations_as_json_sum_to_the_score(options: tuple[str, ...]):
    indexed()
    found = call("query", "water", "--explain", "--json", "--where", "lang = 'en'", *options).ok().json["hits"]
    assert found
    for one in found:
        why = one["explanation"]
        shares = [why[side]["share"] for side in ("dense", "keyword") if why[side]]
        assert sum(shares) == pytest.approx(one["score"], abs=1e-6)
        assert why["note"] == ""
        if why["dense"]:
            total = sum(token["contribution"] for token in why["dense"]["tokens"]) + why["dense"]["rounding"]
            assert total == pytest.approx(why["dense"]["score"], abs=1e-9)
        if why["keyword"] and why["keyword"]["terms"]:
            assert sum(term["score"] for term in why["keyword"]["terms"]) == pytest.approx(why["keyword"]["score"])
            for term in why["keyword"]["terms"]:
                assert {one["text"][a:b] for a, b in term["spans"]} == {"water"}
    assert {"snippet", "explanation"} <= found[0].keys()


def test_the_documented_json_has_the_fields_that_are_printed():
    import semsearch.explain.records as records

    indexed()
    why = call("query", "water", "--explain", "--json").ok().json["hits"][0]["explanation"]
    documented = str(records.__doc__)
    names = {*why, *why["dense"], *why["keyword"], *why["dense"]["tokens"][0], *why["keyword"]["terms"][0]}
    assert {name for name in names if f'"{name}"' not in documented} == set()


def test_a_session_explains_each_of_its_hits(monkeypatch: pytest.MonkeyPatch):
    import io
    import sys

    indexed()
    monkeypatch.setattr(sys, "stdin", io.StringIO("water\nheron\n"))
    lines = call("query", "--interactive", "--explain", "--json", "-k", 1).ok().out.splitlines()
    assert [json.loads(line)["hits"][0]["explanation"]["doc_id"] for line in lines] == ["b", "a"]


def test_what_cannot_be_split_or_was_not_seen_is_said(capsys: pytest.CaptureFixture[str]):
    def why(**fields: Any) -> Explanation:
        dense = Dense(0.12, 0.12, 0.0, 1.0, 1.0, None, 0, 4, offsets={}, **fields)
        return Explanation("d1", 0, 4, "cosine", 0.12, dense, None, Snippet("word", 0, 4), "")

    hits.show("heron", [hit("word")], [why(note="cannot be split")])
    hits.show("heron", [hit("word")], [why(tokens=(TokenShare("word", "text", 0, 4, 0.12),), n_lost=1_234)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].rstrip("\t").endswith("cannot be split")
    assert lines[3].rstrip("\t").endswith("1,234 tokens past the encoder's limit were ignored")


@pytest.mark.parametrize(
    "options",
    [("--queries", "queries.jsonl"), ("--queries", "queries.jsonl", "--run", "run.trec"), ("water", "--context")],
)
def test_explain_goes_with_one_query_at_a_time(options: tuple[str, ...]):
    indexed()
    Path("queries.jsonl").write_bytes(jsonl([{"_id": "1", "text": "water"}]))
    call("query", *options, "--explain").fails(2, "--explain answers one query at a time", "--queries")
    assert not Path("run.trec").exists()


def test_a_query_of_marks_is_explained_by_meaning_alone():
    indexed()
    found = call("query", "?!", "--explain", "--json").ok().json["hits"]
    assert {one["explanation"]["keyword"]["note"] for one in found} == {"contains no word of the query"}
    assert call("query", "?!", "--explain", "--mode", "keyword", "--json").json["hits"] == []
