"""Corpora with bad records, and interrupted runs: the messages, the exit codes and the documents that are kept."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import DOCUMENTS, HASH, Outcome, call, jsonl, run

from semsearch import Index


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder, where indexes are created in `indexes/`."""
    monkeypatch.chdir(tmp_path)


def index(content: bytes, *options: object) -> Outcome:
    """Write this content to notes.jsonl and index the file."""
    Path("notes.jsonl").write_bytes(content)
    return call("index", "notes.jsonl", *HASH, *options)


def ids(folder: str = "indexes/notes") -> list[str]:
    """Return the ids of the documents in an index, in the order in which they were added."""
    with sqlite3.connect(f"{folder}/passages.sqlite") as connection:
        return [doc_id for (doc_id,) in connection.execute("SELECT doc_id FROM documents ORDER BY id")]


GOOD = [b'{"_id": "a", "text": "one"}', b'{"_id": "c", "text": "two"}']

BAD_RECORDS: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "malformed JSON": (b'{"_id": "b", "text": ', ("not valid JSON", "column 21")),
    "no object": (b'["b", "text"]', ("is not a JSON object",)),
    "missing id": (b'{"text": "words"}', ('no "_id"', "--id-field")),
    "missing text": (b'{"_id": "b", "body": "words"}', ('no "text"', "body", "--text-field")),
    "duplicate id": (b'{"_id": "a", "text": "other"}', ("duplicate id 'a'", "already used in notes.jsonl:1")),
    "invalid UTF-8": (b'{"_id": "b", "text": "caf\xe9"}', ("not valid utf-8", "byte 26")),
    "NUL": (b'{"_id": "b", "text": "nul \\u0000"}', ("NUL character in the text",)),
    "raw NUL": (b'{"_id": "b", "text": "nul \x00"}', ("not valid JSON",)),
    "text is a number": (b'{"_id": "b", "text": 5}', ('"text" is 5', "expected a string")),
    "title is a list": (b'{"_id": "b", "text": "x", "title": ["y"]}', ('"title" is ["y"]', "expected a string")),
    "id is null": (b'{"_id": null, "text": "x"}', ('"_id" is null', "expected a string or an integer")),
    "5 MB without an end": (b'{"_id": "b", "text": "' + b"words " * 900_000, ("not valid JSON",)),
}
EACH_BAD_RECORD = pytest.mark.parametrize(("line", "parts"), BAD_RECORDS.values(), ids=BAD_RECORDS)


@EACH_BAD_RECORD
def test_a_bad_record_stops_with_file_and_line_and_keeps_what_came_before(line, parts):
    done = index(b"\n".join((GOOD[0], line, GOOD[1])))
    done.fails(1, "notes.jsonl:2: ", *parts)
    assert len(done.err) < 300
    assert ids() == ["a"]


@EACH_BAD_RECORD
def test_skip_bad_counts_and_reports_bad_records(line, parts):
    done = index(b"\n".join((GOOD[0], line, GOOD[1])), "--skip-bad")
    skipped, warning = done.err.splitlines()
    assert done.code == 0
    assert skipped.startswith("skipped: notes.jsonl:2: ")
    assert all(part in skipped for part in parts)
    assert warning == "warning: skipped 1 bad record"
    assert ids() == ["a", "c"]


def test_skip_bad_reports_in_json_too():
    report = index(b"\n".join((*GOOD, b"{", b"[]")), "--skip-bad", "--json").ok().json
    assert (report["documents"], report["bad"]) == (2, 2)
    assert [error.split(": ")[0] for error in report["errors"]] == ["notes.jsonl:3", "notes.jsonl:4"]


def test_nothing_is_deleted_as_missing_where_bad_records_were_skipped():
    index(b"\n".join(GOOD)).ok()
    done = index(GOOD[0] + b'\n{"_id": "c", "text": ', "--skip-bad", "--delete-missing")
    assert "warning: kept 1 document that may be missing: could not check whether it is gone" in done.err
    assert ids() == ["a", "c"]


def test_a_document_that_is_too_long_is_refused_where_that_was_asked_for():
    done = index(GOOD[0] + b"\n" + jsonl([{"_id": "b", "text": "word " * 300}]), "--on-long", "error")
    done.fails(1, "notes.jsonl:2", "'b' has 300 tokens, more than 256")
    assert ids() == ["a"]


