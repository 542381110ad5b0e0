"""Tests for probes: cases that can be solved by hand, scikit-learn called directly, and no peeking at the labels."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from semsearch.errors import UsageError
from semsearch.evaluation.probes import STRENGTHS, cross_probe, n_folds, pair_features, probe


def clouds(n: int, dim: int, distance: float, classes: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw n points of Gaussian clouds whose centers are a distance from the origin."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centers = distance * np.eye(dim)[:classes]
    return (centers[labels] + rng.normal(size=(n, dim))).astype(np.float32), labels


def with_scikit_learn(train: np.ndarray, labels: np.ndarray, test: np.ndarray, strength: float) -> np.ndarray:
    """Fit scikit-learn's classifier directly on standardized vectors, to high precision, and predict."""
    scaler = StandardScaler().fit(train)
    model = LogisticRegression(C=strength, max_iter=10_000, tol=1e-8).fit(scaler.transform(train), labels)
    return model.predict(scaler.transform(test))


def agree(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Return whether predictions are the same, except for one in fifty at the boundary, where rounding decides."""
    return np.mean(ours == theirs) >= 0.98


# --- solved by hand


def test_points_on_either_side_of_zero_are_told_apart():
    train = np.array([[-3], [-2], [-1], [1], [2], [3]], np.float32)
    test = np.array([[-10], [-0.5], [0.5], [10]], np.float32)
    found = probe(train, np.array([7, 7, 7, 2, 2, 2]), test)
    assert found.predictions.tolist() == [7, 7, 2, 2]
    assert found.strengths == (STRENGTHS[0],), "all are equally right, so the smallest is chosen"


def test_separable_points_are_all_predicted_right_from_the_other_folds():
    vectors, labels = clouds(60, 4, distance=30, classes=3)
    found = cross_probe(vectors, labels)
    np.testing.assert_array_equal(found.predictions, labels)
    assert len(found.strengths) == 10


def test_exclusive_or_is_beyond_a_linear_classifier():
    corners = np.array([[0, 0], [1, 1], [0, 1], [1, 0]], np.float32)
    vectors, labels = np.tile(corners, (25, 1)), np.tile([0, 0, 1, 1], 25)
    assert accuracy_score(labels, cross_probe(vectors, labels).predictions) <= 0.75


def test_pairs_have_the_distance_and_the_product_of_their_vectors():
    features = pair_features(np.array([[1, 2]], np.float32), np.array([[3, -1]], np.float32))
    assert features.tolist() == [[2, 3, 3, -2]]


def test_a_dimension_of_rounding_errors_is_not_made_a_feature():
    vectors, labels = clouds(200, 3, distance=2)
    leak = (1 + 1e-7 * (2 * labels - 1)).astype(np.float32)[:, None]  # tells the labels, one unit in the last place
    plain, leaking = (cross_probe(rows, labels).predictions for rows in (vectors, np.hstack([vectors, leak])))
    np.testing.assert_array_equal(plain, leaking)


# --- scikit-learn called directly


@pytest.mark.parametrize("classes", [2, 4])
def test_a_probe_is_scikit_learn_s_classifier_with_the_best_strength_on_dev(classes: int):
    vectors, labels = clouds(400, 20, distance=1.5, classes=classes)
    train, dev, test = slice(0, 200), slice(200, 300), slice(300, 400)
    found = probe(vectors[train], labels[train], vectors[test], dev=(vectors[dev], labels[dev]))
    on_dev = [
        accuracy_score(labels[dev], with_scikit_learn(vectors[train], labels[train], vectors[dev], strength))
        for strength in STRENGTHS
    ]
    assert found.strengths == (STRENGTHS[int(np.argmax(on_dev))],)
    expected = with_scikit_learn(vectors[train], labels[train], vectors[test], found.strengths[0])
    assert agree(found.predictions, expected)


def test_without_dev_vectors_the_strength_is_chosen_by_cross_validation():
    vectors, labels = clouds(300, 20, distance=1.5)
    train, test = slice(0, 200), slice(200, 300)
    right = []
    for strength in STRENGTHS:
        folds = StratifiedKFold(10, shuffle=True, random_state=3).split(vectors[train], labels[train])
        right.append(
            sum((with_scikit_learn(vectors[a], labels[a], vectors[b], strength) == labels[b]).sum() for a, b in folds)
        )
    found = probe(vectors[train], labels[train], vectors[test], seed=3)
    assert found.strengths == (STRENGTHS[int(np.argmax(right))],)
    expected = with_scikit_learn(vectors[train], labels[train], vectors[test], found.strengths[0])
    assert agree(found.predictions, expected)


def test_each_fold_is_predicted_by_the_others_with_the_strength_that_is_best_on_them():
    vectors, labels = clouds(200, 20, distance=1.0)
    found = cross_probe(vectors, labels, seed=5)
    folds = [*StratifiedKFold(10, shuffle=True, random_state=5).split(vectors, labels)]
    each = [
        [with_scikit_learn(vectors[a], labels[a], vectors[b], strength) for strength in STRENGTHS] for a, b in folds
    ]
    right = np.array([[(p == labels[b]).sum() for p in of] for of, (_, b) in zip(each, folds, strict=True)])
    expected = np.empty_like(labels)
    for number, (_, inside) in enumerate(folds):
        chosen = int(np.delete(right, number, axis=0).sum(0).argmax())
        assert found.strengths[number] == STRENGTHS[chosen]
        expected[inside] = each[number][chosen]
    assert agree(found.predictions, expected)


# --- what it cannot know


def test_random_labels_are_predicted_no_better_than_by_chance():
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(600, 50)).astype(np.float32), rng.integers(2, size=600)
    shares = [
        accuracy_score(labels, cross_probe(vectors, labels).predictions),
        accuracy_score(labels[300:], probe(vectors[:300], labels[:300], vectors[300:]).predictions),
    ]
    assert all(abs(share - 0.5) < 0.1 for share in shares)  # over 3 standard errors of 600 coin tosses


def test_test_labels_are_not_needed_and_another_order_of_tests_is_another_order_of_predictions():
    vectors, labels = clouds(120, 8, distance=1)
    one = probe(vectors[:80], labels[:80], vectors[80:]).predictions
    other = probe(vectors[:80], labels[:80], vectors[80:][::-1]).predictions
    np.testing.assert_array_equal(one, other[::-1])


def test_the_same_seed_gives_the_same_predictions():
    vectors, labels = clouds(200, 20, distance=0.7)
    np.testing.assert_array_equal(cross_probe(vectors, labels).predictions, cross_probe(vectors, labels).predictions)


def test_scale_and_shift_of_all_vectors_change_nothing():
    vectors, labels = clouds(200, 20, distance=1.5)
    assert agree(*(cross_probe(rows, labels).predictions for rows in (vectors, 1_000 * vectors + 3)))


def test_nothing_to_test_gives_no_predictions():
    vectors, labels = clouds(20, 4, distance=3)
    assert probe(vectors, labels, vectors[:0]).predictions.shape == (0,)


# --- folds and errors


def test_there_are_as_many_folds_as_the_rarest_class_has_examples_and_at_most_ten():
    assert n_folds(np.repeat([0, 1], [50, 4])) == 4
    assert n_folds(np.repeat([0, 1, 2], [50, 10, 11])) == 10


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([1, 1, 1, 1], "the training labels have 1 classes; expected at least 2"),
        ([], "the training labels have 0 classes; expected at least 2"),
        ([0, 0, 0, 5, 5], "class 5 has too few examples for a cross-validation: 2; expected at least 3"),
    ],
)
def test_labels_that_cannot_be_learned_are_one_line(labels: list[int], said: str):
    vectors, given = np.zeros((len(labels), 2), np.float32), np.array(labels, np.int64)
    for call in (lambda: cross_probe(vectors, given), lambda: probe(vectors, given, vectors)):
        with pytest.raises(UsageError) as raised:
            call()
        assert str(raised.value) == said


def test_two_examples_of_a_class_are_enough_with_dev_vectors():
    vectors, labels = clouds(8, 2, distance=30)
    found = probe(vectors[:4], labels[:4], vectors[6:], dev=(vectors[4:6], labels[4:6]))
    np.testing.assert_array_equal(found.predictions, labels[6:])


def test_without_scikit_learn_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UsageError, match=r"probes need scikit-learn, which is not installed; pip install 'semsearch"):
        cross_probe(*clouds(20, 2, distance=1))
