"""Interactive query sessions: piped lines, a real prompt with history, and errors that do not end the session."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from command import SCRIPT, call, indexed, run

CTRL_D, UP = b"\x04", b"\x1b[A"

PROMPT_IS_READY = b"\x1b[?2004h"
"""The escape sequence that turns on bracketed paste, which the prompt sends when it starts to read input."""


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


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals on Windows")
def test_a_prompt_remembers_what_was_asked_also_in_the_next_session(tmp_path: Path):
    import pty

    indexed()

    def session(*typed: bytes) -> str:
        ours, theirs = pty.openpty()
        environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100", "PROMPT_TOOLKIT_NO_CPR": "1"}
        environment.pop("CI", None)
        command = [SCRIPT, "query", "--interactive", "-k", "1"]
        with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
            os.close(theirs)
            shown = b""
            try:
                for number, keys in enumerate((*typed, CTRL_D), 1):
                    while shown.count(PROMPT_IS_READY) < number:
                        shown += os.read(ours, 65_536)
                    os.write(ours, keys)
                assert process.wait(timeout=60) == 0
            finally:
                process.kill()
                os.close(ours)
        return shown.decode(errors="replace")

    assert "Heron" in session(b"heron\r")
    history = next(tmp_path.rglob("history"))
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "Heron" in session(UP + b"\r")
    shown = session("heron \u202egnp.exe\r".encode()) + session(UP + b"\r")
    assert "\u202e" not in shown
    assert "·gnp.exe" in shown
