"""Interactive query sessions: piped lines, a real prompt with history, and errors that do not end the session."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from command import SCRIPT, call, indexed, run
from pseudo_terminal import NO_TERMINAL, plain

CTRL_D, UP = b"\x04", b"\x1b[A"

PROMPT_IS_READY = b"\x1b[?2004h"
"""The escape sequence that turns on bracketed paste, which the prompt sends when it starts to read input."""


def session(*typed: bytes, goes_on: bool = True) -> str:
    """Type at the prompt of a session that shows one hit for each query; returns what the terminal shows."""
    import pty

    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100", "PROMPT_TOOLKIT_NO_CPR": "1"}
    environment.pop("CI", None)
    command = [SCRIPT, "query", "--interactive", "-k", "1"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        try:
            for number, keys in enumerate((*typed, *((CTRL_D,) if goes_on else ())), 1):
                while shown.count(PROMPT_IS_READY) < number:
                    shown += os.read(ours, 65_536)
                os.write(ours, keys)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
            os.close(ours)
    return shown.decode(errors="replace")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test with its own query history, in an empty folder where indexes are created in `indexes/`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEMSEARCH_STATE", str(tmp_path / "state"))


def test_piped_lines_are_answered_one_after_the_other():
    indexed()
    done = run("query", "--interactive", "--json", stdin=b"heron\n\n  \nflour water\n").ok()
    alone = [call("query", text, "--json").out for text in ("heron", "flour water")]
    assert done.out == "".join(alone)


def test_a_question_that_cannot_be_answered_does_not_end_the_session():
    indexed()
    done = run("query", "--interactive", "--where", "nowhere = 1", stdin=b"heron\nbread\n")
    assert done.code == 0
    assert done.err.count("error: ") == 2


def test_a_line_that_is_not_utf_8_is_one_bad_query():
    indexed()
    done = run("query", "--interactive", stdin=b"heron\nwater \xff\nbread\n")
    assert (done.code, len(done.rows)) == (0, len(run("query", "--interactive", stdin=b"heron\nbread\n").rows))
    assert done.err == "error: the query is 'water \\udcff', which is not valid Unicode; expected text in UTF-8\n"


def test_it_goes_with_neither_a_query_nor_a_file():
    indexed()
    call("query", "heron", "--interactive").fails(2, "give either a query", "--queries FILE, or --interactive")
    call("query").fails(2, "give either a query")


def test_several_words_need_no_quotes_and_options_go_anywhere():
    indexed()
    quoted = call("query", "flour water", "-k", 1, "--json").ok()
    assert call("query", "flour", "-k", 1, "water", "--json").ok() == quoted
    assert quoted.json["query"] == "flour water"


def test_a_colon_in_a_pipe_is_no_command():
    indexed()
    done = run("query", "--interactive", "--json", stdin=b":k 1\n:quit\nwater\n").ok()
    assert [json.loads(line)["query"] for line in done.out.splitlines()] == [":k 1", ":quit", "water"]


@NO_TERMINAL
def test_a_prompt_remembers_what_was_asked_also_in_the_next_session(tmp_path: Path):
    indexed()
    assert "Heron" in session(b"heron\r")
    history = next(tmp_path.rglob("history"))
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "Heron" in session(UP + b"\r")
    shown = session("heron \u202egnp.exe\r".encode()) + session(UP + b"\r")
    assert "\u202e" not in shown
    assert "·gnp.exe" in shown


@NO_TERMINAL
def test_a_session_greets_and_obeys_commands():
    indexed()
    words = ":help", ":mode keyword", "water", ":more", ":more", ":open 2", ":k 2", ":mode no", ":x"
    shown = "\n".join(plain(session(*(f"{line}\r".encode() for line in words))))
    assert "indexes/notes: 4 documents, mode hybrid" in shown
    assert "hash:4096 (word-hash)" in shown
    assert "  :where FILTER  search only what meets a filter" in shown
    assert re.findall(r"^ +([1-4]) +\d+\.\d|(no more hits)|(hits: 2)", shown, re.MULTILINE) == [
        *[("1", "", ""), ("2", "", ""), ("", "no more hits", ""), ("", "", "hits: 2")],
        *[("2", "", ""), ("1", "", "")],  # the best hit is next to the prompt
    ]
    assert "▌ The heron waits by the water." in shown
    assert "error: :mode takes one of dense, keyword, hybrid" in shown
    assert "error: no command :x; type :help" in shown


@NO_TERMINAL
def test_a_session_says_what_a_command_lacks():
    indexed()
    words = ":more", ":open", ":k x", ":mode keyword", "water", ":open 9", ":open two"
    shown = "\n".join(plain(session(*(f"{line}\r".encode() for line in words))))
    assert re.findall(r"^error: (.*)$", shown, re.MULTILINE) == [
        "there is no query yet; type one first",
        "there is no hit 1; 0 hits shown so far",
        ":k takes a number of hits, such as :k 20",
        "there is no hit 9; 1 hit shown so far",
        ":open takes the rank of a hit, such as :open 2",
    ]


@NO_TERMINAL
def test_a_session_answers_again_when_its_settings_change():
    indexed()
    typed = (
        b"water\r",
        b":where year = 2020\r",
        b":where year = \r",
        b":where\r",
        b":mode keyword\r",
        b":order\r",
        b":explain\r",
    )
    shown = "\n".join(plain(session(*typed)))
    parts = re.split(r"filter: |error: |mode: |order: |explanations: ", shown)[1:]
    hits = [re.findall(r"^ +1 .* ([abcd])$", part, re.MULTILINE) for part in parts]
    assert hits == [["a"], [], ["b"], ["b"], ["b"], ["b"]], parts
    assert "words: BM25" in parts[-1]
    assert "words: BM25" not in parts[-2]


@NO_TERMINAL
def test_a_session_ends_when_told_to():
    indexed()
    assert "Heron" not in session(b":quit\r", goes_on=False)