def test_an_empty_document_is_kept_and_named_in_a_warning():
    done = index(jsonl([DOCUMENTS[0], {"_id": "471", "text": ""}, {"_id": "995", "text": " ", "title": ""}]))
    assert done.code == 0
    assert done.err == "warning: 2 empty documents (no text, no title) cannot be found: 471, 995\n"
    assert ids() == ["a", "471", "995"]


def test_a_line_of_5_mb_is_a_document_like_any_other():
    text = "words and more " * 340_000
    report = index(jsonl([{"_id": "a", "text": text}, DOCUMENTS[1]]), "--on-long", "truncate", "--json").ok().json
    assert (report["documents"], report["tokens"]) == (2, 3 * 340_000 + 7)
    assert call("query", "words and more", "-k", 1, "--json").ok().json["hits"][0]["doc_id"] == "a"


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_corpus_is_an_error(content):
    index(content).fails(1, "the corpus is empty")


def test_a_corpus_of_bad_records_alone_is_an_error_even_when_they_are_skipped():
    index(b"{\n[]\n", "--skip-bad").fails(1, "the corpus is empty", "2 bad records")


def test_front_matter_that_is_not_valid_costs_one_line_and_the_note_is_indexed():
    Path("notes").mkdir()
    Path("notes/a.md").write_text("---\ntitle: Meeting: budget\n---\n# Budget\n\nwater for all\n")
    Path("notes/b.md").write_text("+++\ntitle =\n+++\nwater too\n")
    done = run("index", "notes", *HASH)
    assert done.code == 0
    assert done.err.splitlines() == [
        "warning: notes/a.md: the front matter is not valid YAML (mapping values are not allowed here on line 2); "
        "ignoring it",
        "warning: notes/b.md: the front matter is not valid TOML (Invalid value (at line 1, column 8)); ignoring it",
    ]
    found = call("query", "water", "--mode", "keyword", "--json").ok().json["hits"]
    assert {hit["doc_id"]: hit["text"] for hit in found} == {"a.md": "Budget\n\nwater for all", "b.md": "water too"}


def test_a_version_in_csv_is_found_as_it_is_written():
    Path("notes.csv").write_text("id,text,version\n1,first release,1.10\n2,second release,1.1\n3,third release,1.20\n")
    call("index", "notes.csv", *HASH).ok()
    found = {
        where: [hit["doc_id"] for hit in call("query", "release", "--where", where, "--json").ok().json["hits"]]
        for where in ("version = '1.10'", "version = 1.1", "version = '1.20'")
    }
    assert list(found.values()) == [["1"], ["2"], ["3"]]


def test_a_header_alone_is_an_empty_corpus_and_no_header_a_bad_record():
    Path("notes.csv").write_text("id,text\n")
    call("index", "notes.csv", *HASH).fails(1, "the corpus is empty: no usable document")
    Path("notes.csv").write_text("")
    call("index", "notes.csv", *HASH).fails(1, "notes.csv:1: no header; expected column names on the first line")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_keeps_what_was_committed_and_the_same_command_goes_on():
    batch = 50
    documents = [{"_id": str(n), "text": f"document number {n}"} for n in range(2 * batch)]
    # If a shell runs the tests in the background, they ignore SIGINT, and so would the child process.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"import semsearch.ingest; semsearch.ingest.BATCH_DOCUMENTS = {batch}\n"
        "from semsearch.cli.main import main; main()"
    )
    words = [sys.executable, "-c", program, "index", "-", *HASH]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, **pipes) as process:
        try:
            process.stdin.write(jsonl(documents[: batch + 10]))
            process.stdin.flush()
            _wait_for(lambda: Index.exists("indexes/stdin") and len(ids("indexes/stdin")) == batch)
            process.send_signal(signal.SIGINT)
            code = process.wait(timeout=60)
        finally:
            process.kill()
        stopped = Outcome(code, process.stdout.read().decode(), process.stderr.read().decode())
    stopped.fails(130, "committed batches are kept", "the same command")
    assert ids("indexes/stdin") == [str(n) for n in range(batch)]
    report = run("index", "-", "--json", stdin=jsonl(documents)).ok().json
    assert (report["unchanged"], report["encoded"]) == (batch, batch)
    assert call("status", "--json").ok().json["documents"] == len(documents)


def _wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)
