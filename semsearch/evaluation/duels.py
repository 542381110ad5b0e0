"""Query-by-query comparison of two candidates: where each of them wins, and what each ranks first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from semsearch.evaluation.candidates import Candidate, fit
from semsearch.evaluation.label_free import ALL, LabelFreeResult
from semsearch.evaluation.measures import ranked
from semsearch.evaluation.pseudo_queries import PseudoTask
from semsearch.evaluation.report import TOP, Answer, Duel, Duels
from semsearch.evaluation.retrieval import RetrievalResult
from semsearch.evaluation.significance import Comparison, Numbers
from semsearch.evaluation.sts import StsResult
from semsearch.evaluation.transfer import TransferResult
from semsearch.similarity import similarities

Two: TypeAlias = tuple[Candidate, Candidate]

Shown: TypeAlias = tuple[str, Sequence[Answer], str, str]
"""A query, both answers, the expected answer, and its grade in words."""

SHOWN = 8
"""Maximum number of wins, and of losses, to show."""

TIE = 0.005
"""Smaller differences, which two decimals do not show, are ties: two poolers may differ only by rounding."""

SNIPPET_CHARS = 400

_NONE = np.empty(0)


def opponents(candidates: Sequence[Candidate], comparison: Comparison, column: str) -> Two | None:
    """Return the best dense candidate and `cls`, often used by mistake; or the worst, if `cls` is best or missing."""
    place = comparison.columns.index(column)
    dense = {one: comparison.rows[one.label][place].value for one in candidates if one.mode == "dense"}
    known = {one: value for one, value in dense.items() if value is not None}
    if len(known) < 2:
        return None
    best = max(known, key=lambda one: known[one])
    others = [one for one in known if one != best]
    cls = next((one for one in others if one == Candidate("cls")), None)
    return best, cls or min(others, key=lambda one: known[one])


def duels_of_sts(found: StsResult, pair: Two) -> Duels:
    """Compare two candidates on sentence pairs, by how close the rank of each pair is to its rank by human scores."""
    tasks = [task for task in found.tasks if len(task.similarity)]
    scores = [[found.scores[one.label][task.name] for task in tasks] for one in pair]  # [2, tasks] of [n]
    ranks = [list(map(_shares, each)) for each in scores]
    gold = [_shares(task.similarity) for task in tasks]
    values = [1 - np.abs(np.concatenate([*each, _NONE]) - np.concatenate([*gold, _NONE])) for each in ranks]
    places = [(number, place) for number, task in enumerate(tasks) for place in range(len(task.similarity))]

    def show(index: int) -> Shown:
        number, place = places[index]
        task = tasks[number]
        said = [
            Answer(f"{one.similarity} {each[number][place]:.3f}, above {of[number][place]:.0%} of {task.name}")
            for one, each, of in zip(pair, scores, ranks, strict=True)
        ]
        wanted = f"score {task.similarity[place]:g}, above {gold[number][place]:.0%} of {task.name}"
        return " — ".join(side[place] for side in task.sides), said, wanted, ""

    return _duels(pair, "1 − rank distance", "pairs", "the human score", values, show)


def duels_of_retrieval(found: RetrievalResult, pair: Two, measure: str) -> Duels:
    """Compare two candidates on queries, with the first hit of each and its rank of the best judged document."""
    documents = {document.doc_id: document for document in found.corpus.documents}
    texts = {query.query_id: query.text for query in found.task.queries}

    def text_of(doc_id: str) -> str:
        return f"{documents[doc_id].title} {documents[doc_id].text}"

    def show(index: int) -> Shown:
        query = found.queries[index]
        qrels = found.task.qrels[query]
        runs = [ranked(found.runs[one.label].get(query, {}), found.style) for one in pair]
        ranks = [{doc_id: rank for rank, doc_id in enumerate(run, 1)} for run in runs]
        wanted = _wanted({doc_id: grade for doc_id, grade in qrels.items() if doc_id in documents}, ranks)
        answers = []
        for of in ranks:
            top = next(iter(of), None)
            first = ("", None, "") if top is None else (text_of(top), *_judged(qrels.get(top)))
            relevant = [rank for doc_id, rank in of.items() if rank <= TOP and qrels.get(doc_id, 0) > 0]
            answers.append(Answer(*first, None if wanted is None else of.get(wanted), len(of), relevant))
        meant = ("", "") if wanted is None else (text_of(wanted), f"grade {qrels[wanted]}")
        return texts[query], answers, *meant

    values = [found.per_query[one.label][measure] for one in pair]
    return _duels(pair, measure, "queries", "the best judged document", values, show)


def _wanted(qrels: Mapping[str, int], ranks: Sequence[Mapping[str, int]]) -> str | None:
    """Return the relevant document of the highest grade; of equal grades, the one that a candidate ranks highest."""
    relevant = [doc_id for doc_id, grade in qrels.items() if grade > 0]
    return min(relevant, key=lambda one: (-qrels[one], min(of.get(one, inf) for of in ranks)), default=None)


def _judged(grade: int | None) -> tuple[bool | None, str]:
    """Return whether a document is relevant, as a value and in words."""
    if grade is None:
        return None, "not judged"
    return grade > 0, f"{'relevant' if grade > 0 else 'judged not relevant'}, grade {grade}"


def duels_of_corpus(found: LabelFreeResult, pair: Two, measure: str) -> Duels:
    """Compare two candidates on pseudo-queries, with the first passage of each and its rank of the source."""
    places = [(task, place) for task in found.tasks for place in range(len(task.queries))]

    def answer(one: Candidate, task: PseudoTask, place: int) -> Answer:
        asked, searched = found.vectors[task.name][one.pooler]
        finish = fit(one.transform, searched, one.similarity)
        (scores,) = similarities(one.similarity, finish(asked[place : place + 1]), finish(searched))
        top, source = found.best_passage[one.label][task.name][place], task.sources[place]
        rank = 1 if top == source else 1 + int((np.delete(scores, source) >= scores[source]).sum())
        right, verdict = (True, "the source") if top == source else (None, "another passage")
        return Answer(task.passages[top], right, verdict, rank, len(scores))

    def show(index: int) -> Shown:
        task, place = places[index]
        answers = [answer(one, task, place) for one in pair]
        return task.queries[place], answers, task.passages[task.sources[place]], ""

    values = [np.concatenate([_NONE, *(found.per_query[one.label][task.name] for task in found.tasks)]) for one in pair]
    return _duels(pair, f"{measure}, {ALL} tasks", "pseudo-queries", "the source", values, show)


def duels_of_transfer(found: TransferResult, pair: Two) -> Duels:
    """Compare two candidates on test examples, by which of them predicts the right label."""
    places = [(task, place) for task in found.tasks for place in range(len(task.labels[task.test]))]

    def show(index: int) -> Shown:
        task, place = places[index]
        predicted = [int(found.probes[one.label][task.name].predictions[place]) for one in pair]
        true = int(task.labels[task.test][place])
        answers = [Answer(task.classes[label], label == true) for label in predicted]
        text = " — ".join(side[task.test][place] for side in task.texts)
        return text, answers, task.classes[true], task.name if len(found.tasks) > 1 else ""

    gold = np.concatenate(list(found.gold().values()))
    predicted = [np.concatenate([row.predictions for row in found.probes[one.label].values()]) for one in pair]
    values = [(row == gold).astype(np.float64) for row in predicted]
    return _duels(pair, "right labels", "examples", "the true label", values, show)


def _duels(
    pair: Two, measure: str, unit: str, wanted: str, values: Sequence[Numbers], show: Callable[[int], Shown]
) -> Duels:
    """Count wins and losses over values `[2, n]`, and collect the largest ones."""
    margins = values[0] - values[1]
    order = np.argsort(-margins, kind="stable").tolist()
    wins, losses = int((margins >= TIE).sum()), int((margins <= -TIE).sum())

    def duel(index: int) -> Duel:
        text, (first, second), meant, verdict = show(index)
        answers = replace(first, text=snippet(first.text)), replace(second, text=snippet(second.text))
        return Duel(snippet(text), (float(values[0][index]), float(values[1][index])), answers, snippet(meant), verdict)

    return Duels(
        (pair[0].label, pair[1].label),
        measure,
        unit,
        wanted,
        wins,
        losses,
        len(margins) - wins - losses,
        [*map(duel, order[: min(wins, SHOWN)])],
        [*map(duel, order[::-1][: min(losses, SHOWN)])],
    )


def _shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of values below each value, with ties counted half, `[n]`."""
    order = np.sort(values)
    below, upto = np.searchsorted(order, values, "left"), np.searchsorted(order, values, "right")
    return (below + upto) / 2 / len(values)


def snippet(text: str) -> str:
    """Return the beginning of a text on one line."""
    line = " ".join(text[: 2 * SNIPPET_CHARS].split())
    return line if len(line) <= SNIPPET_CHARS else f"{line[: SNIPPET_CHARS - 1]}…"
