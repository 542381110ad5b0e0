"""Statistical significance of differences: bootstrap intervals, paired tests against the best row, Holm's correction.

A comparison is a table: rows are candidates (a pooler, perhaps with a transform), columns are tasks or measures. The
only randomness, that of bootstrap resamples, comes from a seed, so a table is the same from run to run.
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
"""Significance level of the tests; the intervals cover 95%."""

SEED = 0

VISIBLE = 5e-5
"""Smaller differences of correlations, which two decimals of a percentage cannot show, count as 0: the mean and the sum
of the same tokens differ by rounding."""

ROUNDING = 1e-9
"""Smaller differences of measures count as 0."""

LEAST_PAIRS = 12
"""Minimum items for a significance verdict by bootstrap; with fewer, too many resamples are degenerate."""

AVERAGE = "average"
"""Name of the column for the mean over tasks."""

CORRECTED = "Holm-corrected over all pairs of rows"

BLOCK = 64
"""Number of resamples to rank at a time, small enough for the processor's cache."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a table.

    Attributes:
        value: The value; None if it is undefined, such as the correlation of constant scores.
        low, high: Bounds of the 95% bootstrap interval (percentiles).
        p: p-value of the paired test against the column's best row, corrected over all pairs of rows; None for that row
            itself.
        best: Whether this is the highest value of the column.
        tied: Whether this is not the best value, but not distinguishable from it: p >= 0.05.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    best: bool = False
    tied: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table of values with significance tests.

    Attributes:
        columns: Names of tasks or measures.
        rows: One cell for each column, by the label of the row.
        test: Description of the tests and intervals, with the seed.
    """

    columns: tuple[str, ...]
    rows: Mapping[str, tuple[Cell, ...]]
    test: str


def compare_means(
    values: Mapping[str, Mapping[str, Numbers]], seed: int = SEED, same: Mapping[str, str] | None = None
) -> Comparison:
    """Compare means over queries, such as nDCG@10.

    Differences are tested with Student's paired t test, which keeps its nominal error rate on retrieval measures and
    has the most power (Urbano, Lima and Hanjalic 2019).

    Args:
        values: By row and column, `[n]` each, at least one query; all rows of a column have the same order of queries.
        seed: Random seed of the resamples.
        same: Rows that repeat another row, mapped to that row; they are not tested again.
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
    """Compare Spearman correlations on each task, and their mean if there are several tasks.

    Differences are tested with the paired bootstrap: all rows share the same resamples of pairs. A difference, divided
    by its standard error over the resamples (Efron and Tibshirani 1993), is treated as Student's t with n - 2 degrees
    of freedom for n pairs, because the normal distribution is anticonservative for few pairs. The mean resamples each
    task by itself and has the degrees of freedom of the smallest task. Below LEAST_PAIRS pairs there is no verdict: p
    is 1.

    Args:
        scores: Scores of the pairs by row and task, `[n]` each.
        gold: Gold scores by task, with the pairs in the same order.
        seed: Random seed of the resamples.
        same: Rows that repeat another row, as for `compare_means`.
    """
    drawn = {
        task: bootstrap_spearman([row[task] for row in scores.values()], similarity, seed + number)
        for number, (task, similarity) in enumerate(gold.items())
    }
    sizes = {task: len(similarity) for task, similarity in gold.items()}
    return compare_drawn(drawn, sizes, list(scores), "pairs", seed, same)


