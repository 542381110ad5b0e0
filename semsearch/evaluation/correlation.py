"""How well scores agree with what people said: Spearman's rank correlation, and Pearson's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import UsageError

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Correlation:
    """Of one set of pairs; None where one side is constant, so that there is none.

    Attributes:
        spearman, pearson: -1 to 1.
        n: Pairs.
    """

    spearman: float | None
    pearson: float | None
    n: int


def correlate(scores: Scores, gold: Scores) -> Correlation:
    """Both correlations of `[n]` scores with `[n]` gold ones; ties share their mean rank."""
    try:
        from scipy import stats
    except ImportError:
        raise UsageError("evaluation needs scipy, which is not installed; pip install 'semsearch[eval]'") from None
    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(gold) == 0:
        return Correlation(None, None, len(scores))
    spearman = float(stats.spearmanr(scores, gold).statistic)
    return Correlation(spearman, float(stats.pearsonr(scores, gold).statistic), len(scores))


def mean(correlations: Sequence[Correlation], *, weighted: bool = False) -> Correlation:
    """The mean over subsets, each counted once (`mean`) or by its pairs (`wmean`); None if one of them is."""
    sizes = [one.n for one in correlations]
    weights = sizes if weighted else None

    def over(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.average(known, weights=weights)) if known and len(known) == len(values) else None

    spearman, pearson = over([one.spearman for one in correlations]), over([one.pearson for one in correlations])
    return Correlation(spearman, pearson, sum(sizes))
