"""Test shards, what they are named after, and which are taken; and the options of the engine that need no cluster."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
from command import call

from semsearch import Chunking, Document, Index, WordHashEncoder
from semsearch.engines import ray as ray_engine
from semsearch.engines.base import EncodedDocument
from semsearch.engines.ray import RayEngine
from semsearch.engines.shards import ShardFolder, recipe_of, shard_name
from semsearch.errors import ClusterError, RecordError, SourceError, UsageError
from semsearch.types import Passage

ENCODER = WordHashEncoder(8)
RECIPE = recipe_of(ENCODER.spec, Chunking())
DOCUMENTS = [Document("a", "The heron waits."), Document("b", "", source="b.txt"), Document("c", "咖啡", "Title")]
ENCODED: list[EncodedDocument | RecordError] = [
    EncodedDocument(
        (Passage(0, 0, 9, "The heron", 2, 0), Passage(1, 10, 16, "waits.", 2, 1)),
        np.arange(16, dtype=np.float32).reshape(2, 8),
    ),
    RecordError("worker", None, "too long"),
    EncodedDocument((), np.zeros((0, 8), np.float32)),
]


@pytest.fixture
def folder(tmp_path: Path) -> ShardFolder:
    return ShardFolder(str(tmp_path / "shards"), RECIPE)


def files(folder: ShardFolder) -> list[str]:
    return sorted(path.name for path in Path(folder.location).iterdir())


def test_a_shard_gives_back_what_was_written(folder):
    folder.write("one", DOCUMENTS, ENCODED)
    first, second, third = folder.read("one", DOCUMENTS, 8)
    assert first.passages == ENCODED[0].passages
    np.testing.assert_array_equal(first.vectors, ENCODED[0].vectors)
    assert first.vectors.dtype == np.float32
    assert (second.source, second.reason) == ("b.txt", "too long")
    assert (third.passages, third.vectors.shape) == ((), (0, 8))
    assert files(folder) == ["one.parquet"]


def test_a_shard_is_a_parquet_file_that_others_can_read(folder):
    folder.write("one", DOCUMENTS, ENCODED)
    table = pq.read_table(Path(folder.location) / "one.parquet")
    assert table["doc_id"].to_pylist() == ["a", "b", "c"]
    assert table["texts"].to_pylist() == [["The heron", "waits."], None, []]
    assert np.frombuffer(table["vectors"][0].as_py(), "<f4").tolist() == list(range(16))


def test_the_name_depends_on_the_documents_and_on_everything_that_determines_their_vectors(monkeypatch):
    changed = [replace(DOCUMENTS[0], text="The heron left."), *DOCUMENTS[1:]]
    recipes = [RECIPE, recipe_of(WordHashEncoder(9).spec, Chunking()), recipe_of(ENCODER.spec, Chunking(overlap=0))]
    monkeypatch.setattr("semsearch.engines.shards.__version__", "9.9")
    recipes.append(recipe_of(ENCODER.spec, Chunking()))
    names = [shard_name(recipe, DOCUMENTS) for recipe in recipes]
    names += [shard_name(RECIPE, documents) for documents in (changed, DOCUMENTS[::-1], DOCUMENTS[:2])]
    assert len(set(names)) == len(names)
    described = [replace(one, metadata={"year": 2020}) for one in DOCUMENTS]
    assert shard_name(RECIPE, described) == names[0]  # metadata is not encoded


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    "spoil",
    [cut, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"PAR1 PAR1"), Path.unlink],
    ids=["cut", "empty", "nonsense", "missing"],
)
def test_a_damaged_or_missing_shard_is_not_taken(folder, spoil):
    folder.write("one", DOCUMENTS, ENCODED)
    spoil(Path(folder.location) / "one.parquet")
    assert folder.read("one", DOCUMENTS, 8) is None


def test_a_shard_of_another_encoder_or_of_other_documents_is_not_taken_whatever_its_name(folder):
    folder.write("one", DOCUMENTS, ENCODED)
    other = ShardFolder(folder.location, recipe_of(WordHashEncoder(9).spec, Chunking()))
    assert other.read("one", DOCUMENTS, 8) is None
    assert folder.read("one", DOCUMENTS[::-1], 8) is None
    assert folder.read("one", DOCUMENTS, 9) is None  # 64 bytes are no two vectors of 36


def test_what_killed_workers_left_is_removed_but_nothing_of_other_runs(folder):
    place = Path(folder.location)
    for name in ("one.parquet.0123.tmp", "two.parquet.0123.tmp", "two.parquet"):
        (place / name).write_bytes(b"")
    assert folder.tidy({"one"}) == 2
    assert files(folder) == ["two.parquet", "two.parquet.0123.tmp"]
    for name in files(folder):
        (place / name).unlink()
    assert folder.tidy({"one"}) == 0
    assert not place.exists()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="cannot write `shards`"):
        ShardFolder(str(tmp_path / "file" / "shards"), RECIPE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "`workers` must be at least 1, got 0"),
        ({"workers": True}, "`workers` must be at least 1, got True"),
        ({"workers": 1.5}, "`workers` must be at least 1, got 1.5"),
        ({"gpus_per_worker": -0.5}, "`gpus_per_worker` must be at least 0, got -0.5"),
        ({"gpus_per_worker": float("nan")}, "`gpus_per_worker` must be at least 0, got nan"),
        ({"gpus_per_worker": 1.5}, "a whole number, or a share below 1"),
        ({"address": "head"}, "`address` is 'head'; expected HOST:PORT, auto or local"),
        ({"address": "ray://head:10001"}, "expected HOST:PORT, auto or local"),
        ({"shards": 5}, "`shards` is 5; expected a folder or a URL"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(UsageError) as caught:
        RayEngine(**options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--workers", "2"), "--workers requires --engine ray"),
        (("--address", "auto"), "--address requires --engine ray"),
        (("--gpus-per-worker", "1"), "--gpus-per-worker requires --engine ray"),
        (("--shards", "x"), "--shards requires --engine ray"),
        (("--engine", "ray", "--workers", "0"), "--workers must be at least 1, got 0"),
        (("--engine", "ray", "--gpus-per-worker", "-1"), "--gpus-per-worker must be at least 0, got -1.0"),
        (("--engine", "ray", "--watch"), "--watch and --engine ray are mutually exclusive"),
        (("--engine", "ray", "--device", "cuda"), "--gpus-per-worker"),
        (("--engine", "ray", "--shards", "nowhere://x/y"), "--shards 'nowhere://x/y' cannot be opened"),
    ],
)
def test_the_command_refuses_options_that_make_no_sense(tmp_path, words, message):
    (tmp_path / "a.txt").write_text("The heron waits.")
    index = tmp_path / "index"
    call("index", str(tmp_path / "a.txt"), "--index", str(index), "--model", "hash:64", *words).fails(2, message)
    assert not index.exists()


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_engine, "find_spec", lambda name: None if name == "ray" else object())
    with (
        Index.open(tmp_path / "index", create=True, encoder=WordHashEncoder(8)) as index,
        pytest.raises(UsageError, match=r"needs ray, not installed here; pip install 'semsearch\[ray\]'"),
    ):
        index.add([{"_id": "a", "text": "The heron waits."}], engine=RayEngine())


def test_something_else_is_no_engine(tmp_path):
    with (
        Index.open(tmp_path / "index", create=True, encoder=WordHashEncoder(8)) as index,
        pytest.raises(
            UsageError, match=r"`engine` is 'ray'; expected an engine, such as semsearch\.engines\.ray\.RayEngine"
        ),
    ):
        index.add([{"_id": "a", "text": "The heron waits."}], engine="ray")


def test_an_8_bit_model_is_refused(tmp_path):
    class Quantized(WordHashEncoder):
        artifacts: ClassVar = {"int8": tmp_path}

    with (
        Index.open(tmp_path / "index", create=True, encoder=Quantized(8)) as index,
        pytest.raises(UsageError, match="8-bit"),
    ):
        index.add([{"_id": "a", "text": "The heron waits."}], engine=RayEngine())


@pytest.fixture
def answering(request: pytest.FixtureRequest):
    """Return the address of a server that answers each connection with the given bytes, or not at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []

        def serve() -> None:
            while True:
                try:
                    kept.append(server.accept()[0])
                    kept[-1].sendall(request.param)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        for connection in kept:
            connection.close()


