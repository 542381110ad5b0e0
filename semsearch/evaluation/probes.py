"""Probes: logistic regression on frozen vectors, which measures what a linear classifier can read from them.

The procedure follows SentEval (Conneau and Kiela 2018), whose regularization is chosen without the examples to be
predicted. Features are standardized on the training examples, so that one grid of strengths suits every pooler.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from semsearch.arrays import Vectors
from semsearch.errors import UsageError
from semsearch.evaluation.classification import Labels
from semsearch.evaluation.significance import SEED

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""The values of C to choose from, scikit-learn's inverse strength of L2 regularization, strongest regularization first.

They are for standardized features; SentEval chooses from 0.25 to 8 or from 0.5 to 32 for vectors as pooled.
"""

FOLDS = 10
"""Maximum number of folds of a cross-validation."""

LEAST_OF_A_CLASS = 3
"""Minimum number of examples of each class in a cross-validation."""

LEAST_SPREAD = 1e-2
"""Minimum standard deviation that a dimension is divided by, as a share of the root mean square over dimensions."""

MAX_STEPS = 1_000
"""Maximum number of steps of the solver, which stops earlier if it converges."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The predictions of a probe.

    Attributes:
        predictions: Predicted classes, int64 `[n]`.
        strengths: The chosen values of C: one for each fold, or a single one.
    """

    predictions: Labels
    strengths: tuple[float, ...]


def probe(
    train_vectors: Vectors,
    train_labels: Labels,
    test_vectors: Vectors,
    *,
    dev: tuple[Vectors, Labels] | None = None,
    seed: int = SEED,
) -> Probe:
    """Fit logistic regression on training vectors, and predict the classes of test vectors.

    C is the value in STRENGTHS with the highest accuracy on the dev vectors, or without these in a cross-validation of
    the training vectors; of equal ones, the smallest.

    Args:
        train_vectors: float32 `[n, dim]`.
        train_labels: Class indices, int64 `[n]`.
        test_vectors: float32 `[m, dim]`.
        dev: Vectors and labels to choose C by; they are not trained on.
        seed: Random seed of the folds.

    Raises:
        UsageError: If scikit-learn is not installed, there are fewer than two classes, or without `dev` a class has
            fewer than LEAST_OF_A_CLASS examples.
    """
    _check(train_labels, cross_validated=dev is None)
    with _one_thread():
        if dev is None:
            _, out_of_fold = _cross_validated(train_vectors, train_labels, seed)
            right = (out_of_fold == train_labels).sum(1)
            (predicted,) = _fitted(train_vectors, train_labels, [test_vectors])
        else:
            on_dev, predicted = _fitted(train_vectors, train_labels, [dev[0], test_vectors])
            right = (on_dev == dev[1]).sum(1)
    chosen = int(right.argmax())
    return Probe(predicted[chosen], (STRENGTHS[chosen],))


def cross_probe(vectors: Vectors, labels: Labels, *, seed: int = SEED) -> Probe:
    """Predict the class of each vector by logistic regression on the other folds of a stratified cross-validation.

    C is chosen for each fold, as in `probe`, by the accuracy of the same cross-validation on the other folds. A fold's
    own labels take part in that only as training labels of the other folds. SentEval repeats a whole cross-validation
    inside each fold, which excludes them altogether and takes ten times as long.

    Args:
        vectors: float32 `[n, dim]`.
        labels: Class indices, int64 `[n]`.
        seed: Random seed of the folds.

    Raises:
        UsageError: If scikit-learn is not installed, there are fewer than two classes, or a class has fewer than
            LEAST_OF_A_CLASS examples.
    """
    _check(labels, cross_validated=True)
    with _one_thread():
        fold, out_of_fold = _cross_validated(vectors, labels, seed)
    right = out_of_fold == labels  # [strengths, n]
    predictions, strengths = np.empty_like(labels), []
    for number in range(n_folds(labels)):
        inside = fold == number
        chosen = int(right[:, ~inside].sum(1).argmax())
        predictions[inside] = out_of_fold[chosen, inside]
        strengths.append(STRENGTHS[chosen])
    return Probe(predictions, tuple(strengths))


def pair_features(first: Vectors, second: Vectors) -> Vectors:
    """Return the features of pairs of texts, `[n, 2 dim]`: `|u - v|` and `u * v`, as in SentEval."""
    return np.hstack([np.abs(first - second), first * second])


def n_folds(labels: Labels) -> int:
    """Return the number of folds: FOLDS, or fewer if the smallest class has fewer examples."""
    return int(min(FOLDS, np.unique(labels, return_counts=True)[1].min()))


def check_installed() -> None:
    """Raise UsageError if scikit-learn is not installed."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise UsageError("probes need scikit-learn, which is not installed; pip install 'semsearch[eval]'") from None


def _check(labels: Labels, *, cross_validated: bool) -> None:
    check_installed()
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        raise UsageError(f"the training labels have {len(classes)} classes; expected at least 2")
    if cross_validated and counts.min() < LEAST_OF_A_CLASS:
        rare, n = classes[counts.argmin()], counts.min()
        raise UsageError(
            f"class {rare} has too few examples for a cross-validation: {n}; expected at least {LEAST_OF_A_CLASS}"
        )


def _cross_validated(vectors: Vectors, labels: Labels, seed: int) -> tuple[Labels, Labels]:
    """Return the fold of each vector, `[n]`, and its prediction by the other folds at each C, `[strengths, n]`."""
    from sklearn.model_selection import StratifiedKFold

    fold = np.empty(len(labels), np.int64)
    predicted = np.empty((len(STRENGTHS), len(labels)), np.int64)
    folds = StratifiedKFold(n_folds(labels), shuffle=True, random_state=seed)
    for number, (others, inside) in enumerate(folds.split(vectors, labels)):
        fold[inside] = number
        (predicted[:, inside],) = _fitted(vectors[others], labels[others], [vectors[inside]])
    return fold, predicted


def _fitted(vectors: Vectors, labels: Labels, unseen: Sequence[Vectors]) -> list[Labels]:
    """Fit at each C, starting from the previous weights, and predict: `[strengths, n]` for each of unseen."""
    from sklearn.linear_model import LogisticRegression

    features, *others = _standardized(vectors, *unseen)
    model = LogisticRegression(max_iter=MAX_STEPS, warm_start=True)
    predicted = [np.empty((len(STRENGTHS), len(rows)), np.int64) for rows in others]
    for number, strength in enumerate(STRENGTHS):
        model.set_params(C=strength).fit(features, labels)
        for rows, found in zip(others, predicted, strict=True):
            if len(rows):
                found[number] = model.predict(rows)
    return predicted


def _standardized(vectors: Vectors, *unseen: Vectors) -> list[Vectors]:
    """Shift and scale all vectors so that the first ones have mean 0 and variance 1 in each dimension.

    A dimension with next to no variance is not scaled up, because that would turn rounding errors into a feature.
    """
    mean, spread = vectors.mean(0, dtype=np.float64), vectors.std(0, dtype=np.float64)
    scale = np.maximum(spread, LEAST_SPREAD * np.sqrt((spread**2).mean()))
    scale[scale == 0] = 1
    return [((rows - mean) / scale).astype(np.float32) for rows in (vectors, *unseen)]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Fit on one thread, which gives the same weights on any number of processors and is faster for small matrices.

    A solver that stops after MAX_STEPS is close enough to the optimum for predictions, so it does not warn.
    """
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
