"""Agreement of scores with human judgments: Spearman's rank correlation, and Pearson's correlation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import UsageError

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Correlation:
    """The correlations of one set of pairs; None where they are undefined because one side is constant.

    Attributes:
        spearman, pearson: From -1 to 1.
        n: Number of pairs.
    """

    spearman: float | None
    pearson: float | None
    n: int


def correlate(scores: Scores, gold: Scores) -> Correlation:
    """Compute both correlations of `[n]` scores with `[n]` gold scores; ties share their mean rank."""
    try:
        from scipy import stats
    except ImportError:
        raise UsageError("evaluation needs scipy, which is not installed; pip install 'semsearch[eval]'") from None
    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(gold) == 0:
        return Correlation(None, None, len(scores))
    spearman = float(stats.spearmanr(scores, gold).statistic)
    return Correlation(spearman, float(stats.pearsonr(scores, gold).statistic), len(scores))


def mean(correlations: Sequence[Correlation], *, weighted: bool = False) -> Correlation:
    """Average over subsets, unweighted (`mean`) or weighted by number of pairs (`wmean`); None if one of them is."""
    sizes = [one.n for one in correlations]
    weights = sizes if weighted else None

    def over(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.average(known, weights=weights)) if known and len(known) == len(values) else None

    spearman, pearson = over([one.spearman for one in correlations]), over([one.pearson for one in correlations])
    return Correlation(spearman, pearson, sum(sizes))
