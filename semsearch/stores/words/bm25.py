"""Keyword search: BM25 over inverted indexes, with exactly the scores of SQLite's FTS5.

A search reads the postings of a query's terms from the highest possible contribution to the lowest. Once the terms that
are left cannot lift a passage with none of the others among the k best, they only matter for passages that are still in
the running, which become fewer with every term. This is MaxScore (Turtle and Flood, Query evaluation: strategies and
optimizations, Information Processing & Management 31(6), 1995), for one term of all passages at a time.

Scores are first summed in float32, with a bound on the rounding errors, and then computed exactly for the passages that
are left. At worst, if common words are all that a query has, each of their postings is read once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate, pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Array, Ids, Vector
from semsearch.stores.words.analysis import AnalyzedQuery, analyze_query
from semsearch.stores.words.keywords import as_typed
from semsearch.stores.words.postings import K1, Mask, Postings, mean_length, norms
from semsearch.types import Term

Scores: TypeAlias = NDArray[np.float64]

Rows: TypeAlias = NDArray[np.intp]

LEAST_WEIGHT = 1e-6
"""FTS5's weight of a phrase that at least half of the passages have."""

ROUNDING = 2.0**-22
"""Bound on the relative rounding error of a sum in float32, for each of its terms and four more."""

LOOKED_UP = 16
"""Number of postings that are read in the time in which one passage is looked up among them."""

READ_AT_ONCE = 2**16
"""Number of postings that are read at a time, so that they stay in the processor's cache."""

MANY_TERMS = 100_000
"""Maximum number of terms whose weights and places are cached."""


