"""Analysis of passages and queries: the terms that an inverted index contains, and those that a query asks it for.

A term is one of three, in UTF-8:

    token        of FTS5's tokenizer for words: `run`, `b`
    token token  a pair of adjacent characters of scripts without spaces: `京 都`
    =token       an exact token, spelled as one word: `=c++`

No token contains a space or an equals sign, so the three never meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from semsearch.stores.words.keywords import exact_tokens, fold, is_unspaced, phrases, separated, spelled_tokens
from semsearch.stores.words.tokenizer import EXACT_WORDS, WORDS, Tokens, tokenizer

Text: TypeAlias = tuple[int, str, str]
"""A passage's number, its heading (see `heading_of`), and its text."""

Numbers: TypeAlias = NDArray[np.int64]

EXACT = b"="
"""First byte of the terms that are exact tokens."""


def heading_of(title: str, section: str) -> str:
    """Return what is searched above a passage: the title of its document and the path of its section."""
    return f"{title} {section}" if section else title


@dataclass(frozen=True, slots=True)
class Occurrences:
    """The terms of some passages, each as often as it occurs.

    Attributes:
        terms: The distinct terms, in no particular order.
        numbers: For each occurrence, the place of its term in `terms`; int64 `[n]`.
        rows: For each occurrence, the place of its passage; int64 `[n]`.
        lengths: Number of tokens of each passage; int64 `[n_passages]`.
    """

    terms: list[bytes]
    numbers: Numbers
    rows: Numbers
    lengths: Numbers


@dataclass(frozen=True, slots=True)
class AnalyzedQuery:
    """The terms of a query.

    Attributes:
        phrases: The phrases of the query in order, see `keywords.phrases`, each with its term.
        exact: Its exact tokens, each with its term and the terms of its parts.
    """

    phrases: list[tuple[str, bytes]]
    exact: list[tuple[str, bytes, list[bytes]]]


class _Pieces(dict[str, int]):
    """Parts of texts without white space, each with a number in the order of their first occurrence."""

    def __missing__(self, piece: str) -> int:
        self[piece] = number = len(self)
        return number


def analyze(texts: Sequence[tuple[str, str]]) -> Occurrences:
    """Return the terms of passages, given as (title, text).

    No token extends across white space, so each distinct piece of the texts is analyzed once.
    """
    pieces, found, ends = _Pieces(), list[int](), list[int]()
    for title, text in texts:
        found += map(pieces.__getitem__, separated(fold(f"{title} {text}")).split())
        ends.append(len(found))
    places, sizes = np.array(found, np.int64), np.diff(np.array([0, *ends]))
    rows = np.repeat(np.arange(len(texts)), sizes)
    words, row_of_word = _expand(tokenizer(WORDS).tokens(pieces), places, rows)
    exact, row_of_exact = _expand(tokenizer(EXACT_WORDS).tokens(map(spelled_tokens, pieces)), places, rows)
    pairs, row_of_pair = _pairs(words, row_of_word)
    first_pair, first_exact = len(words.distinct), len(words.distinct) + len(pairs.distinct)
    return Occurrences(
        [*words.distinct, *pairs.distinct, *(EXACT + token for token in exact.distinct)],
        np.concatenate([words.numbers, first_pair + pairs.numbers, first_exact + exact.numbers]),
        np.concatenate([row_of_word, row_of_pair, row_of_exact]),
        np.bincount(row_of_word, minlength=len(texts)),
    )


@dataclass(frozen=True, slots=True)
class _Stream:
    """A sequence of tokens: the distinct ones, and for each occurrence its place among them; int64 `[n]`."""

    distinct: list[bytes]
    numbers: Numbers


def _expand(tokens: Tokens, places: Numbers, rows: Numbers) -> tuple[_Stream, Numbers]:
    """Replace each piece by its tokens; return them and the row of each."""
    sizes = np.diff(tokens.starts)[places]
    offsets = np.cumsum(sizes) - sizes
    within = np.arange(sizes.sum()) - np.repeat(offsets, sizes)
    numbers = tokens.numbers[np.repeat(tokens.starts[places], sizes) + within]
    return _Stream(tokens.distinct, numbers), np.repeat(rows, sizes)


def _pairs(words: _Stream, rows: Numbers) -> tuple[_Stream, Numbers]:
    """Return the pairs of adjacent characters of unspaced scripts, as FTS5's phrases find them, and the row of each."""
    unspaced = np.array([is_unspaced(token.decode(errors="replace")) for token in words.distinct], bool)
    if not unspaced.any():
        return _Stream([], np.empty(0, np.int64)), np.empty(0, np.int64)
    first, second = words.numbers[:-1], words.numbers[1:]
    adjacent = unspaced[first] & unspaced[second] & (rows[:-1] == rows[1:])
    keys, numbers = np.unique(first[adjacent] * len(words.distinct) + second[adjacent], return_inverse=True)
    both = zip(*np.divmod(keys, len(words.distinct)), strict=True)
    distinct = [words.distinct[one] + b" " + words.distinct[other] for one, other in both]
    return _Stream(distinct, numbers.reshape(-1)), rows[:-1][adjacent]


@lru_cache(maxsize=16)
def analyze_query(query: str) -> AnalyzedQuery:
    """Return the terms of a query, including those that no passage can have; a search asks several times."""
    asked, exact = phrases(query), exact_tokens(query)
    words = _terms(WORDS, [*asked, *chain.from_iterable(exact.values())])
    spelled = _terms(EXACT_WORDS, list(exact))
    return AnalyzedQuery(
        [(phrase, words[phrase]) for phrase in asked],
        [(token, EXACT + spelled[token], [words[part] for part in parts]) for token, parts in exact.items()],
    )


def _terms(name: str, quoted: Sequence[str]) -> dict[str, bytes]:
    """Return the tokens of each quoted phrase, joined by spaces."""
    if not quoted:
        return {}
    tokens = tokenizer(name).tokens(phrase.strip('"') for phrase in quoted)
    return {phrase: b" ".join(tokens.of(number)) for number, phrase in enumerate(quoted)}
