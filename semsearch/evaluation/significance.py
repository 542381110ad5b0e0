"""Which differences are real: bootstrap intervals, paired tests against the best row, Holm's correction.

A comparison is a table: rows are what was compared (a pooler, perhaps with a transform), columns are tasks or measures.
All randomness, that of resamples, comes from a seed, so a table is the same from run to run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

RESAMPLES = 1_000
"""Number of bootstrap resamples."""

LEVEL = 0.05
"""Significance level of the tests; the intervals hold 95%."""

SEED = 0

VISIBLE = 5e-5
"""A difference of correlations below this, which two decimals of a percentage cannot show, is none: the mean and the
sum of the same tokens differ by rounding."""

ROUNDING = 1e-9
"""Differences of measures below this are none."""

LEAST_PAIRS = 12
"""Minimum pairs for a significance verdict on correlations; with fewer, too many bootstrap resamples are degenerate."""

CORRECTED = "Holm-corrected over all pairs of rows"

BLOCK = 64
"""Resamples that are ranked at a time: few enough for the processor's cache."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a table.

    Attributes:
        value: None where there is no such number, as the correlation of constant scores.
        low, high: 95% bootstrap interval (percentiles).
        p: Of the paired test against the column's best row, corrected for all pairs of rows; None for that row itself.
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


def compare_means(
    values: Mapping[str, Mapping[str, Numbers]], seed: int = SEED, same: Mapping[str, str] | None = None
) -> Comparison:
    """Compare means over queries, such as nDCG@10.

    Differences are tested by Student's paired t test, which errs as rarely as it says on measures of retrieval and sees
    most (Urbano, Lima and Hanjalic 2019).

    Args:
        values: By row and column, `[n]` each; the queries of a column in the same order everywhere, at least one.
        seed: Of the resamples.
        same: Rows that repeat another one, which is named, and are not tested once more.
    """
    columns = tuple(next(iter(values.values())))
    first = _firsts(values, same)
    counts: dict[int, Numbers] = {}
    cells = []
    for column in columns:
        each = np.array([row[column] for row in values.values()])  # [rows, n]
        n = each.shape[1]
        if n not in counts:
            counts[n] = resample_counts(n, seed)
        cells.append(_column(each.mean(1), *_interval(each @ counts[n] / n), paired_t_p(each), first))
    test = f"paired t test over queries, {CORRECTED}; 95% intervals from {RESAMPLES:,} bootstrap resamples; seed {seed}"
    return Comparison(columns, dict(zip(values, zip(*cells, strict=True), strict=True)), test)


