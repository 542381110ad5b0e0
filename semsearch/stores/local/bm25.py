"""Keyword search: BM25 over inverted indexes, with exactly the scores of SQLite's FTS5.

A search reads the terms of a query from the rarest to the most common. As soon as the terms that are left cannot lift a
passage without any of the others among the k best, they are only looked up for passages that can still get there: this
is MaxScore (Turtle and Flood, Query evaluation: strategies and optimizations, 1995, section 4.2), done for one term of
all passages at a time. Scores are first summed in float32, with bounds for its rounding, and computed exactly for the
passages that are left. At worst, each posting of the query's terms is read once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Ids, Vector
from semsearch.stores.local.analysis import AnalyzedQuery, analyze_query
from semsearch.stores.local.keywords import as_typed
from semsearch.stores.local.postings import K1, Array, Mask, Postings, mean_length, norms
from semsearch.types import Term

Scores: TypeAlias = NDArray[np.float64]

LEAST_WEIGHT = 1e-6
"""FTS5's weight of a phrase that at least half of the passages have."""

ROUNDING = 2.0**-22
"""Bound on the relative error of a sum in float32, for each of its terms."""

LOOKED_UP = 16
"""Number of postings that are read in the time in which one passage is looked up among them."""

MANY_TERMS = 100_000
"""Maximum number of terms whose places and weights are cached."""


