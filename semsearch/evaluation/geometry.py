"""The shape of a cloud of vectors: why a raw BERT fails, in numbers.

Its vectors crowd into a narrow cone (Ethayarajh 2019): all cosines are high, few directions carry the variance, and
the same rows are everybody's neighbors. Unit rows come in, numbers go out; this module knows nothing of encoders,
texts or files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Vectors

Floats: TypeAlias = NDArray[np.float64]

HISTOGRAM_EDGES: Floats = np.linspace(-1, 1, 51)
"""Of 50 bins of cosines, half open but for the last, so that histograms of several encoders lie over one another."""

NEIGHBORS = 10
"""The k of hubness."""

RESOLUTION = 1e-6
"""Unit rows that lie closer to their mean than this, root mean square, differ by float32 rounding alone."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Of one set of unit rows; None where a number does not exist.

    With fewer than two rows there is no pair and no spread: all is None but `n`, `dim`, an empty `histogram`, and
    `alignment`, which has pairs of its own. Rows that are all the same (within RESOLUTION) have cosines, but no
    components and no hubs. A row of zeros, an empty text, has cosine 0 and squared distance 1 with every unit row.

    Attributes:
        n: Rows.
        dim: Length of a row.
        mean_cosine, std_cosine: Over all pairs of different rows, -1 to 1. A mean far above 0 is a common offset.
        histogram: Pairs by cosine, over HISTOGRAM_EDGES.
        top1, top10: Share of the centered variance along the strongest 1 and 10 principal axes, 0 to 1.
        effective_rank: exp of the entropy of the centered rows' singular values, as shares of their sum (Roy and
            Vetterli 2007); from 1 to the lesser of dim and n - 1.
        uniformity: log of the mean of exp(-2 |x - y|²) over all pairs of different rows (Wang and Isola 2020); 0 is a
            single point, lower is more even, about -4 a full sphere.
        alignment: Mean |x - y|² over pairs that belong together (likewise), 0 to 4; None without such pairs.
        hubness: Skewness of the k-occurrences: of how often each row is among the NEIGHBORS nearest of another
            (Radovanović, Nanopoulos and Ivanović 2010). 0 is symmetric, above 0 a few rows are near to many. None with
            too few rows to choose among, or where all occur equally often.
        dead: Components whose standard deviation is at most 1% of the mean component's.
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
    """Measure a sample of vectors, in float64: a raw BERT's cosines may differ in their late digits only.

    Rows are rescaled to unit length once more, for float32 leaves the lengths off by 1e-7. Memory and time grow with
    the square of n; 2,000 rows take about 150 MB, see `sample_rows`.

    Args:
        vectors: float32 `[n, dim]`, unit rows or rows of zeros.
        positives: Two float32 `[m, dim]`, unit rows; row i of one belongs with row i of the other.
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
    """Which of n rows to measure: int64 `[min(n, size)]`, rising, each at most once; the same for the same seed."""
    if n <= size:
        return np.arange(n, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(n, size, replace=False))


def cosine_histogram(cosines: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Count cosines of any shape over HISTOGRAM_EDGES: int64 `[50]`; what rounding put outside -1 to 1 is clipped."""
    return np.histogram(np.clip(cosines, -1, 1), HISTOGRAM_EDGES)[0]


def _rescaled(vectors: Vectors) -> Floats:
    """Unit rows in float64; a row of zeros stays as it is."""
    rows = vectors.astype(np.float64)
    lengths: Floats = np.linalg.norm(rows, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    return rows / lengths


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _alignment(left: Vectors, right: Vectors) -> float | None:
    if left.shape != right.shape:
        raise ValueError(f"positives must be pairs of rows, but have the shapes {left.shape} and {right.shape}")
    return _mean(np.square(_rescaled(left) - _rescaled(right)).sum(1))


def _centered(rows: Floats) -> Floats:
    """The rows less their mean; all zeros where there is no spread above RESOLUTION."""
    if not len(rows):
        return rows
    centered = rows - rows.mean(0)
    return centered if np.square(centered).sum(1).mean() > RESOLUTION**2 else np.zeros_like(rows)


def _spectrum(centered: Floats) -> tuple[float, float, float] | tuple[None, None, None]:
    """Shares of variance of the strongest 1 and 10 principal axes, and the effective rank."""
    if not centered.any():
        return None, None, None
    singular = np.linalg.svd(centered, compute_uv=False)
    variance = singular**2 / np.sum(singular**2)
    share = singular[singular > 0] / singular.sum()
    return float(variance[0]), float(variance[:10].sum()), float(np.exp(-np.sum(share * np.log(share))))


def _uniformity(gram: Floats) -> float | None:
    """From the inner products; as squared distances end at 4, exp neither vanishes nor overflows."""
    squares = gram.diagonal()
    first, second = np.triu_indices(len(gram), 1)
    distances = squares[first] + squares[second] - 2 * gram[first, second]
    return float(np.log(np.exp(-2 * distances).mean())) if len(distances) else None


def _hubness(gram: Floats) -> float | None:
    """From the inner products; rows that tie for the last places among the neighbors share them.

    Copies of a text tie. Were they told apart by position, the first ones would be hubs.
    """
    if len(gram) <= NEIGHBORS + 1:
        return None
    nearness = gram.round(12)  # without float64's rounding, which depends on the position too
    np.fill_diagonal(nearness, -np.inf)
    last = np.partition(nearness, -NEIGHBORS, axis=1)[:, [-NEIGHBORS]]
    nearer, tied = nearness > last, nearness == last
    places = (NEIGHBORS - nearer.sum(1)) / tied.sum(1)
    occurrences = nearer.sum(0) + places @ tied
    deviations = occurrences - NEIGHBORS  # each row has so many neighbors, so this is the mean
    spread = np.sqrt(np.mean(deviations**2))
    return float(np.mean((deviations / spread) ** 3)) if spread > 1e-9 else None


def _dead(centered: Floats) -> int:
    deviations = np.sqrt(np.square(centered).mean(0))
    return int(np.count_nonzero(deviations * len(deviations) <= 0.01 * deviations.sum()))
