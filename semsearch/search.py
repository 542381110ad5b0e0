"""The search verb: a question in, documents out, each shown by its best passage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self, TypeAlias

import numpy as np

from semsearch.arrays import Vectors
from semsearch.encoder.checkpoint import canonical_name
from semsearch.encoder.encoder import TextEncoder
from semsearch.encoder.load import load_encoder
from semsearch.errors import UsageError
from semsearch.filters.text import Filter, from_keywords, parse
from semsearch.stores.local.reader import Index
from semsearch.stores.local.segments import Ids, import_faiss
from semsearch.types import Hit, Query, Run

MODES = ("dense", "keyword", "hybrid")

RRF_K = 60
"""Cormack, Clarke and Büttcher 2009."""

DENSE_WEIGHT = 0.7
"""Share of the dense score in the convex mix; measured in bench/fusion.py."""

FUSED_DEPTH = 1_000
"""Documents of each side that take part in a fusion, at least; more where more hits are wanted."""

CHANGED_CHECKPOINT = (
    "What is now at {!r} is not what the index was built with: bring that back, or build the index again"
)

Ranking: TypeAlias = dict[int, tuple[float, int]]
"""Document (row number) to its best score and the passage that has it, best first."""


class Searcher:
    """Answers questions from one index; keyword search needs no encoder, so that one is loaded when first needed."""

    def __init__(
        self,
        index: Index,
        encoder: TextEncoder | None = None,
        *,
        model: str | None = None,
        device: str = "auto",
        runtime: str = "auto",
    ) -> None:
        """Bind an index and its encoder.

        Args:
            index: Open for reading; the searcher closes it.
            encoder: None for the one whose spec is stored in the index.
            model: Where that one's checkpoint is now, if it was moved.
            device: Where to load it.
            runtime: What runs it, `openvino` or `torch`.

        Raises:
            MismatchError: The index was built with another encoder.
        """
        self.index, self._encoder, self._model = index, encoder, model
        self._where = {"device": device, "runtime": runtime}
        if encoder:
            index.refuse_other(encoder.spec)

    @classmethod
    def open(
        cls,
        folder: str | Path,
        encoder: TextEncoder | None = None,
        *,
        model: str | None = None,
        device: str = "auto",
        runtime: str = "auto",
    ) -> Searcher:
        """Open an index folder and search it with the encoder that it was built with; see `Searcher`."""
        index = Index(folder)
        try:
            return cls(index, encoder, model=model, device=device, runtime=runtime)
        except BaseException:
            index.close()
            raise

    def close(self) -> None:
        """Close the index."""
        self.index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    @property
    def encoder(self) -> TextEncoder:
        """The index's encoder, loaded when first needed and compared with the stored fingerprint."""
        if self._encoder is None:
            Thread(target=import_faiss).start()  # while the checkpoint is read
            base = replace(self.index.spec, model=canonical_name(self._model)) if self._model else self.index.spec
            encoder = load_encoder(base=base, artifacts=self.index.folder, **self._where)
            self.index.refuse_other(encoder.spec, CHANGED_CHECKPOINT.format(base.model))
            self._encoder = encoder
        return self._encoder

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        mode: str = "dense",
        where: str | None = None,
        fusion: str = "convex",
        **fields: object,
    ) -> list[Hit]:
        """The k best documents for a question, best first.

        Args:
            query: In plain words.
            k: How many documents, at least 1.
            mode: `dense` (cosine), `keyword` (BM25) or `hybrid` (both).
            where: A filter such as `year >= 2020 and lang = 'en'`.
            fusion: How `hybrid` mixes: `convex` (scaled scores) or `rrf` (ranks).
            **fields: The same filter as keywords: `year__gte=2020, lang="en"`.

        Raises:
            UsageError: An empty query, k below 1, an unknown mode.
            FilterError: A filter that does not parse or names an unknown field.
        """
        return self.search_many([query], k, mode=mode, where=where, fusion=fusion, **fields)[0]

    def search_many(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        mode: str = "dense",
        where: str | None = None,
        fusion: str = "convex",
        **fields: object,
    ) -> list[list[Hit]]:
        """As `search`, for many questions at once: the hits of each, in the order given."""
        _check(queries, k, mode, fusion)
        condition = _condition(where, fields)
        vectors = self.encoder.encode_queries(queries) if mode != "keyword" else None
        with self.index.snapshot():
            rankings = self._rankings(queries, vectors, k, mode, fusion, condition)
            return [self._hits(ranking, k) for ranking in rankings]

    def run(
        self,
        queries: Sequence[Query],
        k: int = 100,
        *,
        mode: str = "dense",
        fusion: str = "convex",
        vectors: Vectors | None = None,
    ) -> Run:
        """A run over many queries, for evaluation: `{query_id: {doc_id: score}}`.

        Args:
            queries: With their ids.
            k: Documents a query.
            mode: As for `search`.
            fusion: Likewise.
            vectors: Of the queries, float32 `[n, dim]`, where they are encoded already.
        """
        texts = [query.text for query in queries]
        _check(texts, k, mode, fusion)
        if vectors is None and mode != "keyword":
            vectors = self.encoder.encode_queries(texts)
        with self.index.snapshot():
            rankings = self._rankings(texts, vectors if mode != "keyword" else None, k, mode, fusion, None)
            names = self.index.doc_ids({document for ranking in rankings for document in ranking})
        return {
            query.query_id: {names[document]: score for document, (score, _) in islice(ranking.items(), k)}
            for query, ranking in zip(queries, rankings, strict=True)
        }

    def _rankings(
        self, queries: Sequence[str], vectors: Vectors | None, k: int, mode: str, fusion: str, where: Filter | None
    ) -> list[Ranking]:
        depth = max(k, FUSED_DEPTH) if mode == "hybrid" else k
        dense = [] if vectors is None else self._dense(vectors, depth, where)
        if mode == "dense":
            return dense
        keyword = [self._keyword(query, depth, where) for query in queries]
        if mode == "keyword":
            return keyword
        return [FUSIONS[fusion](*pair) for pair in zip(dense, keyword, strict=True)]

    def _dense(self, vectors: Vectors, k: int, where: Filter | None) -> list[Ranking]:
        """One search for all queries; those whose documents share passages too much go deeper, one by one."""
        n = 2 * k + 10
        scores, ids = self.index.search_vectors(vectors, n, where)
        rankings = []
        for row, vector in enumerate(vectors):
            ranking = self._by_document(scores[row], ids[row], k)
            if len(ranking) < k and _full(ids[row], n):
                ranking = self._deeper(partial(self._dense_passages, vector, where), k, 4 * n)
            rankings.append(ranking)
        return rankings

    def _dense_passages(self, vector: Vectors, where: Filter | None, n: int) -> tuple[Vectors, Ids]:
        scores, ids = self.index.search_vectors(vector[None], n, where)
        return scores[0], ids[0]

    def _keyword(self, query: str, k: int, where: Filter | None) -> Ranking:
        return self._deeper(lambda m: self.index.search_keywords(query, m, where), k, 2 * k + 10)

    def _deeper(self, search: Callable[[int], tuple[Vectors, Ids]], k: int, n: int) -> Ranking:
        """Ask for more and more passages until they belong to k documents, or there are no more."""
        while True:
            scores, ids = search(n)
            ranking = self._by_document(scores, ids, k)
            if len(ranking) >= k or not _full(ids, n):
                return ranking
            n *= 4

    def _by_document(self, scores: Vectors, passages: Ids, k: int) -> Ranking:
        """Roll passages, best first, up to the first k documents."""
        documents = self.index.documents_of([int(passage) for passage in passages if passage != -1])
        ranking: Ranking = {}
        for score, passage in zip(scores.tolist(), passages.tolist(), strict=True):
            if passage in documents and len(ranking) < k:
                ranking.setdefault(documents[passage], (score, passage))
        return ranking

    def _hits(self, ranking: Ranking, k: int) -> list[Hit]:
        best = list(ranking.values())[:k]
        found = self.index.show([passage for _, passage in best])
        return [
            Hit(rank, shown.doc_id, score, shown.title, shown.text, shown.start, shown.end, shown.metadata)
            for rank, (score, passage) in enumerate(best, 1)
            for shown in (found[passage],)
        ]


