"""The search verb: a question in, documents out, each shown by its best passage."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from semsearch.arrays import Ids, Vectors
from semsearch.checks import NUMBER, TEXT, WHOLE, check_types
from semsearch.confidence import background_of
from semsearch.errors import UsageError
from semsearch.filters.syntax import Filter
from semsearch.stores.base import Readable, Searchable
from semsearch.transforms import unit_rows
from semsearch.types import EncoderSpec, Hit, Query, Run

MODES = ("dense", "keyword", "hybrid")

RRF_K = 60
"""Cormack, Clarke and Büttcher 2009."""

DENSE_WEIGHT = 0.5
"""Share of the dense score in the convex mix; measured in bench/fusion.py."""

FUSED_DEPTH = 1_000
"""Documents of each side that take part in a fusion, at least; more where more hits are wanted."""

MOST = 2**40
"""More hits than any index has, and few enough for every library that counts them."""

Ranking: TypeAlias = dict[int, tuple[float, int]]
"""Number of a document, or of a passage, to its best score and the passage that has it, best first."""


Parts: TypeAlias = tuple[dict[int, float], dict[int, float]]
"""What the dense and the keyword side contribute to the score of each key of their rankings."""

Score = TypeVar("Score", float, Vectors)


@dataclass(frozen=True, slots=True)
class Scale:
    """What the scores of one query are measured by.

    Attributes:
        unrelated: The mean cosine of the query with all passages.
        highest: A BM25 that no passage exceeds, above 0.
    """

    unrelated: float
    highest: float


class Sides(NamedTuple):
    """Both rankings of a hybrid search for one query, and what their scores are measured by."""

    dense: Ranking
    keyword: Ranking
    scale: Scale


@dataclass(frozen=True, slots=True)
class Found:
    """What was found for one query.

    Attributes:
        kind: What the scores are, see `Hit.kind`.
        strengths: Gives, by key of the ranking, what is on the scale on which an index is measured: the cosine, the
            share of the highest BM25, or the convex mix of both.
    """

    ranking: Ranking
    kind: str
    strengths: Callable[[], Mapping[int, float]]


@dataclass(frozen=True, slots=True)
class Shown:
    """A hit with what the store knows it by.

    Attributes:
        passage: The store's number of the passage.
        strength: See `Found`.
    """

    passage: int
    strength: float
    hit: Hit


def find(
    store: Readable,
    queries: Sequence[str],
    vectors: Vectors | None,
    k: int = 10,
    *,
    mode: str = "dense",
    where: Filter | None = None,
    fusion: str = "convex",
    unit: str = "document",
    min_confidence: float | None = None,
) -> list[list[Hit]]:
    """The k best documents for each question, best first, in the order given.

    Args:
        store: What is searched.
        queries: In plain words.
        vectors: Of the queries, float32 `[n, dim]`; None for keyword search.
        k: How many documents, at least 1.
        mode: `dense` (cosine), `keyword` (BM25) or `hybrid` (both).
        where: Only documents that meet this.
        fusion: How `hybrid` mixes: `convex` (scaled scores) or `rrf` (ranks).
        unit: What is ranked: a `document` by its best passage, or each `passage` by itself.
        min_confidence: Leave out hits below it.

    Raises:
        FilterError: The filter reads a field that no document has.
        UsageError: `min_confidence` is given and the index has not been measured.
    """
    wishes: dict[str, Any] = {"mode": mode, "where": where, "fusion": fusion, "unit": unit}
    every = find_shown(store, queries, vectors, k, **wishes, min_confidence=min_confidence)
    return [[one.hit for one in some] for some in every]


def find_shown(
    store: Readable,
    queries: Sequence[str],
    vectors: Vectors | None,
    k: int,
    *,
    mode: str,
    where: Filter | None = None,
    fusion: str = "convex",
    unit: str = "document",
    min_confidence: float | None = None,
) -> list[list[Shown]]:
    """As `find`, with the number of each hit's passage, and its strength."""
    with store.snapshot():
        background = background_of(store)
        if min_confidence is not None and (background is None or mode not in background.tails):
            raise UsageError(
                "`min_confidence` needs to know how unrelated pairs score in the index, which was not measured yet; "
                "index the same corpus again, which measures it"
            )
        every = _found(store, queries, vectors, k, mode, fusion, where, unit)
        shown = [
            _shown(store, found, k, partial(background.confidence, mode) if background else None) for found in every
        ]
    if min_confidence is None:
        return shown
    return [[one for one in some if one.hit.confidence and one.hit.confidence >= min_confidence] for some in shown]


