"""Keyword search in Milvus: BM25 with the scores of an index in a folder.

Words are analyzed as for a folder. Each passage has hashes of its terms in an array, which tells how many passages have
a term, and a sparse vector of how much each term may bring, with the mean length of passages at the time it was
written. The sparse vectors find candidates, of which BM25 is then computed exactly. If fewer passages have one of the
terms than there are candidates, the ranking is exact; otherwise, a change of the mean length may cost a hit.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from hashlib import blake2b
from itertools import pairwise

import numpy as np

from semsearch.arrays import Ids, Vector
from semsearch.stores.milvus.catalog import Catalog
from semsearch.stores.milvus.driver import MOST, Row
from semsearch.stores.milvus.rows import read_passages
from semsearch.stores.milvus.schema import TERMS
from semsearch.stores.milvus.states import Reading, visible
from semsearch.stores.words.analysis import EXACT, analyze
from semsearch.stores.words.postings import mean_length, norms
from semsearch.stores.words.weights import Scores, Weighed, best, weigh
from semsearch.types import Term

CANDIDATES = 1_000
"""Number of passages, at least, of which BM25 is computed exactly."""

PER_HIT = 4
"""Number of these for each of the k hits, at least."""

DIMENSIONS = 2**32 - 5
"""Number of dimensions of sparse vectors, a prime below Milvus's limit."""

AT_A_TIME = 8
"""Number of terms that the server counts at a time."""

FIELDS = ("n_words", "terms", "counts")


class WordSearch:
    """Searches words; every method must be called inside a snapshot."""

    def __init__(self, reading: Reading, catalog: Catalog) -> None:
        self._reading, self._catalog = reading, catalog
        self._having_at = lru_cache(maxsize=10_000)(self._count)

    def search(self, query: str, k: int, condition: str) -> tuple[Vector, Ids]:
        """See `Searchable.search_keywords`; the condition is on facts and values, empty for none."""
        weighed = self._weighed(query)
        asked = weighed.asked()
        if not asked:
            return np.empty(0, np.float32), np.empty(0, np.int64)
        state = self._reading.state
        (found,) = self._reading.session.call(
            "search",
            state.passages,
            [{number % DIMENSIONS: float(bound) for number, (bound, _, _) in asked.items()}],
            anns_field="words",
            filter=state.visible(condition),
            limit=min(max(CANDIDATES, PER_HIT * k), MOST),
            output_fields=["passage", *FIELDS],
            search_params={"metric_type": "IP"},
            consistency_level=self._reading.session.address.level,
        )
        rows = [hit["entity"] for hit in found]
        passages = np.array([row["passage"] for row in rows], np.int64)
        scores = weighed.scores(*_counts(weighed, rows))
        having = scores > 0  # another term may have the same dimension
        return best(scores[having], passages[having], k)

    def scores(self, query: str, passages: Sequence[int]) -> Vector:
        """See `Searchable.keyword_scores`."""
        weighed, found = self._weighed(query), read_passages(self._reading, passages, FIELDS)
        rows = [found.get(int(one), {"n_words": 1, "terms": [], "counts": []}) for one in passages]
        return weighed.scores(*_counts(weighed, rows)).astype(np.float32)

    def terms(self, query: str, passage: int) -> dict[Term, float]:
        """See `Readable.keyword_terms`."""
        weighed, found = self._weighed(query), read_passages(self._reading, [passage], FIELDS)
        return weighed.terms(*_counts(weighed, [found[passage]])) if found else {}

    def highest(self, query: str) -> float:
        """See `Searchable.highest_keyword_score`."""
        return self._weighed(query).highest()

    def _weighed(self, query: str) -> Weighed:
        counts = self._catalog.counts()
        return weigh(query, counts["passages"], counts["words"], self._having)

    def _having(self, terms: set[bytes]) -> dict[bytes, tuple[int, int]]:
        state, numbers = self._reading.state, {term: number_of(term) for term in terms}
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            counted = pool.map(partial(self._having_at, state.passages, state.commit), numbers.values())
            return {term: (numbers[term], n) for term, n in zip(numbers, counted, strict=True) if n}

    def _count(self, passages: str, commit: int, number: int) -> int:
        return self._reading.session.count(passages, visible(commit, f"array_contains(terms, {number})"))


def _counts(weighed: Weighed, rows: Sequence[Row]) -> tuple[Scores, dict[int, Scores]]:
    """Return the number of words of passages, and how often each has each term."""
    counts = {number: np.zeros(len(rows)) for number in weighed.asked()}
    for place, row in enumerate(rows):
        for term, n in zip(row["terms"], row["counts"], strict=True):
            if term in counts:
                counts[term][place] = n
    return np.array([row["n_words"] for row in rows], np.float64), counts


def word_fields(texts: Sequence[tuple[str, str]], n: int, n_words: int) -> tuple[list[Row], int]:
    """Return the fields for the words of passages, and the number of passages that have more terms than are stored.

    Args:
        texts: Heading and text of each passage.
        n: Number of passages that the index has besides these.
        n_words: Number of their words.
    """
    found = analyze(texts)
    mean = mean_length(n_words + int(found.lengths.sum()), n + len(texts))
    ids = np.array([number_of(term) for term in found.terms], np.int64)
    is_exact = np.array([term.startswith(EXACT) for term in found.terms], bool)
    keys, counts = np.unique(found.rows * max(len(ids), 1) + found.numbers, return_counts=True)
    rows, terms = np.divmod(keys, max(len(ids), 1))
    fields, n_long, norm = list[Row](), 0, norms(found.lengths.astype(np.float64), mean)
    for row, (start, end) in enumerate(pairwise(np.searchsorted(rows, np.arange(len(texts) + 1)).tolist())):
        own, times = terms[start:end], counts[start:end]
        if len(own) > TERMS:
            kept = np.sort(np.argsort(-times, kind="stable")[:TERMS])
            own, times, n_long = own[kept], times[kept], n_long + 1
        weights = np.where(is_exact[own], 1.0, times / (times + norm[row]))
        words = dict(zip((ids[own] % DIMENSIONS).tolist(), weights.tolist(), strict=True))
        numbers = {"n_words": int(found.lengths[row]), "terms": ids[own].tolist(), "counts": times.tolist()}
        fields.append({**numbers, "words": words or {DIMENSIONS: 1.0}})  # Milvus refuses an empty vector
    return fields, n_long


def number_of(term: bytes) -> int:
    """Return the hash of a term, from 0 to 2⁶³ - 1."""
    return int.from_bytes(blake2b(term, digest_size=8).digest(), "big") >> 1