@dataclass(frozen=True, slots=True)
class Part:
    """An inverted index as it is searched.

    Attributes:
        living: Which of its rows have not been deleted; None for all.
        norms: See `postings.norms`; float64 and float32 `[n]`.
        stretch: Factor by which its `peaks` may be exceeded, since lengths are compared with the mean of all parts.
    """

    postings: Postings
    living: Mask | None
    norms: Scores
    coarse: Vector
    stretch: float


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A term of a query with its weight, the factor before `saturation`, and its place in each part."""

    weight: float
    is_exact: bool
    places: Sequence[int | None]
    peak: Sequence[float]


class KeywordIndex:
    """Inverted indexes in which passages are searched together; never changes, so threads may share it.

    Attributes:
        n: Number of passages that are not deleted.
        mean: Their mean length in tokens.
    """

    def __init__(self, parts: Sequence[tuple[Postings, Mask | None]]) -> None:
        """Search inverted indexes of different passages, each with its rows that are not deleted; None for all."""
        lengths = [one.lengths if living is None else one.lengths[living] for one, living in parts]
        self.n = sum(map(len, lengths))
        self.mean = mean_length(sum(int(some.sum(dtype=np.int64)) for some in lengths), self.n)
        self._parts = []
        for one, living in parts:
            norm = norms(one.lengths, self.mean)
            stretch = max(1.0, self.mean / one.mean_length)
            self._parts.append(Part(one, living, norm, norm.astype(np.float32), stretch))
        self._known: dict[bytes, tuple[float, list[int | None]]] = {}

    def search(self, query: str, k: int, allowed: Sequence[Mask] | None = None) -> tuple[Vector, Ids]:
        """Find the k passages that match a query best.

        Args:
            query: Text of the query.
            k: Maximum number of passages.
            allowed: For each part, the rows to search; None for all.

        Returns:
            Scores and passage numbers, both `[at most k]`, best first; of equal ones, the lowest number first.
        """
        analyzed = analyze_query(query)
        wanted = self._wanted(analyzed)
        scores, ids, floor = [np.empty(0)], [np.empty(0, np.int64)], 0.0
        for place in sorted(range(len(self._parts)), key=lambda place: -len(self._parts[place].coarse)):
            part = self._parts[place]
            masks = [mask for mask in (part.living, allowed and allowed[place]) if mask is not None]
            mask = reduce(np.logical_and, masks) if masks else None
            rows, floor = _candidates(part, place, wanted, k, mask, floor)
            scores.append(self._exactly(analyzed, place, rows))
            ids.append(part.postings.passages[rows])
        all_scores, all_ids = np.concatenate(scores), np.concatenate(ids)
        best = np.lexsort((all_ids, -all_scores))[:k]
        return all_scores[best].astype(np.float32), all_ids[best]

    def scores(self, query: str, passages: Sequence[int]) -> Vector:
        """Return the score of each passage in `search`; 0 for a passage with no term of the query."""
        analyzed, numbers = analyze_query(query), np.array(passages, np.int64)
        scores = np.zeros(len(numbers))
        for place in range(len(self._parts)):
            rows, found = self._rows(place, numbers)
            scores[found] = self._exactly(analyzed, place, rows)
        return scores.astype(np.float32)

    def terms(self, query: str, passage: int) -> dict[Term, float]:
        """Return what each term of a query contributes to the score of a passage, which is their sum."""
        analyzed, contributions = analyze_query(query), dict[Term, float]()
        for place in range(len(self._parts)):
            rows, _ = self._rows(place, np.array([passage], np.int64))
            for name, scores in self._contributions(analyzed, place, rows):
                if scores.any():
                    contributions[name] = contributions.get(name, 0.0) + float(scores[0])
        return contributions

    def highest(self, query: str) -> float:
        """Return an upper bound on the score of any conceivable passage."""
        analyzed = analyze_query(query)
        phrases = self._most([term for _, term in analyzed.phrases])
        return phrases + sum(self._most(parts) for _, _, parts in analyzed.exact)

    def _wanted(self, query: AnalyzedQuery) -> list[_Wanted]:
        """Return the terms of a query, from the highest possible contribution to the lowest."""
        weights = [
            (term, times * (K1 + 1) * self._look_up(term)[0])
            for term, times in Counter(t for _, t in query.phrases).items()
        ]
        exact = [(term, self._most(parts)) for _, term, parts in query.exact]
        wanted = []
        for is_exact, some in ((False, weights), (True, exact)):
            for term, weight in some:
                places = self._look_up(term)[1]
                peaks = [
                    0.0 if at is None else 1.0 if is_exact else min(1.0, part.stretch * float(part.postings.peaks[at]))
                    for part, at in zip(self._parts, places, strict=True)
                ]
                wanted.append(_Wanted(weight, is_exact, places, peaks))
        return wanted

    def _exactly(self, query: AnalyzedQuery, place: int, rows: Array) -> Scores:
        """Return the scores of rows of a part, summed as FTS5 does."""
        scores = np.zeros(len(rows))
        for _, some in self._contributions(query, place, rows):
            scores += some
        return scores

    def _contributions(self, query: AnalyzedQuery, place: int, rows: Array) -> Iterator[tuple[Term, Scores]]:
        """Yield each phrase and exact token of a query, with its part in the scores of rows; float64 `[n_rows]`."""
        part, known = self._parts[place], dict[bytes, Scores]()
        for phrase, term in query.phrases:
            if term not in known:
                weight, counts = self._look_up(term)[0], self._counts(term, place, rows)
                known[term] = weight * ((counts * (K1 + 1)) / (counts + part.norms[rows]))
            yield Term(as_typed(phrase), exact=False), known[term]
        for token, term, parts in query.exact:
            yield Term(as_typed(token), exact=True), self._most(parts) * (self._counts(term, place, rows) > 0)

    def _counts(self, term: bytes, place: int, rows: Array) -> Scores:
        """Return how often each of some rows has a term."""
        at = self._look_up(term)[1][place]
        if at is None:
            return np.zeros(len(rows))
        having, counts = self._parts[place].postings.postings(at)
        found, places = _find(having, rows)
        return np.where(found, counts[places], 0).astype(np.float64)

    def _rows(self, place: int, passages: Ids) -> tuple[Array, Mask]:
        """Return the rows of those passages that a part has, and which ones these are."""
        part = self._parts[place]
        if not len(part.norms):
            return np.empty(0, np.uint32), np.zeros(len(passages), bool)
        found, rows = _find(part.postings.passages, passages)
        if part.living is not None:
            found &= part.living[rows]
        return rows[found].astype(np.uint32), found

    def _most(self, terms: Sequence[bytes]) -> float:
        """Return what BM25 approaches as all of these terms become ever more frequent in a passage."""
        return (K1 + 1) * sum(self._look_up(term)[0] for term in terms)

    def _look_up(self, term: bytes) -> tuple[float, list[int | None]]:
        """Return the weight of a term, and its place in each part."""
        known = self._known.get(term)
        if known is None:
            places = [part.postings.find(term) for part in self._parts]
            n_having = sum(_n_living(part, at) for part, at in zip(self._parts, places, strict=True) if at is not None)
            idf = math.log((self.n - n_having + 0.5) / (n_having + 0.5))
            known = idf if idf > 0 else LEAST_WEIGHT, places
            if len(self._known) < MANY_TERMS:
                self._known[term] = known
        return known


def _n_living(part: Part, place: int) -> int:
    rows, _ = part.postings.postings(place)
    return len(rows) if part.living is None else int(np.count_nonzero(part.living[rows]))


def _find(values: Array, wanted: Array) -> tuple[Mask, Array]:
    """Return which wanted values are among ascending ones, of which there must be some, and the places where."""
    places = np.minimum(np.searchsorted(values, wanted), len(values) - 1)
    return values[places] == wanted, places


def _candidates(
    part: Part, place: int, wanted: Sequence[_Wanted], k: int, mask: Mask | None, floor: float
) -> tuple[Array, float]:
    """Return rows of a part among which are all those of the k best passages, and a score that these reach.

    Args:
        part: The part.
        place: Its place among all parts.
        wanted: The terms of the query.
        k: Number of passages.
        mask: The rows to search; None for all.
        floor: A score that the k best passages reach.
    """
    here = [(one.weight * one.peak[place], one) for one in wanted if one.places[place] is not None]
    here.sort(key=lambda pair: -pair[0])
    rest = np.cumsum([0.0, *(bound for bound, _ in reversed(here))])[::-1]  # bounds on what is left before each term
    slack = 1 + ROUNDING * (len(here) + 4)
    scores, rows = np.zeros(len(part.norms), np.float32), np.empty(0, np.uint32)
    for number, (_, one) in enumerate(here):
        at = one.places[place]
        assert at is not None
        having, counts = part.postings.postings(at)
        left = float(rest[number + 1])
        if rest[number] * slack < floor and len(rows) * LOOKED_UP < len(having):
            found, places = _find(having, rows)
            some, times = rows[found], counts[places[found]]
            scores[some] += _saturate(one, part, some, times)
        else:
            if mask is not None:
                keep = mask[having]
                having, counts = having[keep], counts[keep]
            before = scores[having]
            after = before + _saturate(one, part, having, counts)
            scores[having] = after
            if rest[number] * slack >= floor:
                rows = np.concatenate([rows, having[(before == 0) & (after >= floor / slack - left)]])
        of_rows = scores[rows]
        floor = max(floor, _kth(of_rows[of_rows >= floor], k) / slack)
        rows = rows[of_rows >= floor / slack - left]
    return rows, floor


def _saturate(one: _Wanted, part: Part, rows: Array, counts: Array) -> Vector:
    """Return what a term adds to the scores of rows that have it, approximately."""
    if one.is_exact:
        return np.full(len(rows), one.weight, np.float32)
    many = counts.astype(np.float32)
    return np.float32(one.weight) * many / (many + part.coarse[rows])


def _kth(values: Vector, k: int) -> float:
    """Return the k-th highest of some values; 0 if there are fewer."""
    return float(np.partition(values, len(values) - k)[-k]) if 0 < k <= len(values) else 0.0
