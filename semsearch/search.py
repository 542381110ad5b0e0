"""The search verb: a question in, documents out, each shown by its best passage."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeAlias

import numpy as np

from semsearch.arrays import Ids, Vectors
from semsearch.checks import TEXT, WHOLE, check_types
from semsearch.errors import UsageError
from semsearch.filters.syntax import Filter
from semsearch.stores.base import Searchable
from semsearch.types import Hit, Query, Run

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
"""Document (row number) to its best score and the passage that has it, best first."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What the scores of one query are measured by.

    Attributes:
        unrelated: The mean cosine of the query with all passages.
        highest: A BM25 that no passage exceeds, above 0.
    """

    unrelated: float
    highest: float


def find(
    store: Searchable,
    queries: Sequence[str],
    vectors: Vectors | None,
    k: int = 10,
    *,
    mode: str = "dense",
    where: Filter | None = None,
    fusion: str = "convex",
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

    Raises:
        FilterError: The filter reads a field that no document has.
    """
    with store.snapshot():
        rankings = _rankings(store, queries, vectors, k, mode, fusion, where)
        return [_hits(store, ranking, k) for ranking in rankings]


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
        rankings = _rankings(store, [query.text for query in queries], vectors, k, mode, fusion, None)
        names = store.doc_ids({document for ranking in rankings for document in ranking})
    return {
        query.query_id: {names[document]: score for document, (score, _) in islice(ranking.items(), min(k, MOST))}
        for query, ranking in zip(queries, rankings, strict=True)
    }


def check_search(queries: object, k: int, mode: str, fusion: str) -> None:
    """Refuse what makes no sense before anything is loaded.

    Raises:
        UsageError: Queries that are not a list of texts with something in them, k that is not a whole number of 1 or
            more, an unknown mode or fusion.
    """
    check_types({"k": k, "mode": mode, "fusion": fusion}, {"k": WHOLE, "mode": TEXT, "fusion": TEXT})
    if k < 1:
        raise UsageError(f"`k` must be at least 1, got {k}")
    for name, given, known in (("mode", mode, MODES), ("fusion", fusion, tuple(FUSIONS))):
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


def _rankings(
    store: Searchable,
    queries: Sequence[str],
    vectors: Vectors | None,
    k: int,
    mode: str,
    fusion: str,
    where: Filter | None,
) -> list[Ranking]:
    k = min(int(k), MOST)
    depth = max(k, FUSED_DEPTH) if mode == "hybrid" else k
    dense = [] if vectors is None or mode == "keyword" else _dense(store, vectors, depth, where)
    if mode == "dense":
        return dense
    keyword = [_keyword(store, query, depth, where) for query in queries]
    if mode == "keyword":
        return keyword
    assert vectors is not None
    unrelated = store.mean_cosines(vectors).tolist()
    highest = [
        store.highest_keyword_score(query) if found else 1.0 for query, found in zip(queries, keyword, strict=True)
    ]
    scales = map(Scale, unrelated, highest)
    return [FUSIONS[fusion](*each) for each in zip(dense, keyword, scales, strict=True)]


def _dense(store: Searchable, vectors: Vectors, k: int, where: Filter | None) -> list[Ranking]:
    """One search for all queries; those whose documents share passages too much go deeper, one by one."""
    n = 2 * k + 10
    scores, ids = store.search_vectors(vectors, n, where)
    rankings = []
    for row, vector in enumerate(vectors):
        ranking = _by_document(store, scores[row], ids[row], k)
        if len(ranking) < k and _full(ids[row], n):
            ranking = _deeper(store, partial(_dense_passages, store, vector, where), k, 4 * n)
        rankings.append(ranking)
    return rankings


def _dense_passages(store: Searchable, vector: Vectors, where: Filter | None, n: int) -> tuple[Vectors, Ids]:
    scores, ids = store.search_vectors(vector[None], n, where)
    return scores[0], ids[0]


