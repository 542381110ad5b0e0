"""Tests for intervals and significance tests against scipy on resampled data, enumeration and published examples."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from semsearch.evaluation import significance as compare
from semsearch.evaluation.significance import (
    RESAMPLES,
    Cell,
    bootstrap_spearman,
    compare_correlations,
    compare_means,
    difference_p,
    holm,
    paired_t_p,
    rank_agreement,
    resample_counts,
)

# Resamples


@pytest.mark.parametrize("n", [1, 2, 37])
def test_a_resample_has_as_many_as_the_sample(n: int):
    counts = resample_counts(n, seed=3)
    assert counts.shape == (n, RESAMPLES)
    assert (counts.sum(0) == n).all()
    assert (counts == counts.round()).all()
    assert counts.min() >= 0


def test_each_comes_up_as_often_as_draws_with_replacement_have_it():
    counts = resample_counts(20, seed=1)
    often = np.bincount(counts.astype(int).ravel(), minlength=6)[:6] / counts.size
    np.testing.assert_allclose(often, stats.binom.pmf(range(6), 20, 1 / 20), atol=0.01)
    np.testing.assert_allclose(counts.mean(1), 1, atol=0.15)  # none is favored; the standard error is 0.03


def spearman(scores: np.ndarray, gold: np.ndarray) -> float:
    """Compute Spearman's correlation with scipy, without its warning where one side is constant."""
    return float("nan") if np.ptp(scores) == 0 or np.ptp(gold) == 0 else stats.spearmanr(scores, gold).statistic


def resampled_spearman(scores: np.ndarray, gold: np.ndarray, seed: int) -> np.ndarray:
    """Compute Spearman of the sample and of each resample, repeating every pair as often as it was drawn."""
    drawn = [np.repeat(np.arange(len(gold)), times) for times in resample_counts(len(gold), seed).astype(int).T]
    return np.array([spearman(scores[pairs], gold[pairs]) for pairs in (np.arange(len(gold)), *drawn)])


def rows_with_and_without_ties(n: int, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Return rows of scores (distinct, tied, two-valued, reversed, and tied as 0 and -0), and gold scores with ties."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 6, n) / 2
    noisy = gold + rng.normal(size=n)
    return [
        noisy,
        noisy.round(),
        (noisy > noisy.mean()) * 1.0,
        -gold,
        np.where(noisy > 1, 1, rng.choice([0.0, -0.0], n)),
    ], gold


@pytest.mark.parametrize("n", [2, 3, 4, 12, 60])
def test_spearman_of_every_resample_is_what_scipy_has_for_the_resampled_pairs(n: int):
    rows, gold = rows_with_and_without_ties(n)
    found = bootstrap_spearman(rows, gold, seed=5)
    assert found.shape == (len(rows), 1 + RESAMPLES)
    for row, values in zip(rows, found, strict=True):
        np.testing.assert_allclose(values, resampled_spearman(row, gold, seed=5), atol=1e-9)


def test_gold_scores_that_are_all_different_are_ranked_as_well():
    rng = np.random.default_rng(2)
    gold = rng.normal(size=25)
    rows = [rng.normal(size=25), rng.integers(0, 3, 25) * 1.0]
    for row, values in zip(rows, bootstrap_spearman(rows, gold, seed=0), strict=True):
        np.testing.assert_allclose(values, resampled_spearman(row, gold, seed=0), atol=1e-9)


def test_a_constant_side_has_no_correlation_in_any_resample():
    rising, flat = np.arange(9.0), np.full(9, 0.7)
    assert np.isnan(bootstrap_spearman([flat], rising, seed=0)).all()
    assert np.isnan(bootstrap_spearman([rising, flat], flat, seed=0)).all()


@pytest.mark.parametrize("n", [0, 1])
def test_one_pair_has_no_correlation(n: int):
    found = bootstrap_spearman([np.ones(n), np.ones(n)], np.ones(n), seed=0)
    assert found.shape == (2, 1 + RESAMPLES)
    assert np.isnan(found).all()


def test_a_perfect_ranking_is_perfect_in_every_resample():
    gold = np.repeat(np.arange(5.0), 4)
    up, down = bootstrap_spearman([np.exp(gold), -gold], gold, seed=0)
    np.testing.assert_allclose(up, 1)
    np.testing.assert_allclose(down, -1)


# Intervals


def test_intervals_of_spearman_are_those_of_scipys_bootstrap():
    rng = np.random.default_rng(11)
    gold = rng.integers(0, 11, 250) / 2
    scores = gold + rng.normal(scale=2, size=250)
    cell = compare_correlations({"a": {"task": scores}}, {"task": gold}).rows["a"][0]
    theirs = stats.bootstrap(
        (scores, gold), spearman, paired=True, vectorized=False, n_resamples=1_000, method="percentile", rng=rng
    ).confidence_interval
    assert cell.value == pytest.approx(spearman(scores, gold))
    assert (cell.low, cell.high) == pytest.approx((theirs.low, theirs.high), abs=0.012)  # its width is 0.16
    assert cell.high - cell.low > 0.1


def test_intervals_of_means_are_those_of_scipys_bootstrap():
    rng = np.random.default_rng(12)
    values = rng.beta(0.5, 0.8, 120)  # skewed, as per-query measures are
    cell = compare_means({"a": {"nDCG@10": values}}).rows["a"][0]
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=rng).confidence_interval
    assert cell.value == pytest.approx(values.mean())
    assert (cell.low, cell.high) == pytest.approx((theirs.low, theirs.high), abs=0.012)  # its width is 0.13


