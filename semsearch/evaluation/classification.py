"""Accuracy and macro-F1 of predicted classes, with confidence intervals and paired significance tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from semsearch.evaluation.significance import SEED, Comparison, Numbers, compare_drawn, resample_counts

Labels: TypeAlias = NDArray[np.int64]
"""Class indices."""

ACCURACY, MACRO_F1 = "accuracy", "macro-F1"


def accuracy(predicted: Labels, gold: Labels, times: Numbers) -> Numbers:
    """Return the share of right predictions.

    Args:
        predicted: Predictions of each row, `[rows, n]`.
        gold: True classes, `[n]`.
        times: How often each example counts in each sample, `[n, samples]`.

    Returns:
        Accuracy, `[rows, samples]`.
    """
    shares: Numbers = (predicted == gold).astype(np.float64) @ times / times.sum(0)
    return shares


def macro_f1(predicted: Labels, gold: Labels, times: Numbers) -> Numbers:
    """Return the unweighted mean of F1 over the classes that occur in a sample, as true or as predicted ones.

    Args:
        predicted: Predictions of each row, `[rows, n]`.
        gold: True classes, `[n]`.
        times: How often each example counts in each sample, `[n, samples]`.

    Returns:
        Macro-F1, `[rows, samples]`.
    """
    total, occurring = np.zeros((2, len(predicted), times.shape[1]))
    for one in np.unique(np.concatenate([predicted.ravel(), gold])):
        ours, true = (predicted == one).astype(np.float64), (gold == one).astype(np.float64)
        hits, counted = (ours * true) @ times, ours @ times + true @ times
        total += np.divide(2 * hits, counted, out=np.zeros_like(hits), where=counted > 0)
        occurring += counted > 0
    return total / occurring


MEASURES: Mapping[str, Callable[[Labels, Labels, Numbers], Numbers]] = {ACCURACY: accuracy, MACRO_F1: macro_f1}


def score_predictions(predicted: Labels, gold: Labels) -> dict[str, float]:
    """Return each of MEASURES, 0 to 1, of predictions `[n]` of at least one example with true classes `[n]`."""
    once = np.ones((len(gold), 1))
    return {name: float(measure(predicted[None], gold, once)[0, 0]) for name, measure in MEASURES.items()}


def compare_predictions(
    predicted: Mapping[str, Mapping[str, Labels]],
    gold: Mapping[str, Labels],
    measure: str = ACCURACY,
    seed: int = SEED,
    same: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare predictions of classes on each task by accuracy or macro-F1, and by its mean if there are several tasks.

    Differences are tested as in `compare_drawn`: all rows share the same resamples of examples.

    Args:
        predicted: Predictions by row and task, `[n]` each.
        gold: True classes by task, `[n]` each, at least one.
        measure: A key of MEASURES.
        seed: Random seed of the resamples.
        same: Rows that repeat another row, as for `compare_means`.
    """
    drawn, differing = {}, {}
    for number, (task, true) in enumerate(gold.items()):
        each = np.array([row[task] for row in predicted.values()])  # [rows, n]
        times = np.hstack([np.ones((len(true), 1)), resample_counts(len(true), seed + number)])
        drawn[task] = MEASURES[measure](each, true, times)
        differing[task] = np.array([np.count_nonzero(each != row, axis=1) for row in each])
    sizes = {task: len(true) for task, true in gold.items()}
    return compare_drawn(drawn, sizes, list(predicted), "examples", seed, same, differing)
