"""The commands, tested by their output and their effects.

The expected scores on `command.DOCUMENTS` are calculated by hand.
"""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from pathlib import Path

import pytest
from command import DOCUMENTS, call, indexed, jsonl, run
from fakes import tiny_checkpoint

import semsearch
from semsearch.encoder.cache import warn_of_cache

COMMANDS = ("index", "query", "list", "status", "delete", "poolers", "demo")

LIBRARIES = {"torch", "transformers", "sentence_transformers", "huggingface_hub", "rich", "sqlite_utils", "pydantic"}
"""Libraries whose import takes at least as long as `semsearch --help`, or a tenth of the time of a query."""

HEAVY = LIBRARIES | {"openvino", "faiss", "numpy", "tokenizers", "filelock", "lark"}

B_SCORE, A_SCORE = 1 / math.sqrt(5), 1 / math.sqrt(4 + 4 + 1 + 1 + 1)
"""Cosines of `water` with `Bread Flour, water and salt.` and with `Heron The heron waits by the water.`."""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder, where indexes are created in `indexes/`."""
    monkeypatch.chdir(tmp_path)


def found(*words: object) -> list[str]:
    """Return the ids of the documents that a query finds, best first."""
    return [hit["doc_id"] for hit in call("query", *words, "--json").ok().json["hits"]]


# --- help and imports


def modules_after(*words: str) -> set[str]:
    """Run a command and return the top-level modules that it has imported by its end."""
    program = (
        "import sys; from semsearch.cli.main import main\n"
        "try: main()\n"
        "finally: print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "semsearch.cli.main" in done.stderr.split()
    return {name.split(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_names_it_and_its_options(command):
    shown = call(command, "--help").ok().out
    assert shown.startswith(f"Usage: semsearch {command} ")
    assert "--json" in shown


def test_alone_it_shows_its_help_with_every_command():
    alone = run().ok().out
    assert alone == run("--help").ok().out
    listed = {line.split()[0] for line in alone.splitlines() if line.startswith("  ") and line.strip()}
    assert set(COMMANDS) <= listed


def test_the_version_is_the_package_s():
    assert call("--version").ok().out == f"semsearch {semsearch.__version__}\n"


def test_python_runs_the_package_as_the_command():
    done = subprocess.run([sys.executable, "-m", "semsearch", "--help"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, call("--help").ok().out, "")


@pytest.mark.parametrize(("leave", "code"), [("'gone'", 1), ("3", 3), ("None", 0), ("0", 0)])
def test_the_process_ends_with_its_code_all_output_and_what_is_to_be_done_at_exit(leave, code):
    program = (
        "import atexit, sys, threading, time\n"
        "def main():\n"
        "    atexit.register(lambda: print('done at exit'))\n"
        "    threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\n"
        f"    sys.exit({leave})\n"
        "import semsearch.cli.main as cli; cli.main = main\n"
        "import semsearch.__main__ as process; process.start()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split("\n")) == (code, ["thread", "done at exit", ""])
    assert done.stderr.strip() == ("gone" if code == 1 else "")


@pytest.mark.slow
def test_a_command_with_worker_processes_ends(tmp_path):
    english = [document for document in DOCUMENTS if json.dumps(document, ensure_ascii=False).isascii()]
    Path("notes.jsonl").write_bytes(jsonl(english))
    model = tiny_checkpoint(tmp_path / "model")
    words = ("--model", model, "--pooler", "mean", "--runtime", "torch", "--device", "cpu,cpu", "--json")
    assert run("index", "notes.jsonl", *words).ok().json["encoded"] == len(english)


@pytest.mark.parametrize("words", [(), ("--help",), ("index", "--help"), ("query", "--help"), ("--version",)])
def test_help_imports_nothing_heavy(words):
    assert not modules_after(*words) & HEAVY


@pytest.mark.parametrize("words", [("list",), ("status",), ("poolers",)])
def test_what_only_tells_imports_nothing_heavy(words):
    indexed()
    assert not modules_after(*words) & HEAVY


def test_a_keyword_query_imports_no_encoder():
    indexed()
    assert not modules_after("query", "water", "--mode", "keyword") & (LIBRARIES | {"openvino", "tokenizers", "faiss"})


def test_a_query_imports_the_compiled_runtime_and_little_else():
    Path("notes.jsonl").write_bytes(jsonl(DOCUMENTS))
    call("index", "notes.jsonl", "--runtime", "openvino")
    modules = modules_after("query", "water")
    assert not modules & LIBRARIES
    assert {"openvino", "faiss", "numpy", "tokenizers"} <= modules


# --- query


def test_query_as_json_is_as_documented():
    indexed()
    assert call("query", "water", "-k", 2, "--mode", "dense", "--json").ok().json == {
        "query": "water",
        "index": str(Path("indexes/notes")),
        "mode": "dense",
        "hits": [
            {
                **{"rank": 1, "doc_id": "b", "score": pytest.approx(B_SCORE), "title": "Bread"},
                **{"text": "Flour, water and salt.", "start": 0, "end": 22},
                **{"metadata": {"year": 2010, "lang": "en"}, "kind": "cosine", "confidence": SOME},
                **{"section": "", "page": None, "similar": []},
                "snippet": {"text": "Flour, water and salt.", "start": 0, "end": 22, "highlights": [[7, 12]]},
            },
            {
                **{"rank": 2, "doc_id": "a", "score": pytest.approx(A_SCORE), "title": "Heron"},
                **{"text": "The heron waits by the water.", "start": 0, "end": 29},
                **{"metadata": {"year": 2020, "lang": "en"}, "kind": "cosine", "confidence": SOME},
                **{"section": "", "page": None, "similar": []},
                "snippet": {"text": "The heron waits by the water.", "start": 0, "end": 29, "highlights": [[23, 28]]},
            },
        ],
    }


def test_similar_hits_are_one_unless_they_are_asked_for_or_many_queries_are():
    poem = " ".join(f"heron{n}" for n in range(50))
    indexed("poems", [{"_id": str(n), "text": f"{poem} {n}"} for n in range(4)])
    Path("queries.jsonl").write_text('{"_id": "q", "text": "heron1"}\n')
    (one,) = call("query", "heron1", "--json").ok().json["hits"]
    assert sorted([one["doc_id"], *one["similar"]]) == ["0", "1", "2", "3"]
    assert len(call("query", "heron1", "--no-group", "--json").ok().json["hits"]) == 4
    assert len(call("query", "--queries", "queries.jsonl").ok().json["hits"]) == 4
    assert len(call("query", "--queries", "queries.jsonl", "--group").ok().json["hits"]) == 1
    call("query", "heron1", "--context", "--no-group").fails(2, "--context", "cannot be combined with", "--no-group")


SOME = pytest.approx(0.5, abs=0.49)
"""Any confidence; tests/test_confidence.py checks the values."""


def test_query_piped_is_a_table_of_tabs():
    indexed()
    assert run("query", "water", "-k", "1", "--mode", "dense").ok().rows == [
        ["rank", "score", "doc_id", "title", "text", "similar"],
        ["1", f"{B_SCORE:.4f}", "b", "Bread", "Flour, water and salt.", ""],
    ]


def test_keyword_search_finds_only_what_has_the_word_also_in_chinese():
    indexed()
    assert found("waters", "--mode", "keyword") == ["b", "a"]  # stemmed; the shorter document first
    assert found("要热", "--mode", "keyword") == ["c"]
    nothing = call("query", "nothing", "--mode", "keyword", "--json")
    assert (nothing.code, nothing.err, nothing.json["hits"]) == (3, "", [])


def test_what_is_too_doubtful_is_left_out():
    indexed()
    sure = call("query", "water", "--json").ok().json["hits"][0]["confidence"]
    assert [hit["doc_id"] for hit in call("query", "water", "--min-confidence", sure, "--json").ok().json["hits"]] == [
        "b"
    ]
    nothing = call("query", "water", "--min-confidence", 1)
    assert (nothing.code, nothing.rows, nothing.err) == (
        3,
        [["rank", "score", "doc_id", "title", "text", "similar"]],
        "",
    )
    call("query", "water", "--min-confidence", 2).fails(2, "--min-confidence is 2.0", "from 0 to 1")


def test_a_context_is_a_block_for_a_prompt():
    indexed()
    block = call("query", "water", "--context", "--min-confidence", 0, "--budget", 200).ok()
    assert "[1] Bread (b, characters 0-22)\nFlour, water and salt." in block.out
    told = call("query", "water", "--context", "--min-confidence", 0, "--neighbors", 1, "--json").ok().json
    assert [one["doc_id"] for one in told["excerpts"]][:2] == ["b", "a"]
    assert told["question"] == "water"
    assert told["tokens"] <= 1500
    nothing = call("query", "water", "--context", "--min-confidence", 1)
    assert (nothing.code, nothing.out, nothing.err) == (3, "No document in the index answers the question.\n", "")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--budget", 300), "--budget and --neighbors require --context"),
        (("--neighbors", 1), "--budget and --neighbors require --context"),
        (("--context", "--fusion", "rrf"), "--fusion rrf"),
        (("--context", "--budget", 7), "--budget must be at least 100 tokens"),
        (("--context", "--neighbors", -1), "--neighbors must be at least 0"),
    ],
)
def test_options_of_a_context_go_together(words, part):
    indexed()
    call("query", "water", *words).fails(2, part)


UNRELATED = (A_SCORE + B_SCORE) / 24  # the mean cosine of the four passages and 20 added zeros
BM25_SHARE = 1 / (1 + 1.2 * (0.25 + 0.75 * 5 / 5.5))  # 5 words, 5.5 on average; the IDF cancels out
MIXED = (B_SCORE - UNRELATED) / (1 - UNRELATED) / 2 + BM25_SHARE / 2


@pytest.mark.parametrize(
    ("options", "score"),
    [((), MIXED), (("--mode", "hybrid"), MIXED), (("--fusion", "convex"), MIXED), (("--fusion", "rrf"), 2 / 61)],
)
def test_hybrid_search_is_the_default_and_mixes_as_asked(options, score):
    indexed()
    shown = call("query", "water", *options, "--json").ok().json
    best = shown["hits"][0]
    assert (shown["mode"], best["doc_id"], best["score"]) == ("hybrid", "b", pytest.approx(score))


@pytest.mark.parametrize("mode", ["dense", "keyword", "hybrid"])
def test_a_filter_leaves_only_what_meets_it(mode):
    indexed()
    assert found("water", "--mode", mode, "--where", "year = 2020 and lang = 'en'") == ["a"]


def test_without_a_filter_ten_documents_are_shown():
    indexed("many", [{"_id": str(n), "text": f"water {n}"} for n in range(12)])
    assert len(found("water")) == 10
    assert len(found("water", "-k", 11)) == 11


# --- list, status, delete, poolers


def test_list_shows_every_index_of_a_folder():
    indexed("notes")
    indexed("other", DOCUMENTS[:1], "--model", "hash:64")
    rows = call("list", "--json").ok().json
    assert [(row["index"], row["documents"], row["passages"], row["model"], row["pooler"]) for row in rows] == [
        (str(Path("indexes/notes")), 4, 4, "hash:4096", "word-hash"),
        (str(Path("indexes/other")), 1, 1, "hash:64", "word-hash"),
    ]
    assert [row[0] for row in call("list").ok().rows] == ["index", *(row["index"] for row in rows)]
    assert call("list", "--folder", "nowhere", "--json").ok().json == []
    assert (
        call("list", "--folder", "nowhere").ok().out == "no index in nowhere; create one with: semsearch index CORPUS\n"
    )


def test_status_shows_the_same_as_a_table_and_as_json():
    indexed()
    shown = call("status", "--json").ok().json
    expected = {"index": str(Path("indexes/notes")), "documents": 4, "passages": 4, "fields": ["lang", "year"]}
    assert {name: shown[name] for name in expected} == expected
    rows = dict(call("status").ok().rows)
    assert (rows["documents"], rows["fields"], rows["encoder.dim"]) == ("4", "lang, year", "4096")
    assert rows["encoder.fingerprint"] == shown["encoder"]["fingerprint"]


def test_delete_takes_documents_out():
    folder = indexed()
    assert call("delete", "b", "--json").ok().json == {"index": str(folder), "deleted": ["b"], "missing": []}
    assert call("delete", "c", "d").ok().out == f"deleted 2 documents from {folder}\n"
    assert found("water") == ["a"]


def test_delete_of_an_unknown_id_deletes_the_rest_and_fails():
    folder = indexed()
    done = call("delete", "b", "x", "y", "--json")
    assert (done.code, done.err) == (1, f"error: no such documents in {str(folder)!r}: x, y\n")
    assert done.json == {"index": str(folder), "deleted": ["b"], "missing": ["x", "y"]}


REFERENCE_POOLERS = [
    *("cls", "pooler-output", "mean", "max", "mean-sqrt-len", "weighted-mean", "last", "first-last"),
    *("embedding-last", "top2", "layer:N+NAME", "A+B"),
]


def test_poolers_lists_every_pooler_of_the_reference():
    rows = call("poolers", "--json").ok().json
    assert [row["name"] for row in rows] == REFERENCE_POOLERS
    assert all(set(row) == {"name", "formula", "layers", "known as"} and row["formula"] for row in rows)
    layers = {row["name"]: row["layers"] for row in rows}
    assert (layers["mean"], layers["first-last"], layers["top2"]) == ("h_L", "h_1, h_L", "h_L-1, h_L")
    assert [row[0] for row in call("poolers").ok().rows] == ["name", *REFERENCE_POOLERS]


# --- demo


@pytest.mark.slow
def test_the_demo_indexes_the_sample_and_answers_three_queries():
    corpus = Path(semsearch.__file__).parents[1] / "corpora" / "sample" / "corpus.jsonl"
    documents = {record["_id"]: record for record in map(json.loads, corpus.read_text("utf-8").splitlines())}
    answers = [json.loads(line) for line in run("demo", "--json").ok().out.splitlines()]
    assert [(answer["mode"], len(answer["hits"])) for answer in answers] == [
        (m, 3) for m in ("hybrid", "hybrid", "keyword")
    ]
    plants, subscriptions, photos = ([documents[hit["doc_id"]] for hit in answer["hits"]] for answer in answers)
    assert plants[0]["metadata"]["topic"] == "gardening"
    assert "subscriptions" in subscriptions[0]["title"]
    assert all(hit["metadata"]["year"] >= 2015 and hit["metadata"]["lang"] == "en" for hit in subscriptions)
    assert "照片" in photos[0]["title"]
    again = run("demo").ok().out
    assert again.startswith(f"{len(documents)} documents in ")
    assert f": 0 encoded, {len(documents)} unchanged\n" in again
    assert [line[:16] for line in again.splitlines()].count("semsearch query ") == 3


def test_what_a_cache_and_the_library_s_log_say_is_printed_each_time(monkeypatch):
    def work() -> int:
        for _ in range(2):
            warn_of_cache("the disk is full")
        logging.getLogger("semsearch.encoder").warning("a model is\n%s", "damaged")
        logging.getLogger("semsearch.encoder").info("loaded")
        return 0

    monkeypatch.setattr("semsearch.cli.main._run", work)
    for _ in range(2):  # one handler per call would print it twice
        said = call("poolers").err
        assert said == "warning: the disk is full\nwarning: the disk is full\nwarning: a model is damaged\n"
