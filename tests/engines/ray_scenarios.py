"""Scenarios on a Ray cluster of two nodes with one CPU each, for `test_ray.py`; run in a network namespace of its own.

Ray listens on every interface, so this script refuses to run where there is any other than loopback. It starts one
cluster, runs all scenarios in it, and prints what each has found as a line of JSON.

    python ray_scenarios.py FOLDER
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_health_check_period_ms": "500"}

import psutil
from ray.cluster_utils import Cluster

import semsearch.ingest
from semsearch import Index, WordHashEncoder
from semsearch.cli.main import main
from semsearch.engines.ray import RayEngine
from semsearch.errors import SemsearchError
from semsearch.types import EncoderSpec

BATCH = 20

DOCUMENTS = [
    {"_id": f"d{i}", "title": f"Title {i % 7}", "text": f"The heron number{i} waits. " * (1 + i % 40), "year": i}
    for i in range(30 * BATCH)
]
"""Thirty batches, many of whose documents have several passages."""

SETTINGS: dict[str, Any] = {"model": "hash:64", "max_tokens": 40}

MEMORY = 80 * 2**20


def loopback_alone() -> None:
    """Bring loopback up, and check that there is no other interface."""
    assert {name for _, name in socket.if_nameindex()} <= {"lo", "sit0", "ip6tnl0", "tunl0"}, "not a namespace"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        get_flags, set_flags, up = 0x8913, 0x8914, 1
        asked = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, get_flags, asked))[1]
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh14x", b"lo", flags | up))


@dataclass
class Setting:
    """What the scenarios share."""

    folder: Path
    cluster: Cluster
    second: Any

    @property
    def engine(self) -> RayEngine:
        return RayEngine(workers=2, address=self.cluster.address)


def content(folder: Path) -> list[Any]:
    """Return all that an index says of its documents, passages and vectors, read from an export."""
    path = folder.with_suffix(".jsonl")
    with Index.open(folder) as index:
        index.export(path, vectors="base64")
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def local(setting: Setting) -> list[Any]:
    """Return the content of an index of the documents that the local engine has made."""
    folder = setting.folder / "local"
    if not folder.exists():
        with Index.open(folder, create=True, **SETTINGS) as index:
            index.add(DOCUMENTS)
    return content(folder)


def worker_pids() -> list[int]:
    """Return the processes of the actors."""
    pids = []
    for process in psutil.process_iter():  # of this namespace
        with suppress(psutil.NoSuchProcess):  # also a zombie
            if "EncodingActor" in " ".join(process.cmdline()[:1]):
                pids.append(process.pid)
    return sorted(pids)


class After:
    """A progress callback that does something once a number of documents is committed, and is slow from then on."""

    def __init__(self, documents: int, act: Callable[[], Any], seconds: float = 0.02) -> None:
        self.documents, self.act, self.seconds, self.done = documents, act, seconds, False

    def __call__(self, result: semsearch.IngestResult) -> None:
        if result.documents >= self.documents and not self.done:
            self.done = True
            self.act()
        time.sleep(self.seconds * self.done)


def same_content(setting: Setting) -> dict[str, Any]:
    """Index through the command line, then again with a changed document; a corpus read from a file."""
    corpus, folder = setting.folder / "corpus.jsonl", setting.folder / "same"
    words = ("--index", str(folder), "--model", "hash:64", "--max-tokens", "40", "--json")
    told = []
    for changed in (False, False, True):
        lines = [one | ({"text": "Another text."} if changed and one["_id"] == "d45" else {}) for one in DOCUMENTS]
        corpus.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
        command = [*START, "index", str(corpus), *words, "--engine", "ray", "--address", setting.cluster.address]
        done = subprocess.run([*command, "--workers", "2"], capture_output=True, text=True, timeout=100)
        told.append(json.loads(done.stdout) if not done.returncode else done.stderr)
    found, expected = content(folder), local(setting)
    expected[45] |= {"text": "Another text.", "_passages": found[45]["_passages"]}
    return {
        "same": found == expected,
        "shards": [[one["shards"], one["encoded"]] for one in told],
        "left": sorted(path.name for path in setting.folder.glob("same.shards*")),
    }


def real_model(setting: Setting) -> dict[str, Any]:
    """Compare the default model's vectors with those of the local engine."""
    lines, rows = [], []
    for name, engine in (("real", setting.engine), ("real-local", None)):
        with Index.open(setting.folder / name, create=True) as index:
            index.add(DOCUMENTS[:60], engine=engine)
        array = setting.folder / f"{name}.npy"
        with Index.open(setting.folder / name) as index:
            index.export(setting.folder / f"{name}.jsonl", vectors=array)
        import numpy as np

        rows.append(np.load(array))
        lines.append((setting.folder / f"{name}.jsonl").read_text("utf-8"))
    return {"passages": lines[0] == lines[1], "n": len(rows[0]), "difference": float(np.abs(rows[0] - rows[1]).max())}


