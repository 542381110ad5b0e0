"""Test damage: a bit that flips, a file that is cut off, and files that are exchanged, anywhere in an index folder.

Verification notices each flip, or the test proves that nothing reads the bit: all rows of all tables are as before, and
so are all answers. A flip in SQLite's write-ahead log may undo the last commits as a whole, because SQLite cannot tell
it from the end of a log that a crash cut off; then the rows are those before these commits.

Searches give the right hits or an error that says what is wrong. Only filters may miss documents whose stored metadata
is damaged, because they are evaluated by SQLite, which knows no checksums; what is found is right.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fakes import CountingEncoder, entry, index_content, index_corpus, reopen_writer
from fuzzing import Worker

from semsearch import WordHashEncoder
from semsearch.encoder.runtimes import openvino_graph
from semsearch.stores.local import sealing
from semsearch.stores.local.vectors.ann import kinds

pytestmark = pytest.mark.slow

FLIPS = 12 * (5 if os.environ.get("SEMSEARCH_CRASHES") else 1)
"""Number of flipped bits in each file; more in the long run."""

DATABASE = "passages.sqlite"

DOCUMENTS = [
    {
        "_id": f"d{n}",
        "title": ("", "Bird", "Bread and 京都")[n % 3],
        "text": f"heron number{n} waits by the water. " * (1 + n % 4) + "京都の茶。" * (n % 2),
        "year": 2000 + n % 7,
    }
    for n in range(150)
]

ENCODER = WordHashEncoder(64)

STATES = ("last", "middle", "earlier")
"""The index as it is, without its last commit, and without the last two."""


def build(folder: Path, documents: list[dict[str, Any]]) -> None:
    """Build an index with a graph, an inverted file, a segment for exact search, a deletion, and rows outside them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinds, "EXACT_BYTES", 4 * 64 * 12)
        patch.setattr(kinds, "LEAST_ROWS", 1)
        patch.setattr(sealing, "TAIL_ROWS", 2)
        index_corpus(folder, documents[:100], ENCODER, vector_index="HNSW8,SQ8")
        index_corpus(folder, documents[100:130], ENCODER, vector_index="IVF2,SQ8")
        index_corpus(folder, documents[130:138], ENCODER)
        with reopen_writer(folder) as writer:
            writer.delete(["d7"])
            writer.commit(made(document) for document in documents[138:140])


def made(document: dict[str, Any]) -> Any:
    """Return a document with its vector, as `Writer.commit` takes it."""
    text, title = document["text"], document["title"]
    return entry(document["_id"], ENCODER.encode_documents([f"{title} {text}"]), text, title, year=document["year"])


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build an index whose last two commits are in the log; `STATES` are folders with it before and after each."""
    place = tmp_path_factory.mktemp("sound")
    build(place / "index", DOCUMENTS)
    with closing(sqlite3.connect(place / "index" / DATABASE)) as connection:
        factories = [json.loads(about)["factory"] for (about,) in connection.execute("SELECT about FROM segments")]
    assert factories == ["HNSW8,SQ8", "IVF2,SQ8", "Flat"]
    with reopen_writer(place / "index") as writer:
        for state in reversed(STATES):
            if state == "middle":
                writer.commit(made(document) for document in DOCUMENTS[140:145])
            if state == "last":
                writer.delete(["d20", "d141"])
            shutil.copytree(place / "index", place / state, ignore=shutil.ignore_patterns("*-shm", "writer.*"))
    assert (place / "last" / f"{DATABASE}-wal").stat().st_size > 20_000
    return place


def rows(folder: Path) -> dict[str, list[tuple]]:
    """Return the rows of all tables, read with sqlite3."""
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        connection.text_factory = bytes
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {name: connection.execute(f"SELECT * FROM {name.decode()}").fetchall() for (name,) in names}


def copied(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target))


@pytest.fixture(scope="module")
def truth(worker: Worker, sound: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the answers in each of `STATES`, and all possible hits."""
    place = tmp_path_factory.mktemp("truth")
    told = [worker.ask("ask", copied(sound / name, place / name)) for name in STATES]
    every = [worker.ask("ask", place / name, 200) for name in STATES]
    assert all(one.keys() == {"answers"} for one in told + every), told
    assert all(hits for one in told for hits in one["answers"].values())
    for one, more in zip(told, every, strict=True):
        one["answers"] |= {f"every {name}": hits for name, hits in more["answers"].items()}
    assert worker.ask("verify", place / "last") == {"answers": []}
    return [one["answers"] for one in told]


