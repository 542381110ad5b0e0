"""Test that an indexing command, killed at random moments and run again, gives the same index as an undisturbed run.

The corpus goes through four states, so that the killed runs create an index; add, change and delete documents; change
only metadata; and create, merge and replace segments. `test_crashes` covers more, but not the command itself.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from fakes import Quantized, index_content
from killing import Killable, tell_steps

import semsearch.ingest
from semsearch import Index, WordHashEncoder, files
from semsearch.cli.main import main
from semsearch.stores.local import folder as folders
from semsearch.stores.local import sealing, tiers, writer
from semsearch.stores.local.vectors.ann import kinds

pytestmark = pytest.mark.slow

KILLS_A_STATE = 2
QUERIES = ("alpha7 beta11", "gamma3", "delta 京都")


def command(tell: Callable[[str], None], *words: str) -> None:
    """Run the real command, with batches and segments so small that it commits and seals dozens of times."""
    semsearch.ingest.BATCH_DOCUMENTS = 25
    sealing.SEGMENT_BYTES, sealing.TAIL_ROWS = 4 * 64 * 100, 40
    kinds.EXACT_BYTES = 4 * 64 * 300
    kinds.LEAST_ROWS, tiers.PER_CHANGE, tiers.AT_LEAST = 100, 1, 2
    tell("started")
    sys.argv = ["semsearch", *words]
    main()


def write_corpus(path: Path, version: int) -> Path:
    """Write a version of 400 documents: a sixth is missing, another sixth has new text, and all have a year."""
    lines = []
    for number in range(400):
        if number % 6 == version:
            continue
        rng = random.Random(f"{number} {version if number % 6 == version - 1 else 0}")
        words = rng.choices(("alpha", "beta", "gamma", "delta"), k=rng.choice((5, 30, 30, 400)))
        text = " ".join(f"{word}{rng.randrange(40)}" for word in words) + ". 京都の茶。"
        year = 2000 + version * (number % 50 == 0)
        lines.append(json.dumps({"_id": f"d{number}", "title": f"Title {number % 9}", "text": text, "year": year}))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def start(corpus: Path, folder: Path) -> Killable:
    options = ("--index", str(folder), "--model", "hash:64", "--chunk-tokens", "120", "--delete-missing")
    process = Killable(command, "index", str(corpus), *options)
    assert process.hear() == "started"
    process.go_on()
    return process


def kill_after(process: Killable, seconds: float) -> bool:
    """Send SIGKILL after some seconds; return whether the process was still running."""
    time.sleep(seconds)
    return process.kill()


def rows(folder: Path, sql: str) -> list[tuple]:
    with closing(sqlite3.connect(folder / "passages.sqlite")) as connection:
        return connection.execute(sql).fetchall()


def opens_and_answers(folder: Path) -> None:
    """Check what must hold after every kill: an intact database, complete documents, and searches that see them all."""
    if not Index.exists(folder):
        return
    assert rows(folder, "PRAGMA integrity_check") == [("ok",)]
    assert rows(folder, "PRAGMA foreign_key_check") == []
    assert rows(folder, "SELECT id FROM passages EXCEPT SELECT passage FROM vectors") == []
    with Index.open(folder) as searcher:
        counts = searcher.status()
        for query in QUERIES:
            assert (
                bool(searcher.search(query)) == bool(searcher.search(query, mode="keyword")) == (counts["passages"] > 0)
            )
        _, passages = searcher._store.search_vectors(WordHashEncoder(64).encode_queries(["alpha7"]), 1 << 20, None)
        assert len(set(passages[0].tolist()) - {-1}) > 0.99 * counts["passages"]  # vector indexes may miss some


def best(folder: Path) -> dict[str, list]:
    """Return the scores of all documents that searches find, sorted by id so that the order of ties does not matter."""
    with Index.open(folder) as searcher:
        return {
            f"{mode} {query}": sorted(
                (hit.doc_id, round(hit.score, 4)) for hit in searcher.search(query, 5_000, mode=mode)
            )
            for mode in ("dense", "keyword")
            for query in QUERIES
        }


def test_killed_runs_end_in_the_same_index_as_undisturbed_ones(tmp_path):
    rng = random.Random(20)
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    for version in range(1, 5):
        corpus = write_corpus(tmp_path / "corpus.jsonl", version)
        began = time.perf_counter()
        start(corpus, calm).finish()
        seconds = time.perf_counter() - began
        kills = 0
        while kills < KILLS_A_STATE:  # each run resumes where the last one was killed, so it gets a part of the time
            in_time = kill_after(start(corpus, killed), rng.uniform(0.05, 2 / KILLS_A_STATE) * seconds)
            kills, seconds = (kills + 1, seconds) if in_time else (kills, 0.7 * seconds)
            opens_and_answers(killed)
        start(corpus, killed).finish()
        files = {path.name for path in killed.iterdir()}
        segments = {name for names in rows(killed, "SELECT vectors, words FROM segments") for name in names}
        assert files == segments | {"passages.sqlite", "writer.lock"}
        assert index_content(killed) == index_content(calm)
        assert best(killed) == best(calm)
    kinds = {json.loads(about)["factory"] for (about,) in rows(killed, "SELECT about FROM segments")}
    assert len(segments) > 3
    assert len(kinds) > 1


def create(tell: Callable[[str], None], folder: Path, model: Path) -> None:
    """Create an 8-bit index and tell each step; a fake encoder avoids the seconds that calibration takes."""
    steps = ((files, ("sync",)), (folders, ("copy_folder", "create", "sync")), (writer, ("create_index",)))
    tell_steps(tell, *steps)
    with Index.open(folder, create=True, encoder=Quantized(model)) as index:
        index.add([{"_id": f"d{n}", "text": f"heron number{n}"} for n in range(50)])
    tell("done")


def test_the_creation_of_an_8_bit_index_that_is_killed_at_any_step_can_be_repeated(tmp_path):
    """The model must be complete before an index refers to it: the spec contains `int8:` and the model's SHA-256."""
    model = tmp_path / "graph"
    model.mkdir()
    for name in ("graph.xml", "graph.bin", "sums.json"):
        (model / name).write_text(name * 1000)
    kept = Quantized(model).artifacts.keys()
    folder = tmp_path / "index"
    for step in range(40):
        process = Killable(create, folder, model)
        for _ in range(step + 1):
            told = process.hear()
            if told in ("done", ""):
                break
        process.kill()
        if Index.exists(folder):  # then it is complete and has its model
            with Index.open(folder, encoder=Quantized(model)) as index:
                assert index.spec.precision == Quantized(model).spec.precision
            assert {path.name for path in folder.glob("encoder-*") if len(path.name) == 20} == kept
            for name in kept:
                parts = {part.name: part.read_bytes() for part in model.iterdir()}
                assert {part.name: part.read_bytes() for part in (folder / name).iterdir()} == parts
        else:
            assert step < 30
        with Index.open(folder, create=True, encoder=Quantized(model)) as index:
            index.add([{"_id": f"d{n}", "text": f"heron number{n}"} for n in range(50)])
            assert index.search("number7", 1)[0].doc_id == "d7"
        assert {path.name for path in folder.iterdir() if path.name.startswith("encoder")} == kept
        assert not [path.name for path in folder.iterdir() if "new" in path.name or "tmp" in path.name]
        shutil.rmtree(folder)
        if told == "done":
            break
    assert told == "done"
