"""Keyword search in PostgreSQL: BM25 with the scores of an index in a folder.

Words are analyzed as for a folder. Each passage has the numbers of its terms in an array under a GIN index, and each
term the number of passages that have it. The server scores the passages that have one of the terms; the scores of the
best of them are then computed in the order of summation of a folder's, so that they are equal to the last bit.

Common words are in most passages. So the passages with one of the rarer terms are scored first, and the others only if
common words alone could lift one of them among the best.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Ids, Vector
from semsearch.filters.postgres import Condition
from semsearch.stores.postgres.catalog import Catalog
from semsearch.stores.postgres.connections import Session
from semsearch.stores.words.analysis import AnalyzedQuery, analyze_query
from semsearch.stores.words.bm25 import LEAST_WEIGHT
from semsearch.stores.words.keywords import as_typed
from semsearch.stores.words.postings import K1, B, mean_length, norms
from semsearch.types import Term

Scores: TypeAlias = NDArray[np.float64]

LONGEST = 1_000
"""Number of bytes up to which a term is stored as it is; a B-tree refuses more than 2,700."""

SPARE = 8
"""Number of passages beyond the k best that the server returns, in case its rounding differs in the last bit."""

COMMON = 0.1
"""Share of the passages above which those with a term are scored last."""


@dataclass(frozen=True, slots=True)
class Known:
    """A term of a query as the index has it: its number, None if no passage has it, and its weight."""

    number: int | None
    weight: float
    n: int


@dataclass(frozen=True, slots=True)
class Weighed:
    """A query with what the index knows of its terms."""

    query: AnalyzedQuery
    known: dict[bytes, Known]
    mean: float
    n: int

    def most(self, terms: Sequence[bytes]) -> float:
        """Return the upper bound of BM25: what it approaches as the frequency of these terms goes to infinity."""
        return (K1 + 1) * sum(self.known[term].weight for term in terms)

    def asked(self) -> dict[int, tuple[float, bool, int]]:
        """Return the numbers of the terms that some passage has, with upper bound, whether it is exact, and `n`."""
        bounds: dict[int, tuple[float, bool, int]] = {}
        phrases = Counter(term for _, term in self.query.phrases)
        for term, bound, is_exact in (
            *((term, times * self.most([term]), False) for term, times in phrases.items()),
            *((term, self.most(parts), True) for _, term, parts in self.query.exact),
        ):
            known = self.known[term]
            if known.number is not None:
                bounds[known.number] = (bound, is_exact, known.n)
        return bounds


class WordSearch:
    """Searches words; every method must be called inside a snapshot."""

    def __init__(self, session: Session, catalog: Catalog) -> None:
        self._session, self._catalog = session, catalog

    def search(self, query: str, k: int, condition: Condition | None) -> tuple[Vector, Ids]:
        """See `Searchable.search_keywords`; the condition is on the table `documents`."""
        weighed = self._weighed(query)
        asked = weighed.asked()
        common = {number for number, (_, _, n) in asked.items() if n > COMMON * weighed.n}
        most = sum(asked[number][0] for number in common)
        rare = [number for number in asked if number not in common]
        found = self._candidates(weighed, rare, k, condition) if rare else []
        if common and (len(found) < k or found[k - 1][0] <= most):
            found = self._candidates(weighed, list(asked), k, condition)
        passages = np.array([passage for _, passage in found], np.int64)
        scores = self._exactly(weighed, passages)
        best = np.lexsort((passages, -scores))[:k]
        return scores[best].astype(np.float32), passages[best]

    def _candidates(
        self, weighed: Weighed, among: list[int], k: int, condition: Condition | None
    ) -> list[tuple[float, int]]:
        """Return scores and numbers of the best passages, best first, that have one of some terms."""
        asked = weighed.asked()
        parts, values = list[str](), list[object]()
        for number, (bound, is_exact, _) in asked.items():
            if is_exact:
                parts.append("CASE WHEN array_position(terms, %s::integer) IS NULL THEN 0 ELSE %s::float8 END")
            else:  # as n / (n + norm), which is 0 for a term that the passage does not have
                parts.append("coalesce(%s::float8 / (1 + norm / counts[array_position(terms, %s::integer)]), 0)")
            values += [number, bound] if is_exact else [bound, number]
        joined = "" if condition is None else "JOIN documents ON documents.id = passages.document"
        where, given = ("true", ()) if condition is None else (condition.sql, condition.parameters)
        sql = (
            f"SELECT {' + '.join(parts)} AS score, passage FROM (SELECT passages.id AS passage, terms, counts, "
            f"%s::float8 + %s::float8 * n_words AS norm FROM passages {joined} "
            f"WHERE terms && %s::integer[] AND {where} OFFSET 0) AS those ORDER BY score DESC, passage LIMIT %s"
        )
        norm = K1 * (1 - B), K1 * B / weighed.mean
        rows = self._session.rows(sql, (*values, *norm, among, *given, k + SPARE))
        return [(float(score), int(passage)) for score, passage in rows]

    def scores(self, query: str, passages: Sequence[int]) -> Vector:
        """See `Searchable.keyword_scores`."""
        return self._exactly(self._weighed(query), np.array(passages, np.int64)).astype(np.float32)

    def terms(self, query: str, passage: int) -> dict[Term, float]:
        """See `Readable.keyword_terms`."""
        found: dict[Term, float] = {}
        for name, exact, scores in self._contributions(self._weighed(query), np.array([passage], np.int64)):
            if scores.any():
                term = Term(as_typed(name), exact=exact)
                found[term] = found.get(term, 0.0) + float(scores[0])
        return found

    def highest(self, query: str) -> float:
        """See `Searchable.highest_keyword_score`."""
        weighed = self._weighed(query)
        phrases = weighed.most([term for _, term in weighed.query.phrases])
        return phrases + sum(weighed.most(parts) for _, _, parts in weighed.query.exact)

    def _weighed(self, query: str) -> Weighed:
        """Look up the terms of a query, with the weights that FTS5 computes."""
        analyzed, counts = analyze_query(query), self._catalog.counts()
        terms = {term for _, term in analyzed.phrases}
        for _, term, parts in analyzed.exact:
            terms |= {term, *parts}
        n = counts["passages"]
        asked = {spelled(term): term for term in terms}
        rows = self._session.rows("SELECT term, id, n FROM terms WHERE term = ANY(%s) AND n > 0", (list(asked),))
        found = {asked[bytes(stored)]: (number, having) for stored, number, having in rows}
        known = {}
        for term in terms:
            number, having = found.get(term, (None, 0))
            idf = math.log((n - having + 0.5) / (having + 0.5))
            known[term] = Known(number, idf if idf > 0 else LEAST_WEIGHT, having)
        return Weighed(analyzed, known, mean_length(counts["words"], n), n)

    def _exactly(self, weighed: Weighed, passages: Ids) -> Scores:
        """Return the scores of passages, summed in the same order as by FTS5."""
        scores = np.zeros(len(passages))
        for _, _, contributions in self._contributions(weighed, passages):
            scores += contributions
        return scores

    def _contributions(self, weighed: Weighed, passages: Ids) -> Iterator[tuple[str, bool, Scores]]:
        """Yield each phrase and exact token, whether it is exact, and what it adds to the scores of passages."""
        numbers = list(weighed.asked())
        columns = "".join(f", coalesce(counts[array_position(terms, {int(number)})], 0)" for number in numbers)
        rows = self._session.rows(f"SELECT id, n_words{columns} FROM passages WHERE id = ANY(%s)", (passages.tolist(),))
        found = {row[0]: row[1:] for row in rows}
        none = (1, *(0 for _ in numbers))
        table = np.array([found.get(passage, none) for passage in passages.tolist()], np.float64)
        table = table.reshape(len(passages), len(none))
        counts = {number: table[:, place] for place, number in enumerate(numbers, 1)}
        zeros, norm = np.zeros(len(passages)), norms(table[:, 0], weighed.mean)
        for phrase, term in weighed.query.phrases:
            known = weighed.known[term]
            count = zeros if known.number is None else counts[known.number]
            yield phrase, False, known.weight * ((count * (K1 + 1)) / (count + norm))
        for token, term, parts in weighed.query.exact:
            known = weighed.known[term]
            count = zeros if known.number is None else counts[known.number]
            yield token, True, np.where(count > 0, weighed.most(parts), 0.0)


def spelled(term: bytes) -> bytes:
    """Return a term as it is stored: a very long one by its hash."""
    return term if len(term) <= LONGEST else b"\0" + sha256(term).digest()
