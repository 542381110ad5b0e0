"""Search: rank the documents of an index for a query, each represented by its best passage."""

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
from semsearch.types import COSINE, EUCLIDEAN, EncoderSpec, Hit, Query, Run

MODES = ("dense", "keyword", "hybrid")

RRF_K = 60
"""Rank constant of reciprocal rank fusion (Cormack, Clarke and Büttcher 2009)."""

DENSE_WEIGHT = 0.5
"""Weight of the dense score in the convex combination; measured in bench/fusion.py."""

TRUSTED, DISTRUSTED, LEAST_WEIGHT = 0.1, 0.5, 0.001
"""Shares of unknown letters in a query up to which the dense score has its full weight, and from which on it has the
least weight, which orders only what words do not; measured in bench/languages.py."""

FUSED_DEPTH = {"convex": 50, "rrf": 1_000}
"""Minimum number of documents from each ranking to fuse, by the method; more if more hits are wanted.

A convex combination needs few, since it knows both scores of all of them; measured in bench/fusion.py."""

MANY_PASSAGES = 20
"""Number of passages of a document up to which all of them are scored for a convex combination."""

MOST = 2**40
"""Upper bound on k: more hits than any index has, but small enough for the integers of every library."""

Ranking: TypeAlias = dict[int, tuple[float, int]]
"""Best score, and the passage that has it, by document number (or by passage number), best first."""


Parts: TypeAlias = tuple[dict[int, float], dict[int, float]]
"""Contributions of the dense and the keyword ranking to the fused score, by key."""

Score = TypeVar("Score", float, Vectors)


@dataclass(frozen=True, slots=True)
class Scale:
    """Reference values for scaling the scores of one query.

    Attributes:
        unrelated: Dense score of an unrelated passage; see `semsearch.similarity.reference_scores`.
        highest: Upper bound, above 0, on the BM25 score of any passage.
        perfect: Dense score of a perfect match.
        weight: Weight of the dense score; see `dense_weight`.
    """

    unrelated: float
    highest: float
    perfect: float = 1.0
    weight: float = DENSE_WEIGHT


class Sides(NamedTuple):
    """Both rankings of a hybrid search for one query, and the scale of their scores."""

    dense: Ranking
    keyword: Ranking
    scale: Scale


@dataclass(frozen=True, slots=True)
class Found:
    """Ranking for one query.

    Attributes:
        ranking: Scores and passages, by document or passage number.
        kind: Kind of the scores; see `Hit.kind`.
        strengths: Returns, by key of the ranking, the value on the scale that unrelated pairs are measured on: the
            dense strength (see `dense_strength`), the share of the highest BM25 score, or the convex combination.
        trust: Weight of the dense score in a hybrid one, as a share of the usual weight.
    """

    ranking: Ranking
    kind: str
    strengths: Callable[[], Mapping[int, float]]
    trust: float = 1.0


@dataclass(frozen=True, slots=True)
class Shown:
    """A hit together with the number of its passage.

    Attributes:
        passage: Number of the passage in the store.
        strength: Score on the scale of unrelated pairs; see `Found`.
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
    unknown: Sequence[float] | None = None,
) -> list[list[Hit]]:
    """Return the k best documents for each query, best first, in the order of the queries.

    Args:
        store: The store to search.
        queries: Queries as text.
        vectors: Vectors of the queries, float32 `[n, dim]`; None for keyword search.
        k: Number of hits per query, at least 1.
        mode: `dense` (similarity of vectors), `keyword` (BM25) or `hybrid` (both).
        where: Filter that documents must match; None for all documents.
        fusion: How `hybrid` combines both scores: `convex` (scaled scores) or `rrf` (ranks).
        unit: Unit of the ranking: `document` (scored by its best passage) or `passage`.
        min_confidence: Drop hits with a lower confidence.
        unknown: Share of the letters of each query that the encoder does not know; see `dense_weight`. None for 0.

    Raises:
        FilterError: If the filter names a field that no document has.
        UsageError: If `min_confidence` is given but unrelated pairs have not been measured for the index.
    """
    wishes: dict[str, Any] = {"mode": mode, "where": where, "fusion": fusion, "unit": unit, "unknown": unknown}
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
    unknown: Sequence[float] | None = None,
) -> list[list[Shown]]:
    """Search as `find` does, and return each hit with the number of its passage and its strength."""
    with store.snapshot():
        background = background_of(store)
        if min_confidence is not None and (background is None or mode not in background.tails):
            raise UsageError(
                "`min_confidence` needs the scores of unrelated pairs, which have not been measured for this index; "
                "index the same corpus again to measure them"
            )
        every = _found(store, queries, vectors, k, mode, fusion, where, unit, unknown)
        shown = [
            _shown(store, found, k, partial(background.confidence, mode, trust=found.trust) if background else None)
            for found in every
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
    unknown: Sequence[float] | None = None,
) -> Run:
    """Return a run over many queries for evaluation, `{query_id: {doc_id: score}}`; arguments are those of `find`."""
    with store.snapshot():
        every = _found(store, [query.text for query in queries], vectors, k, mode, fusion, None, "document", unknown)
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
    """Reject invalid arguments before anything is loaded.

    Raises:
        UsageError: If `queries` is not a list of non-empty strings of valid Unicode, `k` is not a whole number of at
            least 1, the mode, fusion or unit is unknown, or the confidence is not from 0 to 1.
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
        raise UsageError(f"the queries are {queries!r:.60}; expected a list of texts (for one query, use search())")
    for query in queries:
        if not isinstance(query, str):
            raise UsageError(f"the query is {query!r:.60}; expected text")
        if not query.strip():
            raise UsageError("the query is empty; enter a question or a few words")
        if re.search("[\ud800-\udfff]", query):
            raise UsageError(f"the query is {query!r:.60}, which is not valid Unicode; expected text in UTF-8")


