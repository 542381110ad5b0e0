"""Notes on the numbers of a comparison: what was left out, why a value is missing, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from semsearch.evaluation.candidates import Candidate
from semsearch.evaluation.geometry import Geometry
from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.evaluation.probes import FOLDS, STRENGTHS
from semsearch.evaluation.pseudo_queries import PseudoQuerySummary
from semsearch.evaluation.retrieval import RetrievalResult
from semsearch.evaluation.sts import StsResult
from semsearch.evaluation.transfer import MAJORITY, TransferResult
from semsearch.evaluation.transfer_data import TransferTask
from semsearch.types import COSINE, DOT, EUCLIDEAN
from semsearch.version import __version__

PROXY = (
    "this is a proxy: pseudo-queries are parts of the documents and share words with them, which real queries may not; "
    "rely on the order of the poolers, not on the values"
)

NAMES = {COSINE: "cosine", DOT: "dot product", EUCLIDEAN: "Euclidean distance"}
"""Similarity functions as notes name them."""

ASKED = {
    "title": "title: the query is a title, the answer the body of its document",
    "sentence": "sentence: the query is one sentence, the answer the rest of its passage",
    "first": "first: the query is the first sentence, the answer what follows it",
}
"""Explanations of the kinds of pseudo-queries."""

AGGREGATED = (
    "each value is one correlation over all pairs of a task, regardless of subsets (`all`, as SimCSE and MTEB report "
    "it), and average is the mean over tasks; JSON also has the means over subsets, unweighted (`mean`) or weighted by "
    "number of pairs (`wmean`)"
)

FITTED = (
    "transforms are fitted on each task's own sentences for the table, and on those of all tasks together for "
    "geometry, histograms and map"
)

PROBED = (
    "each value is that of a logistic regression on frozen unit vectors (scikit-learn's, with standardized "
    f"features and C from {STRENGTHS[0]:g} to {STRENGTHS[-1]:g}); SentEval's own default classifier is a network in "
    "torch on vectors as pooled, whose values differ a little"
)

BASELINE = (
    f"{MAJORITY}: always predicts the most frequent label; vectors that do no better say nothing about the labels"
)

FITTED_ON_SAMPLES = (
    "transforms are fitted on each task's own texts for the table, and on a sample of all tasks' texts for geometry, "
    "histograms and map"
)


def facts_of(encoder: MultiPooler, more: Mapping[str, object]) -> dict[str, str]:
    """Return what is needed to reproduce the numbers: the model, then `more`, then the version of semsearch."""
    return {
        "model": encoder.spec.model,
        "declared pooler": encoder.declared or "none",
        "max tokens": str(encoder.spec.max_tokens),
        "precision": encoder.spec.precision,
        **{name: str(value) for name, value in more.items()},
        "semsearch": __version__,
    }


def notes_of_similarity(encoder: MultiPooler, candidates: Sequence[Candidate]) -> list[str]:
    """Return a note on the function that ranks vectors, unless it is the usual one."""
    if encoder.similarity == COSINE:
        return []
    others = any(one.pooler and one.similarity == COSINE for one in candidates)
    return [f"vectors are compared by {NAMES[encoder.similarity]}{', after a fitted transform by cosine' * others}"]


def notes_of_sts(result: StsResult) -> list[str]:
    """Return notes on what was left out, and on why a correlation is missing."""
    notes = [AGGREGATED] if len(result.tasks) > 1 or any(len(task.subsets) > 1 for task in result.tasks) else []
    notes += [
        f"{task.name}: pairs without a score, left out: {task.dropped:,}" for task in result.tasks if task.dropped
    ]
    flat = {task.name: len(task.similarity) for task in result.tasks if len({*task.similarity.tolist()}) < 2}
    notes += [f"{task}: no correlation, because its {n:,} pairs do not differ in score" for task, n in flat.items()]
    for candidate in result.candidates:
        same = [
            task
            for task, scores in result.scores[candidate.label].items()
            if task not in flat and len({*scores.tolist()}) < 2
        ]
        if same and candidate.transform.startswith("whiten"):
            sizes = {task: len({place for side in result.sides[task] for place in side}) for task in same}
            notes += [
                f"{candidate.label}: no correlation on {task}, because {_whitened(n)}" for task, n in sizes.items()
            ]
        elif same:
            notes.append(
                f"{candidate.label}: no correlation on {', '.join(same)}, because it gives every pair the same "
                f"{NAMES[candidate.similarity]}"
            )
    return notes


def notes_of_transfer(result: TransferResult) -> list[str]:
    """Return notes on the classifier, on the examples of each task, on odd transforms, and on the baseline."""
    notes = [PROBED, f"examples: {'; '.join(map(_examples, result.tasks))}"]
    for task in result.tasks:
        if 0 < (n := task.folds) < FOLDS:
            notes.append(f"{task.name}: {n} folds instead of {FOLDS}, because a label has only {n} examples")
        if task.dropped:
            notes.append(f"{task.name}: blank lines, left out: {task.dropped:,}")
        notes += [
            f"{label}: no information on {task.name}, because {_whitened(len(task) * len(task.texts))}"
            for label in result.flat[task.name]
        ]
    return [*notes, BASELINE]


def _examples(task: TransferTask) -> str:
    """Describe how many examples a task has for each purpose."""
    if not task.n_train:
        return f"{task.name} {len(task):,} in {task.folds} folds"
    dev = f"{task.n_dev:,} to choose C, " if task.n_dev else ""
    return f"{task.name} {task.n_train:,} to train, {dev}{len(task) - task.n_train - task.n_dev:,} to test"


def note_of_fitting(result: StsResult) -> list[str]:
    """Return a note on what transforms were fitted on, if this differs between the table and the geometry."""
    return [FITTED] if len(result.tasks) > 1 and any(one.transform for one in result.candidates) else []


def note_of_fitting_samples(result: TransferResult) -> list[str]:
    """Return a note on what transforms were fitted on, if there are any."""
    return [FITTED_ON_SAMPLES] if any(one.transform for one in result.candidates) else []


def notes_of_geometry(geometry: Mapping[str, Geometry], n_texts: int) -> list[str]:
    """Return notes on why some candidates have no geometry.

    Args:
        geometry: Geometry by candidate label.
        n_texts: Number of distinct texts that transforms were fitted on.
    """
    return [
        f"{label}: no geometry, because {_whitened(n_texts)}"
        for label, one in geometry.items()
        if n_texts > 1 and one.mean_cosine is None
    ]


def _whitened(n: int) -> str:
    return f"whitening on {n:,} texts makes all cosines equal; use whiten:K with K well below {n:,}"


def notes_of_retrieval(result: RetrievalResult) -> list[str]:
    """Return notes on what was left out, and on the origin and the computing time of the vectors."""
    task, (passages, queries) = result.task, result.encoding_seconds
    notes = []
    if n := len(task.unknown_queries):
        some = ", ".join(task.unknown_queries[:3])
        notes.append(f"warning: queries in the qrels without a text, left out: {n:,} ({some}{', …' * (n > 3)})")
    if result.unknown_documents:
        notes.append(
            f"warning: {result.unknown_documents:,} documents in the qrels are not in the corpus; relevant ones count "
            "as not found"
        )
    if task.unjudged:
        notes.append(f"queries without judgments, skipped: {task.unjudged:,}")
    if dropped := len(task.queries) - len(result.queries):
        notes.append(f"queries without a relevant document, not counted: {dropped:,}")
    if result.corpus.truncated:
        notes.append(f"{result.corpus.truncated:,} of {len(result.corpus.texts):,} passages were truncated")
    if result.own_hits:
        notes.append(
            f"queries that found the document with their own id and text: {result.own_hits:,}; to leave out such hits "
            "as BEIR does, use `drop_same_id`"
        )
    if not result.corpus.vectors:
        return notes
    counts = ", ".join(f"{n:,} {origin}" for origin, n in result.counts.items() if n)
    notes.append(
        f"vectors of {len(result.corpus.texts):,} passages in {passages:.1f} s and of {len(task.queries):,} queries in "
        f"{queries:.1f} s, all poolers together: {counts}"
    )
    return notes


def notes_of_repeats(repeats: Mapping[str, str]) -> list[str]:
    """Return a note on which rows repeat others, by their labels, and therefore count once in the correction."""
    if not repeats:
        return []
    rows = "; ".join(f"{row} is {first}" for row, first in repeats.items())
    return [f"rows whose vectors rank alike count as one row in the correction: {rows}"]


def note_of_queries(made: PseudoQuerySummary) -> str:
    """Return a note on what the pseudo-queries were made from."""
    tasks = ", ".join(f"{counts.queries:,} {name}" for name, counts in made.tasks.items())
    dropped = sum(counts.repeated + counts.ambiguous for counts in made.tasks.values())
    return (
        f"pseudo-queries from {made.sampled:,} of {made.documents:,} documents: {tasks}; {dropped:,} more were "
        "dropped, because their text also occurs elsewhere or their passage is a duplicate. "
        f"{'; '.join(ASKED[name] for name in made.tasks)}; all: these queries together"
    )


def note_of_agreement(tau: float | None, name: str) -> str:
    """Return a note on how well the proxy's ranking of the candidates agrees with that of the true judgments."""
    if tau is None:
        return f"agreement with the true judgments of {name}: undefined, because too few rows differ"
    return (
        f"agreement with the true judgments of {name}: Kendall's tau {tau:.2f} (1 is the same order, 0 no agreement, "
        "-1 the reverse)"
    )


def index_command(corpus: str, options: Mapping[str, str | int | bool | tuple[str, ...] | None]) -> str:
    """Return the shell command that indexes a corpus.

    Args:
        corpus: Path of the corpus.
        options: Options by names such as `text_field`; values that are None, False or empty are left out, and an
            option is repeated for each value of a tuple.
    """
    words = ["semsearch", "index", corpus]
    for name, value in options.items():
        for one in value if isinstance(value, tuple) else (value,):
            if one:
                words += [f"--{name.replace('_', '-')}", *([] if one is True else [str(one)])]
    return shlex.join(words)
