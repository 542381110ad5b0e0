"""Tests for accuracy and macro-F1 against scikit-learn, and for their intervals and significance tests."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

from semsearch.evaluation.classification import MEASURES, compare_predictions, macro_f1, score_predictions

THEIRS = {
    "accuracy": lambda gold, found, weight: accuracy_score(gold, found, sample_weight=weight),
    "macro-F1": lambda gold, found, weight: f1_score(
        gold, found, average="macro", sample_weight=weight, zero_division=0
    ),
}


def drawn(n: int, classes: int, right: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw true classes, and predictions of which about this share is right."""
    gold = rng.integers(classes, size=n)
    return gold, np.where(rng.random(n) < right, gold, rng.integers(classes, size=n))


def test_three_right_of_four_by_hand():
    gold, found = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    assert score_predictions(found, gold) == pytest.approx({"accuracy": 3 / 4, "macro-F1": (2 / 3 + 4 / 5) / 2})


def test_always_the_most_frequent_class_by_hand():
    gold, found = np.array([3, 3, 3, 8]), np.full(4, 3)
    assert score_predictions(found, gold) == pytest.approx({"accuracy": 3 / 4, "macro-F1": (6 / 7 + 0) / 2})


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(("classes", "right"), [(2, 0.8), (5, 0.4), (40, 0.9)])
def test_measures_are_scikit_learn_s(measure: str, classes: int, right: float):
    rng = np.random.default_rng(classes)
    gold, one = drawn(300, classes, right, rng)
    other = rng.permutation(one)
    times = np.hstack([np.ones((300, 1)), 1.0 + rng.integers(4, size=(300, 3))])
    found = MEASURES[measure](np.array([one, other]), gold, times)
    expected = [[THEIRS[measure](gold, row, weight) for weight in times.T] for row in (one, other)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert score_predictions(one, gold)[measure] == pytest.approx(expected[0][0])


def test_a_class_that_is_not_in_a_resample_does_not_count_in_it():
    gold, found = np.array([[0, 0, 1]]), np.array([0, 1, 2])
    values = macro_f1(gold, found, np.array([[1.0, 1], [1, 0], [1, 1]]))
    weight_of_all, without_the_second = (
        f1_score([0, 1, 2], [0, 0, 1], average="macro"),
        f1_score([0, 2], [0, 1], average="macro"),
    )
    assert values.tolist() == [pytest.approx([weight_of_all, without_the_second])]


@pytest.mark.parametrize("measure", MEASURES)
def test_the_table_has_each_task_and_their_mean(measure: str):
    rng = np.random.default_rng(0)
    gold, rows = {}, {"good": {}, "bad": {}}
    for task, n in (("one", 200), ("two", 50)):
        gold[task], rows["good"][task] = drawn(n, 3, 0.9, rng)
        rows["bad"][task] = rng.integers(3, size=n)
    table = compare_predictions(rows, gold, measure)
    assert table.columns == ("one", "two", "average")
    for row, cells in table.rows.items():
        values = [THEIRS[measure](gold[task], rows[row][task], None) for task in gold]
        assert [cell.value for cell in cells] == pytest.approx([*values, np.mean(values)])
        assert all(cell.low <= cell.value <= cell.high for cell in cells)
    assert [cell.best for cell in table.rows["good"]] == [True] * 3
    assert all(cell.p < 1e-3 for cell in table.rows["bad"])
    assert table.test == (
        "paired bootstrap over examples (1,000 resamples), Holm-corrected over all pairs of rows; 95% intervals; seed 0"
    )
    alone = compare_predictions({"good": rows["good"]}, {"one": gold["one"]}, measure)
    assert alone.columns == ("one",)


def test_the_interval_of_an_accuracy_is_that_of_a_proportion():
    gold = np.zeros(1_000, np.int64)
    found = np.arange(1_000) % 5 == 0  # 80% right
    cell = compare_predictions({"row": {"task": found.astype(np.int64)}}, {"task": gold}).rows["row"][0]
    assert (cell.value, cell.low, cell.high) == pytest.approx(
        (0.8, *stats.norm(0.8, np.sqrt(0.8 * 0.2 / 1_000)).interval(0.95)), abs=3e-3
    )


def test_the_p_of_two_accuracies_is_about_that_of_mcnemar_s_test():
    gold = np.zeros(400, np.int64)
    one, other = gold.copy(), gold.copy()
    one[:30], other[:12], other[30:80] = 1, 1, 1  # 18 on which only the other is right, and 50 on which only one is
    table = compare_predictions({"one": {"x": one}, "other": {"x": other}}, {"x": gold})
    expected = stats.binomtest(18, 68).pvalue
    assert expected / 2 < table.rows["other"][0].p < 2 * expected


def test_a_few_differences_are_never_significant():
    """Five predictions that differ could all favor one row by chance with p = 2 / 2^5."""
    gold = np.zeros(1_000, np.int64)
    worse = gold.copy()
    worse[:5] = 1
    tables = [compare_predictions({"a": {"x": gold}, "b": {"x": worse}}, {"x": gold}, measure) for measure in MEASURES]
    assert [table.rows["b"][0].p for table in tables] == pytest.approx([2 / 2**5] * 2)
    both = compare_predictions({"a": {"x": gold, "y": gold}, "b": {"x": worse, "y": worse}}, {"x": gold, "y": gold})
    assert both.rows["b"][2].p >= 2 / 2**10


def test_equal_rows_are_not_distinguishable():
    gold, found = drawn(100, 3, 0.7, np.random.default_rng(1))
    for measure in MEASURES:
        table = compare_predictions({"a": {"x": found}, "b": {"x": found.copy()}}, {"x": gold}, measure)
        assert (table.rows["a"][0].best, table.rows["b"][0].p, table.rows["b"][0].tied) == (True, 1, True)


def test_fewer_than_twelve_examples_get_no_verdict():
    gold = np.zeros(11, np.int64)
    table = compare_predictions({"a": {"x": gold}, "b": {"x": gold + 1}}, {"x": gold})
    assert table.rows["b"][0].p == 1
    assert "no verdict below 12 examples" in table.test


@pytest.mark.parametrize("measure", MEASURES)
def test_rows_that_are_equally_good_differ_significantly_about_once_in_twenty(measure: str):
    rng, found = np.random.default_rng(2), 0
    for seed in range(100):
        gold = rng.integers(2, size=150)
        rows = {name: {"x": np.where(rng.random(150) < 0.75, gold, 1 - gold)} for name in "ab"}
        table = compare_predictions(rows, {"x": gold}, measure, seed)
        found += min(cell.p for (cell,) in table.rows.values() if cell.p is not None) < 0.05
    assert stats.binomtest(found, 100, 0.05, alternative="greater").pvalue > 0.01