def fuse_rrf(dense: Ranking, keyword: Ranking) -> Ranking:
    """Reciprocal rank fusion: the sum of `1 / (60 + rank)` over the rankings that have a document."""

    def parts(ranking: Ranking) -> dict[int, float]:
        return {document: 1 / (RRF_K + rank) for rank, document in enumerate(ranking, 1)}

    return _fused(dense, keyword, parts(dense), parts(keyword))


def fuse_convex(dense: Ranking, keyword: Ranking) -> Ranking:
    """A convex mix of scores, each side scaled to 0 to 1 (Bruch, Gai and Ingber 2023).

    BM25 has a true zero, a document without the words, and is divided by the best score. Cosines have none: in the
    narrow cone of a raw BERT all are near 1. They are scaled from the lowest of the ranking to the best.
    """
    lowest, best = _range(dense)
    ours = {document: DENSE_WEIGHT * _share(score, lowest, best) for document, (score, _) in dense.items()}
    _, best = _range(keyword)
    theirs = {document: (1 - DENSE_WEIGHT) * _share(score, 0, best) for document, (score, _) in keyword.items()}
    return _fused(dense, keyword, ours, theirs)


FUSIONS = {"convex": fuse_convex, "rrf": fuse_rrf}


def _fused(dense: Ranking, keyword: Ranking, ours: dict[int, float], theirs: dict[int, float]) -> Ranking:
    """Add each document's two parts; it is shown by its dense passage where it has one."""
    passages = {document: passage for each in (keyword, dense) for document, (_, passage) in each.items()}
    totals = {document: ours.get(document, 0.0) + theirs.get(document, 0.0) for document in passages}
    order = sorted(totals, key=lambda document: (-totals[document], document))
    return {document: (totals[document], passages[document]) for document in order}