def compare_drawn(
    drawn: Mapping[str, Numbers],
    sizes: Mapping[str, int],
    rows: Sequence[str],
    unit: str,
    seed: int,
    same: Mapping[str, str] | None = None,
    differing: Mapping[str, NDArray[np.int64]] | None = None,
) -> Comparison:
    """Compare values by their bootstrap resamples on each task, and their mean over tasks if there are several.

    The tests are those of `compare_correlations`. If rows differ on only k items, p is at least 2 / 2^k, as in
    `paired_t_p`.

    Args:
        drawn: Values by task, for the sample itself and for each resample, `[rows, 1 + RESAMPLES]`.
        sizes: Number of items by task.
        rows: Names of the rows.
        unit: Name of the items, in the plural.
        seed: Random seed of the resamples, for the description.
        same: Rows that repeat another row, as for `compare_means`.
        differing: Number of items by task on which two rows differ, `[rows, rows]`; None if they differ on all items.
    """
    counts = dict(differing or {})
    if len(drawn) > 1:
        drawn = {**drawn, AVERAGE: np.mean(list(drawn.values()), axis=0)}
        if counts:
            counts[AVERAGE] = np.sum(list(counts.values()), axis=0)
    fewest = min(sizes.values())
    columns = []
    for name, values in drawn.items():  # [rows, 1 + resamples]
        value, draws = values[:, 0], values[:, 1:]
        n = sizes.get(name, fewest)
        p = np.ones((len(value), len(value)))
        if n >= LEAST_PAIRS:
            p = difference_p(value, _standard_errors(draws), n - 2)
        if name in counts:
            p = np.minimum(np.maximum(p, 2.0 ** (1.0 - counts[name])), 1)
        columns.append(_column(value, *_interval(draws), p, _firsts(rows, same)))
    caution = f"; no verdict below {LEAST_PAIRS} {unit}" if fewest < LEAST_PAIRS else ""
    test = f"paired bootstrap over {unit} ({RESAMPLES:,} resamples), {CORRECTED}{caution}; 95% intervals; seed {seed}"
    return Comparison(tuple(drawn), dict(zip(rows, zip(*columns, strict=True), strict=True)), test)


def _firsts(rows: Iterable[str], same: Mapping[str, str] | None) -> NDArray[np.int64]:
    """Return for each row the index of the row that it repeats, or its own, `[rows]`."""
    place = {row: number for number, row in enumerate(rows)}
    return np.array([place[(same or {}).get(row, row)] for row in place], np.int64)


def _column(values: Numbers, low: Numbers, high: Numbers, p: Numbers, first: NDArray[np.int64]) -> tuple[Cell, ...]:
    """Build the cells of a column from values, `[rows]` each, and the p-values of all pairs of rows, `[rows, rows]`.

    The best row is chosen by the same values, so Holm's correction is over all pairs, not only over the comparisons
    with that row. A row without a value is not tested, and one that repeats another row has the p-value of that row.
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
    """Return how often each of n items occurs in each bootstrap resample: `[n, RESAMPLES]`, each column sums to n."""
    rng = np.random.default_rng(seed)
    counts = np.stack([np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(RESAMPLES)], axis=1)
    return counts.astype(np.float64)


def bootstrap_spearman(scores: Sequence[Numbers], gold: Numbers, seed: int) -> Numbers:
    """Compute Spearman's correlation with gold scores, for the sample itself and for each resample with its own ranks.

    Args:
        scores: Scores of each row, `[n]` each.
        gold: Gold scores, `[n]`.
        seed: Random seed of the resamples, which are the same for all rows.

    Returns:
        Correlations, `[rows, 1 + RESAMPLES]`; nan where one side is constant.
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
    """Return the sorting order of values `[n]`, and the positions in it where each group of equal values begins."""
    order = np.argsort(values, kind="stable")
    return order, np.flatnonzero(np.diff(values[order], prepend=np.nan) != 0)


def _ranks(ties: tuple[NDArray[np.int64], NDArray[np.int64]], times: Numbers) -> tuple[Numbers, Numbers]:
    """Return the mean rank of each group, `[groups, some]`, and n times the variance of the ranks, `[some]`."""
    sizes = _add_up(times, ties)
    ranks = np.cumsum(sizes, axis=0) - (sizes - 1) / 2
    spread: Numbers = np.einsum("gr,gr,gr->r", ranks, ranks, sizes) - _of_mean_ranks(len(times))
    return ranks, spread


