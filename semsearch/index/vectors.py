"""Vectors in FAISS: segments on disk that cover a range of passages, and the search over them.

A segment can be deleted at any time: it is made again from SQLite. Scores are inner products of unit rows, so
cosines. This module knows passage ids and vectors, nothing of documents or SQL.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semsearch.records import Vectors

faiss: Any = import_module("faiss")
"""Without its type hints, which say less than its documentation."""

Ids: TypeAlias = NDArray[np.int64]

FaissIndex: TypeAlias = Any
"""A faiss.IndexIDMap2; faiss ships no types."""

KIND = "exact"


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of vectors as recorded in SQLite.

    Attributes:
        first, last: Lowest and highest passage id that it covers.
        n_rows: Vectors in the file.
        sha256: Of the file, in hex.
    """

    id: int
    file: str
    kind: str
    first: int
    last: int
    n_rows: int
    sha256: str


def build(ids: Ids, vectors: Vectors) -> FaissIndex:
    """An exact index over unit rows `[n, dim]` under these passage ids."""
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(vectors.shape[1]))
    index.add_with_ids(np.ascontiguousarray(vectors), ids)
    return index


def write(index: FaissIndex, path: Path) -> str:
    """Write a segment so that the name never stands for half a file; returns its sha256 in hex."""
    data = faiss.serialize_index(index).tobytes()
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)
    return hashlib.sha256(data).hexdigest()


def sync_folder(folder: Path) -> None:
    """Make a rename durable; Windows has no such call and needs none."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read(path: Path, sha256: str) -> FaissIndex | None:
    """Load a segment; None where the file is gone or not the one that was recorded."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data).hexdigest() != sha256:
        return None
    return faiss.deserialize_index(np.frombuffer(data, np.uint8))


def search(
    indexes: Sequence[FaissIndex], queries: Vectors, k: int, *, allowed: Ids | None, excluded: Ids
) -> tuple[Vectors, Ids]:
    """The k best passages for each query over several indexes.

    Args:
        indexes: With disjoint ids.
        queries: float32 `[n, dim]`, unit rows.
        k: At most this many.
        allowed: Only these passages; None for all.
        excluded: None of these passages (deleted since the index was built); `allowed` must not hold them.

    Returns:
        Scores and passage ids, both `[n, at most k]`, best first; where a query has fewer, id -1 and score -inf.
    """
    selector: Any = None
    if allowed is not None:
        selector = faiss.IDSelectorBatch(allowed)
    elif len(excluded):
        selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(excluded))
    parameters = faiss.SearchParameters(sel=selector) if selector else None
    queries = np.ascontiguousarray(queries)
    found = [index.search(queries, min(k, index.ntotal), params=parameters) for index in indexes if index.ntotal]
    if not found:
        return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    scores = np.concatenate([scores for scores, _ in found], axis=1)
    ids = np.concatenate([ids for _, ids in found], axis=1)
    scores[ids == -1] = -np.inf
    best = np.lexsort((ids, -scores), axis=-1)[:, :k]  # equal scores by age, so that a search repeats itself
    return np.take_along_axis(scores, best, 1), np.take_along_axis(ids, best, 1)
