"""Appearance of the output: tables, progress bars and colors on a terminal; plain lines, tabs and JSON in a pipe."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import DOCUMENTS, HASH, SCRIPT, call, indexed, jsonl, run
from pseudo_terminal import ESCAPE, NO_TERMINAL, on_terminal, plain

from semsearch import IngestResult
from semsearch.cli import terminal
from semsearch.errors import RecordError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder, where indexes are created in `indexes/`."""
    monkeypatch.chdir(tmp_path)


# --- on a terminal


@NO_TERMINAL
def test_a_terminal_shows_a_table_with_a_line_under_its_head():
    shown, _ = on_terminal("poolers")
    assert "\t" not in shown
    lines = plain(shown)
    head = next(n for n, line in enumerate(lines) if line.split() == ["name", "formula", "layers", "known", "as"])
    assert set(lines[head + 1].strip()) == {"─"}
    assert any(line.split()[:1] == ["weighted-mean"] for line in lines)
    assert max(map(len, lines)) <= 100


@NO_TERMINAL
def test_a_terminal_lists_each_index_on_one_line(tmp_path):
    indexed("notes")
    indexed("others")
    rows = [line.split() for line in plain(on_terminal("list")[0]) if line.strip()][2:]
    assert [(row[0], row[1], row[2]) for row in rows] == [
        ("indexes/notes", "4", "hash:4096"),
        ("indexes/others", "4", "hash:4096"),
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", row[-1]) for row in rows)
    assert "passages" in call("list").ok().rows[0]  # programs get everything


@NO_TERMINAL
def test_a_terminal_shows_hits_in_color_each_over_its_passage():
    indexed()
    shown, _ = on_terminal("query", "water", "-k", 2, "--mode", "dense")
    assert ESCAPE in shown
    lines = [line.strip() for line in plain(shown) if line.strip()]
    heads = [re.sub(r" \d+% ", " ", line).split() for line in lines[:4:2]]
    assert heads == [["1", "0.447", "Bread", "b"], ["2", "0.302", "Heron", "a"]]
    assert lines[1:4:2] == ["Flour, water and salt.", "The heron waits by the water."]


@NO_TERMINAL
def test_a_terminal_says_how_sure_the_hits_are():
    indexed(
        "some", [{"_id": str(n), "text": text} for n, text in enumerate(("the heron in the reeds", "bread and rye"))]
    )
    sure, _ = on_terminal("query", "the heron in the reeds", "-k", 1)
    doubtful, _ = on_terminal("query", "the moon and the sea")
    assert re.search(r"1  0\.\d+ +\d+%", "\n".join(plain(sure)))
    assert ("low confidence in every hit" in sure, "low confidence in every hit" in doubtful) == (False, True)


@NO_TERMINAL
def test_a_terminal_says_that_nothing_was_found():
    indexed()
    assert "nothing found" in on_terminal("query", "nothing", "--mode", "keyword", code=3)[0]


@NO_TERMINAL
def test_a_terminal_is_safe_from_escapes_and_markup_in_documents():
    indexed("evil", [{"_id": f"{ESCAPE}[31mid", "title": f"[bold]T{ESCAPE}]0;owned\a", "text": f"x {ESCAPE}[2J y"}])
    shown, _ = on_terminal("query", "x")
    assert not any(code in shown for code in (f"{ESCAPE}[31mid", f"{ESCAPE}]0;", f"{ESCAPE}[2J", "\a"))
    assert "[bold]T" in shown


@pytest.mark.slow
@NO_TERMINAL
def test_a_terminal_shows_a_bar_of_texts_and_then_one_of_rows():
    Path("pairs.tsv").write_text("sentence1\tsentence2\tscore\na heron\ta bird\t1\na loaf\tbread\t2\n")
    shown, _ = on_terminal("eval", "sts", "--data", "pairs.tsv", "--poolers", "mean,cls,max", "--geometry")
    assert shown.index("encoding") < shown.index("scoring") < shown.index("Spearman x 100")
    assert "3/3" in shown[shown.index("scoring") :]


@pytest.mark.slow
@NO_TERMINAL
def test_a_terminal_shows_the_name_of_a_column_as_it_is():
    Path("[red]pairs.tsv").write_text("sentence1\tsentence2\tscore\na heron\ta bird\t1\na loaf\tbread\t2\n")
    shown, _ = on_terminal("eval", "sts", "--data", "[red]pairs.tsv", "--poolers", "mean")
    assert any(line.split() == [*"Spearman x 100".split(), "[red]pairs"] for line in plain(shown))


@NO_TERMINAL
def test_indexing_shows_a_bar_with_the_rate_on_a_terminal_and_json_in_the_pipe():
    Path("notes.jsonl").write_bytes(jsonl(DOCUMENTS))
    shown, read = on_terminal("index", "notes.jsonl", *HASH, "--json", piped=("stdout",))
    assert "indexing" in shown
    assert "100%" in shown
    assert "4 docs, " in shown
    assert " passages/s" in shown
    assert json.loads(read)["documents"] == 4
    assert ESCAPE not in read


@NO_TERMINAL
def test_a_terminal_for_output_alone_shows_no_bar():
    Path("notes.jsonl").write_bytes(jsonl(DOCUMENTS))
    shown, read = on_terminal("index", "notes.jsonl", *HASH, piped=("stderr",))
    assert "4 documents in " in shown
    assert read == ""


# --- piped


def test_nothing_piped_holds_an_escape_or_a_bar():
    Path("notes.jsonl").write_bytes(jsonl(DOCUMENTS))
    for words in (
        ("index", "notes.jsonl", *HASH),
        ("query", "water"),
        ("list",),
        ("status",),
        ("poolers",),
        ("--help",),
    ):
        done = run(*words, FORCE_COLOR="1", TERM="xterm-256color").ok()
        assert ESCAPE not in done.out


HOSTILE = "tab\there\nline\r\nnext\u2028mark\x85end\x1b[31mred"


def test_a_piped_table_keeps_its_columns_whatever_the_documents_hold():
    documents = [{"_id": f"{n}{HOSTILE}", "title": HOSTILE, "text": f"word {HOSTILE} {n}"} for n in range(3)]
    indexed("hostile", documents)
    printed = call("query", "word").ok().out
    lines = printed.splitlines()  # splits at every line boundary that Unicode defines
    assert [line.count("\t") for line in lines] == [5] * 4
    assert ESCAPE not in printed
    assert {len(row) for row in call("status").ok().rows} == {2}


def test_json_gives_back_what_the_documents_hold():
    document = {"_id": HOSTILE, "title": HOSTILE, "text": f"word {HOSTILE}", "metadata": {HOSTILE: [HOSTILE]}}
    indexed("hostile", [document])
    (hit,) = call("query", "word", "--json").ok().json["hits"]
    assert (hit["doc_id"], hit["title"], hit["text"]) == (HOSTILE, HOSTILE, f"word {HOSTILE}")
    assert hit["metadata"] == {HOSTILE: [HOSTILE]}


def test_numbers_in_a_pipe_are_for_programs():
    indexed("many", [{"_id": str(n), "text": "water"} for n in range(1_001)])
    assert dict(call("status").ok().rows)["documents"] == "1001"
    assert call("query", "water", "-k", 1_001, "--no-group").ok().rows[-1][0] == "1001"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_an_output_that_lacks_characters_gets_escapes_and_no_traceback(encoding):
    indexed("notes", [{"_id": "c", "title": "café 咖啡 😀", "text": "水要热。"}])
    words = ("query", "水", "--mode", "keyword")
    (hit,) = run(*words, "--json", PYTHONIOENCODING=encoding).ok().json["hits"]
    assert (hit["title"], hit["text"]) == ("café 咖啡 😀", "水要热。")
    done = subprocess.run([SCRIPT, *words], capture_output=True, env=os.environ | {"PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode(encoding).count("\n") == 2


@pytest.mark.skipif(sys.platform == "win32", reason="arguments are Unicode on Windows")
def test_an_argument_that_is_no_unicode_is_no_traceback():
    indexed()
    done = subprocess.run([SCRIPT, "query", b"water \xff", "--json"], capture_output=True)
    expected = "error: the query is 'water \\udcff', which is not valid Unicode; expected text in UTF-8"
    assert (done.returncode, done.stdout, done.stderr.decode().splitlines()) == (2, b"", [expected])


UNSEEN = {*map(chr, (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xE0000, 0xE0080)))}
"""Characters that reorder a line (UAX 9), and tags, copied by hand from the Unicode Standard."""

BIDI = "a\u202egnp.exe\u202c \u2067x\u2069 \u200eL\u200fR\u061c \U000e0041tag"


def test_nothing_that_rearranges_a_line_is_printed_whatever_holds_it():
    path = f"{BIDI}.jsonl"
    Path(path).write_bytes(jsonl([{"_id": BIDI, "title": BIDI, "text": f"word {BIDI}", "metadata": {BIDI: BIDI}}]))
    printed = []
    for words in (
        ("index", path, *HASH),
        ("index", path, "--json"),
        ("list",),
        ("status",),
        ("status", "--json"),
        ("query", "word"),
        ("query", "word", "--json"),
        ("query", "word", "--where", f"{BIDI} = 1"),
        ("query", "word", "--model", BIDI),
        ("query", "word", "--index", BIDI),
        ("query", "word", BIDI),
        ("index", BIDI),
        ("delete", BIDI, "--index", f"indexes/{BIDI}"),
        ("delete", BIDI),
    ):
        done = call(*words)
        printed.append(done.out + done.err)
    assert [words for words in printed if UNSEEN & {*words}] == []
    assert all("gnp.exe" in words for words in printed)


def test_json_escapes_what_rearranges_a_line_and_gives_it_back():
    indexed("bidi", [{"_id": BIDI, "text": f"word {BIDI}"}])
    (hit,) = call("query", "word", "--json").ok().json["hits"]
    assert (hit["doc_id"], hit["text"]) == (BIDI, f"word {BIDI}")


@NO_TERMINAL
def test_a_terminal_is_safe_from_marks_of_direction_and_shows_joiners():
    joined = "می\u200cخواهم 👩\u200d👧"
    indexed("bidi", [{"_id": BIDI, "title": f"{BIDI} {joined}", "text": f"word {BIDI}"}])
    shown, _ = on_terminal("query", "word")
    assert not UNSEEN & {*shown}
    assert joined in shown


# --- broken pipes and full disks


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break otherwise on Windows")
@pytest.mark.parametrize("first_lines", [0, 1])
def test_a_broken_pipe_ends_the_command_without_a_word(first_lines):
    indexed()
    Path("queries.jsonl").write_bytes(jsonl([{"_id": str(n), "text": "water"} for n in range(500)]))
    words = ["query", "--queries", "queries.jsonl"] if first_lines else ["list"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([SCRIPT, *words], **pipes) as process:
        try:
            for _ in range(first_lines):
                assert json.loads(process.stdout.readline())["query_id"] == "0"
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(timeout=60) == 1
        finally:
            process.kill()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_an_output_that_is_full_is_one_line_of_error():
    with open("/dev/full", "wb") as full:
        done = subprocess.run([SCRIPT, "list"], stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, b"error: No space left on device\n")


# --- individual functions


def test_the_summary_counts_and_warns(capsys: pytest.CaptureFixture[str]):
    report = IngestResult(
        **{"documents": 5_000, "encoded": 4_000, "described": 3, "unchanged": 997, "deleted": 2, "passages": 8_000},
        **{"truncated": 1_000, "tokens": 80_000, "tokens_lost": 10_000, "bad": 2, "not_deleted": 7},
        empty=12,
        empty_ids=[f"e{n}" for n in range(10)],
        errors=[RecordError("a.jsonl", 3, "no id"), RecordError("b.txt", None, "not valid utf-8")],
    )
    terminal.summary(report, "indexes/a", 2.04)
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "5,000 documents in 2.0 s: 4,000 encoded (8,000 passages), 3 with new metadata, 997 unchanged, 2 deleted",
        "1,000 of 8,000 passages truncated: 10,000 of 80,000 tokens lost (12.5%); --on-long chunk keeps them all",
        "index: indexes/a",
    ]
    names = ", ".join(f"e{n}" for n in range(10))
    assert err.splitlines() == [
        f"warning: 12 empty documents (no text, no title) cannot be found: {names} and 2 more",
        "skipped: a.jsonl:3: no id",
        "skipped: b.txt: not valid utf-8",
        "warning: skipped 2 bad records",
        "warning: kept 7 documents that may be missing: could not check whether they are gone",
    ]


def test_what_documents_say_does_not_reach_the_terminal_as_commands(capsys: pytest.CaptureFixture[str]):
    terminal.say("warning: \x1b]0;pwned\x07 \x9b31m")
    terminal.print_json({"text": "\x9b31m\x1b[0m"})
    out, err = capsys.readouterr()
    assert not {"\x1b", "\x07", "\x9b"} & {*out, *err}
    assert json.loads(out) == {"text": "\x9b31m\x1b[0m"}