def _add_up(values: Numbers, ties: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Numbers:
    """Sum over groups: `[n, some]` to `[groups, some]`."""
    order, first = ties
    in_order = values[order]
    return in_order if len(first) == len(order) else np.add.reduceat(in_order, first, axis=0)


def _of_mean_ranks(n: int) -> float:
    """Return the sum of squared ranks if all ranks were the mean rank, (n + 1) / 2."""
    return n * ((n + 1) / 2) ** 2


def _standard_errors(draws: Numbers) -> Numbers:
    """Return the standard errors of differences of all pairs of rows `[rows, resamples]`, where both are defined."""
    defined = (~np.isnan(draws)).astype(np.float64)
    deviations = np.nan_to_num(draws - np.nanmean(_or_zeros(draws), axis=1, keepdims=True))
    both = np.maximum(defined @ defined.T, 1)
    sums, squares = deviations @ defined.T, deviations**2 @ defined.T  # of the first row of each pair
    means = (sums - sums.T) / both
    variances = (squares + squares.T - 2 * deviations @ deviations.T) / both - means**2
    errors: Numbers = np.sqrt(np.maximum(variances, 0))
    return errors


def difference_p(values: Numbers, errors: Numbers, freedom: float) -> Numbers:
    """Return two-sided p-values of "no difference" for all pairs of rows, by Student's t.

    The p-value is 1 where the difference is below VISIBLE, or its standard error is 0.

    Args:
        values: Values, `[rows]`.
        errors: Standard errors of the differences, `[rows, rows]`.
        freedom: Degrees of freedom; with infinitely many, t is the normal distribution.
    """
    from scipy import stats

    differences = np.abs(values[:, None] - values)
    none = ~(differences >= VISIBLE) | (errors <= 0)
    ratios = np.divide(differences, errors, out=np.zeros_like(differences), where=~none)
    return np.where(none, 1.0, 2 * stats.t.sf(ratios, freedom))


def paired_t_p(each: Numbers) -> Numbers:
    """Return two-sided p-values of "the mean difference is 0" for all pairs of rows `[rows, n]`, by the paired t test.

    A p-value is at least 2 / 2^k for the k queries on which two rows differ. The sign-flipping permutation test, which
    assumes no distribution, cannot go lower either, and a few equal differences have no variance for t to rely on.
    """
    from scipy import stats

    n = each.shape[1]
    ratios, floor = np.empty((2, len(each), len(each)))
    for row, values in enumerate(each):
        differences = each - values
        errors = differences.std(1) / np.sqrt(max(n - 1, 1))
        ratios[row] = np.abs(differences.mean(1)) / np.maximum(errors, ROUNDING)
        floor[row] = 2.0 ** (1 - np.count_nonzero(np.abs(differences) > ROUNDING, axis=1))
    p: Numbers = np.minimum(np.fmax(2 * stats.t.sf(ratios, n - 1), floor), 1)  # one query has no t, only the floor
    return p


def holm(p: Numbers) -> Numbers:
    """Apply Holm's step-down correction to p-values `[tests]` (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1)
    return corrected


def rank_agreement(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return Kendall's tau-b between two scorings of the same rows; None if one is constant or has fewer than two."""
    from scipy import stats

    if len(a) < 2 or all(x == y for x, y in pairwise(a)) or all(x == y for x, y in pairwise(b)):
        return None
    return float(stats.kendalltau(a, b).statistic)


def _interval(draws: Numbers) -> tuple[Numbers, Numbers]:
    """Return the bounds of 95% percentile intervals over the last axis; 0 where there are no draws."""
    low, high = np.nanquantile(_or_zeros(draws), (LEVEL / 2, 1 - LEVEL / 2), axis=-1)
    return low, high


def _or_zeros(draws: Numbers) -> Numbers:
    """Replace rows without any draws by zeros."""
    return np.where(np.isnan(draws).all(-1, keepdims=True), 0, draws)