def flip(path: Path, place: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1 << bit]))


def is_noticed(told: dict[str, Any], what: str) -> bool:
    """Return whether verification finds or refuses damage; fail if it ends in any other way."""
    assert told.keys() <= {"answers", "error"}, f"{what}: {told.get('traceback', told)}"
    assert "\n" not in told.get("error", "")
    return bool(told.get("error") or told["answers"])


def check_answers(told: dict[str, Any], truths: list[dict[str, Any]], what: str) -> None:
    """Check that each answer is right, or an error."""
    assert told.keys() <= {"answers", "error"}, f"{what}: {told.get('traceback', told)}"
    if "error" in told:
        assert "\n" not in told["error"], what
        return
    for name, found in told["answers"].items():
        if found and isinstance(found[0], str) and "Error: " in found[0]:
            assert "\n" not in found[0], what
        elif not any(found == truth[name] for truth in truths):
            assert what.startswith(DATABASE), f"{what}: {name}: {found}"
            assert "year" in name, f"{what}: {name}: {found}"
            # a damaged year is not found; hybrid scores are relative to those of other hits
            some = slice(2 if name.startswith("hybrid") else 0, None)
            possible = [[hit[some] for hit in truth[f"every {name}"]] for truth in truths]
            assert any(all(hit[some] in hits for hit in found) for hits in possible), f"{what}: {name}: {found}"


