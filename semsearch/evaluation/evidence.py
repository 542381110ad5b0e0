"""The evidence behind the numbers of an evaluation: geometry, histograms, layers and recall curves.

Each kind of evaluation defines its texts and which pairs of them belong together (`Evidence`); everything else is the
same for all kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Vectors
from semsearch.evaluation.candidates import Candidate, Fits, is_flat
from semsearch.evaluation.duels import snippet
from semsearch.evaluation.geometry import Geometry, cosine_histogram, measure_geometry, sample_rows
from semsearch.evaluation.label_free import LabelFreeResult
from semsearch.evaluation.measures import measure_run
from semsearch.evaluation.report import Histogram, Layers, Projection
from semsearch.evaluation.retrieval import RetrievalResult
from semsearch.evaluation.sts import StsResult
from semsearch.evaluation.transfer import TransferResult
from semsearch.types import COSINE

SAMPLE = 1_000
"""Number of texts for geometry and projection, and of pairs of each kind."""

LAYER_POOLERS = ("cls", "mean", "max")
"""Poolers in the layer map."""

RECALL_DEPTHS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1_000)

MAX_VALUES = 40
"""Maximum number of distinct values of a metadata field to color points by; more than colors can distinguish."""

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Texts with their vectors, and pairs of similar and of dissimilar texts.

    Attributes:
        texts: The texts, `[n]`.
        vectors: By pooler, float32 `[n, dim]` as pooled; transforms are fitted on these.
        others: By pooler, vectors `[m, dim]` of the left sides of pairs: the queries, or the texts again.
        similar, dissimilar: Rows of the left sides in `others` and of the right sides in `vectors`, `[pairs, 2]`.
        fields: Values to color texts by, such as metadata, by field name, `[n]` each.
        pairs: Explanation of what similar and dissimilar pairs are, in a sentence.
        fits: Transforms that have already been fitted on the vectors.
    """

    texts: Sequence[str]
    vectors: Mapping[str, Vectors]
    others: Mapping[str, Vectors]
    similar: Places
    dissimilar: Places
    fields: Mapping[str, Sequence[str]]
    pairs: str = ""
    fits: Fits | None = None

    def __post_init__(self) -> None:
        """Start without fitted transforms, unless some are given."""
        object.__setattr__(self, "fits", self.fits or Fits(self.vectors))

    def finish(self, candidate: Candidate) -> Callable[[Vectors], Vectors]:
        """Return the function that turns a candidate's pooled vectors into unit rows, whatever ranks them."""
        assert self.fits
        return self.fits(replace(candidate, similarity=COSINE))


def evidence_of_sts(found: StsResult, seed: int) -> Evidence:
    """Collect the sentences, and the pairs in the upper and in the lower fifth of their task's scale."""
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
        "Similar pairs have scores in the upper fifth of their task's scale, dissimilar ones in the lower fifth.",
    )


def evidence_of_retrieval(found: RetrievalResult, seed: int) -> Evidence:
    """Collect the passages; pair queries with the first passage of relevant documents, and with random passages."""
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
        "A similar pair is a query and a document judged relevant to it (its first passage); a dissimilar one is a "
        "query and a passage drawn at random.",
        found.fits,
    )


def evidence_of_corpus(found: LabelFreeResult, seed: int) -> Evidence:
    """Collect the passages of all tasks; pair queries with their sources, and with random passages of the same task.

    Passages of other tasks are not drawn, because they may contain the rest of the same document.
    """
    poolers = {candidate.pooler for candidate in found.candidates}
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
        "A similar pair is a pseudo-query and the passage it was taken from; a dissimilar one is a pseudo-query and "
        "another passage drawn at random.",
    )


def evidence_of_transfer(found: TransferResult, seed: int) -> Evidence:
    """Collect a sample of the texts of each task; pair texts at random, or as the task does, and compare their labels.

    The pairs of a task about pairs are similar if their label is the last one: 1 for paraphrases.
    """
    rng = np.random.default_rng(seed)
    texts, fields, pairs = list[str](), list[tuple[str, str]](), [[_NO_PAIRS], [_NO_PAIRS]]
    for task in found.tasks:
        rows = found.samples[task.name].rows
        labels, start, n = task.labels[rows], len(texts), len(rows)
        if len(task.texts) == 2:
            drawn, alike = np.stack([np.arange(n), np.arange(n, 2 * n)], axis=1), labels == len(task.classes) - 1
        else:
            drawn = rng.integers(n, size=(2 * SAMPLE, 2))
            drawn = drawn[drawn[:, 0] != drawn[:, 1]]
            alike = labels[drawn[:, 0]] == labels[drawn[:, 1]]
        pairs[0].append(start + drawn[alike])
        pairs[1].append(start + drawn[~alike])
        texts += [side[row] for side in task.texts for row in rows]
        named = [(task.name, task.classes[label] if len(task.texts) == 1 else "") for label in labels]
        fields += named * len(task.texts)
    vectors = {
        pooler: np.concatenate([sample.vectors[pooler] for sample in found.samples.values()])
        for pooler in {candidate.pooler for candidate in found.candidates}
    }
    return Evidence(
        texts,
        vectors,
        vectors,
        _some(np.concatenate(pairs[0]), seed),
        _some(np.concatenate(pairs[1]), seed),
        {"task": [task for task, _ in fields], "label": [label and f"{task}: {label}" for task, label in fields]},
        "Similar pairs are texts of one task that have the same label, dissimilar ones have different labels; both are "
        "drawn at random. For pairs of texts, the similar ones are the paraphrases.",
    )


