"""The loss of quality by storing or computing vectors in fewer bits, measured on the vectors of a sample of texts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semsearch.arrays import Vectors
from semsearch.similarity import similarities
from semsearch.transforms import unit_rows
from semsearch.types import COSINE

TOP = 10


@dataclass(frozen=True, slots=True)
class Loss:
    """Quality loss of quantization on a sample of texts.

    Attributes:
        mean_cosine: Mean cosine between each text's quantized and float32 vectors.
        overlap: Mean share of a text's ten nearest other texts that are also among its ten nearest in float32.
    """

    mean_cosine: float
    overlap: float


def measure_loss(quantized: Vectors, exact: Vectors, similarity: str) -> Loss:
    """Measure the loss from the vectors `[n, dim]` of the same texts, whose neighbors are found by a similarity."""
    n = len(exact)
    neighbors = []
    for vectors in (quantized, exact):
        rows = unit_rows(vectors) if similarity == COSINE else vectors
        scores = similarities(similarity, rows, rows)
        np.fill_diagonal(scores, -np.inf)
        neighbors.append(np.argsort(-scores, axis=1, kind="stable")[:, : min(TOP, n - 1)])
    quantized, exact = unit_rows(quantized), unit_rows(exact)
    shared = [np.isin(ours, theirs).mean() for ours, theirs in zip(*neighbors, strict=True)] if n > 1 else [1.0]
    return Loss(float((quantized * exact).sum(1).mean()), float(np.mean(shared)))