def find_run(
    store: Searchable,
    queries: Sequence[Query],
    vectors: Vectors | None,
    k: int = 100,
    *,
    mode: str = "dense",
    fusion: str = "convex",
) -> Run:
    """A run over many queries, for evaluation: `{query_id: {doc_id: score}}`; arguments as for `find`."""
    with store.snapshot():
        every = _found(store, [query.text for query in queries], vectors, k, mode, fusion, None, "document")
        rankings = [found.ranking for found in every]
        names = store.doc_ids({document for ranking in rankings for document in ranking})
    return {
        query.query_id: {names[document]: score for document, (score, _) in islice(ranking.items(), min(k, MOST))}
        for query, ranking in zip(queries, rankings, strict=True)
    }


def check_search(
    queries: object,
    k: int,
    mode: str,
    fusion: str = "convex",
    unit: str = "document",
    min_confidence: float | None = None,
) -> None:
    """Refuse what makes no sense before anything is loaded.

    Raises:
        UsageError: Queries that are not a list of texts with something in them, k that is not a whole number of 1 or
            more, an unknown mode, fusion or unit, a confidence that is not from 0 to 1.
    """
    chosen = {"mode": mode, "fusion": fusion, "unit": unit}
    expected = {"k": WHOLE, **dict.fromkeys(chosen, TEXT), "min_confidence": NUMBER}
    check_types({"k": k, **chosen, "min_confidence": min_confidence}, expected, ("min_confidence",))
    if k < 1:
        raise UsageError(f"`k` must be at least 1, got {k}")
    if min_confidence is not None and not 0 <= min_confidence <= 1:
        raise UsageError(f"`min_confidence` is {min_confidence!r:.60}; expected a number from 0 to 1")
    for name, given, known in (("mode", mode, MODES), ("fusion", fusion, tuple(FUSIONS)), ("unit", unit, tuple(UNITS))):
        if given not in known:
            raise UsageError(f"unknown {name} {given!r}; expected one of {', '.join(known)}")
    if isinstance(queries, str) or not isinstance(queries, Sequence):
        raise UsageError(f"the queries are {queries!r:.60}; expected a list of texts, or search() for one")
    for query in queries:
        if not isinstance(query, str):
            raise UsageError(f"the query is {query!r:.60}; expected text")
        if not query.strip():
            raise UsageError("the query is empty; ask something")
        if re.search("[\ud800-\udfff]", query):
            raise UsageError(f"the query is {query!r:.60}, which is not valid Unicode; expected text in UTF-8")


