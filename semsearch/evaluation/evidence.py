"""From an evaluation's outcome to what lies behind its numbers: geometry, histograms, layers, wins and losses.

Each kind of evaluation says what its texts are and which pairs of them belong together (`Evidence`); everything else
is the same for all three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Vectors
from semsearch.evaluation.candidates import Candidate, fit, is_flat
from semsearch.evaluation.geometry import Geometry, cosine_histogram, measure_geometry, sample_rows
from semsearch.evaluation.label_free import ALL, LabelFreeResult
from semsearch.evaluation.measures import measure_run
from semsearch.evaluation.report import Duel, Duels, Histogram, Layers, Projection
from semsearch.evaluation.retrieval import RetrievalResult
from semsearch.evaluation.significance import Comparison
from semsearch.evaluation.sts import StsResult

SAMPLE = 1_000
"""Texts of geometry and projection, and pairs of each kind."""

LAYER_POOLERS = ("cls", "mean", "max")
"""Columns of the map of layers."""

SHOWN = 8
"""Wins and losses."""

TIE = 0.005
"""A difference that two decimals do not show is none: two poolers may differ by rounding alone."""

SNIPPET_CHARS = 400

RECALL_DEPTHS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1_000)

MAX_VALUES = 40
"""Different values of a metadata field that can be told apart by color, with some to spare."""

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Texts with their vectors, and pairs of them.

    Attributes:
        texts: `[n]`.
        vectors: By pooler, float32 `[n, dim]` as pooled; transforms are fitted on these.
        others: By pooler, vectors `[m, dim]` of what stands on the left of pairs: queries; or the texts again.
        similar, dissimilar: Places of the left in `others` and of the right in `vectors`, `[pairs, 2]`.
        fields: By name, what a text belongs to, `[n]`.
    """

    texts: Sequence[str]
    vectors: Mapping[str, Vectors]
    others: Mapping[str, Vectors]
    similar: Places
    dissimilar: Places
    fields: Mapping[str, Sequence[str]]


def evidence_of_sts(found: StsResult, seed: int) -> Evidence:
    """Sentences; pairs in the upper and in the lower fifth of their task's scale."""
    similar, dissimilar, task_of = [], [], [""] * len(found.sentences)
    for task in found.tasks:
        pairs = np.array(found.sides[task.name], np.int64).reshape(2, -1).T
        for place in pairs.ravel().tolist():
            task_of[place] = task_of[place] or task.name
        low, high = (task.similarity.min(), task.similarity.max()) if len(pairs) else (0.0, 0.0)
        if low < high:
            similar.append(pairs[task.similarity >= high - (high - low) / 5])
            dissimilar.append(pairs[task.similarity <= low + (high - low) / 5])
    return Evidence(
        found.sentences,
        found.vectors,
        found.vectors,
        _some(np.concatenate([_NO_PAIRS, *similar]), seed),
        _some(np.concatenate([_NO_PAIRS, *dissimilar]), seed),
        {"task": task_of},
    )


def evidence_of_retrieval(found: RetrievalResult, seed: int) -> Evidence:
    """Passages; queries with the first passage of what is relevant to them, and with a passage drawn by lot."""
    corpus = found.corpus
    passages: dict[str, list[int]] = {}
    for place, owner in enumerate(corpus.owner):
        passages.setdefault(corpus.documents[owner].doc_id, []).append(place)
    relevant = [
        (number, passages[doc_id])
        for number, query in enumerate(found.task.queries)
        for doc_id, gain in found.task.qrels[query.query_id].items()
        if gain > 0 and doc_id in passages
    ]
    similar = [(number, places[0]) for number, places in relevant]
    related = {(number, place) for number, places in relevant for place in places}
    names = {name for document in corpus.documents for name in document.metadata}
    fields = {name: [_value(corpus.documents[owner].metadata.get(name)) for owner in corpus.owner] for name in names}
    return Evidence(
        corpus.texts,
        corpus.vectors,
        found.query_vectors,
        _some(np.array(similar, np.int64).reshape(-1, 2), seed),
        _drawn(len(found.task.queries), len(corpus.texts), related, seed),
        {name: fields[name] for name in sorted(fields)},
    )