def test_95_of_100_intervals_hold_the_mean():
    samples = np.random.default_rng(4).normal(3, 2, (400, 60))
    cells = [row[0] for row in compare_means({str(n): {"x": sample} for n, sample in enumerate(samples)}).rows.values()]
    assert 0.91 <= np.mean([cell.low <= 3 <= cell.high for cell in cells]) <= 0.98
    below, above = np.mean([cell.high < 3 for cell in cells]), np.mean([cell.low > 3 for cell in cells])
    assert max(below, above) < 0.06  # the misses are not all on one side


# Tests


def enumerated(differences: np.ndarray) -> float:
    """Compute the share of all sign patterns whose sum is at least as far from 0."""
    sums = [abs(np.dot(signs, differences)) for signs in product((-1, 1), repeat=len(differences))]
    return float(np.mean(np.array(sums) >= abs(differences.sum()) - 1e-12))


DIFFERENCES = {
    "above": [0.5, 0.25, 0.1, -0.2, 0.3, 0.4, 0.05, 0.6],
    "below": [-0.5, -0.25, -0.1, 0.2, -0.3, -0.4, -0.05, -0.6],
    "all above": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7],  # 2 / 2^7
    "ties and zeros": [0.1, 0.1, 0.1, -0.1, 0, 0, 0, 0.1],
    "decimals that do not add up in binary": [0.1, 0.2, -0.3, 0.3, 0.1, -0.2],
    "two queries": [0.4, 0.3],
    "nothing": [0.0, 0.0, 0.0],
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_few_queries_have_no_lower_p_than_all_signs_could_show(name: str):
    differences = np.array(DIFFERENCES[name])
    p = paired_t_p(np.array([differences, np.zeros_like(differences)]))
    lowest = min(1.0, 2 / 2.0 ** np.count_nonzero(differences))
    np.testing.assert_array_equal(p, p.T)
    assert p.diagonal().tolist() == [1, 1]
    assert lowest <= p[0, 1] <= max(1.5 * enumerated(differences), lowest)


def test_no_difference_has_p_1_and_one_that_is_the_same_everywhere_that_of_signs():
    values = np.random.default_rng(0).random(40)
    p = paired_t_p(np.array([values, values.copy(), values + 0.1, np.nextafter(values, 1)]))
    assert p[0].tolist() == pytest.approx([1, 1, 2 / 2.0**40, 1], rel=1e-9)
    assert paired_t_p(np.array([[0.4], [0.9]])).tolist() == [[1, 1], [1, 1]]


