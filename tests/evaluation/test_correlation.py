"""Tests for correlations against hand values."""

from __future__ import annotations

import numpy as np
import pytest

from semsearch.evaluation.correlation import Correlation, correlate, mean


def test_spearman_and_pearson_by_hand():
    # Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * (0 + 1 + 1 + 0) / (4 * 15) = 0.8
    found = correlate(np.array([0.1, 0.2, 0.3, 0.9]), np.array([1.0, 3.0, 2.0, 5.0]))
    assert (found.spearman, found.n) == (pytest.approx(0.8), 4)
    x, y = np.array([-0.275, -0.175, -0.075, 0.525]), np.array([-1.75, 0.25, -0.75, 2.25])
    assert found.pearson == pytest.approx((x @ y) / np.sqrt((x @ x) * (y @ y)))


def test_ties_share_their_mean_rank():
    # Ranks 1.5 1.5 3 against 1 2 3: the correlation of (-.5 -.5 1) with (-1 0 1) is 1.5 / sqrt(1.5 * 2)
    assert correlate(np.array([1.0, 1, 2]), np.array([1.0, 2, 3])).spearman == pytest.approx(1.5 / np.sqrt(3))


@pytest.mark.parametrize(("scores", "gold"), [([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [5, 5, 5]), ([1], [1]), ([], [])])
def test_a_constant_side_has_no_correlation(scores, gold):
    found = correlate(np.array(scores, float), np.array(gold, float))
    assert (found.spearman, found.pearson) == (None, None)


def test_means_over_subsets_by_hand():
    subsets = [Correlation(0.2, 0.1, 1), Correlation(0.8, 0.5, 3)]
    assert mean(subsets) == Correlation(pytest.approx(0.5), pytest.approx(0.3), 4)
    assert mean(subsets, weighted=True) == Correlation(pytest.approx(0.65), pytest.approx(0.4), 4)
    assert mean([*subsets, Correlation(None, None, 2)]) == Correlation(None, None, 6)
