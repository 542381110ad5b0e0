"""A server for tests of third-party API contracts, with documents that have metadata of every kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from serving import build
from serving import served as served_with

from semsearch.server.settings import Settings

BIRDS: list[dict[str, Any]] = [
    {"_id": "heron", "title": "Heron", "text": "The heron waits in the reeds by the river.", "year": 2021},
    {"_id": "kingfisher", "text": "A kingfisher dives into the cold river.", "year": 2020, "lang": "en"},
    {"_id": "a/b c.md", "text": "Bread needs an hour to rise in the oven.", "year": 2019, "tags": ["food", "home"]},
    {"_id": "train", "text": "Trains leave the station at noon.", "author": {"name": "Ada"}, "a.b": 1, "open": True},
    {"_id": "linked", "text": "Cats purr when they are content.", "url": "https://example.org/cats", "none": None},
]


def make_index(folder: Path, dim: int = 4_096, documents: list[dict[str, Any]] | None = None) -> Path:
    """Build an index of these documents, BIRDS by default."""
    return build(folder, documents or BIRDS, dim)


@contextmanager
def served(indexes: Mapping[str, Path], **settings: Any) -> Iterator[httpx.Client]:
    """Yield a client of a server that keeps hits of any confidence, unless the settings say otherwise."""
    with served_with(indexes, Settings(**{"min_confidence": 0.0, **settings})) as client:
        yield client