def test_the_paired_t_test_is_scipys():
    each = np.random.default_rng(1).beta(0.5, 0.8, (6, 50))
    found = paired_t_p(each)
    for one, other in combinations(range(6), 2):
        expected = stats.ttest_rel(each[one], each[other]).pvalue
        assert found[one, other] == found[other, one] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("gain", [0.04, 0.06, 0.08])
def test_a_small_p_is_that_of_all_random_signs(gain: float):
    """Count all 2^225 sign patterns: in hundredths, the distribution of the sums is a product of polynomials."""
    rng = np.random.default_rng(7)
    differences = np.round(100 * np.where(rng.random(225) < 0.6, rng.normal(gain, 0.18, 225), 0)).astype(int)
    largest = np.abs(differences).sum()
    shares = np.ones(1)
    for size in np.abs(differences):
        shares = np.convolve(shares, np.bincount([0, 2 * size], minlength=2 * size + 1) / 2)
    sums = np.arange(len(shares)) - largest
    exact = shares[np.abs(sums) >= abs(differences.sum())].sum()
    found = paired_t_p(np.array([differences / 100, np.zeros(225)]))[0, 1]
    assert 1e-12 < exact < 0.05
    assert 0.6 < found / exact < 1.6


@pytest.mark.parametrize(
    ("freedom", "critical"),
    [(np.inf, [1.960, 2.576, 3.291]), (10, [2.228, 3.169, 4.587]), (28, [2.048, 2.763, 3.674])],
)
def test_a_difference_has_the_p_that_tables_of_students_t_have(freedom: float, critical: list[float]):
    for ratio, expected in zip(critical, (0.05, 0.01, 0.001), strict=True):
        p = difference_p(np.array([0.3, 0.3 + 0.01 * ratio, 0.3]), np.full((3, 3), 0.01), freedom)
        assert p[0].tolist() == [1, pytest.approx(expected, rel=2e-3), 1]
        np.testing.assert_array_equal(p, p.T)


def test_what_cannot_be_seen_or_does_not_vary_is_no_difference():
    errors = np.array([[0.0, 1e-6], [1e-6, 0.0]])
    assert difference_p(np.array([0.5, 0.5 + 4.9e-5]), errors, np.inf)[0, 1] == 1
    assert difference_p(np.array([0.5, 0.5 + 5.1e-5]), errors, np.inf)[0, 1] == pytest.approx(0, abs=1e-9)
    assert difference_p(np.array([0.1, 0.6]), np.zeros((2, 2)), np.inf)[0, 1] == 1
    assert difference_p(np.array([np.nan, 0.6]), errors, np.inf)[0, 1] == 1


@pytest.mark.parametrize(
    ("p", "corrected"),
    [
        # Wikipedia, "Holm-Bonferroni method": at 5% only the first and the last are rejected; values from R's p.adjust.
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.2, 0.2, 0.2], [0.6, 0.6, 0.6]),
        ([0.9, 0.4], [0.9, 0.8]),
        ([0.6, 0.7], [1, 1]),
        ([0.03], [0.03]),
        ([], []),
    ],
)
def test_holms_correction_by_hand(p: list[float], corrected: list[float]):
    assert holm(np.array(p, float)).tolist() == pytest.approx(corrected)


@pytest.mark.parametrize("seed", range(5))
def test_holms_correction_is_what_closed_testing_with_bonferroni_gives(seed: int):
    p = np.random.default_rng(seed).integers(0, 12, 7) / 40  # with ties
    sets = [some for size in range(1, 8) for some in combinations(range(7), size)]
    closed = [max(min(1, len(some) * p[list(some)].min()) for some in sets if one in some) for one in range(7)]
    np.testing.assert_allclose(holm(p), closed)


def error_rate(rows: int, tables: int = 400, n: int = 50) -> float:
    """Compute the share of tables of equally good rows in which some row is called worse than the best."""
    rng = np.random.default_rng(1)
    each = rng.random((tables, 1, n)) + rng.normal(0, 0.2, (tables, rows, n))  # some queries are easy for all
    found = compare_means({str(row): {str(table): each[table, row] for table in range(tables)} for row in range(rows)})
    worse = np.array([[not (cell.best or cell.tied) for cell in row] for row in found.rows.values()])
    return float(worse.any(0).mean())


