"""How text becomes words for SQLite's FTS5, and a question a full-text query.

FTS5 finds words between spaces and stems English ones. Chinese, Japanese, Korean, Thai, Lao, Burmese and Khmer are
written without such spaces (or with particles glued on), so each of their characters, with the vowels and other marks
that belong to it, is indexed as a word of its own, and a query asks for every pair of neighbors, as Lucene's
CJKAnalyzer does.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import islice, pairwise

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"  # kana and iteration marks
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\uac00-\ud7af"  # Hangul
)
_RUN = re.compile(f"[{_UNSPACED}]+")

MAX_QUERY_WORDS = 1_000
"""A query as long as a book would make SQLite's parser give up."""


def body(title: str, text: str) -> str:
    """What is indexed for a passage; the same call takes it out again, so a change here needs a migration."""
    joined = f"{title} {text}"
    if joined.isascii():
        return joined
    return _RUN.sub(lambda run: f" {' '.join(_clusters(run[0]))} ", unicodedata.normalize("NFKC", joined))


def match_expression(query: str) -> str:
    """An FTS5 query for any of the words; empty where there are none. A word asked for twice counts twice."""
    phrases = islice((phrase for word in _words(query) for phrase in _phrases(word)), MAX_QUERY_WORDS)
    return " OR ".join(f'"{phrase}"' for phrase in phrases)


def _words(query: str) -> list[str]:
    """Letters, digits and the marks that belong to them, as the tokenizer in `schema.py` takes them."""
    kept = (c if unicodedata.category(c)[0] in "LNM" else " " for c in unicodedata.normalize("NFKC", query))
    return _RUN.sub(lambda run: f" {run[0]} ", "".join(kept)).split()


def _phrases(word: str) -> list[str]:
    """A word as it is, or pairs of characters of an unspaced script."""
    clusters = _clusters(word) if _RUN.match(word) else [word]
    return [f"{first} {second}" for first, second in pairwise(clusters)] or clusters


def _clusters(run: str) -> list[str]:
    """Characters with the marks behind them."""
    clusters: list[str] = []
    for character in run:
        if clusters and unicodedata.category(character) in ("Mn", "Mc"):
            clusters[-1] += character
        else:
            clusters.append(character)
    return clusters