def check_vector(vector: object, spec: EncoderSpec) -> Vectors:
    """A vector of a query as the one row of float32 `[1, dim]`, of length 1 where the encoder's vectors have it.

    Raises:
        UsageError: It is not one of finite numbers, or not as long as the encoder's.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large becomes infinity
        try:
            row = np.asarray(vector, np.float32)
        except (TypeError, ValueError, OverflowError):
            row = np.empty(0, np.float32)
        finite = bool(np.isfinite(np.square(row).sum()))
    if row.ndim != 1 or not row.size or not finite:
        raise UsageError(f"the vector is {vector!r:.60}; expected a list of {spec.dim} finite numbers")
    if len(row) != spec.dim:
        raise UsageError(f"the vector has {len(row)} dimensions; the encoder of the index gives {spec.dim}")
    return unit_rows(row[None]) if spec.normalize else row[None]


Roll: TypeAlias = Callable[[Sequence[int]], dict[int, int]]
"""Passages to what each stands for in a ranking."""

UNITS: dict[str, Callable[[Searchable], Roll]] = {
    "document": lambda store: store.documents_of,
    "passage": lambda store: lambda passages: {passage: passage for passage in store.documents_of(passages)},
}


def _found(
    store: Searchable,
    queries: Sequence[str],
    vectors: Vectors | None,
    k: int,
    mode: str,
    fusion: str,
    where: Filter | None,
    unit: str,
) -> list[Found]:
    k, roll = min(int(k), MOST), UNITS[unit](store)
    depth = max(k, FUSED_DEPTH) if mode == "hybrid" else k
    dense = [] if vectors is None or mode == "keyword" else _dense(store, roll, vectors, depth, where)
    if mode == "dense":
        return [Found(ranking, "cosine", partial(_scores, ranking)) for ranking in dense]
    keyword = [_deeper(roll, partial(_keyword_passages, store, query, where), depth) for query in queries]
    if mode == "keyword":
        return [
            Found(ranking, "bm25", partial(_shares, store, query, ranking))
            for query, ranking in zip(queries, keyword, strict=True)
        ]
    assert vectors is not None
    every = []
    for sides in _sides(store, queries, vectors, dense, keyword):
        ranking = FUSIONS[fusion](*sides)
        if fusion == "convex":
            every.append(Found(ranking, "hybrid", partial(_scores, ranking)))
        else:
            every.append(Found(ranking, fusion, partial(_mixed, sides)))
    return every


def find_sides(store: Searchable, query: str, vector: Vectors, k: int, *, where: Filter | None, unit: str) -> Sides:
    """Both rankings of a hybrid search for one query `[dim]`, as deep as `find` makes them for k hits."""
    roll, depth = UNITS[unit](store), max(min(int(k), MOST), FUSED_DEPTH)
    dense = _dense(store, roll, vector[None], depth, where)
    keyword = [_deeper(roll, partial(_keyword_passages, store, query, where), depth)]
    return _sides(store, [query], vector[None], dense, keyword)[0]


def _sides(
    store: Searchable, queries: Sequence[str], vectors: Vectors, dense: Sequence[Ranking], keyword: Sequence[Ranking]
) -> list[Sides]:
    return [
        Sides(near, words, Scale(unrelated, store.highest_keyword_score(query) if words else 1.0))
        for near, words, query, unrelated in zip(
            dense, keyword, queries, store.mean_cosines(vectors).tolist(), strict=True
        )
    ]


def _scores(ranking: Ranking) -> dict[int, float]:
    return {key: score for key, (score, _) in ranking.items()}


def _shares(store: Searchable, query: str, ranking: Ranking) -> dict[int, float]:
    highest = store.highest_keyword_score(query) if ranking else 1.0
    return {key: score / highest for key, (score, _) in ranking.items()}


def _mixed(sides: Sides) -> dict[int, float]:
    return _scores(fuse_convex(*sides))


def _dense(store: Searchable, roll: Roll, vectors: Vectors, k: int, where: Filter | None) -> list[Ranking]:
    """One search for all queries; those whose documents share passages too much go deeper, one by one."""
    n = 2 * k + 10
    scores, ids = store.search_vectors(vectors, n, where)
    rankings = []
    for row, vector in enumerate(vectors):
        ranking = _rolled(roll, scores[row], ids[row], k)
        if len(ranking) < k and _full(ids[row], n):
            ranking = _deeper(roll, partial(_dense_passages, store, vector, where), k, 4 * n)
        rankings.append(ranking)
    return rankings


def _dense_passages(store: Searchable, vector: Vectors, where: Filter | None, n: int) -> tuple[Vectors, Ids]:
    scores, ids = store.search_vectors(vector[None], n, where)
    return scores[0], ids[0]


def _keyword_passages(store: Searchable, query: str, where: Filter | None, n: int) -> tuple[Vectors, Ids]:
    return store.search_keywords(query, n, where)


def _deeper(roll: Roll, search: Callable[[int], tuple[Vectors, Ids]], k: int, n: int = 0) -> Ranking:
    """Ask for more and more passages, n at first, until they belong to k documents, or there are no more."""
    n = n or 2 * k + 10
    while True:
        scores, ids = search(n)
        ranking = _rolled(roll, scores, ids, k)
        if len(ranking) >= k or not _full(ids, n):
            return ranking
        n *= 4


def _rolled(roll: Roll, scores: Vectors, passages: Ids, k: int) -> Ranking:
    """Roll passages, best first, up to the first k documents."""
    keys = roll([int(passage) for passage in passages if passage != -1])
    ranking: Ranking = {}
    for score, passage in zip(scores.tolist(), passages.tolist(), strict=True):
        if passage in keys and len(ranking) < k:
            ranking.setdefault(keys[passage], (score, passage))
    return ranking


def _shown(store: Readable, found: Found, k: int, confidence: Callable[[float], float | None] | None) -> list[Shown]:
    best = list(found.ranking.items())[:k]
    stored, strengths = store.show([passage for _, (_, passage) in best]), found.strengths()
    shown = []
    for rank, (key, (score, number)) in enumerate(best, 1):
        passage, strength = stored[number], strengths[key]
        sure = confidence(strength) if confidence else None
        place = passage.start, passage.end
        hit = Hit(rank, passage.doc_id, score, passage.title, passage.text, *place, passage.metadata, found.kind, sure)
        shown.append(Shown(number, strength, hit))
    return shown


def fuse_rrf(dense: Ranking, keyword: Ranking, scale: Scale) -> Ranking:
    """Reciprocal rank fusion: the sum of `1 / (60 + rank)` over the rankings that have a document.

    Its scores say where a document stands, not how good it is, and lie between 0 and 2 / 61.
    """
    return _fused(dense, keyword, *parts_rrf(dense, keyword, scale))


def parts_rrf(dense: Ranking, keyword: Ranking, scale: Scale) -> Parts:
    """The parts that `fuse_rrf` adds."""

    def parts(ranking: Ranking) -> dict[int, float]:
        return {document: 1 / (RRF_K + rank) for rank, document in enumerate(ranking, 1)}

    return parts(dense), parts(keyword)


def fuse_convex(dense: Ranking, keyword: Ranking, scale: Scale) -> Ranking:
    """A convex mix of scores (Bruch, Gai and Ingber 2023), each side scaled from 0 for unrelated to 1 for perfect.

    Both ends of a scale belong to the query and the index, not to what was found, so that a score means the same for
    every query. The cosine of an unrelated passage is the mean over all passages: near 0 for a trained encoder, near 1
    in the narrow cone of a raw BERT; what is farther gets less than 0. BM25 has a true zero, and its one is the least
    that no passage exceeds. A document that is not among the nearest is taken to be as near as the last of them.
    """
    return _fused(dense, keyword, *parts_convex(dense, keyword, scale))


def parts_convex(dense: Ranking, keyword: Ranking, scale: Scale) -> Parts:
    """The parts that `fuse_convex` adds."""
    ours = {document: DENSE_WEIGHT * dense_part(score, scale) for document, (score, _) in dense.items()}
    farthest = min(ours.values(), default=0.0)
    ours |= {document: farthest for document in keyword if document not in dense}
    theirs = {d: (1 - DENSE_WEIGHT) * keyword_part(score, scale) for d, (score, _) in keyword.items()}
    return ours, theirs


def dense_part(cosine: Score, scale: Scale) -> Score:
    """Where a cosine lies between that of an unrelated passage, 0, and that of the same text, 1."""
    return _share(cosine, scale.unrelated, 1)


def keyword_part(bm25: Score, scale: Scale) -> Score:
    """A BM25 as a share of the highest that any passage could have."""
    return _share(bm25, 0, scale.highest)


PARTS = {"convex": parts_convex, "rrf": parts_rrf}
FUSIONS = {"convex": fuse_convex, "rrf": fuse_rrf}


def _fused(dense: Ranking, keyword: Ranking, ours: dict[int, float], theirs: dict[int, float]) -> Ranking:
    """Add each document's two parts; it is shown by its dense passage where it has one."""
    passages = {document: passage for each in (keyword, dense) for document, (_, passage) in each.items()}
    totals = {document: ours.get(document, 0.0) + theirs.get(document, 0.0) for document in passages}
    order = sorted(totals, key=lambda document: (-totals[document], document))
    return {document: (totals[document], passages[document]) for document in order}


def _share(score: Score, zero: float, one: float) -> Score:
    """Where a score, or each of many, lies between zero and one; 0 where these are the same."""
    return (score - zero) / (one - zero) if one > zero else score * 0


def _full(ids: Ids, n: int) -> bool:
    """Whether a search for n passages found as many, so that there may be more."""
    return len(ids) == n and bool(np.all(ids != -1))
