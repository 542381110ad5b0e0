"""Helpers to run a real server on loopback in a thread of the test, with a real client."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import uvicorn

from semsearch import Index, WordHashEncoder
from semsearch.server.app import create_app
from semsearch.server.run import bind
from semsearch.server.settings import Settings

NOTES: list[dict[str, Any]] = [
    {"_id": "heron", "title": "Heron", "text": "The heron waits by the water.", "year": 2020, "lang": "en"},
    {"_id": "bread", "title": "Bread", "text": "Flour, water and salt.", "year": 2010, "lang": "en"},
    {"_id": "kettle", "title": "Kettle", "text": "Fill it, then wait.", "year": 2022, "lang": "en"},
    {"_id": "a/b c.md", "title": "Path", "text": "An id with a slash, about gardens.", "year": 2021, "lang": "en"},
]
"""Few enough to compute answers by hand."""


def build(folder: Path, documents: Sequence[Mapping[str, Any]] = NOTES, dim: int = 4_096) -> Path:
    """Build an index of documents with the word-hash encoder."""
    with Index.open(folder, create=True, encoder=WordHashEncoder(dim)) as index:
        index.add(list(documents))
    return folder


@contextmanager
def served(
    indexes: Mapping[str, str | Path], settings: Settings | None = None, *, ready: bool = True
) -> Iterator[httpx.Client]:
    """Yield a client of a server of these indexes; with `ready`, wait until dense search works on all of them."""
    listening = bind("127.0.0.1", 0)
    told = uvicorn.Config(create_app(indexes, settings), log_config=None, lifespan="on", ws="none")
    server = uvicorn.Server(told)
    thread = Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=60) as client:
            wait_for(lambda: server.started)
            if ready:
                key = settings.keys[0].secret if settings and settings.keys else "none"
                wait_for(lambda: client.get("/ready", headers={"api-key": key}).json()["status"] != "keyword")
            yield client
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()


def wait_for(true: Any, seconds: float = 60) -> None:
    """Wait until a condition holds."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not become true"
        time.sleep(0.01)
