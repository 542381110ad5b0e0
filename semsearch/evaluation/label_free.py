"""Evaluation on a corpus without judgments: how well each pooler finds the passages that pseudo-queries came from.

This is a proxy: pseudo-queries share words with their sources, which real queries may not. Keyword search would benefit
most from that, so only dense candidates are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from semsearch.arrays import Vectors
from semsearch.encoder.encoder import Progress
from semsearch.evaluation.candidates import Candidate, Scored, candidates_also, candidates_of, fit, one_by_one, repeats
from semsearch.evaluation.measures import check_measures, measure_run
from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.evaluation.pseudo_queries import PseudoTask
from semsearch.evaluation.significance import SEED, Comparison, Numbers, compare_means
from semsearch.similarity import similarities

MEASURE = "nDCG@10"

ALL = "all"
"""Name of the column for the queries of all tasks together."""

DEPTH = 100
"""Number of passages per query in a run."""

AT_ONCE = 512
"""Number of queries that are searched at a time."""


@dataclass(frozen=True, slots=True)
class LabelFreeResult:
    """How well each candidate found the sources of the pseudo-queries.

    Attributes:
        tasks: The tasks.
        candidates: The compared candidates.
        per_query: Values of the measure by candidate label and task name, `[queries]`; ALL is task after task.
        best_passage: By candidate label and task name, the index of each query's first passage, `[queries]`.
        vectors: By task name and pooler, the vectors of queries and of passages as pooled, float32 `[n, dim]` each.
    """

    tasks: Sequence[PseudoTask]
    candidates: Sequence[Candidate]
    per_query: Mapping[str, Mapping[str, Numbers]]
    best_passage: Mapping[str, Mapping[str, Sequence[int]]]
    vectors: Mapping[str, Mapping[str, tuple[Vectors, Vectors]]]

    def compare(self, seed: int = SEED) -> Comparison:
        """Compare the mean of the measure for each task and for all of them, with intervals and tests."""
        return compare_means({one.label: self.per_query[one.label] for one in self.candidates}, seed, self.repeats())

    def repeats(self) -> dict[str, str]:
        """Map each candidate that repeats an earlier one in every task to that one, by their labels."""
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
    """Search the passages of each task with each pooler, with and without each transform.

    Args:
        tasks: Tasks as `make_pseudo_tasks` returns them.
        encoder: Encoder with the poolers to compare.
        transforms: Transforms to try on each pooler, as for `study_corpus`; they are fitted on the passages of a task.
        measure: Measure as ir-measures writes it; each query has one relevant passage.
        progress: Called with the number of texts just encoded.
        scored: Called with the number of rows scored so far and the total number of rows.

    Raises:
        UsageError: If the measure or a transform is unknown.
    """
    check_measures([measure])
    candidates = candidates_of(encoder, transforms)
    every = [*candidates, *candidates_also(encoder)]
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
            finish = fit(candidate.transform, searched, candidate.similarity)
            values[candidate.label][task.name], best[candidate.label][task.name] = _searched(
                task, candidate.similarity, finish(asked), finish(searched), measure
            )
        values[candidate.label][ALL] = np.concatenate(list(values[candidate.label].values()))
    return LabelFreeResult(tasks, candidates, values, best, vectors)


def recommend(comparison: Comparison, candidates: Sequence[Candidate], declared: str | None) -> tuple[Candidate, str]:
    """Return the candidate to index with, and the reason in words.

    This is the best candidate. If the checkpoint's own pooler, or else a pooler without a transform, is not
    distinguishable from it, that one is recommended instead, because it needs no justification.

    Args:
        comparison: Comparison of these candidates that has a column ALL.
        candidates: The compared candidates.
        declared: The pooler that the checkpoint declares; None if it declares none.
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
    return chosen, f"{why}; not distinguishable from the best here, {best.label}"


def _split(vectors: Vectors, sizes: Sequence[int]) -> list[Vectors]:
    return np.split(vectors, np.cumsum(sizes)[:-1])


def _searched(
    task: PseudoTask, similarity: str, queries: Vectors, passages: Vectors, measure: str
) -> tuple[Numbers, list[int]]:
    """Return the measure and the first passage of each query; search in batches of queries to bound memory."""
    values: list[Numbers] = []
    best: list[int] = []
    for start in range(0, len(queries), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        scores = similarities(similarity, queries[some], passages)
        values.append(_measured(task.sources[some], scores, measure))
        best += scores.argmax(1).tolist()
    return np.concatenate(values), best


def _measured(sources: Sequence[int], scores: Vectors, measure: str) -> Numbers:
    """Compute the measure for each query from its source and the scores `[queries, passages]`."""
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
    run = {
        str(query): {str(passage): float(scores[query, passage]) for passage in found}
        for query, found in enumerate(nearest.tolist())
    }
    qrels = {str(query): {str(source): 1} for query, source in enumerate(sources)}
    return measure_run(qrels, run, [measure])[measure]
