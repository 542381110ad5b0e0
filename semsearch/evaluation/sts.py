"""Semantic textual similarity: how well the cosines of sentence pairs rank them as people did.

Every sentence is encoded once, no matter how many tasks and poolers use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from semsearch.arrays import Vectors
from semsearch.encoder.encoder import Progress
from semsearch.evaluation.candidates import Candidate, Scored, candidates_of, fit, is_flat, one_by_one, repeats
from semsearch.evaluation.correlation import Correlation, Scores, correlate, mean
from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.evaluation.significance import SEED, Comparison, compare_correlations
from semsearch.evaluation.sts_data import StsTask


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
"""Number of decimals that cosines are rounded to."""

Results = dict[str, dict[str, TaskResult]]
"""Results by candidate label and task name."""


@dataclass(frozen=True, slots=True)
class StsResult:
    """The cosines of each candidate for the pairs of each task.

    Attributes:
        tasks: The tasks, with human scores.
        candidates: The compared candidates.
        cosines: By candidate label and task name, float64 `[pairs]`, subset after subset.
        sentences: All distinct sentences.
        vectors: By pooler, float32 `[sentences, dim]` as pooled.
        sides: By task name, the first and the second sentences of its pairs, as indices into `sentences`.
    """

    tasks: Sequence[StsTask]
    candidates: Sequence[Candidate]
    cosines: Mapping[str, Mapping[str, Scores]]
    sentences: Sequence[str]
    vectors: Mapping[str, Vectors]
    sides: Mapping[str, tuple[list[int], list[int]]]

    def results(self) -> Results:
        """Compute the correlations of each candidate on each task, by subset and aggregated in three ways."""
        return {
            name: {task.name: _result(task, row[task.name]) for task in self.tasks}
            for name, row in self.cosines.items()
        }

    def compare(self, seed: int = SEED) -> Comparison:
        """Compare Spearman over all pairs of each task, and its mean over tasks, with intervals and tests."""
        cosines = {one.label: self.cosines[one.label] for one in self.candidates}
        gold = {task.name: task.similarity for task in self.tasks}
        return compare_correlations(cosines, gold, seed, self.repeats())

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
    """Compute the cosines of each task's pairs with each pooler, with and without each transform.

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
    every = [*candidates, *map(Candidate, encoder.also)]
    sentences = unique_sentences(tasks)
    number = {sentence: place for place, sentence in enumerate(sentences)}
    vectors = encoder.encode_documents(sentences, progress)
    sides = {task.name: (_places(number, task.sides[0]), _places(number, task.sides[1])) for task in tasks}
    cosines: dict[str, dict[str, Scores]] = {one.label: {} for one in every}
    for candidate in one_by_one(every, scored):
        pooled = vectors[candidate.pooler]
        for task, (first, second) in sides.items():
            cosines[candidate.label][task] = _transformed(candidate.transform, pooled, first, second)
    return StsResult(tasks, candidates, cosines, sentences, vectors, sides)


def _transformed(transform: str, pooled: Vectors, first: Sequence[int], second: Sequence[int]) -> Scores:
    """Return the cosines of transformed pairs; all 0 if the transform cannot distinguish the sentences."""
    if not transform:
        return _cosines(pooled[first], pooled[second])
    own = pooled[sorted({*first, *second})]
    finish = fit(transform, own) if len(own) > 1 else None
    if finish is None or is_flat(finish, own):
        return np.zeros(len(first))
    return _cosines(finish(pooled[first]), finish(pooled[second]))


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


def _cosines(first: Vectors, second: Vectors) -> Scores:
    """Return the cosines of paired rows, rounded to the resolution of float32 hidden states.

    Pairs of identical sentences therefore tie with one another, and a pooler that gives every text the same vector
    ranks nothing.
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines: Scores = (np.einsum("nd,nd->n", a, b) / np.where(lengths == 0, 1, lengths)).round(DECIMALS)
    return np.full_like(cosines, cosines[0]) if len(cosines) and np.ptp(cosines) < 2 * 10**-DECIMALS else cosines


def _result(task: StsTask, cosines: Scores) -> TaskResult:
    ends = np.cumsum([len(subset.similarity) for subset in task.subsets])
    subsets = {
        subset.name: correlate(some, subset.similarity)
        for subset, some in zip(task.subsets, np.split(cosines, ends[:-1]), strict=True)
    }
    each = list(subsets.values())
    return TaskResult(subsets, correlate(cosines, task.similarity), mean(each), mean(each, weighted=True))
