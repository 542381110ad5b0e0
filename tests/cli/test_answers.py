"""Answers to many queries at once, as JSON lines and as TREC run files that ir-measures reads."""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ir_measures
import pytest
from command import DOCUMENTS, call, indexed, jsonl, run

from semsearch.cli.answers import QUERIES_AT_ONCE

QUERIES = [{"_id": "q1", "text": "water"}, {"_id": 2, "text": "kettle", "metadata": {"by": "hand"}}]


@pytest.fixture(autouse=True)
def _notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Create an index and a query file in an empty current folder."""
    monkeypatch.chdir(tmp_path)
    indexed()
    Path("queries.jsonl").write_bytes(jsonl(QUERIES))


def answers(*words: object) -> list[dict]:
    """Return the JSON objects that a query command prints, one for each line."""
    return [json.loads(line) for line in call("query", *words).ok().out.splitlines()]


@pytest.mark.parametrize("options", [(), ("--mode", "hybrid"), ("--mode", "keyword", "--where", "lang = 'en'")])
def test_each_query_of_a_file_is_answered_as_it_is_alone(options):
    many = answers("--queries", "queries.jsonl", "-k", 3, *options)
    assert [answer.pop("query_id") for answer in many] == ["q1", "2"]
    assert many == [call("query", query["text"], "-k", 3, *options, "--json").ok().json for query in QUERIES]


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes")
def test_queries_come_from_a_pipe_as_that_of_a_shell_too():
    os.mkfifo("pipe")
    with ThreadPoolExecutor(1) as writer:
        written = writer.submit(Path("pipe").write_bytes, jsonl(QUERIES))
        assert answers("--queries", "pipe") == answers("--queries", "queries.jsonl")
    assert written.result()


def test_queries_come_from_standard_input_too():
    done = run("query", "--queries", "-", "-k", "1", "--json", stdin=jsonl(QUERIES[:1])).ok()
    assert (done.json["query_id"], done.json["hits"][0]["doc_id"]) == ("q1", "b")


def test_more_queries_than_are_searched_at_once_are_all_answered_in_order():
    n = QUERIES_AT_ONCE + 3
    Path("many.jsonl").write_bytes(jsonl([{"_id": f"q{i}", "text": ("water", "kettle")[i % 2]} for i in range(n)]))
    many = answers("--queries", "many.jsonl", "-k", 1)
    assert [answer["query_id"] for answer in many] == [f"q{i}" for i in range(n)]
    assert {(answer["query"], answer["hits"][0]["doc_id"]) for answer in many} == {("water", "b"), ("kettle", "d")}


def test_a_file_without_queries_or_with_one_twice_is_refused():
    Path("none.jsonl").write_bytes(b"\n")
    call("query", "--queries", "none.jsonl").fails(1, '"none.jsonl" contains no queries', '"_id" and "text"')
    Path("twice.jsonl").write_bytes(jsonl([*QUERIES, QUERIES[0]]))
    call("query", "--queries", "twice.jsonl").fails(1, "twice.jsonl:3: duplicate query id 'q1'")


def test_a_run_file_holds_what_the_json_says_as_ir_measures_reads_it():
    done = call("query", "--queries", "queries.jsonl", "--run", "out.trec", "-k", 2)
    assert (done.code, done.out, done.err) == (0, "", "wrote the hits of 2 queries to out.trec\n")
    scored = list(ir_measures.read_trec_run("out.trec"))
    expected = [
        (answer["query_id"], hit["doc_id"], pytest.approx(hit["score"], abs=1e-6))
        for answer in answers("--queries", "queries.jsonl", "-k", 2)
        for hit in answer["hits"]
    ]
    assert len(scored) == 4
    assert [(one.query_id, one.doc_id, one.score) for one in scored] == expected


def test_a_run_file_has_the_six_columns_of_trec():
    call("query", "--queries", "queries.jsonl", "--run", "out.trec", "-k", 1, "--mode", "dense")
    assert Path("out.trec").read_text().splitlines() == [
        "q1 Q0 b 1 0.4472135901451111 semsearch",
        "2 Q0 d 1 0.4472135901451111 semsearch",
    ]


def test_a_run_file_takes_the_place_of_an_older_one():
    Path("out.trec").write_text("older\n")
    call("query", "--queries", "queries.jsonl", "--run", "out.trec", "-k", 1)
    assert "older" not in Path("out.trec").read_text()


@pytest.mark.parametrize(
    ("bad", "code", "parts"),
    [
        ({"_id": "q 3", "text": "water"}, 2, ("'q 3'", "white space", "--run")),
        ({"_id": "q3", "text": " "}, 1, ("queries.jsonl:3", "the query is empty")),
        ({"_id": "q3"}, 1, ("queries.jsonl:3", 'no "text"')),
    ],
)
def test_a_run_file_appears_only_when_it_is_complete(bad, code, parts):
    Path("queries.jsonl").write_bytes(jsonl([*QUERIES, bad]))
    Path("out.trec").write_text("older\n")
    before = set(os.listdir())
    call("query", "--queries", "queries.jsonl", "--run", "out.trec").fails(code, *parts)
    assert Path("out.trec").read_text() == "older\n"
    assert set(os.listdir()) == before


def test_a_document_id_with_white_space_does_not_go_into_a_run_but_into_json():
    indexed("spaced", [DOCUMENTS[0] | {"_id": "a b"}])
    words = ("-i", "indexes/spaced", "--queries", "queries.jsonl")
    call("query", *words, "--run", "out.trec").fails(2, "'a b'", "JSON lines")
    assert answers(*words)[0]["hits"][0]["doc_id"] == "a b"


@pytest.mark.parametrize("path", ["nowhere/out.trec", "queries.jsonl/out.trec", "indexes", "."])
def test_a_run_file_that_cannot_be_written_is_an_error_and_leaves_nothing(path):
    before = set(os.listdir())
    call("query", "--queries", "queries.jsonl", "--run", path).fails(1, f"cannot write {str(Path(path))!r}")
    assert set(os.listdir()) == before


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_an_error():
    Path("locked").mkdir(mode=0o500)
    call("query", "--queries", "queries.jsonl", "--run", "locked/out.trec").fails(1, "cannot write 'locked/out.trec'")


def test_a_query_file_that_does_not_exist_is_an_error():
    call("query", "--queries", "nowhere.jsonl").fails(1, '"nowhere.jsonl" does not exist')


def test_a_query_file_that_does_not_parse_is_an_error_with_its_line():
    Path("queries.jsonl").write_bytes(b'{"_id": "q1", "text": "water"}\n{"_id": ')
    call("query", "--queries", "queries.jsonl").fails(1, "queries.jsonl:2", "not valid JSON")


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes, and no links without more rights")
def test_a_run_to_a_link_or_a_pipe_leaves_it_what_it_is():
    words = ("query", "--queries", "queries.jsonl", "--run")
    Path("target.run").write_text("old")
    Path("link.run").symlink_to("target.run")
    Path("target.run.tmp").write_text("precious")
    assert call(*words, "link.run").err == "wrote the hits of 2 queries to link.run\n"
    assert Path("link.run").is_symlink()
    assert len(Path("target.run").read_text().splitlines()) == 8
    assert Path("target.run.tmp").read_text() == "precious"
    os.mkfifo("pipe.run")
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(Path("pipe.run").read_text)
        assert call(*words, "pipe.run").code == 0
        assert read.result(timeout=60) == Path("target.run").read_text()
    assert Path("pipe.run").is_fifo()
