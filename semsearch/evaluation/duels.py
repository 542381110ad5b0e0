"""Query by query: on which ones does one candidate win against another, and what does each put first?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from semsearch.evaluation.candidates import Candidate
from semsearch.evaluation.label_free import ALL, LabelFreeResult
from semsearch.evaluation.report import Duel, Duels
from semsearch.evaluation.retrieval import RetrievalResult
from semsearch.evaluation.significance import Comparison
from semsearch.evaluation.sts import StsResult

SHOWN = 8
"""Wins and losses."""

TIE = 0.005
"""A difference that two decimals do not show is none: two poolers may differ by rounding alone."""

SNIPPET_CHARS = 400


def opponents(
    candidates: Sequence[Candidate], comparison: Comparison, column: str
) -> tuple[Candidate, Candidate] | None:
    """The best dense candidate, and `cls`, often taken by mistake; or the worst where that is the best or missing."""
    place = comparison.columns.index(column)
    dense = {one: comparison.rows[one.label][place].value for one in candidates if one.mode == "dense"}
    known = {one: value for one, value in dense.items() if value is not None}
    if len(known) < 2:
        return None
    best = max(known, key=lambda one: known[one])
    others = [one for one in known if one != best]
    cls = Candidate("cls")
    return best, cls if cls in others else min(others, key=lambda one: known[one])


def duels_of_sts(found: StsResult, pair: tuple[Candidate, Candidate]) -> Duels:
    """Pairs of sentences by how far each candidate ranks them from where people do."""
    all_duels = []
    for task in found.tasks:
        if not len(task.similarity):
            continue
        gold = _shares(task.similarity)
        ranks = [_shares(found.cosines[one.label][task.name]) for one in pair]
        cosines = [found.cosines[one.label][task.name] for one in pair]
        for number, (first, second) in enumerate(zip(*task.sides, strict=True)):
            all_duels.append(
                Duel(
                    snippet(f"{first} — {second}"),
                    (1 - abs(ranks[0][number] - gold[number]), 1 - abs(ranks[1][number] - gold[number])),
                    (
                        f"cosine {cosines[0][number]:.3f}, above {ranks[0][number]:.0%} of {task.name}",
                        f"cosine {cosines[1][number]:.3f}, above {ranks[1][number]:.0%} of {task.name}",
                    ),
                    f"people: {task.similarity[number]:g}, above {gold[number]:.0%} of {task.name}",
                )
            )
    return _duels(pair, "1 − distance of the ranks", all_duels)


def duels_of_retrieval(found: RetrievalResult, pair: tuple[Candidate, Candidate], measure: str) -> Duels:
    """Queries by the measure, with what each candidate put first."""
    documents = {document.doc_id: document for document in found.corpus.documents}
    texts = {query.query_id: query.text for query in found.task.queries}
    values = [found.per_query[one.label][measure] for one in pair]

    def show(doc_id: str | None) -> str:
        document = documents.get(doc_id or "")
        return snippet(f"{document.title} {document.text}") if document else "nothing"

    runs = [found.runs[one.label] for one in pair]
    all_duels = []
    for number, query in enumerate(found.queries):
        qrels = found.task.qrels[query]
        tops = [next(iter(run.get(query, {})), None) for run in runs]
        relevant = [doc_id for doc_id, gain in qrels.items() if gain > 0 and doc_id in documents]
        wanted = max(relevant, key=qrels.__getitem__, default=None)
        all_duels.append(
            Duel(
                snippet(texts[query]),
                (float(values[0][number]), float(values[1][number])),
                (show(tops[0]), show(tops[1])),
                show(wanted),
            )
        )
    return _duels(pair, measure, all_duels)


def duels_of_corpus(found: LabelFreeResult, pair: tuple[Candidate, Candidate], measure: str) -> Duels:
    """Pseudo-queries by the measure, with what each candidate put first."""
    all_duels = []
    for task in found.tasks:
        values = [found.per_query[one.label][task.name] for one in pair]
        tops = [found.best_passage[one.label][task.name] for one in pair]
        for number, (query, source) in enumerate(zip(task.queries, task.sources, strict=True)):
            all_duels.append(
                Duel(
                    snippet(query),
                    (float(values[0][number]), float(values[1][number])),
                    (snippet(task.passages[tops[0][number]]), snippet(task.passages[tops[1][number]])),
                    snippet(task.passages[source]),
                )
            )
    return _duels(pair, f"{measure}, {ALL} tasks", all_duels)


def _duels(pair: tuple[Candidate, Candidate], measure: str, every: Sequence[Duel]) -> Duels:
    margins = np.array([duel.values[0] - duel.values[1] for duel in every])
    order = np.argsort(-margins, kind="stable").tolist()
    wins, losses = int((margins >= TIE).sum()), int((margins <= -TIE).sum())
    return Duels(
        (pair[0].label, pair[1].label),
        measure,
        wins,
        losses,
        len(every) - wins - losses,
        [every[number] for number in order[: min(wins, SHOWN)]],
        [every[number] for number in order[::-1][: min(losses, SHOWN)]],
    )


def _shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What share of the values lies below each, ties counted half, `[n]`."""
    order = np.sort(values)
    below, upto = np.searchsorted(order, values, "left"), np.searchsorted(order, values, "right")
    return (below + upto) / 2 / len(values)


def snippet(text: str) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text[: 2 * SNIPPET_CHARS].split())
    return line if len(line) <= SNIPPET_CHARS else f"{line[: SNIPPET_CHARS - 1]}…"
