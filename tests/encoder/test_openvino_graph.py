"""Tests for the cache of converted graphs: it is reused, rebuilt if damaged, and never prevents encoding."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakes import tiny_checkpoint

from semsearch import CacheWarning, Encoder, FallbackWarning
from semsearch.encoder.checkpoints.open import open_checkpoint
from semsearch.encoder.runtimes import openvino_convert
from semsearch.encoder.runtimes import openvino_graph as graphs
from semsearch.encoder.runtimes.torch_model import PooledModel
from semsearch.errors import ModelError, UnsupportedError
from semsearch.poolers import POOLERS

pytestmark = pytest.mark.slow

TEXTS = ["A heron waits.", "", "The grey heron stands in the shallow water and strikes at a passing fish."]

Make = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a separate cache and return the folder of its graphs."""
    monkeypatch.setenv("SEMSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "graphs"


@pytest.fixture
def model(checkpoint: Make) -> str:
    return str(checkpoint())


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Return a checkpoint and a folder with its graph, which tests copy into their own cache."""
    model, cache = str(tiny_checkpoint(tmp_path_factory.mktemp("model") / "tiny")), tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEMSEARCH_CACHE", str(cache))
        encode(model)
    return model, cache / "graphs"


def encode(model: str, **settings) -> np.ndarray:
    return Encoder.load(model, "mean", **{"runtime": "openvino", "precision": "float32", **settings}).encode_documents(
        TEXTS
    )


def by_torch(model: str) -> np.ndarray:
    return encode(model, runtime="torch")


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def never(*_: object) -> None:
    raise AssertionError("converted again")


def kept(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/graph.xml"))


def test_a_graph_is_converted_once_for_each_pooler(model, folder, monkeypatch):
    first = encode(model)
    encode(model, precision="bfloat16")
    assert len(kept(folder)) == 1
    Encoder.load(model, "cls", runtime="openvino")
    assert len(kept(folder)) == 2
    monkeypatch.setattr(openvino_convert, "convert", never)
    np.testing.assert_array_equal(encode(model), first)
    encode(model, max_tokens=16, passage_prefix="x ")  # these settings do not change the graph


def test_other_weights_are_another_graph(checkpoint, folder):
    one, two = str(checkpoint()), str(checkpoint(seed=1))
    close(encode(one), by_torch(one))
    close(encode(two), by_torch(two))
    assert len(kept(folder)) == 2


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGES = {"flipped": flip, "cut": lambda data: data[: len(data) // 2], "empty": lambda data: b""}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["graph.bin", "graph.xml", "sums.json", "*.blob"])
def test_a_damaged_or_foreign_file_is_made_again(converted, folder, monkeypatch, file, damage):
    model, whole = converted
    shutil.copytree(whole, folder)
    (path,) = folder.rglob(file)
    damaged = DAMAGES[damage](path.read_bytes())
    path.write_bytes(damaged)
    close(encode(model), by_torch(model))
    assert damaged not in [path.read_bytes() for path in folder.rglob(file)]
    monkeypatch.setattr(openvino_convert, "convert", never)
    close(encode(model), by_torch(model))


def test_a_blob_of_something_else_with_a_right_checksum_is_compiled_again(model, folder):
    encode(model)
    (path,) = folder.rglob("*.blob")
    foreign = b"not a blob" * 100
    path.write_bytes(hashlib.sha256(foreign).digest() + foreign)
    close(encode(model), by_torch(model))


def test_a_cache_that_cannot_be_written_is_told_and_done_without(model, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEMSEARCH_CACHE", str(tmp_path / "file"))
    with pytest.warns(CacheWarning, match=r"cannot be saved in .*file.*\$SEMSEARCH_CACHE"):
        vectors = encode(model)
    close(vectors, by_torch(model))


def test_what_an_interrupted_conversion_left_is_no_hindrance(model, folder):
    expected = encode(model)
    (graph,) = kept(folder)
    graph.rename(graph.with_name(f"{graph.name}.new"))
    (graph.with_name(f"{graph.name}.new") / "graph.bin").write_bytes(b"half")
    np.testing.assert_array_equal(encode(model), expected)
    assert kept(folder) == [graph]
    assert not graph.with_name(f"{graph.name}.new").exists()


CODE = """
import sys
from semsearch import Encoder
print(Encoder.load(sys.argv[1], "mean", runtime="openvino", precision="float32").encode_queries(["a heron"])[0, 0])
"""


def start(model: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", CODE, model], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_processes_that_convert_at_once_convert_once(model, folder):
    both = [start(model), start(model)]
    answers = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert answers[0][0] == answers[1][0]
    assert [errors for _, errors in answers] == [b"", b""]
    assert len(kept(folder)) == 1


def test_a_killed_conversion_leaves_nothing_that_is_taken_for_a_graph(model, folder):
    process = start(model)
    deadline = time.monotonic() + 60
    while not list(folder.glob("*.new")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert kept(folder) == [] or kept(folder)[0].suffix == ".new"
    close(encode(model), by_torch(model))


def test_a_model_that_does_not_convert_runs_on_torch_and_says_why(model, folder, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no such operation: aten::zorg\nat somewhere")

    monkeypatch.setattr(openvino_convert, "converter", lambda: refuse)
    with pytest.warns(FallbackWarning, match=r"does not convert to OpenVINO \(no such operation: aten::zorg\); fall"):
        encoder = Encoder.load(model, "mean")
    close(encoder.encode_documents(TEXTS), by_torch(model))
    assert encoder.spec.precision == "float32"
    with pytest.raises(UnsupportedError, match="does not convert"):
        encode(model)
    assert kept(folder) == []


def test_a_graph_that_disagrees_with_torch_is_not_used(model, checkpoint, folder, monkeypatch):
    other = open_checkpoint(str(checkpoint(seed=1)))
    astray, convert_model = PooledModel(other, [other.head(POOLERS["mean"])]), openvino_convert.converter()
    monkeypatch.setattr(openvino_convert, "converter", lambda: lambda _, **wishes: convert_model(astray, **wishes))
    with pytest.warns(FallbackWarning, match=r"gives different vectors than torch \(they differ by \d"):
        vectors = Encoder.load(model, "mean").encode_documents(TEXTS)
    close(vectors, by_torch(model))
    assert kept(folder) == []


def test_the_graphs_that_were_used_longest_ago_leave_first(checkpoint, folder, monkeypatch):
    models = [str(checkpoint(seed=seed)) for seed in range(3)]
    encode(models[0])
    (oldest,) = kept(folder)
    size = sum(file.stat().st_size for file in oldest.iterdir())
    monkeypatch.setattr(graphs, "MAX_MB", 2.5 * size / 2**20)
    encode(models[1])
    (other,) = {*kept(folder)} - {oldest}
    os.utime(other / "sums.json", (0, 0))  # makes it the least recently used
    encode(models[2])
    assert oldest in kept(folder)
    assert other not in kept(folder)
    assert len(kept(folder)) == 2


def test_files_that_are_deleted_while_a_model_is_in_use_are_missed_by_nobody(model, folder):
    encoder = Encoder.load(model, "mean", runtime="openvino", precision="float32")
    one = encoder.encode_documents(TEXTS[:1])
    shutil.rmtree(folder)
    many = encoder.encode_documents(TEXTS * 200)  # more than one batch, for which the graph is compiled again
    np.testing.assert_allclose(many[:1], one, atol=1e-5)
    close(many[:3], by_torch(model))


def test_files_that_are_deleted_before_a_model_is_used_are_told(model, folder):
    encoder = Encoder.load(model, "mean", runtime="openvino", precision="float32")
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match="deleted while it was in use"):
        encoder.encode_documents(TEXTS * 200)
