"""A corpus without labels: which pooler finds the passage that a pseudo-query was taken from?

A proxy: pseudo-queries share words with their sources, real ones need not. Keyword search would gain most by that, so
only dense candidates are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from semsearch.arrays import Vectors
from semsearch.encoder.encoder import Progress
from semsearch.evaluation.candidates import Candidate, Scored, candidates_of, fit, one_by_one, repeats
from semsearch.evaluation.measures import check_measures, measure_run
from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.evaluation.pseudo_queries import PseudoTask
from semsearch.evaluation.significance import SEED, Comparison, Numbers, compare_means

MEASURE = "nDCG@10"

ALL = "all"
"""The column of the queries of all tasks together."""

DEPTH = 100
"""Passages of a run."""

AT_ONCE = 512
"""Queries that are searched with together."""


@dataclass(frozen=True, slots=True)
class LabelFreeResult:
    """How well each candidate found the sources.

    Attributes:
        tasks: What was asked.
        candidates: What was compared.
        per_query: By candidate (its label) and task, `[queries]`; ALL is all tasks one after another.
        best_passage: By candidate and task, the passage that each query put first, `[queries]`.
        vectors: By task and pooler, queries and passages as pooled, float32 `[n, dim]`.
    """

    tasks: Sequence[PseudoTask]
    candidates: Sequence[Candidate]
    per_query: Mapping[str, Mapping[str, Numbers]]
    best_passage: Mapping[str, Mapping[str, Sequence[int]]]
    vectors: Mapping[str, Mapping[str, tuple[Vectors, Vectors]]]

    def compare(self, seed: int = SEED) -> Comparison:
        """The mean of the measure for each task and for all, with intervals and tests."""
        return compare_means({one.label: self.per_query[one.label] for one in self.candidates}, seed, self.repeats())

    def repeats(self) -> dict[str, str]:
        """Candidates that repeat an earlier one in every task, by their labels."""
        first, *others = (
            repeats(self.candidates, {pooler: passages for pooler, (_, passages) in of_task.items()})
            for of_task in self.vectors.values()
        )
        return {row: one for row, one in first.items() if all(other.get(row) == one for other in others)}


def evaluate_corpus(
    tasks: Sequence[PseudoTask],
    encoder: MultiPooler,
    *,
    transforms: Sequence[str] = (),
    measure: str = MEASURE,
    progress: Progress | None = None,
    scored: Scored | None = None,
) -> LabelFreeResult:
    """Search the passages of each task with each pooler, by itself and with each transform.

    Args:
        tasks: As `make_pseudo_tasks` makes them.
        encoder: With the poolers to compare.
        transforms: As for `candidates_of`; fitted on the passages of a task.
        measure: As ir-measures writes it; each query has one relevant passage.
        progress: Told the number of texts just encoded.
        scored: Told how many rows are scored, and of how many.

    Raises:
        UsageError: An unknown measure or transform.
    """
    check_measures([measure])
    candidates = candidates_of(encoder, transforms)
    every = [*candidates, *map(Candidate, encoder.also)]
    queries = encoder.encode_queries([query for task in tasks for query in task.queries], progress)
    passages = encoder.encode_documents([passage for task in tasks for passage in task.passages], progress)
    vectors: dict[str, dict[str, tuple[Vectors, Vectors]]] = {task.name: {} for task in tasks}
    for pooler in encoder.names:
        query_parts = _split(queries[pooler], [len(task.queries) for task in tasks])
        passage_parts = _split(passages[pooler], [len(task.passages) for task in tasks])
        for task, *parts in zip(tasks, query_parts, passage_parts, strict=True):
            vectors[task.name][pooler] = parts[0], parts[1]
    values: dict[str, dict[str, Numbers]] = {one.label: {} for one in every}
    best: dict[str, dict[str, Sequence[int]]] = {one.label: {} for one in every}
    for candidate in one_by_one(every, scored):
        for task in tasks:
            asked, searched = vectors[task.name][candidate.pooler]
            finish = fit(candidate.transform, searched)
            values[candidate.label][task.name], best[candidate.label][task.name] = _searched(
                task, finish(asked), finish(searched), measure
            )
        values[candidate.label][ALL] = np.concatenate(list(values[candidate.label].values()))
    return LabelFreeResult(tasks, candidates, values, best, vectors)


def recommend(comparison: Comparison, candidates: Sequence[Candidate], declared: str | None) -> tuple[Candidate, str]:
    """The candidate to index with, and why, in words.

    The best one; but where the checkpoint's own pooler, or else one without a transform, cannot be told from it,
    that one: it costs nothing to explain.

    Args:
        comparison: With a column ALL, of these candidates.
        candidates: What was compared.
        declared: The pooler that the checkpoint declares, None where it declares none.
    """
    column = comparison.columns.index(ALL)
    cells = {one: comparison.rows[one.label][column] for one in candidates}
    best = next(one for one, cell in cells.items() if cell.best)
    good = [one for one, cell in cells.items() if cell.best or cell.tied]
    own = next((one for one in good if one == Candidate(declared or "")), None)
    plain = max((one for one in good if not one.transform), key=lambda one: cells[one].value or 0.0, default=None)
    chosen = own or plain or best
    if chosen == best:
        return chosen, "the best here"
    why = "the checkpoint's own pooler" if own else "needs no transform"
    return chosen, f"{why}, and not distinguishable from the best here, {best.label}"


def _split(vectors: Vectors, sizes: Sequence[int]) -> list[Vectors]:
    return np.split(vectors, np.cumsum(sizes)[:-1])


def _searched(task: PseudoTask, queries: Vectors, passages: Vectors, measure: str) -> tuple[Numbers, list[int]]:
    """The measure for each query, and its first passage; some queries at a time, for memory's sake."""
    values: list[Numbers] = []
    best: list[int] = []
    for start in range(0, len(queries), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        cosines = queries[some] @ passages.T
        values.append(_measured(task.sources[some], cosines, measure))
        best += cosines.argmax(1).tolist()
    return np.concatenate(values), best


def _measured(sources: Sequence[int], cosines: Vectors, measure: str) -> Numbers:
    """The measure for each query from its source and cosines `[queries, passages]`."""
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :DEPTH]
    run = {
        str(query): {str(passage): float(cosines[query, passage]) for passage in found}
        for query, found in enumerate(nearest.tolist())
    }
    qrels = {str(query): {str(source): 1} for query, source in enumerate(sources)}
    return measure_run(qrels, run, [measure])[measure]
