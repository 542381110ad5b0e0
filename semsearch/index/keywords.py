"""How text becomes words for SQLite's FTS5, and a question a full-text query.

FTS5 finds words between spaces and stems English ones. Chinese, Japanese, Korean, Thai, Lao, Burmese and Khmer are
written without such spaces (or with particles glued on), so each of their characters is indexed as a word of its own,
and a query asks for every pair of neighbours, as Lucene's CJKAnalyzer does.
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
_WORD = re.compile(rf"[{_UNSPACED}]+|[^\W_{_UNSPACED}]+")

MAX_QUERY_WORDS = 1_000
"""A query as long as a book would make SQLite's parser give up."""


def body(title: str, text: str) -> str:
    """What is indexed for a passage; the same call takes it out again, so a change here needs a migration."""
    joined = f"{title} {text}"
    if joined.isascii():
        return joined
    return _RUN.sub(lambda run: f" {' '.join(run[0])} ", unicodedata.normalize("NFKC", joined))


def match_expression(query: str) -> str:
    """An FTS5 query for any of the words; empty where there are none. A word asked for twice counts twice."""
    words = _WORD.findall(unicodedata.normalize("NFKC", query))
    phrases = islice((phrase for word in words for phrase in _phrases(word)), MAX_QUERY_WORDS)
    return " OR ".join(f'"{phrase}"' for phrase in phrases)


def _phrases(word: str) -> list[str]:
    """A word as it is, or pairs of characters of an unspaced script."""
    if not _RUN.match(word) or len(word) == 1:
        return [word]
    return [f"{first} {second}" for first, second in pairwise(word)]
