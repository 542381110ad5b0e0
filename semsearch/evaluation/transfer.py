"""Transfer tasks: how well logistic regression on frozen vectors classifies texts, as in SentEval.

The vectors are unit rows, as in an index. Tasks are encoded one after the other, and only a sample of their vectors is
kept, because SentEval's tasks together have more than a hundred thousand texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from semsearch.arrays import Vectors
from semsearch.encoder.encoder import Progress
from semsearch.evaluation.candidates import Candidate, Fits, Scored, candidates_of, is_flat, one_by_one, repeats
from semsearch.evaluation.classification import (
    ACCURACY,
    Labels,
    compare_predictions,
    score_predictions,
)
from semsearch.evaluation.geometry import sample_rows
from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.evaluation.probes import Probe, check_installed, cross_probe, pair_features, probe
from semsearch.evaluation.significance import SEED, Comparison
from semsearch.evaluation.transfer_data import TransferTask
from semsearch.types import COSINE

MAJORITY = "majority class"
"""Row that predicts the most frequent class of the training examples, whatever the text."""

SAMPLE = 1_000
"""Number of examples of each task whose vectors are kept."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Examples of a task with their vectors.

    Attributes:
        rows: Indices of the examples in the task, int64 `[n]`.
        vectors: By pooler, float32 `[sides * n, dim]` as pooled: all first texts, then for pairs all second texts.
    """

    rows: Labels
    vectors: Mapping[str, Vectors]


@dataclass(frozen=True, slots=True)
class TransferResult:
    """The predictions of each candidate for the test examples of each task.

    Attributes:
        tasks: The tasks, with labels.
        candidates: The compared candidates.
        probes: By candidate label and task name, the predictions for the task's test examples.
        samples: By task name, some examples with their vectors.
        same: By task name, candidates that repeat an earlier one, mapped to that one, by their labels.
        flat: By task name, labels of candidates whose whitening makes all cosines equal (`is_flat`).
    """

    tasks: Sequence[TransferTask]
    candidates: Sequence[Candidate]
    probes: Mapping[str, Mapping[str, Probe]]
    samples: Mapping[str, Sample]
    same: Mapping[str, Mapping[str, str]]
    flat: Mapping[str, Sequence[str]]

    def gold(self) -> dict[str, Labels]:
        """Return the labels of the test examples of each task."""
        return {task.name: task.labels[task.test] for task in self.tasks}

    def predictions(self) -> dict[str, dict[str, Labels]]:
        """Return the predictions of the candidates, and of the majority class as the last row, by label and task."""
        rows = {
            one.label: {task: found.predictions for task, found in self.probes[one.label].items()}
            for one in self.candidates
        }
        return {**rows, MAJORITY: {task.name: _majority(task) for task in self.tasks}}

    def scores(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return accuracy and macro-F1 by label, of layers too, task and measure."""
        gold = self.gold()
        return {
            label: {task: score_predictions(found.predictions, gold[task]) for task, found in row.items()}
            for label, row in self.probes.items()
        }

    def compare(self, seed: int = SEED, measure: str = ACCURACY) -> Comparison:
        """Compare the accuracy or macro-F1 on each task, and its mean over tasks, with intervals and tests."""
        return compare_predictions(self.predictions(), self.gold(), measure, seed, self.repeats())

    def repeats(self) -> dict[str, str]:
        """Map each candidate that repeats an earlier one in every task to that one, by their labels."""
        first, *others = self.same.values()
        rows = {one.label for one in self.candidates} & first.keys()
        return {row: first[row] for row in first if row in rows and all(one.get(row) == first[row] for one in others)}


def evaluate_transfer(
    tasks: Sequence[TransferTask],
    encoder: MultiPooler,
    transforms: Sequence[str] = (),
    seed: int = SEED,
    progress: Progress | None = None,
    scored: Scored | None = None,
) -> TransferResult:
    """Classify the test examples of each task with each pooler, with and without each transform.

    Transforms are fitted on the texts of the task itself, without its labels. A task without a training part is
    cross-validated.

    Args:
        tasks: Tasks as `load_transfer` returns them.
        encoder: Encoder with the poolers to compare.
        transforms: Transforms to try on each pooler, as for `study_transfer`.
        seed: Random seed of the folds.
        progress: Called with the number of texts just encoded.
        scored: Called with the number of rows scored so far and the total number of rows, for one task at a time.

    Raises:
        UsageError: If a transform is unknown, or scikit-learn is not installed.
    """
    check_installed()
    candidates = [replace(one, similarity=COSINE) for one in candidates_of(encoder, transforms)]  # unit vectors
    every = [*candidates, *map(Candidate, encoder.also)]
    probes: dict[str, dict[str, Probe]] = {one.label: {} for one in every}
    samples: dict[str, Sample] = {}
    same: dict[str, dict[str, str]] = {}
    flat: dict[str, list[str]] = {}
    for task in tasks:
        vectors = encoder.encode_documents([text for side in task.texts for text in side], progress)
        fits, same[task.name] = Fits(vectors), repeats(every, vectors)
        for one in one_by_one(every, scored):
            if first := same[task.name].get(one.label):
                probes[one.label][task.name] = probes[first][task.name]
            else:
                features = _features(task, fits(one)(vectors[one.pooler]))
                probes[one.label][task.name] = _probe(task, features, seed)
        samples[task.name] = _sample(task, vectors, seed)
        flat[task.name] = [one.label for one in candidates if is_flat(fits(one), vectors[one.pooler])]
    return TransferResult(tasks, candidates, probes, samples, same, flat)


def _features(task: TransferTask, vectors: Vectors) -> Vectors:
    """Return the features of each example: the vector of its text, or those of a pair."""
    sides = np.split(vectors, len(task.texts))
    return pair_features(*sides) if len(sides) == 2 else vectors


def _probe(task: TransferTask, features: Vectors, seed: int) -> Probe:
    if not task.n_train:
        return cross_probe(features, task.labels, seed=seed)
    dev = (features[task.dev], task.labels[task.dev]) if task.n_dev else None
    return probe(features[task.train], task.labels[task.train], features[task.test], dev=dev, seed=seed)


def _majority(task: TransferTask) -> Labels:
    most = int(np.bincount(task.labels[task.train]).argmax())
    return np.full(len(task.labels[task.test]), most, np.int64)


def _sample(task: TransferTask, vectors: Mapping[str, Vectors], seed: int) -> Sample:
    rows = sample_rows(len(task), SAMPLE, seed)
    places = np.concatenate([rows + side * len(task) for side in range(len(task.texts))])
    return Sample(rows, {pooler: pooled[places] for pooler, pooled in vectors.items()})