def compare_correlations(
    scores: Mapping[str, Mapping[str, Numbers]],
    gold: Mapping[str, Numbers],
    seed: int = SEED,
    same: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare Spearman correlations: of each task, and their mean where there are several.

    Differences are tested by the paired bootstrap: all rows see the same resamples of pairs, and a difference is
    divided by the standard error that it has over them (Efron and Tibshirani 1993) and taken as Student's t with two
    degrees of freedom less than pairs, for on few of them a normal is too bold. The mean resamples each task by itself
    and has the freedom of its smallest one. Below LEAST_PAIRS pairs there is no verdict: p is 1.

    Args:
        scores: By row and task, `[n]` each.
        gold: By task, the pairs in the same order.
        seed: Of the resamples.
        same: As for `compare_means`.
    """
    drawn = {
        task: bootstrap_spearman([row[task] for row in scores.values()], similarity, seed + number)
        for number, (task, similarity) in enumerate(gold.items())
    }
    if len(gold) > 1:
        drawn["average"] = np.mean(list(drawn.values()), axis=0)
    sizes = {task: len(similarity) for task, similarity in gold.items()}
    fewest = min(sizes.values())
    columns = []
    for name, values in drawn.items():  # [rows, 1 + resamples]
        value, draws = values[:, 0], values[:, 1:]
        n = sizes.get(name, fewest)
        p = np.ones((len(value), len(value)))
        if n >= LEAST_PAIRS:
            p = difference_p(value, _standard_errors(draws), n - 2)
        columns.append(_column(value, *_interval(draws), p, _firsts(scores, same)))
    caution = f"; no verdict below {LEAST_PAIRS} pairs" if fewest < LEAST_PAIRS else ""
    test = f"paired bootstrap over pairs ({RESAMPLES:,} resamples), {CORRECTED}{caution}; 95% intervals; seed {seed}"
    return Comparison(tuple(drawn), dict(zip(scores, zip(*columns, strict=True), strict=True)), test)


def _firsts(rows: Iterable[str], same: Mapping[str, str] | None) -> NDArray[np.int64]:
    """For each row the place of the one that it repeats, or its own, `[rows]`."""
    place = {row: number for number, row in enumerate(rows)}
    return np.array([place[(same or {}).get(row, row)] for row in place], np.int64)


def _column(values: Numbers, low: Numbers, high: Numbers, p: Numbers, first: NDArray[np.int64]) -> tuple[Cell, ...]:
    """The cells of a column, `[rows]` each, from p of all pairs of rows, `[rows, rows]`.

    The best row was chosen by looking at the same numbers, so Holm's correction is over all pairs, not over the
    comparisons with that row alone. A row without a value takes no part, and one that repeats another one has its p.
    """
    tested = np.flatnonzero(~np.isnan(values) & (first == np.arange(len(values))))
    best = int(tested[values[tested].argmax()]) if len(tested) else -1
    one, other = np.triu_indices(len(tested), 1)
    corrected = np.ones_like(p)
    corrected[tested[one], tested[other]] = corrected[tested[other], tested[one]] = holm(p[tested[one], tested[other]])

    def cell(row: int) -> Cell:
        if np.isnan(values[row]):
            return Cell(None)
        numbers = float(values[row]), float(low[row]), float(high[row])
        its = None if row == best else float(corrected[best, first[row]])
        return Cell(*numbers, its, row == best, its is not None and its >= LEVEL)

    return tuple(map(cell, range(len(values))))


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


def _standard_errors(draws: Numbers) -> Numbers:
    """Of the differences of all pairs of rows `[rows, resamples]`, over the resamples where both are defined."""
    defined = (~np.isnan(draws)).astype(np.float64)
    deviations = np.nan_to_num(draws - np.nanmean(_or_zeros(draws), axis=1, keepdims=True))
    both = np.maximum(defined @ defined.T, 1)
    sums, squares = deviations @ defined.T, deviations**2 @ defined.T  # of the first of a pair
    means = (sums - sums.T) / both
    variances = (squares + squares.T - 2 * deviations @ deviations.T) / both - means**2
    errors: Numbers = np.sqrt(np.maximum(variances, 0))
    return errors


def difference_p(values: Numbers, errors: Numbers, freedom: float) -> Numbers:
    """Two-sided p of "no difference" for all pairs, by Student's t, which is the normal where freedom is infinite.

    1 where the difference is less than VISIBLE, or has no error.

    Args:
        values: `[rows]`.
        errors: Standard errors of differences, `[rows, rows]`.
        freedom: Degrees of it.
    """
    from scipy import stats

    differences = np.abs(values[:, None] - values)
    none = ~(differences >= VISIBLE) | (errors <= 0)
    ratios = np.divide(differences, errors, out=np.zeros_like(differences), where=~none)
    return np.where(none, 1.0, 2 * stats.t.sf(ratios, freedom))


def paired_t_p(each: Numbers) -> Numbers:
    """Two-sided p of "the mean difference is 0" for all pairs of rows `[rows, n]`, by the paired t test.

    Never lower than 2 / 2^k for the k queries on which two rows differ: random signs, which ask for no distribution,
    could not go lower, and a few queries that agree have no spread for t to go by.
    """
    from scipy import stats

    n = each.shape[1]
    ratios, floor = np.empty((2, len(each), len(each)))
    for row, values in enumerate(each):
        differences = each - values
        errors = differences.std(1) / np.sqrt(max(n - 1, 1))
        ratios[row] = np.abs(differences.mean(1)) / np.maximum(errors, ROUNDING)
        floor[row] = 2.0 ** (1 - np.count_nonzero(np.abs(differences) > ROUNDING, axis=1))
    p: Numbers = np.minimum(np.fmax(2 * stats.t.sf(ratios, n - 1), floor), 1)  # one query has no t, but a floor
    return p


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
    low, high = np.nanquantile(_or_zeros(draws), (LEVEL / 2, 1 - LEVEL / 2), axis=-1)
    return low, high


def _or_zeros(draws: Numbers) -> Numbers:
    """Draws with zeros in a row that has none."""
    return np.where(np.isnan(draws).all(-1, keepdims=True), 0, draws)
