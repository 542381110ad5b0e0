"""Post-processing of whole sets of vectors: center, whiten, all-but-the-top, truncate.

A transform is fitted on a corpus and is affine from then on: `(x - mean) @ matrix`, followed by rescaling to unit
length. Fitting needs only the mean and covariance of the corpus, which are accumulated in one pass over any number of
rows. This module knows nothing about encoders or files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Vectors
from semsearch.errors import UsageError
from semsearch.types import BRITISH

Matrix = NDArray[np.float64]


def unit_rows(vectors: NDArray[np.floating[Any]]) -> Vectors:
    """Rescale each row to unit length; rows of zeros stay zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms == 0, 1, norms)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Transform:
    """A fitted transform: `unit_rows((x - mean) @ matrix)`.

    Attributes:
        name: Name as requested, such as `whiten:128`.
        mean: Mean of the corpus, float32 `[dim]`.
        matrix: Linear map, float32 `[dim, dim_out]`.
    """

    name: str
    mean: Vectors
    matrix: Vectors

    def __call__(self, vectors: Vectors) -> Vectors:
        """Transform vectors, float32 `[n, dim]`, into float32 `[n, dim_out]` with unit rows."""
        return unit_rows((vectors - self.mean) @ self.matrix)


def _center(covariance: Matrix, k: int | None) -> Matrix:
    return np.eye(len(covariance))


def _whiten(covariance: Matrix, k: int | None) -> Matrix:
    """Scale the k strongest principal axes to unit variance (BERT-whitening, Su et al. 2021)."""
    variance, axes = _principal(covariance)
    spread = variance > 1e-10 * variance[0]  # with fewer texts than dimensions, some axes are only rounding noise
    scale = np.where(spread, 1 / np.sqrt(np.where(spread, variance, 1)), 0)
    return (axes * scale)[:, :k]


def _all_but_the_top(covariance: Matrix, k: int | None) -> Matrix:
    """Project out the k strongest axes (Mu and Viswanath 2018); k defaults to dim / 100, at least 1."""
    axes = _principal(covariance)[1][:, : k if k is not None else max(1, len(covariance) // 100)]
    return np.eye(len(covariance)) - axes @ axes.T


TRANSFORMS: dict[str, Callable[[Matrix, int | None], Matrix]] = {
    "center": _center,
    "whiten": _whiten,
    "all-but-the-top": _all_but_the_top,
}
"""Name to `(covariance [dim, dim], k) -> matrix [dim, dim_out]`.

`truncate` is not listed: it needs no fit, and the encoder applies it.
"""


def _principal(covariance: Matrix) -> tuple[Matrix, Matrix]:
    """Return variances in descending order, and their axes as columns."""
    variance, axes = np.linalg.eigh(covariance)
    return np.maximum(variance[::-1], 0), axes[:, ::-1]


def canonical_transform(name: str) -> str:
    """Return the current spelling of a transform's name; `centre` is an older spelling of `center`."""
    return BRITISH.get(name, name)


def parse_transform(name: str, dim: int) -> tuple[str, int | None, int]:
    """Split a name such as `whiten:128` into its kind, its K, and the length of the transformed vectors.

    Raises:
        UsageError: If there is no such transform, or K is out of range for `dim`.
    """
    kind, colon, number = name.partition(":")
    if kind not in TRANSFORMS:
        raise UsageError(f"unknown transform {name!r}; known: {', '.join(TRANSFORMS)}, as NAME or NAME:K")
    if not colon:
        return kind, None, dim
    if kind == "center":
        raise UsageError(f"transform {name!r}: center takes no K")
    most = dim if kind == "whiten" else dim - 1
    if not number.isdecimal() or not 1 <= int(number) <= most:
        raise UsageError(f"transform {name!r}: K must be a whole number from 1 to {most}")
    return kind, int(number), int(number) if kind == "whiten" else dim


def fit_transform(name: str, batches: Iterable[Vectors], dim: int) -> Transform:
    """Fit a transform on a corpus in one pass.

    Args:
        name: Name of the transform, such as `whiten:128`.
        batches: Vectors of the corpus, float32 `[n, dim]` each, not rescaled to unit length.
        dim: Length of the vectors.

    Raises:
        UsageError: If the transform is unknown, or there are fewer than two vectors to fit on.
    """
    kind, k, _ = parse_transform(name, dim)
    n, total, outer, shift = 0, np.zeros(dim), np.zeros((dim, dim)), None
    for batch in batches:
        if not len(batch):
            continue
        if shift is None:  # raw BERT vectors are mostly a common offset; subtracting it first saves precision
            shift = batch.mean(0, dtype=np.float64)
        rows = batch.astype(np.float64) - shift
        n, total, outer = n + len(rows), total + rows.sum(0), outer + rows.T @ rows
    if shift is None or n < 2:
        raise UsageError(f"transform {name!r} is fitted on the corpus, which has {n} vectors; at least 2 are needed")
    mean = total / n
    matrix = TRANSFORMS[kind](outer / n - np.outer(mean, mean), k)
    return Transform(name, (mean + shift).astype(np.float32), matrix.astype(np.float32))
