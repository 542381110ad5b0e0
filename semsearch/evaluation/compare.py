"""Which differences are real: bootstrap intervals, paired tests against the best row, Holm's correction.

A comparison is a table: rows are what was compared (a pooler, perhaps with a transform), columns are tasks or measures.
All randomness comes from a seed, so a table is the same from run to run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import erfc, sqrt

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

RESAMPLES = 1_000
"""Of the bootstrap."""

PERMUTATIONS = 10_000
"""Of the randomisation test."""

LEVEL = 0.05
"""Of the tests; the intervals hold 95%."""

SEED = 0

VISIBLE = 5e-5
"""A difference of correlations below this, which two decimals of a percentage cannot show, is none: the mean and the
sum of the same tokens differ by rounding."""

BLOCK = 64
"""Resamples that are ranked at a time: few enough for the processor's cache."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a table.

    Attributes:
        value: None where there is no such number, as the correlation of constant scores.
        low, high: 95% bootstrap interval (percentiles).
        p: Of the paired test against the column's best row, Holm-corrected; None for that row itself.
        best: The highest of the column.
        tied: Not the best, and not distinguishable from it: p >= 0.05.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    best: bool = False
    tied: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table with its tests.

    Attributes:
        columns: Names of tasks or measures.
        rows: A cell for each column, by the row's name.
        test: What was tested and how, in words, with the seed.
    """

    columns: tuple[str, ...]
    rows: Mapping[str, tuple[Cell, ...]]
    test: str


def compare_means(values: Mapping[str, Mapping[str, Numbers]], seed: int = SEED) -> Comparison:
    """Compare means over queries, such as nDCG@10.

    Differences are tested by the paired randomisation test (Fisher; Smucker, Allan and Carterette 2007).

    Args:
        values: By row and column, `[n]` each; the queries of a column in the same order everywhere, at least one.
        seed: Of resamples and permutations.
    """
    columns = tuple(next(iter(values.values())))
    counts: dict[int, Numbers] = {}
    cells = []
    for column in columns:
        each = np.array([row[column] for row in values.values()])  # [rows, n]
        n = each.shape[1]
        if n not in counts:
            counts[n] = resample_counts(n, seed)
        means = each.mean(1)
        p = randomisation_p((each[means.argmax()] - each).T, seed)
        cells.append(_column(means, *_interval(each @ counts[n] / n), p))
    test = (
        f"paired randomisation test over queries ({PERMUTATIONS:,} permutations), Holm-corrected; 95% intervals from "
        f"{RESAMPLES:,} bootstrap resamples; seed {seed}"
    )
    return Comparison(columns, dict(zip(values, zip(*cells, strict=True), strict=True)), test)


def compare_correlations(
    scores: Mapping[str, Mapping[str, Numbers]], gold: Mapping[str, Numbers], seed: int = SEED
) -> Comparison:
    """Compare Spearman correlations: of each task, and their mean where there are several.

    Differences are tested by the paired bootstrap: all rows see the same resamples of pairs, and a difference is
    taken as normal with the standard error that it has over them (Efron and Tibshirani 1993). The mean resamples each
    task by itself.

    Args:
        scores: By row and task, `[n]` each.
        gold: By task, the pairs in the same order.
        seed: Of the resamples.
    """
    drawn = {
        task: bootstrap_spearman([row[task] for row in scores.values()], similarity, seed + number)
        for number, (task, similarity) in enumerate(gold.items())
    }
    if len(gold) > 1:
        drawn["average"] = np.mean(list(drawn.values()), axis=0)
    columns = []
    for values in drawn.values():  # [rows, 1 + resamples]
        value, draws = values[:, 0], values[:, 1:]
        best = int(np.nanargmax(value)) if not np.isnan(value).all() else 0
        p = np.array([bootstrap_p(value[best] - one, draws[best] - its) for one, its in zip(value, draws, strict=True)])
        columns.append(_column(value, *_interval(draws), p))
    test = f"paired bootstrap over pairs ({RESAMPLES:,} resamples), Holm-corrected; 95% intervals; seed {seed}"
    return Comparison(tuple(drawn), dict(zip(scores, zip(*columns, strict=True), strict=True)), test)


def _column(values: Numbers, low: Numbers, high: Numbers, p: Numbers) -> tuple[Cell, ...]:
    """The cells of a column, `[rows]` each; a row without a value takes no part."""
    known = [int(row) for row in np.flatnonzero(~np.isnan(values))]
    best = max(known, key=lambda row: float(values[row]), default=-1)
    others = [row for row in known if row != best]
    corrected = dict(zip(others, holm(p[others]).tolist(), strict=True))
    return tuple(
        Cell(
            float(values[row]),
            float(low[row]),
            float(high[row]),
            corrected.get(row),
            row == best,
            corrected.get(row, 0.0) >= LEVEL,
        )
        if row in known
        else Cell(None)
        for row in range(len(values))
    )


def resample_counts(n: int, seed: int) -> Numbers:
    """How often each of n comes up in each bootstrap resample: `[n, RESAMPLES]`, each column sums to n."""
    rng = np.random.default_rng(seed)
    counts = np.stack([np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(RESAMPLES)], axis=1)
    return counts.astype(np.float64)


def bootstrap_spearman(scores: Sequence[Numbers], gold: Numbers, seed: int) -> Numbers:
    """Spearman's correlation with gold scores, of the sample itself and of each resample, ranked anew.

    Args:
        scores: `[n]` for each row.
        gold: `[n]`.
        seed: Of the resamples, which are the same for all rows.

    Returns:
        `[rows, 1 + RESAMPLES]`; nan where one side is constant.
    """
    n = len(gold)
    if n < 2:
        return np.full((len(scores), 1 + RESAMPLES), np.nan)
    counts = np.hstack([np.ones((n, 1)), resample_counts(n, seed)])
    ours, theirs = [_ties(row) for row in scores], _ties(gold)
    found = np.empty((len(scores), counts.shape[1]))
    for start in range(0, counts.shape[1], BLOCK):
        times = np.ascontiguousarray(counts[:, start : start + BLOCK])  # [n, some]
        ranks, spread = _ranks(theirs, times)
        order, first = theirs
        weighted = np.empty_like(times)
        weighted[order] = np.repeat(ranks, np.diff(first, append=n), axis=0) * times[order]
        for row, ties in enumerate(ours):
            mine, own_spread = _ranks(ties, times)
            product = np.einsum("gr,gr->r", mine, _add_up(weighted, ties)) - _of_mean_ranks(n)
            both = np.sqrt(spread * own_spread)
            found[row, start : start + BLOCK] = np.divide(product, both, np.full_like(both, np.nan), where=both > 0)
    return found


def _ties(values: Numbers) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The order of values `[n]`, and where in it each group of equal ones begins."""
    order = np.argsort(values, kind="stable")
    return order, np.flatnonzero(np.diff(values[order], prepend=np.nan) != 0)