def check_vector(vector: object, spec: EncoderSpec) -> Vectors:
    """Return a query vector as float32 `[1, dim]`, rescaled to unit length if vectors are ranked by cosine.

    Raises:
        UsageError: If it is not a vector of finite numbers, or its dimension is not that of the encoder's vectors.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # values that are too large become infinity
        try:
            row = np.asarray(vector, np.float32)
        except (TypeError, ValueError, OverflowError):
            row = np.empty(0, np.float32)
        finite = bool(np.isfinite(np.square(row).sum()))
    if row.ndim != 1 or not row.size or not finite:
        raise UsageError(f"the vector is {vector!r:.60}; expected a list of {spec.dim} finite numbers")
    if len(row) != spec.dim:
        raise UsageError(f"the vector has {len(row)} dimensions; the encoder of this index produces {spec.dim}")
    return unit_rows(row[None]) if spec.normalize and spec.similarity == COSINE else row[None]


Roll: TypeAlias = Callable[[Sequence[int]], dict[int, int]]
"""Maps passages to their keys in a ranking: their documents, or themselves."""

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
    unknown: Sequence[float] | None,
) -> list[Found]:
    k, roll = min(int(k), MOST), UNITS[unit](store)
    depth = max(k, FUSED_DEPTH[fusion]) if mode == "hybrid" else k
    dense = [] if vectors is None or mode == "keyword" else _dense(store, roll, vectors, depth, where)
    if mode == "dense":
        asked = () if vectors is None else vectors
        return [
            Found(ranking, store.similarity, partial(_strengths, store, vector, ranking))
            for ranking, vector in zip(dense, asked, strict=True)
        ]
    keyword = [_deeper(roll, partial(_keyword_passages, store, query, where), depth) for query in queries]
    if mode == "keyword":
        return [
            Found(ranking, "bm25", partial(_shares, store, query, ranking))
            for query, ranking in zip(queries, keyword, strict=True)
        ]
    assert vectors is not None
    every = []
    for sides in _sides(store, queries, vectors, dense, keyword, unknown, fusion, unit):
        ranking, trust = FUSIONS[fusion](*sides), sides.scale.weight / DENSE_WEIGHT
        if fusion == "convex":
            every.append(Found(ranking, "hybrid", partial(_scores, ranking), trust))
        else:
            every.append(Found(ranking, fusion, partial(_mixed, sides), trust))
    return every


def dense_weight(unknown: float) -> float:
    """Return the weight of the dense score for a query, given the share of its letters that the encoder does not know.

    A vector says next to nothing about letters that are not in the vocabulary (see `encoder.languages`). The weight
    falls linearly from DENSE_WEIGHT at TRUSTED to LEAST_WEIGHT at DISTRUSTED; what it loses goes to the words.
    """
    doubt = min(max((unknown - TRUSTED) / (DISTRUSTED - TRUSTED), 0.0), 1.0)
    return DENSE_WEIGHT - doubt * (DENSE_WEIGHT - LEAST_WEIGHT)


def find_sides(
    store: Searchable,
    query: str,
    vector: Vectors,
    k: int,
    *,
    fusion: str,
    where: Filter | None,
    unit: str,
    unknown: float = 0.0,
) -> Sides:
    """Return both rankings of a hybrid search for one query vector `[dim]`, as deep as `find` makes them for k hits."""
    roll, depth = UNITS[unit](store), max(min(int(k), MOST), FUSED_DEPTH[fusion])
    dense = _dense(store, roll, vector[None], depth, where)
    keyword = [_deeper(roll, partial(_keyword_passages, store, query, where), depth)]
    return _sides(store, [query], vector[None], dense, keyword, [unknown], fusion, unit)[0]


def _sides(
    store: Searchable,
    queries: Sequence[str],
    vectors: Vectors,
    dense: Sequence[Ranking],
    keyword: Sequence[Ranking],
    unknown: Sequence[float] | None,
    fusion: str,
    unit: str,
) -> list[Sides]:
    weights = [DENSE_WEIGHT] * len(queries) if unknown is None else list(map(dense_weight, unknown))
    if fusion == "convex":
        pairs = zip(queries, vectors, dense, keyword, strict=True)
        completed = [_completed(store, unit, *each) for each in pairs]
        dense, keyword = [near for near, _ in completed], [words for _, words in completed]
    references = (each.tolist() for each in store.reference_scores(vectors))
    return [
        Sides(near, words, Scale(unrelated, store.highest_keyword_score(query) if words else 1.0, perfect, weight))
        for near, words, query, weight, unrelated, perfect in zip(
            dense, keyword, queries, weights, *references, strict=True
        )
    ]


def _completed(
    store: Searchable, unit: str, query: str, vector: Vectors, dense: Ranking, keyword: Ranking
) -> tuple[Ranking, Ranking]:
    """Add to each ranking what only the other one contains; a document without a word of the query has no BM25 score.

    The score of a document is that of its best passage. Of a document with more than MANY_PASSAGES, only the passage
    that was found counts.
    """
    near = {key: passage for key, (_, passage) in keyword.items() if key not in dense}
    having = {key: passage for key, (_, passage) in dense.items() if key not in keyword} if keyword else {}
    known = {} if unit == "passage" else store.passages_of([*near, *having], MANY_PASSAGES)
    ours = _best_of(near, known, lambda passages: store.similarities(vector[None], passages)[0])
    theirs = _best_of(having, known, lambda passages: store.keyword_scores(query, passages))
    return dense | ours, keyword | {key: found for key, found in theirs.items() if found[0] > 0}


def _best_of(
    keys: Mapping[int, int], known: Mapping[int, Sequence[int]], score: Callable[[list[int]], Vectors]
) -> Ranking:
    """Rank keys, each given with one of its passages, by the best of their known passages."""
    pairs = [(key, passage) for key, one in keys.items() for passage in known.get(key, [one])]
    if not pairs:
        return {}
    scores = score([passage for _, passage in pairs]).tolist()
    ranking: Ranking = {}
    for found, (key, passage) in sorted(zip(scores, pairs, strict=True), key=lambda pair: (-pair[0], pair[1][1])):
        ranking.setdefault(key, (found, passage))
    return ranking


def _scores(ranking: Ranking) -> dict[int, float]:
    return {key: score for key, (score, _) in ranking.items()}


def _strengths(store: Searchable, vector: Vectors, ranking: Ranking) -> dict[int, float]:
    if store.similarity == COSINE:  # needs no scale
        return _scores(ranking)
    (unrelated,), (perfect,) = (each.tolist() for each in store.reference_scores(vector[None]))
    scale = Scale(unrelated, 1.0, perfect)
    return {key: dense_strength(store.similarity, score, scale) for key, (score, _) in ranking.items()}


def _shares(store: Searchable, query: str, ranking: Ranking) -> dict[int, float]:
    highest = store.highest_keyword_score(query) if ranking else 1.0
    return {key: score / highest for key, (score, _) in ranking.items()}


def _mixed(sides: Sides) -> dict[int, float]:
    return _scores(fuse_convex(*sides))


def _dense(store: Searchable, roll: Roll, vectors: Vectors, k: int, where: Filter | None) -> list[Ranking]:
    """Search all queries at once; search deeper, one by one, for those whose passages come from too few documents."""
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
    """Search for more and more passages, starting with n, until they cover k documents or there are no more."""
    n = n or 2 * k + 10
    while True:
        scores, ids = search(n)
        ranking = _rolled(roll, scores, ids, k)
        if len(ranking) >= k or not _full(ids, n):
            return ranking
        n *= 4


def _rolled(roll: Roll, scores: Vectors, passages: Ids, k: int) -> Ranking:
    """Reduce passages, best first, to a ranking of the first k documents."""
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
        shape = passage.title, passage.text, passage.start, passage.end, passage.metadata
        hit = Hit(rank, passage.doc_id, score, *shape, found.kind, sure, passage.section)
        shown.append(Shown(number, strength, hit))
    return shown


def fuse_rrf(dense: Ranking, keyword: Ranking, scale: Scale) -> Ranking:
    """Fuse two rankings by reciprocal rank fusion: sum `1 / (60 + rank)` over the rankings that contain a document.

    Each term is multiplied by the weight of its side in `fuse_convex`, relative to the usual weight. The scores lie
    between 0 and 2 / 61, and reflect ranks only, not how relevant a document is.
    """
    return _fused(dense, keyword, *parts_rrf(dense, keyword, scale))


def parts_rrf(dense: Ranking, keyword: Ranking, scale: Scale) -> Parts:
    """Return the contributions that `fuse_rrf` adds up."""

    def parts(ranking: Ranking, weight: float) -> dict[int, float]:
        return {document: weight / (RRF_K + rank) for rank, document in enumerate(ranking, 1)}

    return parts(dense, scale.weight / DENSE_WEIGHT), parts(keyword, (1 - scale.weight) / (1 - DENSE_WEIGHT))


def fuse_convex(dense: Ranking, keyword: Ranking, scale: Scale) -> Ranking:
    """Fuse two rankings by a convex combination of their scores (Bruch, Gai and Ingber 2023).

    The scores of each side are scaled so that 0 means unrelated and 1 means perfect. Both ends of a scale depend on the
    query and the index, but not on what was retrieved, so that scores are comparable across queries. For cosines, 0
    stands for the mean over all passages, which is near 0 for a trained encoder and near 1 in the narrow cone of a raw
    BERT; lower cosines get negative scores. `semsearch.similarity.reference_scores` defines both ends for all
    similarities. For BM25, 0 is a true zero, and 1 is the least upper bound for any passage. `find` gives every
    document both scores; a document that is missing from the dense ranking gets the lowest score in it.
    """
    return _fused(dense, keyword, *parts_convex(dense, keyword, scale))


def parts_convex(dense: Ranking, keyword: Ranking, scale: Scale) -> Parts:
    """Return the contributions that `fuse_convex` adds up."""
    ours = {document: scale.weight * dense_part(score, scale) for document, (score, _) in dense.items()}
    farthest = min(ours.values(), default=0.0)
    ours |= {document: farthest for document in keyword if document not in dense}
    theirs = {d: (1 - scale.weight) * keyword_part(score, scale) for d, (score, _) in keyword.items()}
    return ours, theirs


def dense_part(score: Score, scale: Scale) -> Score:
    """Scale a dense score so that an unrelated passage has 0 and a perfect match 1."""
    return _share(score, scale.unrelated, scale.perfect)


def dense_strength(similarity: str, score: Score, scale: Scale) -> Score:
    """Return a dense score on a scale that does not depend on the lengths of vectors, with 1 for a perfect match.

    It is the cosine itself, a dot product as a share of the perfect one, or a distance scaled as in `dense_part`.
    """
    return _share(score, scale.unrelated if similarity == EUCLIDEAN else 0, scale.perfect)


def keyword_part(bm25: Score, scale: Scale) -> Score:
    """Scale a BM25 score to a share of the highest that any passage could have."""
    return _share(bm25, 0, scale.highest)


PARTS = {"convex": parts_convex, "rrf": parts_rrf}
FUSIONS = {"convex": fuse_convex, "rrf": fuse_rrf}


def _fused(dense: Ranking, keyword: Ranking, ours: dict[int, float], theirs: dict[int, float]) -> Ranking:
    """Add up the two contributions to each document, which is represented by its dense passage if it has one."""
    passages = {document: passage for each in (keyword, dense) for document, (_, passage) in each.items()}
    totals = {document: ours.get(document, 0.0) + theirs.get(document, 0.0) for document in passages}
    order = sorted(totals, key=lambda document: (-totals[document], document))
    return {document: (totals[document], passages[document]) for document in order}


def _share(score: Score, zero: float, one: float) -> Score:
    """Scale scores linearly so that `zero` becomes 0 and `one` becomes 1; all become 0 unless `one` exceeds `zero`."""
    return (score - zero) / (one - zero) if one > zero else score * 0


def _full(ids: Ids, n: int) -> bool:
    """Return whether a search for n passages found n, so that there may be more."""
    return len(ids) == n and bool(np.all(ids != -1))
