"""A server in this process, for tests of its contracts: a small index, its application, and a client."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from semsearch import Index
from semsearch.server.app import create_app
from semsearch.server.settings import Settings

BIRDS: list[dict[str, Any]] = [
    {"_id": "heron", "title": "Heron", "text": "The heron waits in the reeds by the river.", "year": 2021},
    {"_id": "kingfisher", "text": "A kingfisher dives into the cold river.", "year": 2020, "lang": "en"},
    {"_id": "a/b c.md", "text": "Bread needs an hour to rise in the oven.", "year": 2019, "tags": ["food", "home"]},
    {"_id": "train", "text": "Trains leave the station at noon.", "author": {"name": "Ada"}, "a.b": 1, "open": True},
    {"_id": "linked", "text": "Cats purr when they are content.", "url": "https://example.org/cats", "none": None},
]
"""Documents with metadata of every kind."""


def make_index(folder: Path, model: str = "hash:4096", documents: list[dict[str, Any]] | None = None) -> Path:
    """An index folder."""
    with Index.open(folder, create=True, model=model) as index:
        index.add(documents or BIRDS)
    return folder


@contextmanager
def served(indexes: Mapping[str, Path], **settings: Any) -> Iterator[TestClient]:
    """A client of a server whose indexes are searched by meaning already."""
    wishes: dict[str, Any] = {"hosts": ("*",), "min_confidence": 0.0, **settings}
    with TestClient(create_app(indexes, Settings(**wishes)), raise_server_exceptions=False) as client:
        until = time.monotonic() + 60
        keys = wishes.get("keys")
        headers = {"Authorization": f"Bearer {keys[0].secret}"} if keys else {}
        while client.get("/ready", headers=headers).json()["status"] != "ready":
            assert time.monotonic() < until
            time.sleep(0.02)
        yield client