def lost_worker(setting: Setting) -> dict[str, Any]:
    """Kill a worker in the middle."""
    killed: list[int] = []

    def kill() -> None:
        killed.append(worker_pids()[0])
        os.kill(killed[0], signal.SIGKILL)

    folder, watch = setting.folder / "lost-worker", After(5 * BATCH, kill)
    with Index.open(folder, create=True, **SETTINGS) as index:
        result = index.add(DOCUMENTS, engine=setting.engine, watch=watch)
    return {"killed": len(killed), "encoded": result.encoded, "same": content(folder) == local(setting)}


def lost_node(setting: Setting) -> dict[str, Any]:
    """Take away a node in the middle."""
    folder = setting.folder / "lost-node"
    watch = After(5 * BATCH, lambda: setting.cluster.remove_node(setting.second, allow_graceful=False))
    with Index.open(folder, create=True, **SETTINGS) as index:
        result = index.add(DOCUMENTS, engine=setting.engine, watch=watch)
    return {"killed": watch.done, "encoded": result.encoded, "same": content(folder) == local(setting)}


def lost_driver(setting: Setting) -> dict[str, Any]:
    """Kill the driver while shards wait for it, damage one of them, and run again."""
    folder, shards = setting.folder / "lost-driver", setting.folder / "lost-driver.shards"
    with subprocess.Popen([sys.executable, __file__, "drive", str(folder), setting.cluster.address]) as driver:
        await_that(lambda: len(list(shards.glob("*.parquet"))) >= 3 and n_documents(folder) >= 3 * BATCH)
        driver.kill()
    await_that(lambda: not worker_pids())
    before, committed = sorted(shards.glob("*.parquet")), n_documents(folder)
    before[0].write_bytes(before[0].read_bytes()[:-100])
    (shards / ("0" * 40 + ".parquet")).write_bytes(b"of another run")
    with Index.open(folder, create=True, **SETTINGS) as index:
        result = index.add(DOCUMENTS, engine=setting.engine)
    return {
        "committed": committed,
        "before": len(before),
        "shards": result.shards,
        "found": result.shards_found,
        "unchanged": result.unchanged,
        "same": content(folder) == local(setting),
        "left": [path.name for path in shards.iterdir()],
    }


def drive(folder: str, address: str) -> None:
    """Index slowly, so that shards are waiting."""
    watch = After(1, lambda: None, seconds=0.5)
    with Index.open(folder, create=True, **SETTINGS) as index:
        index.add(DOCUMENTS, engine=RayEngine(workers=2, address=address), watch=watch)


def n_documents(folder: Path) -> int:
    if not (folder / "passages.sqlite").exists():
        return 0
    try:
        with closing(sqlite3.connect(folder / "passages.sqlite")) as database:
            return database.execute("SELECT count(*) FROM documents").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def await_that(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.05)