@pytest.mark.parametrize("rows", [2, 3, 4, 10])
def test_one_table_of_equals_in_twenty_has_a_row_that_is_said_to_be_worse(rows: int):
    assert error_rate(rows) <= 0.085  # 5% plus three standard errors over 400 tables
    if rows == 2:  # the test must not be too conservative either
        assert error_rate(rows) >= 0.02


def holm_by_hand(p: dict[frozenset[str], float]) -> dict[frozenset[str], float]:
    """Multiply the smallest of m values by m, the next by m - 1, and so on, never letting the results fall."""
    stepped, highest = {}, 0.0
    for rank, pair in enumerate(sorted(p, key=p.__getitem__)):
        highest = stepped[pair] = min(1.0, max(highest, (len(p) - rank) * p[pair]))
    return stepped


@pytest.mark.parametrize("n", [40, 225])
def test_61_rows_are_told_apart_as_holm_with_scipys_t_tests_tells_them(n: int):
    """The rows fall from 0.45 to 0.3, as in a comparison of poolers on the sample and on Cranfield."""
    rng = np.random.default_rng(n)
    easy = rng.beta(0.8, 1, n)
    each = {f"r{row}": np.clip(easy - 0.15 * row / 60 + rng.normal(0, 0.12, n), 0, 1) for row in range(61)}
    found = {row: cells[0] for row, cells in compare_means({row: {"x": v} for row, v in each.items()}).rows.items()}
    best = max(each, key=lambda row: each[row].mean())
    pairs = combinations(each, 2)
    expected = holm_by_hand({frozenset(pair): stats.ttest_rel(each[pair[0]], each[pair[1]]).pvalue for pair in pairs})
    worse = [row for row in each if row != best and expected[frozenset((row, best))] < 0.05]
    assert [row for row, cell in found.items() if not (cell.best or cell.tied)] == worse
    assert 10 < len(worse) < 58
    for row in each.keys() - {best}:
        assert found[row].p == pytest.approx(expected[frozenset((row, best))], rel=1e-6)


def test_a_row_that_repeats_another_is_not_tested_once_more():
    rng = np.random.default_rng(4)
    easy = rng.random(60)
    rows = {name: {"x": easy + gain + rng.normal(0, 0.1, 60)} for name, gain in (("a", 0.06), ("b", 0.04), ("c", 0))}
    alone = compare_means(rows)
    twice = {"a": rows["a"], "again": rows["a"], "b": rows["b"], "c": rows["c"], "c again": rows["c"]}
    found = compare_means(twice, same={"again": "a", "c again": "c"})
    for name in "bc":
        assert found.rows[name][0].p == pytest.approx(alone.rows[name][0].p, rel=1e-9)
    assert (found.rows["again"][0].p, found.rows["again"][0].tied, found.rows["again"][0].best) == (1, True, False)
    assert (found.rows["c again"][0].p, found.rows["c again"][0].tied) == (
        found.rows["c"][0].p,
        found.rows["c"][0].tied,
    )
    assert compare_means(twice).rows["b"][0].p > alone.rows["b"][0].p  # counting repeats would raise p
    gold = {"x": easy}
    scores = {name: {"x": easy + rng.normal(0, noise, 60)} for name, noise in (("a", 0.1), ("b", 0.2), ("c", 0.4))}
    found = compare_correlations({**scores, "again": scores["a"]}, gold, same={"again": "a"})
    assert found.rows["b"][0].p == pytest.approx(compare_correlations(scores, gold).rows["b"][0].p, rel=1e-9)


def test_one_correlation_in_twenty_is_said_to_be_worse_than_its_equal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compare, "RESAMPLES", 300)
    rng = np.random.default_rng(3)
    gold = {str(task): rng.normal(size=80) for task in range(300)}
    scores = {row: {task: one + rng.normal(size=80) for task, one in gold.items()} for row in "ab"}
    found = compare_correlations(scores, gold).rows
    worse = [not (a.best or a.tied) or not (b.best or b.tied) for a, b in zip(found["a"], found["b"], strict=True)]
    assert 0.015 <= np.mean(worse[:-1]) <= 0.09  # excluding the average; three standard errors