def evidence_of_corpus(found: LabelFreeResult, seed: int) -> Evidence:
    """Passages of all tasks; queries with their sources, and with another passage of their task drawn by lot.

    Not of another task, which may hold the rest of the same document.
    """
    poolers = {row.pooler for row in found.rows}
    similar, dissimilar = [], []
    start = np.zeros(2, np.int64)
    for task in found.tasks:
        own = [*enumerate(task.sources)]
        similar.append(start + own)
        dissimilar.append(start + _drawn(len(task.queries), len(task.passages), {*own}, seed))
        start = start + np.array([len(task.queries), len(task.passages)])
    sides = [
        {pooler: np.concatenate([found.vectors[task.name][pooler][side] for task in found.tasks]) for pooler in poolers}
        for side in (0, 1)
    ]
    return Evidence(
        [passage for task in found.tasks for passage in task.passages],
        sides[1],
        sides[0],
        _some(np.concatenate(similar), seed),
        _some(np.concatenate(dissimilar), seed),
        {"task": [task.name for task in found.tasks for _ in task.passages]},
    )


def geometries(rows: Sequence[Candidate], evidence: Evidence, seed: int) -> dict[str, Geometry]:
    """The geometry of each row on a sample of the texts; alignment over the similar pairs.

    Without a number where whitening makes all cosines equal (`is_flat`).
    """
    picked = sample_rows(len(evidence.texts), SAMPLE, seed)
    left, right = evidence.similar.T
    found = {}
    for row in rows:
        vectors = evidence.vectors[row.pooler]
        finish = fit(row.transform, vectors)
        if is_flat(finish, vectors):
            found[row.label] = replace(measure_geometry(finish(vectors[:0])), n=len(picked))
            continue
        pairs = finish(evidence.others[row.pooler][left]), finish(vectors[right])
        found[row.label] = measure_geometry(finish(vectors[picked]), pairs if len(left) else None)
    return found


def histograms(rows: Sequence[Candidate], evidence: Evidence) -> dict[str, Histogram]:
    """The cosines of similar and of dissimilar pairs, by row."""
    found = {}
    for row in rows:
        vectors = evidence.vectors[row.pooler]
        finish = fit(row.transform, vectors)
        counts = [
            cosine_histogram(
                np.einsum("nd,nd->n", finish(evidence.others[row.pooler][pairs[:, 0]]), finish(vectors[pairs[:, 1]]))
            )
            for pairs in (evidence.similar, evidence.dissimilar)
        ]
        found[row.label] = Histogram(*counts)
    return found


def projection(row: Candidate, evidence: Evidence, seed: int) -> Projection:
    """A sample of the texts on the plane of its two strongest principal components."""
    picked = sample_rows(len(evidence.texts), SAMPLE, seed)
    vectors = fit(row.transform, evidence.vectors[row.pooler])(evidence.vectors[row.pooler][picked]).astype(np.float64)
    centered = vectors - vectors.mean(0)
    left, strength, _ = np.linalg.svd(centered, full_matrices=False)
    points = np.zeros((len(picked), 2))
    points[:, : min(2, len(strength))] = (left * strength)[:, :2]
    total = float((strength**2).sum())
    fields = {name: [values[place] for place in picked] for name, values in evidence.fields.items()}
    return Projection(
        row.label,
        points,
        [_snippet(evidence.texts[place]) for place in picked],
        {name: values for name, values in fields.items() if 1 < len({*values} - {""}) <= MAX_VALUES},
        float((strength[:2] ** 2).sum()) / total if total else 0.0,
    )


def layer_names() -> list[str]:
    """The poolers that a map of layers needs."""
    return [f"layer:*+{pooler}" for pooler in LAYER_POOLERS]


def layers(
    measure: str, n_layers: int, values: Mapping[str, float | None], scale: float = 1.0, decimals: int = 3
) -> Layers:
    """A map of layers from values by row, printed times a scale."""
    table = [
        [values.get(Candidate(f"layer:{layer}+{pooler}").label) for layer in range(n_layers + 1)]
        for pooler in LAYER_POOLERS
    ]
    return Layers(measure, LAYER_POOLERS, scale * np.array(table, np.float64), decimals)


def recall_curves(rows: Sequence[Candidate], found: RetrievalResult) -> dict[str, list[float]]:
    """R@k at each of RECALL_DEPTHS."""
    names = [f"R@{depth}" for depth in RECALL_DEPTHS]
    curves = {}
    for row in rows:
        values = measure_run(found.task.qrels, found.runs[row.label], names, found.style)
        curves[row.label] = [float(values[name].mean()) for name in names]
    return curves