@pytest.mark.parametrize(
    ("answering", "reason"),
    [(b"", "timed out"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", "something else")],
    indirect=["answering"],
)
def test_an_address_where_no_ray_answers_is_an_error_within_bounded_time(tmp_path, monkeypatch, answering, reason):
    pytest.importorskip("ray")
    monkeypatch.setattr(ray_engine, "CONNECT_SECONDS", 0.3)
    started = time.monotonic()
    with (
        Index.open(tmp_path / "index", create=True, encoder=WordHashEncoder(8)) as index,
        pytest.raises(ClusterError, match=f"no Ray cluster answers at '{answering}': .*{reason}; check `address`"),
    ):
        index.add([{"_id": "a", "text": "The heron waits."}], engine=RayEngine(address=answering))
    assert time.monotonic() - started < 20
    assert not (tmp_path / "index").exists()


def test_an_address_that_refuses_is_an_error(tmp_path):
    pytest.importorskip("ray")
    with (
        Index.open(tmp_path / "index", create=True, encoder=WordHashEncoder(8)) as index,
        pytest.raises(ClusterError, match=r"no Ray cluster answers at '127\.0\.0\.1:1': Connection refused"),
    ):
        index.add([{"_id": "a", "text": "The heron waits."}], engine=RayEngine(address="127.0.0.1:1"))


def test_the_local_engine_does_not_import_ray():
    code = (
        "import sys; from semsearch import Index; import semsearch.ingest; "
        "from semsearch.engines.ray import RayEngine; RayEngine(); "
        "print({'ray', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "set()\n", done.stderr
