"""Similarity functions of vectors: cosine, dot product, and Euclidean distance with a minus sign; higher is better.

The names are those of sentence-transformers. Vectors that are ranked by cosine are unit rows, so a cosine is computed
as an inner product. This module knows nothing about encoders or indexes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Vectors
from semsearch.types import COSINE, DOT, EUCLIDEAN

Rows = TypeVar("Rows", Vectors, NDArray[np.float64])

UNRELATED = 20
"""Number of extra passages with a vector of zeros that are included in a mean score."""

BLOCK = 4_096
"""Number of vectors that are summed in float64 at a time."""


def similarities(similarity: str, queries: Vectors, passages: Vectors) -> Vectors:
    """Return the similarity `[n, m]` of each query `[n, dim]` with each passage `[m, dim]`; unit rows for cosine."""
    if similarity != EUCLIDEAN:
        products: Vectors = queries @ passages.T
        return products
    scores = np.empty((len(queries), len(passages)), np.float32)
    for row, query in enumerate(queries):  # |q|² - 2 q·v + |v|² would cancel where vectors share a large offset
        scores[row] = -np.linalg.norm(passages - query, axis=1)
    return scores


def paired_similarities(similarity: str, queries: Rows, passages: Rows) -> Rows:
    """Return the similarity `[n]` of each query `[n, dim]` with the passage in the same row; unit rows for cosine."""
    if similarity == EUCLIDEAN:
        scores: Rows = -np.linalg.norm(queries - passages, axis=1)
        return scores
    products: Rows = np.einsum("nd,nd->n", queries, passages)
    return products


@dataclass(frozen=True, slots=True)
class Spread:
    """Where the vectors of an index lie, as far as reference scores depend on it.

    Attributes:
        n: Number of vectors.
        total: Their sum, `[dim]`.
        squares: Sum of their squared lengths; not computed for cosine.
    """

    n: int
    total: NDArray[np.float64]
    squares: float = 0.0

    @classmethod
    def of(cls, similarity: str, rows: Vectors) -> Spread:
        """Measure vectors `[n, dim]`."""
        if similarity == COSINE:
            return cls(len(rows), rows.sum(0, dtype=np.float64))
        spread = cls(0, np.zeros(rows.shape[1]))
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK].astype(np.float64)
            spread += cls(len(some), some.sum(0), float(np.square(some).sum()))
        return spread

    def __add__(self, other: Spread) -> Spread:
        """Return the spread of both sets of vectors together."""
        return Spread(self.n + other.n, self.total + other.total, self.squares + other.squares)

    def __sub__(self, part: Spread) -> Spread:
        """Return the spread without a part of the vectors."""
        return Spread(self.n - part.n, self.total - part.total, max(self.squares - part.squares, 0.0))

    def to_json(self) -> list[Any]:
        """Return it as JSON."""
        return [self.n, self.total.tolist(), self.squares]

    @classmethod
    def from_json(cls, stored: Any, dim: int) -> Spread | None:
        """Read it from JSON; return None if it is not the spread of vectors of this dimension."""
        try:
            n, total, squares = stored
            spread = cls(int(n), np.array(total, np.float64), float(squares))
        except (TypeError, ValueError, OverflowError):
            return None
        is_sound = spread.n > 0 and spread.total.shape == (dim,) and np.isfinite(spread.total).all()
        return spread if is_sound and isfinite(spread.squares) else None


def reference_scores(similarity: str, queries: Vectors, spread: Spread) -> tuple[Vectors, Vectors]:
    """Return the scores `[n]` that stand for an unrelated passage and for a perfect match of each query `[n, dim]`.

    They depend on the query and on the vectors of the index, but not on what is retrieved. The unrelated passage has
    the mean score of all passages, and of UNRELATED more with a vector of zeros; for distances, the root mean square.
    The perfect match points in the direction of the query. Its cosine is 1, and its distance is 0. For a dot product,
    which has no upper bound, it has the root-mean-square length of the passages; then scaled scores do not depend on
    the lengths of queries, nor on the unit in which the lengths of passages are measured.
    """
    n = spread.n + UNRELATED
    if similarity == COSINE:
        return queries @ (spread.total / n).astype(np.float32), np.ones(len(queries), np.float32)
    asked = queries.astype(np.float64)
    means = asked @ spread.total / n
    squares = np.square(asked).sum(1)
    if similarity == DOT:
        perfect = np.sqrt(squares * spread.squares / max(spread.n, 1))
        return means.astype(np.float32), perfect.astype(np.float32)
    distances = np.sqrt(np.maximum(squares - 2 * means + spread.squares / n, 0))
    return -distances.astype(np.float32), np.zeros(len(queries), np.float32)