class OtherEncoder:
    """The word-hash encoder under the name of another model, or with other weights."""

    artifacts: ClassVar[dict[str, Path]] = {}

    def __init__(self, **changes: str) -> None:
        self._inner, self._changes = WordHashEncoder(64), changes

    @property
    def spec(self) -> EncoderSpec:
        return replace(self._inner.spec, **self._changes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def failure(setting: Setting, name: str, workers: int = 1, **options: Any) -> dict[str, Any]:
    """Return what an index says that cannot be built."""
    try:
        with Index.open(setting.folder / name, create=True, **(options or SETTINGS)) as index:
            engine = replace(setting.engine, workers=workers)
            index.add(DOCUMENTS, engine=engine, watch=After(0, lambda: None, seconds=0.3))
    except SemsearchError as error:
        return {"class": type(error).__name__, "message": str(error)}
    return {"class": "", "message": ""}


def other_weights(setting: Setting) -> dict[str, Any]:
    return failure(setting, "other-weights", encoder=OtherEncoder(weights="word-hash-0"))


def missing_model(setting: Setting) -> dict[str, Any]:
    return failure(setting, "missing-model", encoder=OtherEncoder(model="/no/such/model"))


@contextmanager
def extra_node(setting: Setting, package: dict[str, str]) -> Iterator[None]:
    """Add a node with other packages."""
    place = setting.folder / f"packages-{len(package)}-{time.monotonic()}"
    for name, text in package.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, "utf-8")
    path = f"{place}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    node = setting.cluster.add_node(num_cpus=1, object_store_memory=MEMORY, env_vars={"PYTHONPATH": path})
    try:
        yield
    finally:
        setting.cluster.remove_node(node, allow_graceful=False)


def other_version(setting: Setting) -> dict[str, Any]:
    package = {"semsearch/__init__.py": "", "semsearch/version.py": "__version__ = '0.0.7'\n"}
    with extra_node(setting, package):
        return failure(setting, "other-version", workers=2)


def no_package(setting: Setting) -> dict[str, Any]:
    package = {"semsearch/__init__.py": "raise ModuleNotFoundError(\"No module named 'semsearch'\")\n"}
    with extra_node(setting, package):
        return failure(setting, "no-package", workers=2)


def started_here(setting: Setting) -> dict[str, Any]:
    """Index through the command line without an address, as JSON."""
    folder = setting.folder / "here"
    words = ("--index", str(folder), "--model", "hash:64", "--max-tokens", "40", "--json", "--engine", "ray")
    command = [*START, "index", str(setting.folder / "corpus.jsonl"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    told = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {"shards": done.stderr}
    left = sorted(path.name for path in setting.folder.glob("here.shards*"))
    return {"code": done.returncode, "lines": len(done.stdout.splitlines()), "shards": told["shards"], "left": left}


def unwritable(setting: Setting) -> dict[str, Any]:
    """Take away the folder of the shards while workers write to it."""
    shards = setting.folder / "unwritable.shards"

    def spoil() -> None:
        shards.rename(setting.folder / "moved")
        shards.write_text("a file")

    try:
        with Index.open(setting.folder / "unwritable", create=True, **SETTINGS) as index:
            index.add(DOCUMENTS, engine=setting.engine, watch=After(2 * BATCH, spoil))
    except SemsearchError as error:
        return {"class": type(error).__name__, "message": str(error)}
    return {"class": "", "message": ""}


START = [sys.executable, __file__, "command"]

SCENARIOS: tuple[Callable[[Setting], dict[str, Any]], ...] = (
    *(same_content, real_model, lost_worker, lost_driver, other_weights, missing_model, lost_node),
    *(other_version, no_package, unwritable, started_here),
)
"""In this order, since `lost_node` leaves one node; a node that is added later gets the second worker."""


def run(folder: Path) -> None:
    loopback_alone()
    cluster = Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": MEMORY})
    try:
        second = cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
        setting = Setting(folder, cluster, second)
        for scenario in SCENARIOS:
            started = time.monotonic()
            try:
                told = scenario(setting)
            except Exception:
                told = {"failed": traceback.format_exc()}
            told["seconds"] = round(time.monotonic() - started, 1)
            sys.stdout.write(json.dumps({scenario.__name__: told}) + "\n")
            sys.stdout.flush()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    semsearch.ingest.BATCH_DOCUMENTS = BATCH
    if sys.argv[1] == "command":
        sys.argv.pop(1)
        main()
    elif sys.argv[1] == "drive":
        drive(*sys.argv[2:])
    else:
        run(Path(sys.argv[1]))
