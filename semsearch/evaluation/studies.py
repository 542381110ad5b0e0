"""Comparisons of poolers on loaded data: scored sentence pairs, judged queries, labeled texts, or a corpus alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from semsearch.corpus.chunking import Chunking
from semsearch.encoder.encoder import Progress
from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.evaluation import duels as wins
from semsearch.evaluation import evidence as gather
from semsearch.evaluation import notes as said
from semsearch.evaluation.candidates import Candidate, Scored, candidates_of
from semsearch.evaluation.classification import ACCURACY, MACRO_F1
from semsearch.evaluation.label_free import ALL, MEASURE, evaluate_corpus, recommend
from semsearch.evaluation.measures import MEASURES
from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.evaluation.pseudo_queries import PseudoQuerySummary, PseudoTask
from semsearch.evaluation.report import Table
from semsearch.evaluation.retrieval import RetrievalResult, candidates_in_modes, evaluate_retrieval
from semsearch.evaluation.retrieval_data import RetrievalTask
from semsearch.evaluation.significance import SEED, Comparison, rank_agreement
from semsearch.evaluation.sts import average, evaluate_sts
from semsearch.evaluation.sts_data import StsTask
from semsearch.evaluation.study import Behind, Study
from semsearch.evaluation.transfer import evaluate_transfer
from semsearch.evaluation.transfer_data import TransferTask
from semsearch.search import MODES


def study_sts(
    tasks: Sequence[StsTask],
    encoder: MultiPooler,
    *,
    data: str,
    split: str = "test",
    transforms: Sequence[str] = (),
    seed: int = SEED,
    duel: Sequence[str] = (),
    progress: Progress | None = None,
    scored: Scored | None = None,
) -> Study:
    """Compare poolers by how well they rank sentence pairs by similarity.

    Args:
        tasks: Tasks as `load_sts` returns them.
        encoder: Encoder with the poolers to compare; if they include those of `layer_names`, the study has a layer map.
        data: Path that the tasks were loaded from, for the title and the facts.
        split: Split of the tasks, for the facts.
        transforms: Transforms to try on each pooler, as additional candidates: `center`, `whiten:K`,
            `all-but-the-top`, `truncate:K`; `all` for every kind that is fitted.
        seed: Random seed of resampling and sampling.
        duel: Labels of two candidates whose wins and losses a report shows; empty for the best dense one and `cls`.
        progress: Called with the number of sentences just encoded.
        scored: Called with the number of rows scored so far and the total number of rows.

    Raises:
        UsageError: If a transform is unknown, or `duel` has a label of no candidate.
    """
    two = _named(duel, candidates_of(encoder, transforms))
    result = evaluate_sts(tasks, encoder, transforms, progress, scored)
    comparison = result.compare(seed)
    results = result.results()
    averages = {label: average(row) for label, row in results.items()}
    column = comparison.columns[-1]
    poolers = {
        candidate.label: {
            "average": averages[candidate.label],
            "tasks": {task: asdict(one) for task, one in results[candidate.label].items()},
        }
        for candidate in result.candidates
    }
    return Study(
        "sts",
        f"Poolers of {encoder.spec.model} on {Path(data).resolve().name}",
        said.facts_of(encoder, {"similarity": encoder.similarity, "data": data, "split": split, "seed": seed}),
        [Table("Spearman", comparison, 100, 2, measure="Spearman")],
        column,
        result.candidates,
        _best(result.candidates, comparison, column),
        encoder.refused,
        [
            *said.notes_of_similarity(encoder, result.candidates),
            *said.notes_of_repeats(result.repeats()),
            *said.notes_of_sts(result),
        ],
        {"poolers": poolers},
        seed,
        two,
        Behind(
            partial(gather.evidence_of_sts, result, seed),
            partial(wins.duels_of_sts, result),
            notes=said.note_of_fitting(result),
            scored=scored,
        ),
        gather.layers("Spearman x 100, averaged over tasks", encoder.n_layers, averages, 100, 2),
    )


def study_retrieval(
    task: RetrievalTask,
    encoder: MultiPooler,
    *,
    data: str,
    split: str = "test",
    transforms: Sequence[str] = (),
    modes: Sequence[str] = MODES,
    measures: Sequence[str] = MEASURES,
    style: str = "trec",
    fusion: str = "convex",
    chunking: Chunking | None = None,
    drop_same_id: bool = False,
    seed: int = SEED,
    duel: Sequence[str] = (),
    progress: Progress | None = None,
    scored: Scored | None = None,
) -> Study:
    """Compare poolers by how well they find the documents that people judged relevant.

    Args:
        task: Task as `load_retrieval` returns it.
        encoder: Encoder with the poolers to compare, as for `study_sts`.
        data: Path that the task was loaded from, for the facts.
        split: Split of the judgments, for the facts.
        transforms: Transforms to try on each pooler, as for `study_sts`.
        modes: One or more of `dense`, `keyword` and `hybrid`.
        measures: Measures as ir-measures writes them; the first one decides which candidate is best.
        style: `trec` for trec_eval's conventions, `st` for those of sentence-transformers.
        fusion: How `hybrid` fuses both scores, `convex` or `rrf`.
        chunking: How to cut documents into passages; None for the default of an index.
        drop_same_id: Leave out hits with the query's own id, as BEIR does (ArguAna, Quora).
        seed: Random seed of resampling and sampling.
        duel: Labels of two candidates whose wins and losses a report shows, as for `study_sts`.
        progress: Called with the number of texts just encoded.
        scored: Called with the number of rows scored so far and the total number of rows.

    Raises:
        UsageError: If a measure, mode, transform, style or fusion is unknown, or `duel` has a label of no candidate.
        SourceError: If the corpus is empty, or no query counts in this style.
        RecordError: If the corpus contains a bad record that is not to be skipped.
    """
    two = _named(duel, candidates_in_modes(candidates_of(encoder, transforms), modes))
    result = evaluate_retrieval(
        task,
        encoder,
        transforms=transforms,
        modes=modes,
        measures=measures,
        style=style,
        fusion=fusion,
        chunking=chunking,
        drop_same_id=drop_same_id,
        progress=progress,
        scored=scored,
    )
    comparison = result.compare(seed)
    column = measures[0]
    milliseconds = {
        label: f"{1000 * spent / len(result.queries):.1f}" for label, spent in result.search_seconds.items()
    }
    passages, queries = result.encoding_seconds
    means = {label: float(row[column].mean()) for label, row in result.per_query.items()}
    return Study(
        "retrieval",
        f"Poolers of {encoder.spec.model} on {task.name}",
        said.facts_of(
            encoder, {"similarity": encoder.similarity, "data": data, "split": split, "style": style, "seed": seed}
        ),
        [Table(f"Retrieval ({style})", comparison, beside={"ms/query": milliseconds})],
        column,
        result.candidates,
        _best(result.candidates, comparison, column),
        encoder.refused,
        [
            *said.notes_of_similarity(encoder, result.candidates),
            *said.notes_of_repeats(result.repeats()),
            *said.notes_of_retrieval(result),
        ],
        {"seconds": {"passages": passages, "queries": queries, "search": dict(result.search_seconds)}},
        seed,
        two,
        Behind(
            partial(gather.evidence_of_retrieval, result, seed),
            partial(wins.duels_of_retrieval, result, measure=column),
            partial(gather.recall_curves, result.candidates, result),
            scored=scored,
        ),
        gather.layers(column, encoder.n_layers, means),
        result.runs,
    )


def study_transfer(
    tasks: Sequence[TransferTask],
    encoder: MultiPooler,
    *,
    data: str,
    transforms: Sequence[str] = (),
    seed: int = SEED,
    duel: Sequence[str] = (),
    progress: Progress | None = None,
    scored: Scored | None = None,
) -> Study:
    """Compare poolers by how well logistic regression on their frozen vectors classifies texts.

    Args:
        tasks: Tasks as `load_transfer` returns them.
        encoder: Encoder with the poolers to compare, as for `study_sts`.
        data: Path that the tasks were loaded from, for the title and the facts.
        transforms: Transforms to try on each pooler, as for `study_sts`.
        seed: Random seed of folds, resampling and sampling.
        duel: Labels of two candidates whose wins and losses a report shows, as for `study_sts`.
        progress: Called with the number of texts just encoded.
        scored: Called with the number of rows scored so far and the total number of rows, for one task at a time.

    Raises:
        UsageError: If a transform is unknown, `duel` has a label of no candidate, or scikit-learn is not installed.
    """
    two = _named(duel, candidates_of(encoder, transforms))
    result = evaluate_transfer(tasks, encoder, transforms, seed, progress, scored)
    comparison = result.compare(seed)
    column = comparison.columns[-1]
    scores = result.scores()
    means = {label: sum(values[ACCURACY] for values in row.values()) / len(row) for label, row in scores.items()}
    return Study(
        "transfer",
        f"Poolers of {encoder.spec.model} on {Path(data).resolve().name}",
        said.facts_of(encoder, {"data": data, "seed": seed}),
        [
            Table("Accuracy", comparison, 100, 2, measure=ACCURACY),
            Table("Macro-F1", result.compare(seed, MACRO_F1), 100, 2, measure=MACRO_F1),
        ],
        column,
        result.candidates,
        _best(result.candidates, comparison, column),
        encoder.refused,
        [*said.notes_of_repeats(result.repeats()), *said.notes_of_transfer(result)],
        {
            "tasks": {task.name: _described(task) for task in tasks},
            "strengths": {
                one.label: {task: found.strengths for task, found in result.probes[one.label].items()}
                for one in result.candidates
            },
        },
        seed,
        two,
        Behind(
            partial(gather.evidence_of_transfer, result, seed),
            partial(wins.duels_of_transfer, result),
            notes=said.note_of_fitting_samples(result),
            scored=scored,
        ),
        gather.layers("accuracy x 100, averaged over tasks", encoder.n_layers, means, 100, 2),
    )


def study_corpus(
    tasks: Sequence[PseudoTask],
    made: PseudoQuerySummary,
    encoder: MultiPooler,
    *,
    data: str,
    judgments: RetrievalTask | None = None,
    transforms: Sequence[str] = (),
    seed: int = SEED,
    duel: Sequence[str] = (),
    notes: Sequence[str] = (),
    index_options: Mapping[str, str | int | bool | tuple[str, ...] | None] | None = None,
    progress: Progress | None = None,
    scored: Scored | None = None,
) -> Study:
    """Compare poolers on a corpus without judgments, by how well they find the passages that pseudo-queries came from.

    Args:
        tasks: Tasks as `make_pseudo_tasks` returns them.
        made: Summary that `make_pseudo_tasks` returns with them.
        encoder: Encoder with the poolers to compare, as for `study_sts`.
        data: Path of the corpus, as passed to `semsearch index`.
        judgments: True judgments of the same corpus, to measure how well the pseudo-queries agree with them. They are
            optional: an error in them becomes a note.
        transforms: Transforms to try on each pooler, as for `study_sts`.
        seed: Random seed of resampling and sampling.
        duel: Labels of two candidates whose wins and losses a report shows, as for `study_sts`.
        notes: Notes on how the data was loaded, to be added to those of the study.
        index_options: Options of the command that indexes this corpus, by names such as `text_field`.
        progress: Called with the number of texts just encoded.
        scored: Called with the number of rows scored so far and the total number of rows.

    Raises:
        UsageError: If a transform is unknown, or `duel` has a label of no candidate.
    """
    two = _named(duel, candidates_of(encoder, transforms))
    result = evaluate_corpus(tasks, encoder, transforms=transforms, progress=progress, scored=scored)
    comparison = result.compare(seed)
    tables = [Table(f"{MEASURE} on pseudo-queries", comparison, measure=MEASURE)]
    told = [said.PROXY, said.note_of_queries(made), *said.notes_of_similarity(encoder, result.candidates)]
    told += [*said.notes_of_repeats(result.repeats()), *notes]
    agreement = None
    if judgments and (judged := _judged(judgments, encoder, transforms, progress, scored, told)):
        true = judged.compare(seed)
        tables.append(Table(f"true {MEASURE}", true))
        agreement = rank_agreement(
            _values(result.candidates, comparison, ALL), _values(result.candidates, true, MEASURE)
        )
        told.append(said.note_of_agreement(agreement, judgments.name))
    own = next((name for name, spec in encoder.specs.items() if spec.pooler == encoder.declared), None)
    chosen, why = recommend(comparison, result.candidates, own)
    taken = {"pooler": encoder.specs[chosen.pooler].pooler, "transform": chosen.transform}
    if chosen.similarity != encoder.similarity:  # a fitted transform determines it
        taken["similarity"] = ""
    command = said.index_command(data, {**(index_options or {}), **taken})
    means = {label: float(row[ALL].mean()) for label, row in result.per_query.items()}
    counts = {"documents": f"{made.documents:,}", "sampled": f"{made.sampled:,}"}
    return Study(
        "corpus",
        f"Poolers of {encoder.spec.model} on {Path(data).resolve().name}",
        said.facts_of(encoder, {"similarity": encoder.similarity, "data": data, **counts, "seed": seed}),
        tables,
        ALL,
        result.candidates,
        chosen,
        encoder.refused,
        told,
        {"agreement": agreement, "recommended": chosen.label, "why": why, "next": command},
        seed,
        two,
        Behind(
            partial(gather.evidence_of_corpus, result, seed),
            partial(wins.duels_of_corpus, result, measure=MEASURE),
            scored=scored,
        ),
        gather.layers(f"{MEASURE}, pseudo-queries", encoder.n_layers, means),
        why=why,
        next=command,
    )


def _described(task: TransferTask) -> dict[str, Any]:
    """Return the numbers of examples of a task by purpose, and of those to test by label."""
    counts = np.bincount(task.labels[task.test], minlength=len(task.classes)).tolist()
    return {
        "train": task.n_train,
        "dev": task.n_dev,
        "test": sum(counts),
        "folds": task.folds,
        "labels": dict(zip(task.classes, counts, strict=True)),
    }


def _named(duel: Sequence[str], candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates of a duel by their labels; raise UsageError if a label is unknown."""
    by_label = {candidate.label: candidate for candidate in candidates}
    for label in duel:
        if label not in by_label:
            raise UsageError(f"unknown row {label!r} for `duel`; expected one of: {'; '.join(by_label)}")
    return tuple(by_label[label] for label in duel)


