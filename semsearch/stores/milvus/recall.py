"""Recall of Milvus's vector index, measured against exact search with passages of the index as queries."""

from __future__ import annotations

import time
from collections.abc import Iterable
from math import sqrt
from statistics import median
from typing import Any

import numpy as np

from semsearch.arrays import Ids, Vectors
from semsearch.similarity import similarities
from semsearch.stores.milvus.driver import Row
from semsearch.stores.milvus.vectors import VectorSearch

K = 10

QUERIES = 200
"""Number of passages, at most, that recall is measured with."""

EFFORTS = (1, 2, 4, 8, 16)
"""Factors of the effort of a search, which are tried until the target is reached."""

TOLERANCE = 1e-6


def measure(search: VectorSearch, similarity: str, rows: Iterable[list[Row]], queries: Ids, target: float) -> Row:
    """Measure recall and latency with more and more effort, up to the target.

    Args:
        search: Searches the index.
        similarity: The function that scores are computed by.
        rows: All passages with their numbers and vectors, some at a time; they are read once.
        queries: Numbers of the passages that are searched for; each is left out of its own result.
        target: The recall to reach.

    Returns:
        The effort, with `recall`, its standard `error`, and the median time of a search in `ms`.
    """
    asked = search.of(queries.tolist())
    truth = _exactly(similarity, asked, queries, rows)
    measured: dict[str, Any] = {}
    for effort in EFFORTS:
        shares, spent = [], []
        for query, passage, best in zip(asked, queries, truth, strict=True):
            started = time.perf_counter()
            scores, found = search.nearest(query, K + 1, "", effort)
            spent.append(1e3 * (time.perf_counter() - started))
            others = scores[found != passage][:K]
            least = best[-1] - TOLERANCE * max(abs(float(best[-1])), 1)
            shares.append(np.count_nonzero(others >= least) / len(best))
        recall, error = float(np.mean(shares)), float(np.std(shares) / sqrt(len(shares)))
        measured = {
            "effort": effort,
            "recall": round(recall, 4),
            "error": round(error, 4),
            "ms": round(median(spent), 3),
        }
        if recall >= target:
            break
    return measured


def _exactly(similarity: str, asked: Vectors, queries: Ids, rows: Iterable[list[Row]]) -> Vectors:
    """Return the scores of the K passages that are most similar to each query, best first; `[queries, at most K]`."""
    best = np.empty((len(asked), 0), np.float32)
    for some in rows:
        passages = np.array([row["passage"] for row in some], np.int64)
        scores = similarities(similarity, asked, np.array([row["vector"] for row in some], np.float32))
        scores[queries[:, None] == passages[None]] = -np.inf
        best = -np.sort(-np.concatenate([best, scores], axis=1), axis=1)[:, :K]
    return best