def geometries(candidates: Iterable[Candidate], evidence: Evidence, seed: int) -> dict[str, Geometry]:
    """Measure the geometry of each candidate on a sample of the texts, with alignment over the similar pairs.

    A candidate whose whitening makes all cosines equal (`is_flat`) has no values.
    """
    picked = sample_rows(len(evidence.texts), SAMPLE, seed)
    left, right = evidence.similar.T
    found = {}
    for candidate in candidates:
        vectors = evidence.vectors[candidate.pooler]
        finish = evidence.finish(candidate)
        if is_flat(finish, vectors):
            found[candidate.label] = replace(measure_geometry(finish(vectors[:0])), n=len(picked))
            continue
        pairs = finish(evidence.others[candidate.pooler][left]), finish(vectors[right])
        found[candidate.label] = measure_geometry(finish(vectors[picked]), pairs if len(left) else None)
    return found


def histograms(candidates: Sequence[Candidate], evidence: Evidence) -> dict[str, Histogram]:
    """Count the cosines of similar and of dissimilar pairs, by candidate."""
    found = {}
    for candidate in candidates:
        vectors, others = evidence.vectors[candidate.pooler], evidence.others[candidate.pooler]
        finish = evidence.finish(candidate)
        counts = [
            cosine_histogram(np.einsum("nd,nd->n", finish(others[pairs[:, 0]]), finish(vectors[pairs[:, 1]])))
            for pairs in (evidence.similar, evidence.dissimilar)
        ]
        found[candidate.label] = Histogram(*counts)
    return found


def projection(candidate: Candidate, evidence: Evidence, seed: int) -> Projection:
    """Project a sample of the texts onto its two strongest principal components."""
    picked = sample_rows(len(evidence.texts), SAMPLE, seed)
    pooled = evidence.vectors[candidate.pooler]
    vectors = evidence.finish(candidate)(pooled[picked]).astype(np.float64)
    centered = vectors - vectors.mean(0)
    left, strength, _ = np.linalg.svd(centered, full_matrices=False)
    points = np.zeros((len(picked), 2))
    points[:, : min(2, len(strength))] = (left * strength)[:, :2]
    total = float((strength**2).sum())
    fields = {name: [values[place] for place in picked] for name, values in evidence.fields.items()}
    return Projection(
        candidate.label,
        points,
        [snippet(evidence.texts[place]) for place in picked],
        {name: values for name, values in fields.items() if 1 < len({*values} - {""}) <= MAX_VALUES},
        float((strength[:2] ** 2).sum()) / total if total else 0.0,
    )


def layer_names() -> list[str]:
    """Return the names of the poolers that a layer map needs."""
    return [f"layer:*+{pooler}" for pooler in LAYER_POOLERS]


def layers(
    measure: str, n_layers: int, values: Mapping[str, float | None], scale: float = 1.0, decimals: int = 3
) -> Layers | None:
    """Build a layer map from values by candidate, multiplied by a scale; None if no candidate is of a layer."""
    labels = [[Candidate(f"layer:{layer}+{pooler}").label for layer in range(n_layers + 1)] for pooler in LAYER_POOLERS]
    if not any(label in values for row in labels for label in row):
        return None
    table = [[values.get(label) for label in row] for row in labels]
    return Layers(measure, LAYER_POOLERS, scale * np.array(table, np.float64), decimals)


def recall_curves(candidates: Sequence[Candidate], found: RetrievalResult) -> dict[str, list[float]]:
    """Compute R@k at each of RECALL_DEPTHS, by candidate."""
    names = [f"R@{depth}" for depth in RECALL_DEPTHS]
    curves = {}
    for candidate in candidates:
        values = measure_run(found.task.qrels, found.runs[candidate.label], names, found.style)
        curves[candidate.label] = [float(values[name].mean()) for name in names]
    return curves


_NO_PAIRS: Places = np.empty((0, 2), np.int64)


def _some(pairs: Places, seed: int) -> Places:
    return pairs[sample_rows(len(pairs), SAMPLE, seed)]


def _drawn(n_left: int, n_right: int, related: set[tuple[int, int]], seed: int) -> Places:
    """Draw SAMPLE random pairs, and leave out those that belong together."""
    rng = np.random.default_rng(seed)
    pairs = np.stack([rng.integers(n_left, size=SAMPLE), rng.integers(n_right, size=SAMPLE)], axis=1)
    return np.array([pair for pair in pairs.tolist() if tuple(pair) not in related], np.int64).reshape(-1, 2)


def _value(value: object) -> str:
    """Return a metadata value as text to color a point by; lists and objects become empty."""
    return "" if value is None or isinstance(value, list | dict) else str(value)
