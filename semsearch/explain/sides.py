"""Splitting the score of a hit into a dense part and a BM25 part, with the help of the store that returned it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from semsearch.errors import UsageError
from semsearch.filters.syntax import Filter
from semsearch.search import DENSE_WEIGHT, FUSED_DEPTH, PARTS, UNITS, Parts, Sides, find_sides
from semsearch.stores.base import Readable, StoredPassage
from semsearch.types import SIMILARITIES, Hit, Term

if TYPE_CHECKING:
    from semsearch.arrays import Vector


@dataclass(frozen=True, slots=True)
class Side:
    """The dense or keyword side of a score.

    Attributes:
        share: Contribution of the side to the hit's score.
        passage: The passage that is explained; None if there is nothing to explain.
        terms: Contribution of each term to the BM25 score.
        score: The dense or BM25 score; None if there is none, even if a share was assumed.
        zero, one, weight, rank: See `semsearch.explain.records`.
        note: A remark for the reader; empty if there is none.
    """

    share: float
    passage: StoredPassage | None = None
    terms: Mapping[Term, float] | None = None
    score: float | None = None
    zero: float = 0.0
    one: float = 1.0
    weight: float = 1.0
    rank: int | None = None
    note: str = ""


Both: TypeAlias = tuple[Side | None, Side | None]
"""The dense and the keyword side of a hit; None for a side that was not searched."""


@dataclass(frozen=True)
class Asked:
    """A query, the store that was searched, and the parameters of the search.

    Attributes:
        vector: The query's vector as the encoder returns it, float32 `[dim]`; None if no hit needs it.
        depth: A lower bound on the number of hits that were requested.
        unknown: Share of the query's letters that the encoder does not know.
    """

    store: Readable
    query: str
    vector: Vector | None
    where: Filter | None
    unit: str
    depth: int
    unknown: float
    _sides: dict[str, Sides] = field(default_factory=dict, compare=False, repr=False)
    _parts: dict[str, Parts] = field(default_factory=dict, compare=False, repr=False)

    def sides(self, fusion: str) -> Sides:
        """Return both rankings, as they were fused."""
        assert self.vector is not None
        if fusion not in self._sides:
            wishes: dict[str, Any] = {"where": self.where, "unit": self.unit, "unknown": self.unknown}
            found = find_sides(self.store, self.query, self.vector, self.depth, fusion=fusion, **wishes)
            self._sides[fusion] = found
        return self._sides[fusion]

    def number_of(self, hit: Hit) -> int:
        """Return the store's number of a hit's passage.

        Raises:
            UsageError: If the passage no longer exists, or its text has changed.
        """
        document = self.store.documents([hit.doc_id]).get(hit.doc_id)
        if document and (hit.start, hit.end) in document.spans:
            if (document.title, document.text[hit.start : hit.end]) == (hit.title, hit.text):
                return document.passages[document.spans.index((hit.start, hit.end))]
        raise gone(hit)

    def parts(self, fusion: str) -> Parts:
        """Return the contribution of each side to the score of each key, as the fusion adds them."""
        if fusion not in self._parts:
            self._parts[fusion] = PARTS[fusion](*self.sides(fusion))
        return self._parts[fusion]


def gone(hit: Hit) -> UsageError:
    """Return the error for a hit that is no longer in the index, or does not belong to the search."""
    return UsageError(
        f"the hit {hit.doc_id!r:.60}, characters {hit.start} to {hit.end}, is not in the index (anymore), or "
        "contains no word of `query`; search again, and explain the new hits"
    )


def _dense(asked: Asked, hit: Hit) -> Both:
    assert asked.vector is not None
    number = asked.number_of(hit)
    score = float(asked.store.similarities(asked.vector[None], [number])[0, 0])
    return Side(score, asked.store.show([number])[number], None, score), None


def _bm25(asked: Asked, hit: Hit) -> Both:
    number = asked.number_of(hit)
    score = float(asked.store.keyword_scores(asked.query, [number])[0])
    if not score:
        raise gone(hit)
    return None, Side(score, *_worded(asked, number), score)


def _worded(asked: Asked, number: int) -> tuple[StoredPassage, Mapping[Term, float]]:
    """Return a passage, and the contribution of each term to its BM25 score."""
    return asked.store.show([number])[number], asked.store.keyword_terms(asked.query, number)


def _fused(asked: Asked, hit: Hit, fusion: str) -> tuple[int, float, float]:
    """Return the key of a hit in both rankings, and its two shares."""
    number = asked.number_of(hit)
    key = UNITS[asked.unit](asked.store)([number])[number]
    ours, theirs = asked.parts(fusion)
    sides = asked.sides(fusion)
    if key not in sides.dense and key not in sides.keyword:
        raise UsageError(
            f"the hit {hit.doc_id!r:.60} is not among the {asked.depth:,} best for `query`; pass the same `where` "
            "and `unit` as in the search"
        )
    return key, ours.get(key, 0.0), theirs.get(key, 0.0)


def _hybrid(asked: Asked, hit: Hit) -> Both:
    key, ours, theirs = _fused(asked, hit, "convex")
    dense, keyword, scale = asked.sides("convex")
    score, number = dense[key]
    passage = asked.store.show([number])[number]
    near = Side(ours, passage, None, score, scale.unrelated, scale.perfect, scale.weight)
    words = Side(theirs, one=scale.highest, weight=1 - scale.weight, note=WORDLESS)
    if key in keyword:
        bm25, number = keyword[key]
        passage, terms = _worded(asked, number)
        words = replace(words, passage=passage, terms=terms, score=bm25, note="")
    return near, words


def _rrf(asked: Asked, hit: Hit) -> Both:
    key, ours, theirs = _fused(asked, hit, "rrf")
    dense, keyword, scale = asked.sides("rrf")
    trust, rest = scale.weight / DENSE_WEIGHT, (1 - scale.weight) / (1 - DENSE_WEIGHT)
    near = Side(ours, weight=trust, note=f"not among the {len(dense):,} nearest")
    some = len(keyword) < FUSED_DEPTH["rrf"]
    words = Side(theirs, weight=rest, note=WORDLESS if some else f"not among the {len(keyword):,} best by keywords")
    if key in dense:
        score, number = dense[key]
        rank = list(dense).index(key) + 1
        near = Side(ours, asked.store.show([number])[number], None, score, weight=trust, rank=rank)
    if key in keyword:
        bm25, number = keyword[key]
        words = Side(theirs, *_worded(asked, number), bm25, weight=rest, rank=list(keyword).index(key) + 1)
    return near, words


WORDLESS = "contains no word of the query"

KINDS: dict[str, Callable[[Asked, Hit], Both]] = {
    **dict.fromkeys(SIMILARITIES, _dense),
    **{"bm25": _bm25, "hybrid": _hybrid, "rrf": _rrf},
}
"""Kinds of scores that can be explained, each with the function that splits it."""

WORDS_ALONE = {"bm25"}
"""Kinds of scores that need no query vector."""
