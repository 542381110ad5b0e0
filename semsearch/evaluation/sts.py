"""Semantic textual similarity: how well an encoder's similarities of sentence pairs rank them as people did.

Every sentence is encoded once, no matter how many tasks and poolers use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from semsearch.arrays import Vectors
from semsearch.encoder.encoder import Progress
from semsearch.evaluation.candidates import (
    Candidate,
    Scored,
    candidates_also,
    candidates_of,
    fit,
    is_flat,
    one_by_one,
    repeats,
)
from semsearch.evaluation.correlation import Correlation, Scores, correlate, mean
from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.evaluation.significance import SEED, Comparison, compare_correlations
from semsearch.evaluation.sts_data import StsTask
from semsearch.similarity import paired_similarities
from semsearch.types import COSINE, EUCLIDEAN


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The correlations of one candidate on one task.

    Attributes:
        subsets: Correlation of each subset, by name.
        all: One correlation over all pairs of the task, as SimCSE and MTEB report it.
        mean, wmean: Means over subsets, unweighted or weighted by number of pairs.
    """

    subsets: Mapping[str, Correlation]
    all: Correlation
    mean: Correlation
    wmean: Correlation


DECIMALS = 7
"""Number of decimals that similarities are rounded to, relative to the lengths of the vectors."""

Results = dict[str, dict[str, TaskResult]]
"""Results by candidate label and task name."""


@dataclass(frozen=True, slots=True)
class StsResult:
    """The similarities of each candidate for the pairs of each task.

    Attributes:
        tasks: The tasks, with human scores.
        candidates: The compared candidates.
        scores: By candidate label and task name, float64 `[pairs]`, subset after subset.
        sentences: All distinct sentences.
        vectors: By pooler, float32 `[sentences, dim]` as pooled.
        sides: By task name, the first and the second sentences of its pairs, as indices into `sentences`.
    """

    tasks: Sequence[StsTask]
    candidates: Sequence[Candidate]
    scores: Mapping[str, Mapping[str, Scores]]
    sentences: Sequence[str]
    vectors: Mapping[str, Vectors]
    sides: Mapping[str, tuple[list[int], list[int]]]

    def results(self) -> Results:
        """Compute the correlations of each candidate on each task, by subset and aggregated in three ways."""
        return {
            name: {task.name: _result(task, row[task.name]) for task in self.tasks} for name, row in self.scores.items()
        }

    def compare(self, seed: int = SEED) -> Comparison:
        """Compare Spearman over all pairs of each task, and its mean over tasks, with intervals and tests."""
        scores = {one.label: self.scores[one.label] for one in self.candidates}
        gold = {task.name: task.similarity for task in self.tasks}
        return compare_correlations(scores, gold, seed, self.repeats())

    def repeats(self) -> dict[str, str]:
        """Map each candidate that repeats an earlier one to that one, by their labels."""
        return repeats(self.candidates, self.vectors)


def evaluate_sts(
    tasks: Sequence[StsTask],
    encoder: MultiPooler,
    transforms: Sequence[str] = (),
    progress: Progress | None = None,
    scored: Scored | None = None,
) -> StsResult:
    """Compute the similarities of each task's pairs with each pooler, with and without each transform.

    Transforms are fitted on the sentences of the task itself, as in Su et al. (2021), without its human scores.

    Args:
        tasks: Tasks as `load_sts` returns them.
        encoder: Encoder with the poolers to compare.
        transforms: Transforms to try on each pooler, as for `study_sts`.
        progress: Called with the number of sentences just encoded.
        scored: Called with the number of rows scored so far and the total number of rows.

    Raises:
        UsageError: If a transform is unknown.
    """
    candidates = candidates_of(encoder, transforms)
    every = [*candidates, *candidates_also(encoder)]
    sentences = unique_sentences(tasks)
    number = {sentence: place for place, sentence in enumerate(sentences)}
    vectors = encoder.encode_documents(sentences, progress)
    sides = {task.name: (_places(number, task.sides[0]), _places(number, task.sides[1])) for task in tasks}
    scores: dict[str, dict[str, Scores]] = {one.label: {} for one in every}
    for candidate in one_by_one(every, scored):
        pooled = vectors[candidate.pooler]
        for task, (first, second) in sides.items():
            scores[candidate.label][task] = _scored(candidate, pooled, first, second)
    return StsResult(tasks, candidates, scores, sentences, vectors, sides)


def _scored(candidate: Candidate, pooled: Vectors, first: Sequence[int], second: Sequence[int]) -> Scores:
    """Return the similarities of pairs; all 0 if the transform cannot distinguish the sentences."""
    similarity = candidate.similarity
    if not candidate.transform:
        return _similarities(similarity, pooled[first], pooled[second])
    own = pooled[sorted({*first, *second})]
    finish = fit(candidate.transform, own, similarity) if len(own) > 1 else None
    if finish is None or is_flat(finish, own):
        return np.zeros(len(first))
    return _similarities(similarity, finish(pooled[first]), finish(pooled[second]))


def _places(number: Mapping[str, int], sentences: Iterable[str]) -> list[int]:
    return [number[sentence] for sentence in sentences]


def unique_sentences(tasks: Sequence[StsTask]) -> list[str]:
    """Return each distinct sentence once, in order of first occurrence."""
    return list(dict.fromkeys(sentence for task in tasks for side in task.sides for sentence in side))


def average(results: Mapping[str, TaskResult]) -> float | None:
    """Return the mean over tasks of Spearman over all pairs (`all`); None if it is undefined for a task."""
    values = [result.all.spearman for result in results.values()]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _similarities(similarity: str, first: Vectors, second: Vectors) -> Scores:
    """Return the similarities of paired rows of any length, rounded to the resolution of float32 hidden states.

    Pairs of identical sentences therefore have the same cosine, and a pooler that gives every text the same vector
    ranks nothing.
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    scores = paired_similarities(similarity, a, b)
    scale = np.maximum(*lengths) if similarity == EUCLIDEAN else lengths[0] * lengths[1]
    if similarity == COSINE:
        scores, scale = scores / np.where(scale == 0, 1, scale), np.ones(1)
    unit = float(scale.max(initial=0)) or 1.0
    rounded = (scores / unit).round(DECIMALS)
    if len(rounded) and np.ptp(rounded) < 2 * 10**-DECIMALS:
        rounded = np.full_like(rounded, rounded[0])
    return rounded * unit


def _result(task: StsTask, scores: Scores) -> TaskResult:
    ends = np.cumsum([len(subset.similarity) for subset in task.subsets])
    subsets = {
        subset.name: correlate(some, subset.similarity)
        for subset, some in zip(task.subsets, np.split(scores, ends[:-1]), strict=True)
    }
    each = list(subsets.values())
    return TaskResult(subsets, correlate(scores, task.similarity), mean(each), mean(each, weighted=True))