def _ranks(ties: tuple[NDArray[np.int64], NDArray[np.int64]], times: Numbers) -> tuple[Numbers, Numbers]:
    """Mean rank of each group, `[groups, some]`, and n times the variance of the ranks, `[some]`."""
    sizes = _add_up(times, ties)
    ranks = np.cumsum(sizes, axis=0) - (sizes - 1) / 2
    spread: Numbers = np.einsum("gr,gr,gr->r", ranks, ranks, sizes) - _of_mean_ranks(len(times))
    return ranks, spread


def _add_up(values: Numbers, ties: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Numbers:
    """Sums over groups: `[n, some]` to `[groups, some]`."""
    order, first = ties
    in_order = values[order]
    return in_order if len(first) == len(order) else np.add.reduceat(in_order, first, axis=0)


def _of_mean_ranks(n: int) -> float:
    """The sum of squared ranks if all were the mean rank, (n + 1) / 2."""
    return n * ((n + 1) / 2) ** 2


def bootstrap_p(difference: float, draws: Numbers) -> float:
    """Two-sided p of "no difference", from a difference and its bootstrap draws `[resamples]`."""
    error = 0.0 if np.isnan(draws).all() else float(np.nanstd(draws))
    if np.isnan(difference) or abs(difference) < VISIBLE or error == 0:
        return 1.0
    return erfc(abs(difference) / error / sqrt(2))


def randomisation_p(differences: Numbers, seed: int) -> Numbers:
    """Two-sided p of "the mean difference is 0", by random signs.

    Args:
        differences: `[n, tests]`, a difference for each query.
        seed: Of the signs.

    Returns:
        `[tests]`.
    """
    rng = np.random.default_rng(seed)
    observed = np.abs(differences.sum(0)) - 1e-9  # rounding must not tell equal sums apart
    as_large = np.ones(differences.shape[1])
    for _ in range(0, PERMUTATIONS, 1_000):
        signs = rng.integers(0, 2, (1_000, len(differences))) * 2.0 - 1
        as_large += (np.abs(signs @ differences) >= observed).sum(0)
    return as_large / (PERMUTATIONS + 1)


def holm(p: Numbers) -> Numbers:
    """Holm's step-down correction of p values `[tests]` (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1)
    return corrected


def rank_agreement(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Kendall's tau-b between two scorings of the same rows; None where one is constant or they are fewer than two."""
    from scipy import stats

    if len(a) < 2 or all(x == y for x, y in pairwise(a)) or all(x == y for x, y in pairwise(b)):
        return None
    return float(stats.kendalltau(a, b).statistic)


def _interval(draws: Numbers) -> tuple[Numbers, Numbers]:
    """95% percentiles over the last axis; 0 where there is no draw."""
    known = np.where(np.isnan(draws).all(-1, keepdims=True), 0, draws)
    low, high = np.nanquantile(known, (LEVEL / 2, 1 - LEVEL / 2), axis=-1)
    return low, high