FILES = [DATABASE, f"{DATABASE}-wal", *(f"{kind}.00000{n}.seg" for kind in ("vectors", "words") for n in (1, 2, 3))]


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_noticed_and_never_answered_with_wrong_hits(worker, sound, truth, tmp_path, name):
    rng, noticed = Random(name), 0
    n = 4 * FLIPS if name == DATABASE else FLIPS
    data = (sound / "last" / name).read_bytes()
    states = [rows(copied(sound / which, tmp_path / which)) for which in STATES]
    for place in rng.sample(range(len(data)), n):
        bit = rng.randrange(8)
        what = f"{name}, byte {place}, bit {bit}"
        flip(copied(sound / "last", tmp_path / "index") / name, place, bit)
        told = worker.ask("ask", copied(tmp_path / "index", tmp_path / "asked"))
        if is_noticed(worker.ask("verify", tmp_path / "index"), what):
            noticed += 1
            check_answers(told, truth, what)
            continue
        assert name.startswith(DATABASE), f"{what} was not noticed"
        which = [state == rows(tmp_path / "index") for state in states]
        assert which[0] or (any(which) and name != DATABASE), f"{what} was not noticed"
        check_answers(told, [truth[which.index(True)]], what)
    assert noticed == n or name.startswith(DATABASE)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_off_or_missing_is_noticed(worker, sound, truth, tmp_path, name):
    size, states = (sound / "last" / name).stat().st_size, [rows(copied(sound / s, tmp_path / s)) for s in STATES]
    for length in (None, 0, size // 3, size - 1):
        folder, what = copied(sound / "last", tmp_path / "index"), f"{name}, {length} of {size} bytes"
        (folder / name).unlink() if length is None else os.truncate(folder / name, length)
        check_answers(worker.ask("ask", copied(folder, tmp_path / "asked")), truth, what)
        if not is_noticed(worker.ask("verify", folder), what):
            # a log that was cut off is that of a crash, and the log may have the last page of the database
            assert rows(folder) in (states if name != DATABASE else states[:1]), what
            assert name.startswith(DATABASE), what


def other_index(folder: Path) -> Path:
    """Build an index of the same form over other texts."""
    build(folder, [{**one, "text": one["text"].replace("heron", "stork"), "title": "Cat"} for one in DOCUMENTS])
    return folder


def test_files_of_another_index_or_segment_are_noticed(worker, sound, truth, tmp_path):
    other = other_index(tmp_path / "other")
    segments = FILES[2:]
    pairs = [(name, other / name) for name in segments if (other / name).exists()]
    assert len(pairs) == len(segments)
    pairs += [(name, sound / "last" / one) for name in segments for one in segments if name != one]
    for name, source in pairs:
        folder, what = copied(sound / "last", tmp_path / "index"), f"{source} as {name}"
        shutil.copy(source, folder / name)
        check_answers(worker.ask("ask", folder), truth[:1], what)
        assert is_noticed(worker.ask("verify", folder), what), what


def test_a_log_of_another_index_is_noticed(worker, sound, tmp_path):
    """SQLite applies any log of the right name (sqlite.org/howtocorrupt.html, 1.4), so searches may see the mixture."""
    with reopen_writer(other_index(tmp_path / "other")) as writer:
        writer.delete(["d20"])
        shutil.copy(tmp_path / "other" / f"{DATABASE}-wal", tmp_path / "log")
    folder = copied(sound / "last", tmp_path / "index")
    shutil.copy(tmp_path / "log", folder / f"{DATABASE}-wal")
    told = worker.ask("ask", copied(folder, tmp_path / "asked"))
    assert told.keys() <= {"answers", "error"}, told
    assert is_noticed(worker.ask("verify", folder), "another log")


def test_rebuilding_recovers_whatever_can_be_derived(worker, sound, truth, tmp_path):
    content = index_content(copied(sound / "last", tmp_path / "intact"))
    rng = Random(3)
    for number in range(6):
        folder = copied(sound / "last", tmp_path / "index")
        for name in FILES[2:]:
            if rng.random() < 0.7:
                flip(folder / name, rng.randrange((folder / name).stat().st_size), rng.randrange(8))
            elif rng.random() < 0.5:
                (folder / name).unlink()
        with closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as connection:
            statements = ("DELETE FROM deleted", "UPDATE segments SET last = last - 1", "DELETE FROM fields")
            connection.execute(statements[number % 3])
        assert is_noticed(worker.ask("verify", folder), "damaged")
        assert worker.ask("rebuild", folder) == {"answers": []}
        assert worker.ask("verify", folder) == {"answers": []}
        assert index_content(folder) == content
        answers = worker.ask("ask", folder)["answers"]
        assert all(found == truth[0][name] for name, found in answers.items())


class Stored(CountingEncoder):
    """An encoder with an 8-bit model that the index keeps."""

    def __init__(self, graph: openvino_graph.StoredGraph) -> None:
        super().__init__()
        self._graph = graph

    @property
    def spec(self) -> Any:
        return replace(self.inner.spec, precision=f"int8:{self._graph.sha256}")

    @property
    def artifacts(self) -> Any:
        return {f"encoder-{self._graph.sha256[:12]}": self._graph.folder}


def test_a_flipped_bit_in_an_8_bit_model_is_noticed(worker, tmp_path):
    graph = tmp_path / "graph"
    graph.mkdir()
    (graph / openvino_graph.XML).write_text("<net/>" * 50)
    (graph / openvino_graph.BIN).write_bytes(Random(0).randbytes(4_000))
    (graph / openvino_graph.SUMS).write_text(json.dumps(openvino_graph._sums(graph), sort_keys=True))
    stored = openvino_graph.StoredGraph.open(graph)
    index_corpus(tmp_path / "sound", DOCUMENTS[:9], Stored(stored))
    assert worker.ask("verify", tmp_path / "sound") == {"answers": []}
    rng = Random(0)
    files = [path.relative_to(tmp_path / "sound") for path in (tmp_path / "sound").glob("encoder-*/*")]
    assert len(files) == 3
    for name in files * FLIPS:
        folder = copied(tmp_path / "sound", tmp_path / "index")
        place, bit = rng.randrange((folder / name).stat().st_size), rng.randrange(8)
        flip(folder / name, place, bit)
        assert is_noticed(worker.ask("verify", folder), f"{name}, byte {place}, bit {bit}"), (name, place, bit)
