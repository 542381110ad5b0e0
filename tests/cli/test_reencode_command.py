"""The command `semsearch reencode`: what it prints, what it refuses, and what it leaves when it is stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import DOCUMENTS, call, indexed, jsonl, run
from fakes import tiny_checkpoint

from semsearch import Index
from semsearch.stores.local.store import LocalStore

WIDE = ("--model", "hash:512")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_says_what_was_moved_from_what_to_what():
    indexed()
    done = call("reencode", *WIDE).ok()
    first, second, third = done.out.splitlines()
    assert re.fullmatch(
        r"4 documents moved from hash:4096 \(pooler word-hash, dim 4096\) to hash:512 \(pooler word-hash, dim 512\) in "
        r"\d+\.\d s",
        first,
    )
    assert second == "no passage was truncated (25 tokens)"
    assert third == f"index: {Path('indexes/notes')}"
    assert call("query", "water", "--mode", "dense", "-k", 1, "--json").ok().json["hits"][0]["doc_id"] in ("a", "b")
    assert call("index", "notes.jsonl", "--json").ok().json["unchanged"] == len(DOCUMENTS)


def test_a_second_run_does_nothing_and_says_so():
    indexed()
    call("reencode", *WIDE).ok()
    already = "already has this encoder and chunking: hash:512 (pooler word-hash); nothing to do"
    assert call("reencode", *WIDE).ok().out == f"{Path('indexes/notes')} {already}\n"
    assert call("reencode", *WIDE, "--json").ok().json["moved"] is False


def test_json_holds_both_encoders_and_the_counts():
    folder = indexed()
    found = call("reencode", *WIDE, "--index", folder, "--json").ok().json
    assert found.keys() == {
        *("index", "seconds", "moved", "before", "after", "documents", "passages", "truncated", "tokens"),
        *("tokens_lost", "encoded", "unknown", "unknown_ids", "checked", "unknown_language", "unknown_language_ids"),
        "storage",
    }
    assert (found["index"], found["moved"], found["documents"], found["encoded"]) == (str(folder), True, 4, 4)
    assert (found["before"]["dim"], found["after"]["dim"]) == (4096, 512)


def test_another_chunking_alone():
    indexed()
    done = call("reencode", "--chunk-tokens", 14, "--overlap", 0).ok()
    assert done.out.startswith("4 documents chunked and encoded again with hash:4096 (pooler word-hash) in ")
    assert call("status", "--json").ok().json["chunking"]["tokens"] == 14
    truncated = call("reencode", "--max-tokens", 9, "--on-long", "truncate", "--chunk-tokens", 9)
    truncated.fails(2, "--chunk-tokens requires --on-long chunk, got truncate")
    call("reencode", "--on-long", "truncate").ok()
    chunking = call("status", "--json").ok().json["chunking"]
    assert (chunking["on_long"], chunking["tokens"]) == ("truncate", None)


def test_documents_that_the_new_encoder_does_not_know_are_named(tmp_path: Path):
    odd = [*DOCUMENTS, {"_id": "odd", "text": "\u16a0\u16a2 \u16a6"}]
    indexed("notes", odd)
    model = tiny_checkpoint(tmp_path / "model")
    done = call("reencode", "--model", model, "--pooler", "mean", "--runtime", "torch")
    assert done.code == 0
    assert "1 document without any token that the model knows cannot be found by meaning: odd" in done.err


def test_mistakes_are_one_line_and_change_nothing():
    call("reencode", *WIDE).fails(1, "no index in 'indexes'")
    call("reencode", *WIDE, "--index", "nowhere").fails(1, "no index in 'nowhere'")
    folder = indexed("notes", [*DOCUMENTS, {"_id": "long", "text": "water " * 20}])
    call("reencode", "--model", "./no-model").fails(1, "no-model")
    call("reencode", "--pooler", "cls").fails(2, "does not accept pooler")
    call("reencode", *WIDE, "--chunk-tokens", 4_000).fails(2, "--chunk-tokens is 4000; expected")
    call("reencode", "--simcse-names").fails(2, "--simcse-names requires --pooler; name one")
    call("reencode", "--max-tokens", 4).fails(2, "--max-tokens must be at least 8 with this passage prefix, got 4")
    call("reencode", *WIDE, "--on-long", "truncate", "--overlap", 3).fails(2, "--overlap requires --on-long chunk")
    call("reencode", *WIDE, "--on-long", "error", "--max-tokens", 9).fails(1, "--on-long is error")
    with LocalStore(folder) as store, store.write(store.spec, store.chunking):
        call("reencode", *WIDE).fails(1, "is being written by process")
    assert call("status", "--json").ok().json["encoder"]["dim"] == 4096
    indexed("more")
    call("reencode", *WIDE).fails(2, "several indexes; choose one with --index")


# The command, with small batches and an encoder that says when it starts and takes its time.
SLOW = """
import sys, time
import semsearch.ingest as ingest, semsearch.encoder.word_hash as words
ingest.BATCH_DOCUMENTS = 10
inner = words.WordHashEncoder.encode_documents
def encode(self, texts, progress=None):
    vectors = inner(self, texts, progress)
    print("batch", flush=True)
    time.sleep(0.3)
    return vectors
words.WordHashEncoder.encode_documents = encode
from semsearch.__main__ import start
start()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_the_index_as_it_is_and_the_same_command_resumes(number: int):
    documents = [{"_id": str(n), "text": f"water {n}"} for n in range(60)]
    folder = indexed("notes", documents)
    command = [sys.executable, "-c", SLOW, "reencode", *WIDE]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(
        command, **pipes, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    ) as process:
        for _ in range(3):
            assert process.stdout.readline() == "batch\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert said == "error: stopped; the index is unchanged, and the same command resumes from there\n"
    assert process.returncode == -number
    assert call("status", "--json").ok().json["encoder"]["dim"] == 4096
    assert [row[0] for row in call("list").ok().rows[1:]] == [str(folder)]  # the draft is no index of its own
    result = call("reencode", *WIDE, "--json").ok().json
    assert (result["documents"], 0 < result["encoded"] <= 40) == (60, True)
    assert sorted(name for name in os.listdir(folder) if "reencode" in name) == []


def test_what_an_interrupted_run_had_done_is_counted(monkeypatch: pytest.MonkeyPatch):
    from semsearch.stores.local import drafts

    indexed()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(drafts, "write_setting", stop)
        with Index.open("indexes/notes") as index, pytest.raises(KeyboardInterrupt):
            index.reencode(model="hash:512")
    lines = call("reencode", *WIDE).ok().out.splitlines()
    assert lines[1] == "4 of them had been encoded by an interrupted run"


def test_an_interrupt_after_the_move_says_that_it_is_complete(monkeypatch: pytest.MonkeyPatch):
    from semsearch.stores.local.writer import Writer

    indexed()

    def stop(self: Writer) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "discard_draft", stop)
        done = call("reencode", *WIDE).ok()
    to = "hash:512 (pooler word-hash, dim 512)"
    assert done.out == f"index moved to {to} before the command was stopped: {Path('indexes/notes')}\n"
    assert Path("indexes/notes/reencode").is_dir()
    assert call("query", "water", "--mode", "dense").code == 0
    call("reencode", *WIDE).ok()
    assert not Path("indexes/notes/reencode").exists()


def test_the_installed_command():
    Path("notes.jsonl").write_bytes(jsonl(DOCUMENTS))
    run("index", "notes.jsonl", "--model", "hash:64").ok()
    assert json.loads(run("reencode", *WIDE, "--json").ok().out)["moved"]
    assert "--chunk-tokens" in run("reencode", "--help").ok().out