@dataclass(frozen=True, slots=True)
class _Part:
    """An inverted index as it is searched.

    Attributes:
        living: Which of its rows have not been deleted; None for all.
        norms: See `postings.norms`; float32 `[n]`.
        stretch: Factor by which `peaks` may be exceeded, because they refer to the mean length of this part alone.
    """

    postings: Postings
    living: Mask | None
    norms: Vector
    stretch: float


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A term that a query asks a part for.

    Attributes:
        weight: What the saturation of the term is multiplied by.
        bound: The most that it contributes to a score.
        is_exact: Whether it is an exact token, whose saturation is 1.
        rows, counts: Its postings.
    """

    weight: float
    bound: float
    is_exact: bool
    rows: Array
    counts: Array


class KeywordIndex:
    """Inverted indexes that are searched together; only its cache ever changes, so threads may share it.

    Attributes:
        n: Number of passages that have not been deleted.
        mean: Their mean length in tokens.
    """

    def __init__(self, parts: Sequence[tuple[Postings, Mask | None]]) -> None:
        """Search inverted indexes of different passages, each with its rows that are not deleted; None for all."""
        lengths = [one.lengths if living is None else one.lengths[living] for one, living in parts]
        self.n = sum(map(len, lengths))
        self.mean = mean_length(sum(int(some.sum(dtype=np.int64)) for some in lengths), self.n)
        self._parts = [
            _Part(one, living, norms(one.lengths, self.mean).astype(np.float32), max(1.0, self.mean / one.mean_length))
            for one, living in parts
        ]
        self._known: dict[bytes, tuple[float, list[int | None]]] = {}

    def search(self, query: str, k: int, allowed: Sequence[Mask] = ()) -> tuple[Vector, Ids]:
        """Find the k passages that match a query best.

        Args:
            query: Text of the query.
            k: Maximum number of passages.
            allowed: For each part, the rows to search; empty for all.

        Returns:
            Scores and passage numbers, both `[at most k]`, best first; equal scores by passage number.
        """
        analyzed, floor = analyze_query(query), 0.0
        slack = 1 + ROUNDING * (len(analyzed.phrases) + len(analyzed.exact) + 4)
        scans = list[tuple[int, _Scan]]()
        for place in sorted(range(len(self._parts)), key=lambda place: -len(self._parts[place].norms)):
            part = self._parts[place]
            masks = [mask for mask in (part.living, *allowed[place : place + 1]) if mask is not None]
            scan = _Scan(part.norms, reduce(np.logical_and, masks) if masks else None, k, slack, floor)
            scan.run(self._wanted(analyzed, place))
            scans.append((place, scan))
            floor = scan.floor
        scores, ids = [np.empty(0)], [np.empty(0, np.int64)]
        for place, scan in scans:
            if len(rows := scan.best(floor)):
                scores.append(self._exactly(analyzed, place, rows))
                ids.append(self._parts[place].postings.passages[rows])
        all_scores, all_ids = np.concatenate(scores), np.concatenate(ids)
        best = np.lexsort((all_ids, -all_scores))[:k]
        return all_scores[best].astype(np.float32), all_ids[best]

    def scores(self, query: str, passages: Sequence[int]) -> Vector:
        """Return the score of each passage in `search`; 0 for a passage with no term of the query."""
        analyzed, numbers = analyze_query(query), np.array(passages, np.int64)
        scores = np.zeros(len(numbers))
        for place in range(len(self._parts)):
            rows, found = self._rows(place, numbers)
            if len(rows):
                scores[found] = self._exactly(analyzed, place, rows)
        return scores.astype(np.float32)

    def terms(self, query: str, passage: int) -> dict[Term, float]:
        """Return what each term of a query contributes to the score of a passage in `search`, which is their sum."""
        analyzed, contributions = analyze_query(query), dict[Term, float]()
        for place in range(len(self._parts)):
            rows, _ = self._rows(place, np.array([passage], np.int64))
            for name, exact, scores in self._contributions(analyzed, place, rows):
                if scores.any():
                    term = Term(as_typed(name), exact=exact)
                    contributions[term] = contributions.get(term, 0.0) + float(scores[0])
        return contributions

    def highest(self, query: str) -> float:
        """Return an upper bound on the score in `search` of any conceivable passage."""
        analyzed = analyze_query(query)
        phrases = self._most([term for _, term in analyzed.phrases])
        return phrases + sum(self._most(parts) for _, _, parts in analyzed.exact)

    def _wanted(self, query: AnalyzedQuery, place: int) -> list[_Wanted]:
        """Return the terms of a query that a part has."""
        part, wanted = self._parts[place], []
        asked = [
            (term, times * self._most([term]), False)
            for term, times in Counter(term for _, term in query.phrases).items()
        ]
        asked += [(term, self._most(parts), True) for _, term, parts in query.exact]
        for term, weight, is_exact in asked:
            at = self._look_up(term)[1][place]
            if at is not None:
                peak = 1.0 if is_exact else min(1.0, part.stretch * float(part.postings.peaks[at]))
                wanted.append(_Wanted(weight, weight * peak, is_exact, *part.postings.postings(at)))
        return wanted

    def _exactly(self, query: AnalyzedQuery, place: int, rows: Rows) -> Scores:
        """Return the scores of rows of a part, summed in the same order as by FTS5."""
        scores = np.zeros(len(rows))
        for _, _, contributions in self._contributions(query, place, rows):
            scores += contributions
        return scores

    def _contributions(self, query: AnalyzedQuery, place: int, rows: Rows) -> Iterator[tuple[str, bool, Scores]]:
        """Yield each phrase and exact token of a query, whether it is exact, and what it adds to the scores of rows."""
        part, known = self._parts[place], dict[bytes, Scores]()
        norm: Scores = norms(part.postings.lengths[rows], self.mean)
        for phrase, term in query.phrases:
            if term not in known:
                weight, counts = self._look_up(term)[0], self._counts(term, place, rows)
                known[term] = weight * ((counts * (K1 + 1)) / (counts + norm))
            yield phrase, False, known[term]
        for token, term, parts in query.exact:
            yield token, True, np.where(self._counts(term, place, rows) > 0, self._most(parts), 0.0)

    def _counts(self, term: bytes, place: int, rows: Rows) -> Scores:
        """Return how often each of some rows has a term."""
        at = self._look_up(term)[1][place]
        if at is None:
            return np.zeros(len(rows))
        having, counts = self._parts[place].postings.postings(at)
        found, places = _find(having, rows)
        return np.where(found, counts[places], 0).astype(np.float64)

    def _rows(self, place: int, passages: Ids) -> tuple[Rows, Mask]:
        """Return the rows of those passages that a part has, and which of the passages these are."""
        part = self._parts[place]
        if not len(part.norms):
            return np.empty(0, np.intp), np.zeros(len(passages), bool)
        found, rows = _find(part.postings.passages, passages)
        if part.living is not None:
            found &= part.living[rows]
        return rows[found], found

    def _most(self, terms: Sequence[bytes]) -> float:
        """Return the upper bound of BM25: what it approaches as the frequency of these terms goes to infinity."""
        return (K1 + 1) * sum(self._look_up(term)[0] for term in terms)

    def _look_up(self, term: bytes) -> tuple[float, list[int | None]]:
        """Return the weight of a term as FTS5 computes it, and the place of the term in each part."""
        known = self._known.get(term)
        if known is None:
            places = [part.postings.find(term) for part in self._parts]
            having = sum(_n_having(part, at) for part, at in zip(self._parts, places, strict=True) if at is not None)
            idf = math.log((self.n - having + 0.5) / (having + 0.5))
            known = idf if idf > 0 else LEAST_WEIGHT, places
            if len(self._known) < MANY_TERMS:
                self._known[term] = known
        return known


def _n_having(part: _Part, place: int) -> int:
    """Return the number of living rows that have a term."""
    rows, _ = part.postings.postings(place)
    return len(rows) if part.living is None else int(np.count_nonzero(part.living[rows]))


class _Scan:
    """The search in one part, for rows among which are all of the k best passages.

    Attributes:
        floor: A score that the k best passages reach.
    """

    def __init__(self, norms: Vector, mask: Mask | None, k: int, slack: float, floor: float) -> None:
        """Search the rows of a mask, of which None stands for all; approximate scores are within a factor of slack."""
        self._norms, self._mask, self._k, self._slack = norms, mask, k, slack
        self._scores = np.zeros(len(norms), np.float32)
        self._rows: list[Rows] = []  # those of the rows with a term so far that may be among the k best
        self.floor = floor

    def run(self, wanted: Sequence[_Wanted]) -> None:
        """Read the postings of these terms as far as needed."""
        wanted = sorted(wanted, key=lambda one: -one.bound)
        bounds = [*accumulate((one.bound for one in reversed(wanted)), initial=0.0)][::-1]
        n_read = 0
        for one, (most, left) in zip(wanted, pairwise(bounds), strict=True):
            is_open, n_rows = most * self._slack >= self.floor, sum(map(len, self._rows))
            if is_open or n_rows * LOOKED_UP >= len(one.rows):
                self._read(one, left, is_open=is_open)
            else:
                self._look_up(one)
            n_read += len(one.rows)
            if n_read >= n_rows:  # so that a query of many rare words does not narrow many rows down for each of them
                self._narrow(left)
                n_read = 0

    def best(self, floor: float) -> Rows:
        """Return the rows that may be among the k best, given a score that these reach in all parts."""
        self.floor = floor
        return self._narrow(0.0)

    def _read(self, one: _Wanted, left: float, *, is_open: bool) -> None:
        """Add a term to the scores of all rows that have it, and take in the rows that may be among the k best.

        Args:
            one: The term.
            left: The most that the terms after it contribute.
            is_open: Whether a row with none of the terms before it can be among the k best.
        """
        for start in range(0, len(one.rows), READ_AT_ONCE):
            rows, counts = one.rows[start : start + READ_AT_ONCE], one.counts[start : start + READ_AT_ONCE]
            rows = rows.astype(np.intp)  # as NumPy would for each use
            if self._mask is not None:
                keep = self._mask[rows]
                rows, counts = rows[keep], counts[keep]
            before = self._scores[rows]
            after = before + self._contribution(one, rows, counts)
            self._scores[rows] = after
            self._raise_floor(after)
            if is_open:
                self._rows.append(rows[(before == 0) & (after >= self._least(left))])

    def _look_up(self, one: _Wanted) -> None:
        """Add a term to the scores of the rows taken in so far alone."""
        for rows in self._rows:
            found, places = _find(one.rows, rows)
            having = rows[found]
            self._scores[having] += self._contribution(one, having, one.counts[places[found]])

    def _narrow(self, left: float) -> Rows:
        """Drop the rows that cannot be among the k best if terms contribute this much at most; return the others."""
        rows = np.concatenate([np.empty(0, np.intp), *self._rows])
        scores = self._scores[rows]
        self._raise_floor(scores)
        self._rows = [rows[scores >= self._least(left)]]
        return self._rows[0]

    def _contribution(self, one: _Wanted, rows: Rows, counts: Array) -> Vector:
        """Return what a term adds to the scores of rows that have it so often."""
        if one.is_exact:
            return np.full(len(rows), one.weight, np.float32)
        many = counts.astype(np.float32)
        return np.float32(one.weight) * many / (many + self._norms[rows])

    def _raise_floor(self, scores: Vector) -> None:
        """Take note of the scores of different rows, which only become higher."""
        scores = scores[scores >= self.floor]
        if 0 < self._k <= len(scores):
            kth = float(np.partition(scores, len(scores) - self._k)[-self._k])
            self.floor = max(self.floor, kth / self._slack)

    def _least(self, left: float) -> float:
        """Return the score that a row needs to be among the k best after terms that contribute this much at most."""
        return self.floor / self._slack - left


def _find(values: Array, wanted: Array) -> tuple[Mask, Rows]:
    """Return which wanted values are among ascending values, of which there is at least one, and where."""
    places = np.minimum(np.searchsorted(values, wanted.astype(values.dtype, copy=False)), len(values) - 1)
    return values[places] == wanted, places
