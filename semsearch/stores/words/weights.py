"""BM25 in a database: the weights of a query's terms, and what each adds to the scores of chosen passages.

The scores are those of an index in a folder to the last bit, because they are summed in the same order. A database
needs to know how many passages have each term, and how often chosen passages have it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Vector
from semsearch.stores.words.analysis import AnalyzedQuery, analyze_query
from semsearch.stores.words.bm25 import LEAST_WEIGHT
from semsearch.stores.words.keywords import as_typed
from semsearch.stores.words.postings import K1, mean_length, norms
from semsearch.types import Term

Scores: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Known:
    """A term of a query as the index has it: its number, None if no passage has it, its weight, and how many do."""

    number: int | None
    weight: float
    n: int


@dataclass(frozen=True, slots=True)
class Weighed:
    """A query with what the index knows of its terms.

    Attributes:
        mean: Mean number of words of a passage.
        n: Number of passages.
    """

    query: AnalyzedQuery
    known: dict[bytes, Known]
    mean: float
    n: int

    def most(self, terms: Sequence[bytes]) -> float:
        """Return the upper bound of BM25: what it approaches as the frequency of these terms goes to infinity."""
        return (K1 + 1) * sum(self.known[term].weight for term in terms)

    def highest(self) -> float:
        """See `Searchable.highest_keyword_score`."""
        phrases = self.most([term for _, term in self.query.phrases])
        return phrases + sum(self.most(parts) for _, _, parts in self.query.exact)

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

    def scores(self, n_words: Scores, counts: Mapping[int, Scores]) -> Scores:
        """Return the scores of passages; see `contributions`."""
        scores = np.zeros(len(n_words))
        for _, _, contributions in self.contributions(n_words, counts):
            scores += contributions
        return scores

    def terms(self, n_words: Scores, counts: Mapping[int, Scores]) -> dict[Term, float]:
        """See `Readable.keyword_terms`, for one passage."""
        found: dict[Term, float] = {}
        for name, exact, scores in self.contributions(n_words, counts):
            if scores.any():
                term = Term(as_typed(name), exact=exact)
                found[term] = found.get(term, 0.0) + float(scores[0])
        return found

    def contributions(self, n_words: Scores, counts: Mapping[int, Scores]) -> Iterator[tuple[str, bool, Scores]]:
        """Yield each phrase and exact token, whether it is exact, and what it adds to the scores of passages.

        Args:
            n_words: Number of words of each passage `[n]`.
            counts: By the number of each term that some passage has, how often each of these has it `[n]`.
        """
        zeros, norm = np.zeros(len(n_words)), norms(n_words, self.mean)
        for phrase, term in self.query.phrases:
            known = self.known[term]
            count = zeros if known.number is None else counts[known.number]
            yield phrase, False, known.weight * ((count * (K1 + 1)) / (count + norm))
        for token, term, parts in self.query.exact:
            known = self.known[term]
            count = zeros if known.number is None else counts[known.number]
            yield token, True, np.where(count > 0, self.most(parts), 0.0)


Having: TypeAlias = Callable[[set[bytes]], Mapping[bytes, tuple[int, int]]]
"""Returns the number of each term that some passage has, and how many have it."""


def weigh(query: str, n: int, n_words: int, having: Having) -> Weighed:
    """Look up the terms of a query, with the weights that FTS5 computes.

    Args:
        query: The query.
        n: Number of passages of the index.
        n_words: Number of their words.
        having: Looks the terms up.
    """
    analyzed = analyze_query(query)
    terms = {term for _, term in analyzed.phrases}
    for _, term, parts in analyzed.exact:
        terms |= {term, *parts}
    found, known = having(terms), {}
    for term in terms:
        number, times = found.get(term, (None, 0))
        idf = math.log((n - times + 0.5) / (times + 0.5))
        known[term] = Known(number, idf if idf > 0 else LEAST_WEIGHT, times)
    return Weighed(analyzed, known, mean_length(n_words, n), n)


def best(scores: Scores, passages: NDArray[np.int64], k: int) -> tuple[Vector, NDArray[np.int64]]:
    """Return the k highest scores, best first, and the passages that have them; ties are ordered by passage."""
    order = np.lexsort((passages, -scores))[:k]
    return scores[order].astype(np.float32), passages[order]