@pytest.mark.slow
@pytest.mark.parametrize("rows", [2, 10])
@pytest.mark.parametrize("n", [12, 20])
def test_on_few_pairs_no_more_tables_of_equals_are_wrong(n: int, rows: int):
    """Rows are independent of the gold scores; a normal would call one of ten worse in 18% of tables with 12 pairs."""
    rng = np.random.default_rng(5)
    wrong = []
    for table in range(200):
        scores = {str(row): {"x": rng.normal(size=n)} for row in range(rows)}
        found = compare_correlations(scores, {"x": rng.normal(size=n)}, seed=table).rows.values()
        wrong.append(any(not (row[0].best or row[0].tied) for row in found))
    assert np.mean(wrong) <= 0.096  # three standard errors above 5%


@pytest.mark.parametrize("n", [3, 5, 8, 11])
def test_on_very_few_pairs_there_is_no_verdict(n: int):
    gold = np.arange(n, dtype=float)
    found = compare_correlations({"good": {"x": gold}, "bad": {"x": -gold}}, {"x": gold})
    assert (found.rows["good"][0].best, found.rows["bad"][0].tied, found.rows["bad"][0].p) == (True, True, 1)
    assert "no verdict below 12 pairs" in found.test
    enough = np.arange(12.0)
    found = compare_correlations({"good": {"x": enough}, "bad": {"x": -enough}}, {"x": enough})
    assert "no verdict" not in found.test


def test_an_average_with_a_task_of_few_pairs_has_no_verdict():
    rng = np.random.default_rng(0)
    gold = {"x": rng.normal(size=300), "y": rng.normal(size=11)}
    good = {task: one + rng.normal(size=len(one)) for task, one in gold.items()}
    bad = {task: rng.normal(size=len(one)) for task, one in gold.items()}
    cells = compare_correlations({"good": good, "bad": bad}, gold).rows["bad"]
    assert [cell.p == 1 for cell in cells] == [False, True, True]


def test_resamples_without_a_correlation_do_not_count_in_a_standard_error():
    """A row that is nonzero for only one pair of twelve is constant in (11 / 12)^12 = 35% of the resamples."""
    rng = np.random.default_rng(4)
    gold = rng.normal(size=12)
    rows = {"one": np.eye(12)[gold.argmax()], "noise": gold + rng.normal(size=12)}
    drawn = {row: resampled_spearman(scores, gold, seed=0) for row, scores in rows.items()}
    assert 0.3 < np.isnan(drawn["one"]).mean() < 0.4
    gap, error = abs(drawn["one"][0] - drawn["noise"][0]), np.nanstd((drawn["one"] - drawn["noise"])[1:])
    found = compare_correlations({row: {"x": scores} for row, scores in rows.items()}, {"x": gold}).rows
    (p,) = {row[0].p for row in found.values()} - {None}
    assert p == pytest.approx(2 * stats.t.sf(gap / error, 10))


# Tables


def test_a_table_of_means_by_hand():
    rng = np.random.default_rng(6)
    base = rng.random(40)
    measures = {
        "good": base + rng.normal(0.1, 0.1, 40),
        "better": base + rng.normal(0.15, 0.2, 40),
        "poor": base + rng.normal(-0.05, 0.2, 40),
        "bad": base - 0.5,
    }
    found = compare_means({name: {"RR@10": values} for name, values in measures.items()})
    assert found.columns == ("RR@10",)
    assert list(found.rows) == list(measures)
    cells = {name: row[0] for name, row in found.rows.items()}
    best = max(measures, key=lambda name: measures[name].mean())
    p = {
        frozenset(pair): stats.ttest_rel(measures[pair[0]], measures[pair[1]]).pvalue
        for pair in combinations(measures, 2)
    }
    stepped = holm_by_hand(p)
    corrected = {name: stepped[frozenset((name, best))] for name in measures if name != best}
    for name, cell in cells.items():
        assert cell.value == pytest.approx(measures[name].mean())
        assert cell.low < cell.value < cell.high
        assert cell.best == (name == best)
        if name == best:
            assert (cell.p, cell.tied) == (None, False)
        else:
            assert cell.p == pytest.approx(corrected[name], abs=1e-10)
            assert cell.tied == (cell.p >= 0.05)
    assert {name for name, cell in cells.items() if cell.tied} == {"better"}
    assert best == "good"


