"""What tests share: the real default model, the real data, and small checkpoints made on the spot."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before numpy and torch look: their threads would wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import tiny_checkpoint

from semsearch import Encoder

collect_ignore = ["clients"]  # which have environments of their own: make test-clients


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Converted models, which all tests share, for converting one takes seconds."""
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, graphs: Path) -> None:
    """No test sees, or leaves anything in, the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "graphs").symlink_to(graphs, target_is_directory=True)
    monkeypatch.setenv("SEMSEARCH_CACHE", str(folder))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For models so small more threads only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoders are the reference, torch in float32, unless a test says otherwise."""
    monkeypatch.setenv("SEMSEARCH_RUNTIME", "torch")


@pytest.fixture(scope="session")
def minilm() -> Encoder:
    """The default model with its declared pooler, as the reference runs it."""
    return Encoder.load(device="cpu", runtime="torch")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with sts/ and cranfield/; without it a test is skipped, but never in CI."""
    folder = Path(os.environ.get("SEMSEARCH_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        message = f"no real data in {folder}; set SEMSEARCH_DATA to the folder that holds sts/ and cranfield/"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Makes a small checkpoint below the test's folder; see `fakes.tiny_checkpoint`."""
    return lambda **wishes: tiny_checkpoint(tmp_path / f"checkpoint-{len(list(tmp_path.iterdir()))}", **wishes)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; without it a test is skipped, but never in CI."""
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
