"""Test that a move to another encoder, killed at any step, leaves the old index or the new one, and can be repeated."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes import index_content, index_corpus
from killing import Killable, tell_steps

from semsearch import Index, WordHashEncoder, files, ingest
from semsearch.stores.local import catalog, drafts, sealing, writer
from semsearch.stores.local import folder as folders

pytestmark = pytest.mark.slow

CORPUS = [
    {"_id": f"d{n}", "title": f"t{n % 9}", "text": f"word{n} tea{n % 7}. " * (1 + 13 * n % 40), "n": n}
    for n in range(200)
]
QUERIES = ("word7 tea3", "tea1")

STEPS = (
    (files, ("sync",)),
    (folders, ("create", "sync")),
    (writer.Writer, ("commit", "fit", "seal", "keep_background", "adopt", "discard_draft")),
    (sealing.Sealer, ("_write_segment", "sweep")),
    (drafts, ("_refuse_other_documents", "_passages", "_vectors", "write_setting", "remove", "unused_name")),
    (writer, ("take_over",)),
    (catalog.Catalog, ("mark_changed",)),
)


def move(tell: Callable[[str], None], folder: Path) -> None:
    """Move an index with small batches and tell each step, before which the process waits."""
    ingest.BATCH_DOCUMENTS = 50
    sealing.SEGMENT_BYTES, sealing.TAIL_ROWS = 4 * 128 * 300, 40
    tell_steps(tell, *STEPS)
    with Index.open(folder) as index:
        tell("moved" if index.reencode(model="hash:128").moved else "nothing to do")


def best(folder: Path) -> list[tuple[str, float]]:
    with Index.open(folder) as index:
        every = [index.search(query, 500, mode=mode) for query in QUERIES for mode in ("dense", "keyword", "hybrid")]
    return sorted((hit.doc_id, round(hit.score, 4)) for hits in every for hit in hits)


@dataclass(frozen=True)
class Known:
    """An index of the corpus that was never interrupted.

    Attributes:
        folder: The index.
        content: All that is in it, as `index_content` returns it.
        best: The hits of all queries.
    """

    folder: Path
    content: object
    best: list[tuple[str, float]]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Known]:
    """Return an index of the corpus for each number of dimensions."""
    folders = {dim: tmp_path_factory.mktemp("known") / "i" for dim in (64, 128)}
    for dim, folder in folders.items():
        index_corpus(folder, CORPUS, WordHashEncoder(dim))
    return {dim: Known(folder, index_content(folder), best(folder)) for dim, folder in folders.items()}


def check(folder: Path, known: dict[int, Known]) -> int:
    """Check that the index is the old or the new one as a whole; return its number of dimensions."""
    with closing(sqlite3.connect(folder / "passages.sqlite")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    with Index.open(folder) as index:
        dim = index.spec.dim
    assert index_content(folder) == known[dim].content
    assert best(folder) == known[dim].best
    return dim


def finish(folder: Path, known: dict[int, Known]) -> None:
    """Repeat the move in this process, and check that it leaves the new index and nothing else."""
    with Index.open(folder) as index:
        index.reencode(model="hash:128")
        assert index.add(CORPUS).unchanged == len(CORPUS)
    assert check(folder, known) == 128
    names = {name for name in os.listdir(folder) if not name.startswith(("vectors.", "words."))}
    assert names == {"passages.sqlite", "writer.lock"}


def first_and_last(labels: list[str]) -> list[int]:
    """Return the numbers of the steps that are the first or the last one of their kind."""
    return sorted({number for label in labels for number in (labels.index(label), _last(labels, label))})


def _last(labels: list[str], label: str) -> int:
    return len(labels) - 1 - labels[::-1].index(label)


def test_a_move_that_is_killed_at_any_kind_of_step_leaves_the_old_index_or_the_new_one(
    tmp_path: Path, known: dict[int, Known]
):
    folder, seen = tmp_path / "i", []
    shutil.copytree(known[64].folder, folder)
    labels = Killable(move, folder).hear_all()
    assert labels[-1] == "moved"
    steps = first_and_last(labels)
    for step in steps:
        shutil.rmtree(folder)
        shutil.copytree(known[64].folder, folder)
        process = Killable(move, folder)
        told = [process.hear() for _ in range(step + 1)]
        if step % 3:  # during or after the step, otherwise before it
            process.go_on()
            time.sleep(0.01 * (step % 3 - 1))
        process.kill()
        assert told == labels[: step + 1]
        seen.append(check(folder, known))
        finish(folder, known)
    assert seen == sorted(seen)
    assert len(steps) > 20
    assert seen.count(128) > 3


def test_a_move_that_is_killed_again_and_again_advances(tmp_path: Path, known: dict[int, Known]):
    rng, folder, dims = random.Random(5), tmp_path / "i", []
    shutil.copytree(known[64].folder, folder)
    while 128 not in dims:
        process = Killable(move, folder)
        for _ in range(rng.randrange(5, 25)):
            process.hear()
        process.go_on()
        process.kill()
        dims.append(check(folder, known))
        assert len(dims) < 40
    finish(folder, known)