def test_a_table_of_correlations_by_hand():
    rng = np.random.default_rng(8)
    gold = {"x": rng.integers(0, 6, 80) * 1.0, "y": rng.normal(size=50)}
    noise = {"a": 0.5, "b": 0.6, "c": 3}
    scores = {
        row: {task: one + rng.normal(scale=scale, size=len(one)) for task, one in gold.items()}
        for row, scale in noise.items()
    }
    found = compare_correlations(scores, gold, seed=20)
    assert found.columns == ("x", "y", "average")
    drawn = {
        row: [resampled_spearman(scores[row][task], gold[task], 20 + number) for number, task in enumerate(gold)]
        for row in noise
    }
    for row in noise:
        drawn[row].append((drawn[row][0] + drawn[row][1]) / 2)
    for column in range(3):
        values = {row: drawn[row][column] for row in noise}
        best = max(noise, key=lambda row: values[row][0])
        error = {pair: np.std(values[pair[0]][1:] - values[pair[1]][1:]) for pair in combinations(noise, 2)}
        gap = {pair: abs(values[pair[0]][0] - values[pair[1]][0]) for pair in error}
        freedom = (80, 50, 50)[column] - 2
        p = {frozenset(pair): 2 * stats.t.sf(gap[pair] / error[pair], freedom) for pair in error}
        low, middle, high = sorted(p, key=p.get)  # Holm by hand over the three pairs
        stepped = {low: 3 * p[low]}
        stepped[middle] = max(stepped[low], 2 * p[middle])
        stepped[high] = max(stepped[middle], p[high])
        corrected = {row: min(1, stepped[frozenset((row, best))]) for row in noise if row != best}
        for row in noise:
            cell = found.rows[row][column]
            assert cell.value == pytest.approx(values[row][0])
            assert (cell.low, cell.high) == pytest.approx(tuple(np.percentile(values[row][1:], [2.5, 97.5])))
            assert (cell.best, cell.p) == (row == best, pytest.approx(corrected[row]) if row != best else None)
            assert cell.tied == (row != best and corrected[row] >= 0.05)
    assert {row: [cell.best or cell.tied for cell in cells] for row, cells in found.rows.items()}["c"] == [False] * 3


def test_one_task_has_no_average_and_one_row_is_the_best_without_a_test():
    gold = np.arange(20.0)
    found = compare_correlations({"only": {"task": -gold}}, {"task": gold})
    assert found.columns == ("task",)
    assert found.rows == {"only": (Cell(pytest.approx(-1), pytest.approx(-1), pytest.approx(-1), None, True, False),)}
    (cell,) = compare_means({"only": {"AP": np.array([0.0, 1.0])}}).rows["only"]
    assert cell == Cell(0.5, 0.0, 1.0, None, True, False)


def test_rows_that_are_the_same_are_tied_with_the_best():
    rng = np.random.default_rng(0)
    gold, values = rng.normal(size=60), rng.random(60)
    scores = gold + rng.normal(size=60)
    tables = [
        compare_means({"one": {"x": values}, "two": {"x": values.copy()}, "bad": {"x": values - 1}}),
        compare_correlations({"one": {"x": scores}, "two": {"x": scores * 3 + 1}, "bad": {"x": -scores}}, {"x": gold}),
    ]
    for table in tables:
        one, two, bad = (row[0] for row in table.rows.values())
        assert (one.best, one.tied, one.p) == (True, False, None)
        assert (two.best, two.tied, two.p) == (False, True, 1)
        assert (two.value, two.low, two.high) == pytest.approx((one.value, one.low, one.high))
        assert (bad.best, bad.tied) == (False, False)
        assert bad.p < 0.001


