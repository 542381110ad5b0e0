"""Recall of a vector index, measured against exact search with rows that are not in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import sqrt
from statistics import median
from typing import TypeAlias

import numpy as np

from semsearch.arrays import Ids, Vector, Vectors
from semsearch.similarity import similarities
from semsearch.stores.local.curves import Measured
from semsearch.stores.local.vectors.ann.base import Kind
from semsearch.stores.local.vectors.ann.library import FaissIndex, threads_for

K = 10
"""Number of nearest neighbors that recall is measured for."""

HELD_OUT, SHARE = 1_000, 20
"""Number of rows that are held out at most, and one row in how many; a recall of .98 has a standard error of .0025."""

TOLERANCE = 1e-6
"""Greatest relative difference between two float32 scores of the same row."""

TIMED = 50
"""Number of searches that are timed, one query at a time."""

ENOUGH = 0.999
"""Recall above which no greater effort is measured."""

RowsAt: TypeAlias = Callable[[Ids], Vectors]
"""Returns rows `[n, dim]` of a vector index by their positions `[n]`."""


def measure(
    kind: Kind, index: FaissIndex, rows: RowsAt, queries: Vectors, truth: Vectors, similarity: str, target: float
) -> list[Measured]:
    """Measure recall and latency with more and more effort, a little beyond the target.

    Args:
        kind: Kind of the index.
        index: The index, without the queries.
        rows: Returns its rows.
        queries: Rows that are not in it `[queries, dim]`.
        truth: The scores of their K nearest rows `[queries, K]`, best first.
        similarity: Similarity of the index.
        target: Recall to reach.
    """
    curve: list[Measured] = []
    for effort in kind.efforts:
        with threads_for(len(queries)):
            near = kind.candidates(index, queries, K, effort, None)
        found = [_nearest(similarity, query, rows, some) for query, some in zip(queries, near, strict=True)]
        recalls = recalls_of(found, truth)
        recall, error = round(float(recalls.mean()), 4), round(float(recalls.std() / sqrt(len(recalls))), 4)
        curve.append(Measured(effort, recall, _milliseconds(kind, index, rows, queries, effort, similarity), error))
        if recall >= ENOUGH or (len(curve) > 1 and curve[-2].reaches(target)):
            break
    return curve


def recalls_of(found: Sequence[Vectors], truth: Vectors) -> Vector:
    """Return the share of the K nearest rows that were found for each query `[queries]`, given the scores of the found.

    Scores are compared, not rows: of equal rows, any may be found.

    Args:
        found: Scores of at most K rows for each query.
        truth: The scores of their K nearest rows `[queries, K]`, best first.
    """
    last = truth[:, -1] - TOLERANCE * np.maximum(np.abs(truth[:, -1]), 1)
    n = [np.count_nonzero(scores >= least) for scores, least in zip(found, last, strict=True)]
    shares: Vector = np.array(n, np.float32) / truth.shape[1]
    return shares


def _milliseconds(kind: Kind, index: FaissIndex, rows: RowsAt, queries: Vectors, effort: int, similarity: str) -> float:
    spent = []
    with threads_for(1):
        for query in queries[:TIMED]:
            started = time.perf_counter()
            (near,) = kind.candidates(index, query[None], K, effort, None)
            _nearest(similarity, query, rows, near)
            spent.append(1e3 * (time.perf_counter() - started))
    return round(median(spent), 3)


def _nearest(similarity: str, query: Vectors, rows: RowsAt, near: Ids) -> Vectors:
    """Return the scores of the K best of some rows, best first, given with -1 in place of missing ones."""
    (scores,) = similarities(similarity, query[None], rows(near[near >= 0]))
    return -np.sort(-scores)[:K]