@contextmanager
def tolerant(notes: list[str]) -> Iterator[None]:
    """Turn an error in the true judgments, which are optional, into a note."""
    try:
        yield
    except (SourceError, RecordError) as error:
        notes.append(f"warning: cannot measure agreement with the true judgments: {error}")


def _judged(
    judgments: RetrievalTask,
    encoder: MultiPooler,
    transforms: Sequence[str],
    progress: Progress | None,
    scored: Scored | None,
    notes: list[str],
) -> RetrievalResult | None:
    """Evaluate the same poolers on the true judgments; on an error, add a note and return None."""
    with tolerant(notes):
        return evaluate_retrieval(
            judgments,
            encoder,
            transforms=transforms,
            modes=["dense"],
            measures=[MEASURE],
            progress=progress,
            scored=scored,
        )


def _values(candidates: Sequence[Candidate], comparison: Comparison, column: str) -> list[float]:
    place = comparison.columns.index(column)
    return [comparison.rows[candidate.label][place].value or 0.0 for candidate in candidates]


def _best(candidates: Sequence[Candidate], comparison: Comparison, column: str) -> Candidate | None:
    """Return the candidate with a pooler and the highest value; of equal ones, the one marked best, or the first."""
    place = comparison.columns.index(column)
    cells = {one: comparison.rows[one.label][place] for one in candidates if one.pooler}
    known = {one: (cell.best, cell.value) for one, cell in cells.items() if cell.value is not None}
    return max(known, key=lambda one: known[one], default=None)
