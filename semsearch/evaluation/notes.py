"""What is said beside the numbers of a comparison: what was left out, why there is a dash, and how to go on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from semsearch.evaluation.geometry import Geometry
from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.evaluation.pseudo_queries import PseudoQuerySummary
from semsearch.evaluation.retrieval import RetrievalResult
from semsearch.evaluation.sts import StsResult
from semsearch.version import __version__

PROXY = (
    "this is a proxy: pseudo-queries are parts of the documents and share words with them, as real questions need not; "
    "the order of the poolers is what to look at"
)

ASKED = {
    "title": "title: a title asks for its document",
    "sentence": "sentence: one that is taken out asks for the rest of its passage",
    "first": "first: the first sentence asks for what follows it",
}
"""By kind of pseudo-queries, what asks for what."""

AGGREGATED = (
    "each number is one correlation over all pairs of a task, whatever its subsets (`all`, as SimCSE and MTEB report "
    "it), and average is their mean; JSON has the means over subsets too, each counted once (`mean`) or by its pairs "
    "(`wmean`)"
)

FITTED = (
    "transforms are fitted on each task's own sentences for the table, and on those of all tasks together for "
    "geometry, histograms and map"
)


def facts_of(encoder: MultiPooler, more: Mapping[str, object]) -> dict[str, str]:
    """What a reader must know to make the numbers again: the model, then `more`, then the version of semsearch."""
    return {
        "model": encoder.spec.model,
        "declared pooler": encoder.declared or "none",
        "max tokens": str(encoder.spec.max_tokens),
        "precision": encoder.spec.precision,
        **{name: str(value) for name, value in more.items()},
        "semsearch": __version__,
    }


def notes_of_sts(result: StsResult) -> list[str]:
    """What was left out, and why a dash stands where there is one."""
    notes = [AGGREGATED] if len(result.tasks) > 1 or any(len(task.subsets) > 1 for task in result.tasks) else []
    notes += [
        f"{task.name}: pairs without a score, left out: {task.dropped:,}" for task in result.tasks if task.dropped
    ]
    flat = {task.name: len(task.similarity) for task in result.tasks if len({*task.similarity.tolist()}) < 2}
    notes += [f"{task}: no correlation, for its {n:,} pairs do not differ in score" for task, n in flat.items()]
    for candidate in result.candidates:
        same = [
            task
            for task, cosines in result.cosines[candidate.label].items()
            if task not in flat and len({*cosines.tolist()}) < 2
        ]
        if same and candidate.transform.startswith("whiten"):
            sizes = {task: len({place for side in result.sides[task] for place in side}) for task in same}
            notes += [f"{candidate.label}: no correlation on {task}, for {_whitened(n)}" for task, n in sizes.items()]
        elif same:
            notes.append(
                f"{candidate.label}: no correlation on {', '.join(same)}, for it gives every pair the same cosine"
            )
    return notes


def note_of_fitting(result: StsResult) -> list[str]:
    """What transforms were fitted on, where that is one thing for the table and another for the geometry."""
    return [FITTED] if len(result.tasks) > 1 and any(one.transform for one in result.candidates) else []


def notes_of_geometry(geometry: Mapping[str, Geometry], n_texts: int) -> list[str]:
    """Why some candidates have no geometry.

    Args:
        geometry: By candidate.
        n_texts: Different texts that transforms were fitted on.
    """
    return [
        f"{label}: no geometry, for {_whitened(n_texts)}"
        for label, one in geometry.items()
        if n_texts > 1 and one.mean_cosine is None
    ]


def _whitened(n: int) -> str:
    return f"whitening on {n:,} texts makes all cosines equal; name whiten:K with K well below {n:,}"


def notes_of_retrieval(result: RetrievalResult) -> list[str]:
    """What was left out, and what it took."""
    task, (passages, queries) = result.task, result.encoding_seconds
    notes = []
    if n := len(task.unknown_queries):
        some = ", ".join(task.unknown_queries[:3])
        notes.append(f"warning: queries of the qrels without a text, left out: {n:,} ({some}{', …' * (n > 3)})")
    if result.unknown_documents:
        notes.append(
            f"warning: {result.unknown_documents:,} documents of the qrels are not in the corpus; where they are "
            "relevant they count as not found"
        )
    if task.unjudged:
        notes.append(f"queries without judgments, not asked: {task.unjudged:,}")
    if dropped := len(task.queries) - len(result.queries):
        notes.append(f"queries without a relevant document, not counted: {dropped:,}")
    if result.corpus.truncated:
        notes.append(f"{result.corpus.truncated:,} of {len(result.corpus.texts):,} passages were truncated")
    if result.own_hits:
        notes.append(
            f"queries that found the document with their own id and text: {result.own_hits:,}; BEIR leaves such hits "
            "out: `drop_same_id`"
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
    """Which rows repeat others, by their labels, and so count once in the correction."""
    if not repeats:
        return []
    rows = "; ".join(f"{row} is {first}" for row, first in repeats.items())
    return [f"the same vectors at length 1, and so one row in the correction: {rows}"]


def note_of_queries(made: PseudoQuerySummary) -> str:
    """What the pseudo-queries were made from."""
    tasks = ", ".join(f"{counts.queries:,} {name}" for name, counts in made.tasks.items())
    dropped = sum(counts.repeated + counts.ambiguous for counts in made.tasks.values())
    return (
        f"pseudo-queries from {made.sampled:,} of {made.documents:,} documents: {tasks}; {dropped:,} more were "
        f"dropped, for their text or their like stands elsewhere too. {'; '.join(ASKED[name] for name in made.tasks)}; "
        "all: these queries together"
    )


def note_of_agreement(tau: float | None, name: str) -> str:
    """How far the proxy ranks the candidates as the true judgments do."""
    if tau is None:
        return f"agreement with the true judgments of {name}: none to be had, for there are too few different rows"
    return (
        f"agreement with the true judgments of {name}: Kendall's tau {tau:.2f} (1 the same order, 0 none, -1 reversed)"
    )


def index_command(corpus: str, options: Mapping[str, str | int | bool | None]) -> str:
    """The command that indexes a corpus.

    Args:
        corpus: As `semsearch index` takes it.
        options: By names such as `text_field`; what is None, False or empty is left out.
    """
    words = ["semsearch", "index", corpus]
    for name, value in options.items():
        if value:
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(words)
