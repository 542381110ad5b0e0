"""`semsearch open`: hits of the last query and documents, whole or around a passage, in a pipe and on a terminal."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from command import DOCUMENTS, HASH, call, indexed, jsonl, run
from pseudo_terminal import ESCAPE, NO_TERMINAL, on_terminal, plain

LONG = [f"line {n} of many" for n in range(40)]
LONG[20] = "the heron waits by the water"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder, where indexes are created in `indexes/`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEMSEARCH_STATE", str(tmp_path / "state"))


def long_document() -> None:
    """Index a file of 40 lines in passages of about three lines, of which one mentions a heron."""
    Path("docs").mkdir()
    Path("docs/long.txt").write_text("\n".join(LONG))
    call("index", "docs", *HASH, "--chunk-tokens", 14, "--overlap", 0, "--no-title").ok()


def test_the_rank_of_a_hit_opens_it_with_the_lines_around():
    long_document()
    hit = call("query", "heron", "--mode", "keyword", "--json").ok().json["hits"][0]
    done = call("open", 1)
    assert (done.code, done.err) == (0, "hit 1 of 'heron' in indexes/docs\n")
    assert hit["text"] in done.out
    assert "line 16 of many" in done.out
    assert "line 2 of many" not in done.out
    assert done.out[0] == "…"
    assert call("open", 1, "--all").out == "\n".join(LONG) + "\n"
    told = call("open", 1, "--json").json
    assert LONG[20] in told["text"][told["start"] : told["end"]]
    assert (told["doc_id"], told["path"]) == ("long.txt", str(Path("docs/long.txt").resolve()))


def test_an_id_opens_the_whole_document_and_a_number_is_a_rank_unless_told():
    indexed("notes", [*DOCUMENTS, {"_id": "1", "text": "the number one"}])
    assert call("open", "b").ok().out == "Flour, water and salt.\n"
    call("open", 1).fails(2, "there was no query yet", "--id")
    assert call("open", 1, "--id").ok().out == "the number one\n"
    call("query", "flour", "--mode", "keyword").ok()
    assert call("open", 1).out == "Flour, water and salt.\n"
    call("open", 2).fails(2, "the last query, 'flour', has 1 hit, got 2", "--id")
    call("open", "nobody").fails(1, "no document 'nobody' in 'indexes/notes'")


def test_the_number_of_an_excerpt_opens_it():
    long_document()
    cited = call("query", "heron", "--mode", "keyword", "--context", "--json").ok().json["excerpts"][0]
    told = call("open", 1, "--json").json
    assert (told["doc_id"], told["start"], told["end"]) == ("long.txt", cited["start"], cited["end"])


def test_each_rank_opens_its_own_hit():
    indexed()
    hits = call("query", "water", "--mode", "keyword", "--json").ok().json["hits"]
    assert sorted(hit["doc_id"] for hit in hits) == ["a", "b"]
    assert [call("open", rank).out for rank in (1, 2)] == [f"{hit['text']}\n" for hit in hits]


def test_a_hit_is_opened_from_any_folder_and_of_the_last_query_only(tmp_path, monkeypatch):
    indexed("birds")
    indexed("others", [{"_id": "o", "text": "water in another index"}])
    call("query", "heron", "--index", "birds", "--mode", "keyword").ok()
    call("query", "water", "--index", "others", "--mode", "keyword").ok()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = call("open", 1)
    assert done.out == "water in another index\n"
    assert done.err == f"hit 1 of 'water' in {tmp_path / 'indexes' / 'others'}\n"
    call("open", 1, "--index", "../indexes/birds").fails(2, "the last query searched ", "omit --index")


def test_the_path_of_the_file_is_all_that_is_printed():
    long_document()
    assert call("open", "long.txt", "--path").ok().out == f"{Path('docs/long.txt').resolve()}\n"
    Path("rows.jsonl").write_bytes(jsonl(DOCUMENTS))
    call("index", "rows.jsonl", *HASH).ok()
    path = str(Path("rows.jsonl").resolve())
    assert call("open", "b", "-i", "rows", "--path").ok().out == f"{path}\n"
    run("index", "-", *HASH, stdin=jsonl(DOCUMENTS)).ok()
    call("open", "b", "-i", "stdin", "--path").fails(1, "does not come from a file")


def test_a_document_that_has_changed_since_is_not_shown_in_the_wrong_place():
    indexed()
    call("query", "heron", "--mode", "keyword").ok()
    Path("notes.jsonl").write_bytes(jsonl([{"_id": "a", "text": "short"}]))
    call("index", "notes.jsonl")
    assert "document 'a' has changed since the query" in call("open", 1).err


def test_what_is_kept_of_a_query_is_for_the_user_alone_and_holds_no_text(tmp_path):
    indexed()
    call("query", "flour", "--mode", "keyword").ok()
    kept = tmp_path / "state" / "last-hits.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "salt" not in kept.read_text()
    kept.write_text('{"query": 1}')  # damaged
    call("open", 1).fails(2, "there was no query yet")


@NO_TERMINAL
def test_a_terminal_marks_the_passage_and_its_words(monkeypatch):
    long_document()
    call("query", "heron", "--mode", "keyword").ok()
    shown, _ = on_terminal("open", 1)
    lines = plain(shown)
    assert f"▌ {LONG[20]}" in lines
    assert "  line 16 of many" in lines
    assert f"{ESCAPE}[1;35mheron" in shown
    assert f"{ESCAPE}[36m▌ {ESCAPE}[0m" in shown  # the margin alone is cyan
    assert [line for line in lines if "docs/long.txt" in line]


@NO_TERMINAL
@pytest.mark.parametrize("size", [5, 200])
def test_what_does_not_fit_on_the_terminal_goes_through_the_pager(monkeypatch, size):
    Path("docs").mkdir()
    Path("docs/a.txt").write_text("\n".join(f"line {n}" for n in range(size)))
    call("index", "docs", *HASH).ok()
    monkeypatch.setenv("PAGER", "sed 's/^/PAGED /'")
    lines = plain(on_terminal("open", "a.txt")[0])
    assert any(line.startswith("PAGED line ") for line in lines) == (size == 200)
    assert any(line.endswith(f"line {size - 1}") for line in lines)
