"""Semantic textual similarity: does the cosine of two sentences rank pairs as people did?

Every sentence is encoded once, however many tasks and poolers use it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from semsearch.encoder.encode import Progress
from semsearch.encoder.many import ManyPoolers
from semsearch.evaluation.correlation import Correlation, Scores, correlate, mean
from semsearch.evaluation.sts_data import Task
from semsearch.records import Vectors


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One pooler on one task.

    Attributes:
        subsets: The correlation of each.
        all: One correlation over all pairs of the task, as SimCSE and MTEB report it.
        mean, wmean: Means over subsets, each counted once or by its pairs.
    """

    subsets: Mapping[str, Correlation]
    all: Correlation
    mean: Correlation
    wmean: Correlation


Results = dict[str, dict[str, TaskResult]]
"""By pooler and task."""


def evaluate_sts(tasks: Sequence[Task], encoder: ManyPoolers, progress: Progress | None = None) -> Results:
    """Correlate each pooler's cosines with the similarities of each task.

    Args:
        tasks: As `load_tasks` gives them.
        encoder: With the poolers to compare.
        progress: Told the number of sentences just encoded.
    """
    sentences = unique_sentences(tasks)
    row = {sentence: number for number, sentence in enumerate(sentences)}
    vectors = encoder.encode_passages(sentences, progress)
    return {name: {task.name: _result(task, vectors[name], row) for task in tasks} for name in encoder.names}


def unique_sentences(tasks: Sequence[Task]) -> list[str]:
    """Each sentence once, in the order in which the tasks have them."""
    every = (sentence for task in tasks for subset in task.subsets for sentence in (*subset.first, *subset.second))
    return list(dict.fromkeys(every))


def average(results: Mapping[str, TaskResult]) -> float | None:
    """The mean Spearman over tasks, of their `all`; None if a task has none."""
    values = [result.all.spearman for result in results.values()]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _result(task: Task, vectors: Vectors, row: Mapping[str, int]) -> TaskResult:
    cosines: list[Scores] = []
    for subset in task.subsets:
        first, second = (vectors[[row[sentence] for sentence in side]] for side in (subset.first, subset.second))
        cosines.append(np.einsum("nd,nd->n", first, second, dtype=np.float64))
    gold = [subset.similarity for subset in task.subsets]
    subsets = {subset.name: correlate(*pair) for subset, *pair in zip(task.subsets, cosines, gold, strict=True)}
    whole = correlate(np.concatenate(cosines), np.concatenate(gold))
    each = list(subsets.values())
    return TaskResult(subsets, whole, mean(each), mean(each, weighted=True))
