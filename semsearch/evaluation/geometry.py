"""Geometry of a set of vectors: numbers that show why a raw BERT searches poorly.

Its vectors crowd into a narrow cone (Ethayarajh 2019): all cosines are high, few directions carry the variance, and
the same few rows are neighbors of most others. This module turns unit rows into numbers; it knows nothing about
encoders, texts or files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Vectors

Floats: TypeAlias = NDArray[np.float64]

HISTOGRAM_EDGES: Floats = np.linspace(-1, 1, 51)
"""Edges of 50 cosine bins, half-open except the last; they are fixed, so that histograms of encoders are comparable."""

NEIGHBORS = 10
"""Number of nearest neighbors, the k of hubness."""

RESOLUTION = 1e-6
"""Unit rows whose root-mean-square distance to their mean is below this differ only by float32 rounding."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """The geometry of one set of unit rows; None where a number is undefined.

    With fewer than two rows there are no pairs and no spread: everything is None except `n`, `dim`, an empty
    `histogram`, and `alignment`, which has its own pairs. Rows that are all equal (within RESOLUTION) have cosines, but
    no principal components and no hubs. A row of zeros (an empty text) has cosine 0 and squared distance 1 to every
    unit row.

    Attributes:
        n: Number of rows.
        dim: Number of components of a row.
        mean_cosine, std_cosine: Mean and standard deviation of the cosines of all pairs of distinct rows, -1 to 1. A
            mean far above 0 indicates a common offset.
        histogram: Number of pairs in each cosine bin of HISTOGRAM_EDGES.
        top1, top10: Share of the centered variance along the strongest 1 and 10 principal axes, 0 to 1.
        effective_rank: exp of the entropy of the centered rows' singular values, normalized to sum to 1 (Roy and
            Vetterli 2007); from 1 to the smaller of dim and n - 1.
        uniformity: log of the mean of exp(-2 |x - y|²) over all pairs of distinct rows (Wang and Isola 2020); 0 for a
            single point, lower is more uniform, about -4 for a full sphere.
        alignment: Mean |x - y|² over pairs that belong together (Wang and Isola 2020), 0 to 4; None without such pairs.
        hubness: Skewness of the k-occurrences, which count how often each row is among the NEIGHBORS nearest neighbors
            of another row (Radovanović, Nanopoulos and Ivanović 2010). 0 is symmetric; above 0, a few rows are
            neighbors of many. None if there are too few rows to choose from, or all occur equally often.
        dead: Number of components whose standard deviation is at most 1% of the mean over components.
    """

    n: int
    dim: int
    mean_cosine: float | None
    std_cosine: float | None
    histogram: tuple[int, ...]
    top1: float | None
    top10: float | None
    effective_rank: float | None
    uniformity: float | None
    alignment: float | None
    hubness: float | None
    dead: int | None


def measure_geometry(vectors: Vectors, positives: tuple[Vectors, Vectors] | None = None) -> Geometry:
    """Measure the geometry of a sample of vectors.

    The numbers are computed in float64, because the cosines of a raw BERT may differ only in their last digits. Rows
    are first rescaled to unit length, because float32 leaves lengths off by 1e-7. Memory and time grow with the square
    of n; 2,000 rows take about 150 MB. `semsearch.evaluation.geometry.sample_rows` draws a sample.

    Args:
        vectors: float32 `[n, dim]`, unit rows or rows of zeros.
        positives: Two float32 `[m, dim]` arrays of unit rows; row i of one belongs with row i of the other.
    """
    rows = _rescaled(vectors)
    n, dim = rows.shape
    gram = rows @ rows.T
    centered = _centered(rows)
    cosines = gram[np.triu_indices(n, 1)]
    top1, top10, effective_rank = _spectrum(centered)
    return Geometry(
        n=n,
        dim=dim,
        mean_cosine=_mean(cosines),
        std_cosine=float(cosines.std()) if len(cosines) else None,
        histogram=tuple(cosine_histogram(cosines).tolist()),
        top1=top1,
        top10=top10,
        effective_rank=effective_rank,
        uniformity=_uniformity(gram),
        alignment=_alignment(*positives) if positives else None,
        hubness=_hubness(gram),
        dead=_dead(centered) if n > 1 else None,
    )


def sample_rows(n: int, size: int, seed: int) -> NDArray[np.int64]:
    """Draw the rows to measure out of n: int64 `[min(n, size)]`, ascending, without repeats, determined by the seed."""
    if n <= size:
        return np.arange(n, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(n, size, replace=False))


def cosine_histogram(cosines: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Count cosines of any shape over HISTOGRAM_EDGES: int64 `[50]`; rounding errors outside -1 to 1 are clipped."""
    return np.histogram(np.clip(cosines, -1, 1), HISTOGRAM_EDGES)[0]


def _rescaled(vectors: Vectors) -> Floats:
    """Return unit rows in float64; rows of zeros stay zero."""
    rows = vectors.astype(np.float64)
    lengths: Floats = np.linalg.norm(rows, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    return rows / lengths


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _alignment(left: Vectors, right: Vectors) -> float | None:
    if left.shape != right.shape:
        raise ValueError(f"`positives` must have equal shapes, got {left.shape} and {right.shape}")
    return _mean(np.square(_rescaled(left) - _rescaled(right)).sum(1))


def _centered(rows: Floats) -> Floats:
    """Subtract the mean from the rows; return zeros if their spread is not above RESOLUTION."""
    if not len(rows):
        return rows
    centered = rows - rows.mean(0)
    return centered if np.square(centered).sum(1).mean() > RESOLUTION**2 else np.zeros_like(rows)


def _spectrum(centered: Floats) -> tuple[float, float, float] | tuple[None, None, None]:
    """Return the variance shares of the strongest 1 and 10 principal axes, and the effective rank."""
    if not centered.any():
        return None, None, None
    singular = np.linalg.svd(centered, compute_uv=False)
    variance = singular**2 / np.sum(singular**2)
    share = singular[singular > 0] / singular.sum()
    return float(variance[0]), float(variance[:10].sum()), float(np.exp(-np.sum(share * np.log(share))))


def _uniformity(gram: Floats) -> float | None:
    """Compute uniformity from inner products; squared distances are at most 4, so exp neither under- nor overflows."""
    squares = gram.diagonal()
    first, second = np.triu_indices(len(gram), 1)
    distances = squares[first] + squares[second] - 2 * gram[first, second]
    return float(np.log(np.exp(-2 * distances).mean())) if len(distances) else None


def _hubness(gram: Floats) -> float | None:
    """Compute hubness from inner products; rows that tie for the last ranks among the neighbors share these.

    Copies of a text tie. If positions broke the tie, the first copies would be hubs.
    """
    if len(gram) <= NEIGHBORS + 1:
        return None
    nearness = gram.round(12)  # removes float64 rounding errors, which also depend on the position
    np.fill_diagonal(nearness, -np.inf)
    last = np.partition(nearness, -NEIGHBORS, axis=1)[:, [-NEIGHBORS]]
    nearer, tied = nearness > last, nearness == last
    places = (NEIGHBORS - nearer.sum(1)) / tied.sum(1)
    occurrences = nearer.sum(0) + places @ tied
    deviations = occurrences - NEIGHBORS  # every row has NEIGHBORS neighbors, so this is the mean
    spread = np.sqrt(np.mean(deviations**2))
    return float(np.mean((deviations / spread) ** 3)) if spread > 1e-9 else None


def _dead(centered: Floats) -> int:
    deviations = np.sqrt(np.square(centered).mean(0))
    return int(np.count_nonzero(deviations * len(deviations) <= 0.01 * deviations.sum()))
