"""Test damaged and hostile index folders and checkpoints: they give correct hits or a one-line error, and nothing else.

Bytes are flipped in each file, and values in rows are replaced and their checksums updated, all at random with fixed
seeds. Keyword search and filters may miss documents, but whatever they show must be correct: SQLite's full-text index
has no checksums of its own, and metadata is checked when it is shown.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fakes import index_corpus, modules, tiny_checkpoint
from fuzzing import Worker

from semsearch import Encoder, WordHashEncoder
from semsearch.stores.local import sealing, tiers
from semsearch.stores.local.guard import checksum
from semsearch.stores.local.schema import CHECKED, checksum_of
from semsearch.stores.local.vectors.ann import kinds

pytestmark = pytest.mark.slow

DOCUMENTS = [
    {
        "_id": f"d{n}",
        "title": ("", "Bird", "Bread and 京都")[n % 3],
        "text": f"heron number{n} waits by the water. " * (1 + n % 4) + "京都の茶。" * (n % 2),
        "year": 2000 + n % 7,
    }
    for n in range(60)
]


LATER = {"_id": "later", "title": "", "text": "one more heron", "year": 1999}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a folder with a corpus and an index that has two segments and some rows outside them."""
    folder = tmp_path_factory.mktemp("sound")
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, DOCUMENTS)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealing, "SEGMENT_BYTES", 4 * 64 * 25)
        patch.setattr(kinds, "EXACT_BYTES", 4 * 64 * 5)
        patch.setattr(tiers, "PER_CHANGE", 0)  # merge nothing
        index_corpus(folder / "index", folder / "corpus.jsonl", WordHashEncoder(64))
        index_corpus(folder / "index", [LATER], WordHashEncoder(64))
    assert len(list((folder / "index").glob("vectors.*"))) >= 2
    return folder


@pytest.fixture
def home(sound: Path, tmp_path: Path) -> Iterator[Path]:
    """Copy the index next to a folder of the user's, and check at the end that the latter is unchanged."""
    shutil.copytree(sound / "index", tmp_path / "index")
    outside = tmp_path / "home"
    outside.mkdir()
    for name in ("letter", ".bashrc"):
        (outside / name).write_text(f"years of {name}")
    yield tmp_path
    assert sorted(os.listdir(tmp_path)) == ["home", "index"]
    assert {path.name: path.read_text() for path in outside.iterdir()} == {
        name: f"years of {name}" for name in ("letter", ".bashrc")
    }


def renew(home: Path, sound: Path) -> Path:
    shutil.rmtree(home / "index")
    shutil.copytree(sound / "index", home / "index")
    return home / "index"


def one_line(told: dict[str, Any], what: str) -> bool:
    """Tell whether a case ended in a one-line error; fail on anything other than that or answers."""
    assert told.keys() <= {"answers", "error"}, f"{what}: {told.get('traceback', told)}"
    error = told.get("error")
    assert error is None or ("\n" not in error and 10 < len(error) < 5_000), (what, told)
    return error is not None


def answers_of(worker: Worker, sound: Path) -> dict[str, Any]:
    """Return the correct answers, from the undamaged index."""
    told = worker.ask("search", sound / "index")
    assert told.keys() == {"answers"}, told
    return told["answers"]


def scores(answers: dict[str, Any]) -> list[list[float]]:
    return [[score for _, score in hits] for hits in answers["dense"]]


def flip(path: Path, rng: Random) -> str:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    place = rng.randrange(len(data))
    data[place] ^= 1 << rng.randrange(8) if rng.random() < 0.5 else rng.randrange(1, 256)
    path.write_bytes(data)
    return f"{path.name} at {place}"


