"""Keyword search in PostgreSQL: BM25 with the scores of an index in a folder.

Words are analyzed as for a folder. Each passage has the numbers of its terms in an array under a GIN index, and each
term the number of passages that have it. The server scores the passages that have one of the terms; the scores of the
best of them are then computed in the order of summation of a folder's, so that they are equal to the last bit.

Common words are in most passages. So the passages with one of the rarer terms are scored first, and the others only if
common words alone could lift one of them among the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import numpy as np

from semsearch.arrays import Ids, Vector
from semsearch.filters.postgres import Condition
from semsearch.stores.postgres.catalog import Catalog
from semsearch.stores.postgres.connections import Session
from semsearch.stores.words.postings import K1, B
from semsearch.stores.words.weights import Scores, Weighed, best, weigh
from semsearch.types import Term

LONGEST = 1_000
"""Number of bytes up to which a term is stored as it is; a B-tree refuses more than 2,700."""

SPARE = 8
"""Number of passages beyond the k best that the server returns, in case its rounding differs in the last bit."""

COMMON = 0.1
"""Share of the passages above which those with a term are scored last."""


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
        return best(weighed.scores(*self._counts(weighed, passages)), passages, k)

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
        weighed = self._weighed(query)
        return weighed.scores(*self._counts(weighed, np.array(passages, np.int64))).astype(np.float32)

    def terms(self, query: str, passage: int) -> dict[Term, float]:
        """See `Readable.keyword_terms`."""
        weighed = self._weighed(query)
        return weighed.terms(*self._counts(weighed, np.array([passage], np.int64)))

    def highest(self, query: str) -> float:
        """See `Searchable.highest_keyword_score`."""
        return self._weighed(query).highest()

    def _weighed(self, query: str) -> Weighed:
        counts = self._catalog.counts()
        return weigh(query, counts["passages"], counts["words"], self._having)

    def _having(self, terms: set[bytes]) -> dict[bytes, tuple[int, int]]:
        asked = {spelled(term): term for term in terms}
        rows = self._session.rows("SELECT term, id, n FROM terms WHERE term = ANY(%s) AND n > 0", (list(asked),))
        return {asked[bytes(stored)]: (number, having) for stored, number, having in rows}

    def _counts(self, weighed: Weighed, passages: Ids) -> tuple[Scores, dict[int, Scores]]:
        """Return the number of words of passages, and how often each has each term."""
        numbers = list(weighed.asked())
        columns = "".join(f", coalesce(counts[array_position(terms, {int(number)})], 0)" for number in numbers)
        rows = self._session.rows(f"SELECT id, n_words{columns} FROM passages WHERE id = ANY(%s)", (passages.tolist(),))
        found = {row[0]: row[1:] for row in rows}
        none = (1, *(0 for _ in numbers))
        table = np.array([found.get(passage, none) for passage in passages.tolist()], np.float64)
        table = table.reshape(len(passages), len(none))
        return table[:, 0], {number: table[:, place] for place, number in enumerate(numbers, 1)}


def spelled(term: bytes) -> bytes:
    """Return a term as it is stored: a very long one by its hash."""
    return term if len(term) <= LONGEST else b"\0" + sha256(term).digest()