def _range(ranking: Ranking) -> tuple[float, float]:
    """Lowest and best score."""
    scores = [score for score, _ in ranking.values()]
    return min(scores, default=0.0), max(scores, default=0.0)


def _share(score: float, zero: float, best: float) -> float:
    """Where a score lies between zero and the best; 1 where these are the same."""
    return (score - zero) / (best - zero) if best > zero else 1.0


def _full(ids: Ids, n: int) -> bool:
    """Whether a search for n passages found as many, so that there may be more."""
    return len(ids) == n and bool(np.all(ids != -1))


def _condition(where: str | None, fields: dict[str, object]) -> Filter | None:
    """Both spellings of a filter as one; with both, both must hold."""
    conditions = [parse(where)] if where is not None else []
    conditions += [from_keywords(**fields)] if fields else []
    if len(conditions) == 2:
        return conditions[0] & conditions[1]
    return conditions[0] if conditions else None


def _check(queries: Sequence[str], k: int, mode: str, fusion: str) -> None:
    if k < 1:
        raise UsageError(f"k is {k}; expected 1 or more hits")
    if mode not in MODES:
        raise UsageError(f"unknown mode {mode!r}; expected one of {', '.join(MODES)}")
    if fusion not in FUSIONS:
        raise UsageError(f"unknown fusion {fusion!r}; expected one of {', '.join(FUSIONS)}")
    if isinstance(queries, str):
        raise UsageError(f"the queries are the text {queries!r:.60}; expected a list, or search() for one")
    for query in queries:
        if not query.strip():
            raise UsageError("the query is empty; ask something")