def test_a_row_without_a_value_takes_no_part():
    rng = np.random.default_rng(1)
    gold = {"x": rng.normal(size=70), "y": rng.normal(size=30)}
    scores = {row: {task: one + rng.normal(size=len(one)) for task, one in gold.items()} for row in "abc"}
    without = compare_correlations(scores, gold)
    flat = {"x": np.ones(70), "y": gold["y"]}
    found = compare_correlations({"flat": flat, **scores}, gold)
    assert found.rows["flat"][0] == Cell(None)  # a constant has no correlation
    assert found.rows["flat"][1].best  # on the other task, its scores are the gold scores
    assert found.rows["flat"][2] == Cell(None)  # no average if a task has no value
    for row in scores:  # it does not count in the corrected p of the others
        assert found.rows[row][0] == without.rows[row][0]
        assert found.rows[row][2] == without.rows[row][2]


def test_a_task_without_any_value_leaves_the_whole_column_and_the_average_empty():
    gold = {"flat": np.ones(10), "one": np.ones(1), "fine": np.arange(10.0)}
    scores = {row: {"flat": np.arange(10.0), "one": np.ones(1), "fine": np.arange(10.0) ** 2} for row in "ab"}
    found = compare_correlations(scores, gold)
    assert found.columns == ("flat", "one", "fine", "average")
    for row in "ab":
        assert [cell.value for cell in found.rows[row]] == [None, None, pytest.approx(1), None]
        assert found.rows[row][0] == found.rows[row][1] == found.rows[row][3] == Cell(None)


def test_columns_may_have_different_numbers_of_queries():
    rng = np.random.default_rng(2)
    long, short = rng.random((2, 90)), rng.random((2, 7))
    both = compare_means({name: {"long": long[i], "short": short[i]} for i, name in enumerate("ab")})
    assert both.columns == ("long", "short")
    for number, (column, values) in enumerate((("long", long), ("short", short))):
        alone = compare_means({name: {column: values[i]} for i, name in enumerate("ab")})
        for i, name in enumerate("ab"):
            assert both.rows[name][number] == alone.rows[name][0]
            assert both.rows[name][number].value == pytest.approx(values[i].mean())


def test_a_table_depends_on_its_seed_and_on_nothing_else():
    rng = np.random.default_rng(3)
    gold = rng.normal(size=40)
    rows = {name: {"x": gold + rng.normal(size=40)} for name in "ab"}

    def tables(seed: int) -> list[compare.Comparison]:
        return [compare_means(rows, seed), compare_correlations(rows, {"x": gold}, seed)]

    np.random.seed(1)  # noqa: NPY002
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    first = tables(7)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert tables(7) == first
    for one, other in zip(first, tables(8), strict=True):
        assert one.test.endswith("; seed 7")
        assert other.test.endswith("; seed 8")
        for name in "ab":
            assert one.rows[name][0].value == other.rows[name][0].value
            assert one.rows[name][0].low != other.rows[name][0].low


def test_what_was_tested_stands_in_words():
    rows, gold = {"a": {"x": np.arange(5.0)}}, {"x": np.arange(5.0)}
    assert "paired t test over queries, Holm-corrected over all pairs of rows" in compare_means(rows).test
    assert "paired bootstrap over pairs (1,000 resamples), Holm-corrected" in compare_correlations(rows, gold).test


# Agreement of rankings


def test_kendalls_tau_by_hand():
    # scipy's example: of ten pairs, two are concordant and six discordant; two tie in a, and one of these in b too:
    # (2 - 6) / sqrt((10 - 2) * (10 - 1))
    assert rank_agreement([12, 2, 1, 12, 2], [1, 4, 7, 1, 0]) == pytest.approx(-4 / np.sqrt(72))
    assert rank_agreement([0.1, 0.2, 0.3, 0.4], [1, 3, 2, 4]) == pytest.approx((5 - 1) / 6)
    assert rank_agreement([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
    assert rank_agreement([1, 2], [2, 1]) == pytest.approx(-1)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1], [2]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [0.5, 0.5, 0.5])])
def test_where_nothing_is_ranked_nothing_agrees(a: list[float], b: list[float]):
    assert rank_agreement(a, b) is None