def _keyword(store: Searchable, query: str, k: int, where: Filter | None) -> Ranking:
    return _deeper(store, lambda n: store.search_keywords(query, n, where), k, 2 * k + 10)


def _deeper(store: Searchable, search: Callable[[int], tuple[Vectors, Ids]], k: int, n: int) -> Ranking:
    """Ask for more and more passages until they belong to k documents, or there are no more."""
    while True:
        scores, ids = search(n)
        ranking = _by_document(store, scores, ids, k)
        if len(ranking) >= k or not _full(ids, n):
            return ranking
        n *= 4


def _by_document(store: Searchable, scores: Vectors, passages: Ids, k: int) -> Ranking:
    """Roll passages, best first, up to the first k documents."""
    documents = store.documents_of([int(passage) for passage in passages if passage != -1])
    ranking: Ranking = {}
    for score, passage in zip(scores.tolist(), passages.tolist(), strict=True):
        if passage in documents and len(ranking) < k:
            ranking.setdefault(documents[passage], (score, passage))
    return ranking


def _hits(store: Searchable, ranking: Ranking, k: int) -> list[Hit]:
    best = list(ranking.values())[:k]
    found = store.show([passage for _, passage in best])
    return [
        Hit(rank, shown.doc_id, score, shown.title, shown.text, shown.start, shown.end, shown.metadata)
        for rank, (score, passage) in enumerate(best, 1)
        for shown in (found[passage],)
    ]


def fuse_rrf(dense: Ranking, keyword: Ranking, scale: Scale) -> Ranking:
    """Reciprocal rank fusion: the sum of `1 / (60 + rank)` over the rankings that have a document.

    Its scores say where a document stands, not how good it is, and lie between 0 and 2 / 61.
    """

    def parts(ranking: Ranking) -> dict[int, float]:
        return {document: 1 / (RRF_K + rank) for rank, document in enumerate(ranking, 1)}

    return _fused(dense, keyword, parts(dense), parts(keyword))


def fuse_convex(dense: Ranking, keyword: Ranking, scale: Scale) -> Ranking:
    """A convex mix of scores (Bruch, Gai and Ingber 2023), each side scaled from 0 for unrelated to 1 for perfect.

    Both ends of a scale belong to the query and the index, not to what was found, so that a score means the same for
    every query. The cosine of an unrelated passage is the mean over all passages: near 0 for a trained encoder, near 1
    in the narrow cone of a raw BERT; what is farther gets less than 0. BM25 has a true zero, and its one is the least
    that no passage exceeds. A document that is not among the nearest is taken to be as near as the last of them.
    """
    cosines = {document: _share(score, scale.unrelated, 1) for document, (score, _) in dense.items()}
    farthest = min(cosines.values(), default=0.0)
    ours = {document: DENSE_WEIGHT * cosines.get(document, farthest) for document in dense | keyword}
    theirs = {d: (1 - DENSE_WEIGHT) * _share(score, 0, scale.highest) for d, (score, _) in keyword.items()}
    return _fused(dense, keyword, ours, theirs)


FUSIONS = {"convex": fuse_convex, "rrf": fuse_rrf}


def _fused(dense: Ranking, keyword: Ranking, ours: dict[int, float], theirs: dict[int, float]) -> Ranking:
    """Add each document's two parts; it is shown by its dense passage where it has one."""
    passages = {document: passage for each in (keyword, dense) for document, (_, passage) in each.items()}
    totals = {document: ours.get(document, 0.0) + theirs.get(document, 0.0) for document in passages}
    order = sorted(totals, key=lambda document: (-totals[document], document))
    return {document: (totals[document], passages[document]) for document in order}


def _share(score: float, zero: float, one: float) -> float:
    """Where a score lies between zero and one; 0 where these are the same."""
    return (score - zero) / (one - zero) if one > zero else 0.0


def _full(ids: Ids, n: int) -> bool:
    """Whether a search for n passages found as many, so that there may be more."""
    return len(ids) == n and bool(np.all(ids != -1))
