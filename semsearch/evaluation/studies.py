"""The three comparisons of poolers on data that is loaded: pairs of sentences, judged queries, a corpus alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

from semsearch.corpus.chunking import Chunking
from semsearch.encoder.encoder import Progress
from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.evaluation import duels as wins
from semsearch.evaluation import evidence as gather
from semsearch.evaluation import notes as said
from semsearch.evaluation.candidates import Candidate, Scored, candidates_of
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
    """Compare poolers by how they rank pairs of sentences.

    Args:
        tasks: As `load_sts` gives them.
        encoder: With the poolers to compare; with those of `layer_names`, there is a map of layers.
        data: Where the tasks come from, for title and facts.
        split: Of the tasks, for the facts.
        transforms: As for `candidates_of`.
        seed: Of resamples and samples.
        duel: Labels of two candidates whose wins and losses a report shows.
        progress: Told the number of sentences just encoded.
        scored: Told how many rows are scored, and of how many.

    Raises:
        UsageError: An unknown transform, or a label that no candidate has.
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
        said.facts_of(encoder, {"data": data, "split": split, "seed": seed}),
        [Table("Spearman", comparison, 100, 2, measure="Spearman")],
        column,
        result.candidates,
        _best(result.candidates, comparison, column),
        encoder.refused,
        [*said.notes_of_repeats(result.repeats()), *said.notes_of_sts(result)],
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
    """Compare poolers by how they find what people judged relevant.

    Args:
        task: As `load_retrieval` gives it.
        encoder: As for `study_sts`.
        data: Where the task comes from, for the facts.
        split: Of its judgments, likewise.
        transforms: As for `candidates_of`.
        modes: Some of `dense`, `keyword` and `hybrid`.
        measures: As ir-measures writes them; the first one decides.
        style: `trec` or `st`, see `measures`.
        fusion: How `hybrid` mixes.
        chunking: How documents are cut; None for the default of an index.
        drop_same_id: Leave out a hit with the query's own id, as BEIR does (ArguAna, Quora).
        seed: Of resamples and samples.
        duel: As for `study_sts`.
        progress: Told the number of texts just encoded.
        scored: Told how many rows are scored, and of how many.

    Raises:
        UsageError: An unknown measure, mode, transform, style or fusion, or a label that no candidate has.
        SourceError: The corpus is empty, or no query counts.
        RecordError: A bad record.
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
        said.facts_of(encoder, {"data": data, "split": split, "style": style, "seed": seed}),
        [Table(f"Retrieval ({style})", comparison, beside={"ms/query": milliseconds})],
        column,
        result.candidates,
        _best(result.candidates, comparison, column),
        encoder.refused,
        [*said.notes_of_repeats(result.repeats()), *said.notes_of_retrieval(result)],
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
    index_options: Mapping[str, str | int | bool | None] | None = None,
    progress: Progress | None = None,
    scored: Scored | None = None,
) -> Study:
    """Compare poolers on a corpus without judgments, by how they find what pseudo-queries were taken from.

    Args:
        tasks: As `make_pseudo_tasks` makes them.
        made: What they were made from, likewise.
        encoder: As for `study_sts`.
        data: Where the corpus comes from, as `semsearch index` takes it.
        judgments: True ones of the same corpus, to see how far the pseudo-queries agree with them; they are an extra,
            so that what is wrong with them is a note and no error.
        transforms: As for `candidates_of`.
        seed: Of resamples and samples.
        duel: As for `study_sts`.
        notes: What is to be said of how the data were loaded.
        index_options: Of the command that indexes this corpus, by names such as `text_field`.
        progress: Told the number of texts just encoded.
        scored: Told how many rows are scored, and of how many.

    Raises:
        UsageError: An unknown transform, or a label that no candidate has.
    """
    two = _named(duel, candidates_of(encoder, transforms))
    result = evaluate_corpus(tasks, encoder, transforms=transforms, progress=progress, scored=scored)
    comparison = result.compare(seed)
    tables = [Table(f"{MEASURE} on pseudo-queries", comparison, measure=MEASURE)]
    told = [said.PROXY, said.note_of_queries(made), *said.notes_of_repeats(result.repeats()), *notes]
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
    command = said.index_command(data, {**(index_options or {}), **taken})
    means = {label: float(row[ALL].mean()) for label, row in result.per_query.items()}
    counts = {"documents": f"{made.documents:,}", "sampled": f"{made.sampled:,}"}
    return Study(
        "corpus",
        f"Poolers of {encoder.spec.model} on {Path(data).resolve().name}",
        said.facts_of(encoder, {"data": data, **counts, "seed": seed}),
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


def _named(duel: Sequence[str], candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates of a duel by their labels; raises UsageError where there is no such candidate."""
    by_label = {candidate.label: candidate for candidate in candidates}
    for label in duel:
        if label not in by_label:
            raise UsageError(f"unknown row {label!r} for `duel`; expected one of: {'; '.join(by_label)}")
    return tuple(by_label[label] for label in duel)


@contextmanager
def tolerant(notes: list[str]) -> Iterator[None]:
    """Turn an error of the true judgments, which are an extra, into a note."""
    try:
        yield
    except (SourceError, RecordError) as error:
        notes.append(f"warning: no agreement with the true judgments: {error}")


def _judged(
    judgments: RetrievalTask,
    encoder: MultiPooler,
    transforms: Sequence[str],
    progress: Progress | None,
    scored: Scored | None,
    notes: list[str],
) -> RetrievalResult | None:
    """The same poolers on true judgments."""
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
    """The one with a pooler and the highest number; of equal ones the one that is marked, or else the first."""
    place = comparison.columns.index(column)
    cells = {one: comparison.rows[one.label][place] for one in candidates if one.pooler}
    known = {one: (cell.best, cell.value) for one, cell in cells.items() if cell.value is not None}
    return max(known, key=lambda one: known[one], default=None)