def documents_of(sound: Path) -> dict[str, Any]:
    """Return what a search may show of each passage, taken from the corpus itself."""
    with closing(sqlite3.connect(sound / "index" / "passages.sqlite")) as connection:
        sql = "SELECT doc_id, start, end FROM passages JOIN documents ON documents.id = document"
        passages = connection.execute(sql).fetchall()
    corpus = {document["_id"]: document for document in [*DOCUMENTS, LATER]}
    return {
        f"{doc_id} {start}": [
            corpus[doc_id]["title"],
            corpus[doc_id]["text"][start:end],
            {"year": corpus[doc_id]["year"]},
        ]
        for doc_id, start, end in passages
    }


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("case", ["search", "write"])
def test_a_flipped_byte_gives_the_right_answers_or_one_line(worker, sound, home, case, seed):
    rng, truth, documents = Random(f"{case} {seed}"), answers_of(worker, sound), documents_of(sound)
    outcomes = {True: 0, False: 0}
    for _ in range(40):
        folder = renew(home, sound)
        files = sorted(path for path in folder.iterdir() if path.stat().st_size)
        what = flip(rng.choice([*files, folder / "passages.sqlite", folder / "passages.sqlite"]), rng)
        arguments = [folder] if case == "search" else [folder, sound / "corpus.jsonl"]
        told = worker.ask(case, *arguments)
        failed = one_line(told, what)
        outcomes[failed] += 1
        if not failed:
            answers = told["answers"]
            if case == "search":
                assert answers["dense"] == truth["dense"], what
            else:  # passages that were indexed again have other ids, which decide the order of equal scores
                assert scores(answers) == scores(truth), what
            assert answers["about"] == truth["about"], what
            assert answers["shown"].items() <= documents.items(), what
    assert outcomes[False], outcomes
    assert outcomes[True] or case == "write", outcomes  # the write case repairs the damage that it finds


NASTY: list[Any] = [
    *(
        None,
        "",
        "x",
        "../home/letter",
        "/dev/zero",
        "a\0b",
        "[]",
        "{",
        "[" * 3000,
        "NaN",
        '{"a": 1e999}',
        b"",
        b"\xff\xfe",
    ),
    *(0, -1, 1, 2, 3, 2**31, 2**62, 2**63 - 1, -(2**63), 1.5, float("inf"), bytes(256), b"\x7f" * 256, b"\xff" * 256),
]


def replace_values(folder: Path, rng: Random) -> str:
    """Put hostile values into some rows and update the checksums, as an informed attacker would."""
    with closing(sqlite3.connect(folder / "passages.sqlite", isolation_level=None)) as connection:
        connection.create_function("checksum", -1, checksum)
        tables = [
            *CHECKED,
            "deleted",
            "fields",
            "sqlite_sequence",
        ]
        table = rng.choice(tables)
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[1] != "checksum"]
        column, value = rng.choice(columns), rng.choice(NASTY)
        ids = [row[0] for row in connection.execute(f"SELECT rowid FROM {table}")]
        chosen = rng.sample(ids, min(len(ids), rng.choice((1, 1, 5, 1000))))
        with suppress(sqlite3.Error, OverflowError):
            for one in chosen:
                sql = f"UPDATE OR IGNORE {table} SET {column} = ? WHERE rowid = ?"
                connection.execute(sql, (value, one))
        if table in CHECKED:
            connection.execute(f"UPDATE {table} SET checksum = {checksum_of(CHECKED[table])}")
    return f"{table}.{column} = {value!r:.60} in {len(chosen)}"


UNCHECKED = ("deleted", "fields", "sqlite_sequence")


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("case", ["search", "write"])
def test_rows_of_a_stranger_are_answered_or_refused_in_one_line(worker, sound, home, case, seed):
    rng, failures = Random(f"rows {case} {seed}"), 0
    for _ in range(40):
        folder = renew(home, sound)
        what = replace_values(folder, rng)
        arguments = [folder] if case == "search" else [folder, sound / "corpus.jsonl"]
        failures += one_line(worker.ask(case, *arguments), what)
    assert failures


def test_a_damaged_or_hostile_checkpoint_gives_the_right_answers_or_one_line(worker, tmp_path):
    model, index = tiny_checkpoint(tmp_path / "model", files=POOLING), tmp_path / "index"
    encoder = Encoder.load(model, runtime="torch", precision="float32")
    index_corpus(index, DOCUMENTS[:9], encoder)
    told = worker.ask("encode", index, model)
    assert told.keys() == {"answers"}, told
    truth = told["answers"]
    files = sorted(path.relative_to(model) for path in model.rglob("*") if path.is_file())
    rng = Random(0)
    for number in range(30):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(model, copy)
        path = copy / files[number % len(files)]
        what = flip(path, rng) if number % 4 else plant(path, rng)
        told = worker.ask("encode", index, copy)
        if not one_line(told, what):
            assert told["answers"] == truth, what


POOLING = {
    "modules.json": modules("Transformer", "Pooling"),
    "1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True},
}


def plant(path: Path, rng: Random) -> str:
    """Replace a file with something else."""
    content = rng.choice((b"", b"null", b"[]", b"[" * 100_000, b'{"architectures": 5}', pickle.dumps({"a": 1}), "link"))
    path.unlink()
    if content == "link":
        path.symlink_to("/dev/null")
    else:
        path.write_bytes(content)
    return f"{path.name} is {content!r:.30}"