def opponents(rows: Sequence[Candidate], comparison: Comparison, column: str) -> tuple[Candidate, Candidate] | None:
    """The best dense row and `cls`, which people take by mistake; or the worst one, where that is the best or none."""
    place = comparison.columns.index(column)
    dense = {row: comparison.rows[row.label][place].value for row in rows if row.mode == "dense"}
    known = {row: value for row, value in dense.items() if value is not None}
    if len(known) < 2:
        return None
    best = max(known, key=lambda row: known[row])
    others = [row for row in known if row != best]
    cls = Candidate("cls")
    return best, cls if cls in others else min(others, key=lambda row: known[row])


def duels_of_sts(found: StsResult, pair: tuple[Candidate, Candidate]) -> Duels:
    """Pairs of sentences by how far each row ranks them from where people do."""
    all_duels = []
    for task in found.tasks:
        if not len(task.similarity):
            continue
        gold = _shares(task.similarity)
        ranks = [_shares(found.cosines[row.label][task.name]) for row in pair]
        cosines = [found.cosines[row.label][task.name] for row in pair]
        for number, (first, second) in enumerate(zip(*task.sides, strict=True)):
            all_duels.append(
                Duel(
                    _snippet(f"{first} — {second}"),
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
    """Queries by the measure, with what each row put first."""
    documents = {document.doc_id: document for document in found.corpus.documents}
    texts = {query.query_id: query.text for query in found.task.queries}
    values = [found.per_query[row.label][measure] for row in pair]

    def show(doc_id: str | None) -> str:
        document = documents.get(doc_id or "")
        return _snippet(f"{document.title} {document.text}") if document else "nothing"

    runs = [found.runs[row.label] for row in pair]
    all_duels = []
    for number, query in enumerate(found.queries):
        qrels = found.task.qrels[query]
        tops = [next(iter(run.get(query, {})), None) for run in runs]
        relevant = [doc_id for doc_id, gain in qrels.items() if gain > 0 and doc_id in documents]
        wanted = max(relevant, key=qrels.__getitem__, default=None)
        all_duels.append(
            Duel(
                _snippet(texts[query]),
                (float(values[0][number]), float(values[1][number])),
                (show(tops[0]), show(tops[1])),
                show(wanted),
            )
        )
    return _duels(pair, measure, all_duels)


def duels_of_corpus(found: LabelFreeResult, pair: tuple[Candidate, Candidate], measure: str) -> Duels:
    """Pseudo-queries by the measure, with what each row put first."""
    all_duels = []
    for task in found.tasks:
        values = [found.per_query[row.label][task.name] for row in pair]
        tops = [found.best_passage[row.label][task.name] for row in pair]
        for number, (query, source) in enumerate(zip(task.queries, task.sources, strict=True)):
            all_duels.append(
                Duel(
                    _snippet(query),
                    (float(values[0][number]), float(values[1][number])),
                    (_snippet(task.passages[tops[0][number]]), _snippet(task.passages[tops[1][number]])),
                    _snippet(task.passages[source]),
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


_NO_PAIRS: Places = np.empty((0, 2), np.int64)


def _some(pairs: Places, seed: int) -> Places:
    return pairs[sample_rows(len(pairs), SAMPLE, seed)]


def _drawn(n_left: int, n_right: int, related: set[tuple[int, int]], seed: int) -> Places:
    """SAMPLE pairs by lot, without those that belong together."""
    rng = np.random.default_rng(seed)
    pairs = np.stack([rng.integers(n_left, size=SAMPLE), rng.integers(n_right, size=SAMPLE)], axis=1)
    return np.array([pair for pair in pairs.tolist() if tuple(pair) not in related], np.int64).reshape(-1, 2)


def _shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What share of the values lies below each, ties counted half, `[n]`."""
    order = np.sort(values)
    below, upto = np.searchsorted(order, values, "left"), np.searchsorted(order, values, "right")
    return (below + upto) / 2 / len(values)


def _snippet(text: str) -> str:
    line = " ".join(text[: 2 * SNIPPET_CHARS].split())
    return line if len(line) <= SNIPPET_CHARS else f"{line[: SNIPPET_CHARS - 1]}…"


def _value(value: object) -> str:
    """A metadata value that can color a point; lists and objects cannot."""
    return "" if value is None or isinstance(value, list | dict) else str(value)
