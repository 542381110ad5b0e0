"""How text becomes words for SQLite's FTS5, and a question a full-text query. The same happens at both ends.

Words are letters, digits and the marks that belong to them; FTS5 drops accents of Latin letters and stems English.

*   Case and compatibility: Unicode's NFKC_Casefold, so `Straße` is `STRASSE`, and a final sigma is a sigma.
*   What cannot be seen changes no word: variation selectors, soft hyphens, joiners, zero-width spaces, marks of
    direction. A zero-width non-joiner between Arabic letters parts words, as in Lucene's PersianCharFilter.
*   Vowel points of Hebrew and Arabic are dropped, with the tatweel and a hamza or madda on a letter (أ is ا); so are
    Greek accents. The Russian ё is е, the Turkish ı is i; й and ї stay letters of their own.
*   Chinese, Japanese, Korean, Thai, Lao, Burmese and Khmer are written without spaces between words (or with particles
    glued on), so each of their characters, with the marks that belong to it, is indexed as a word of its own, and a
    query asks for every pair of neighbors, as Lucene's CJKAnalyzer does.
*   `jane.doe@example.com`, `3.11.2`, `snake_case`, `C++`, `C#` and `.NET` are found by their pieces, and are exact
    tokens besides: what has one comes before what has only its pieces.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import islice, pairwise

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"  # kana and iteration marks
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\uac00-\ud7af"  # Hangul
)
_RUN = re.compile(f"[{_UNSPACED}]+")

_INVISIBLE = re.compile(  # Default_Ignorable_Code_Point
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
_ARABIC = "[\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc]"
_PARTED = re.compile(f"(?<={_ARABIC})\u200c+(?={_ARABIC})")
_POINTS = re.compile(  # in NFD
    "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"  # Hebrew
    "\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u08d3-\u08e1\u08e3-\u08ff]"
    "|(?<=[\u0370-\u03ff])[\u0300-\u036f]+|(?<=\u0435)\u0308"  # Greek, and the Russian yo
)

_LETTER = f"[^\\W_{_UNSPACED}]"
_EXACT = re.compile(f"(?<!{_LETTER})[.#@$]?{_LETTER}+(?:[._@+#&'~-]+{_LETTER}+)*(?:\\++|#)?(?!{_LETTER})")
_PLAIN = re.compile(r"[^\W_]+|[^\W\d_]+(?:['&-][^\W\d_]+)+|(?:[^\W\d_]\.)+[^\W\d_]")
"""Words and numbers, hyphenated words, contractions and abbreviations such as `e.g` are ordinary."""

EXACT_WORDS = "unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'"
WORDS = f"porter {EXACT_WORDS}"
"""FTS5's tokenizers of an index, as the last migration in `schema.py` has them: for exact tokens, and for words."""

MAX_QUERY_WORDS = 1_000
"""A query as long as a book would make SQLite's parser give up."""

MAX_EXACT = 20
"""Exact tokens of a query."""


def body(title: str, text: str) -> str:
    """What is indexed for a passage; the same call takes it out again, so a change here needs a migration."""
    folded = fold(f"{title} {text}")
    return "".join(" " if space else folded[start:end] for space, start, end in spaced(folded))


def spaced(folded: str) -> Iterator[tuple[bool, int, int]]:
    """Parts of a folded text as they are indexed, as start and end; or, first, that a space is put in between them.

    There is one before and behind each character of an unspaced script.
    """
    behind = 0
    for run in _RUN.finditer(folded):
        yield False, behind, run.start()
        yield True, run.start(), run.start()
        place = run.start()
        for cluster in _clusters(run[0]):
            yield False, place, place + len(cluster)
            yield True, place + len(cluster), place + len(cluster)
            place += len(cluster)
        behind = run.end()
    yield False, behind, len(folded)


def tokens(title: str, text: str) -> str:
    """The exact tokens of a passage, spaced; they are taken out by the same call, too."""
    return " ".join(dict.fromkeys(map(spelled, _exact(fold(f"{title} {text}")))))


def phrases(query: str) -> list[str]:
    """The words of a query, each in quotes for FTS5; an unspaced script gives pairs of characters.

    A word asked for twice counts twice.
    """
    found = islice((phrase for word in _words(query) for phrase in _phrases(word)), MAX_QUERY_WORDS)
    return [f'"{phrase}"' for phrase in found]


def match_expression(query: str) -> str:
    """An FTS5 query for any of the words; empty where there are none."""
    return " OR ".join(phrases(query))


def exact_tokens(query: str) -> dict[str, list[str]]:
    """The exact tokens of a query as the index has them, in quotes for FTS5, each with the phrases of its pieces."""
    return {f'"{spelled(token)}"': phrases(token) for token in islice(_exact(fold(query)), MAX_EXACT)}


def fold(text: str) -> str:
    """Text as it is compared, but for FTS5's own lower case, accents and stems."""
    if text.isascii():
        return text
    text = _INVISIBLE.sub("", _PARTED.sub(" ", text))
    text = unicodedata.normalize("NFKC", text).casefold().replace("ı", "i")
    return unicodedata.normalize("NFC", _POINTS.sub("", unicodedata.normalize("NFD", text)))


def _exact(text: str) -> list[str]:
    """What has symbols inside, or at an end, that make it something else: not a sentence's own punctuation."""
    return [text[start:end] for start, end in exact_in(text)]


def exact_in(folded: str) -> Iterator[tuple[int, int]]:
    """Where a folded text has exact tokens, as start and end."""
    return (token.span() for token in _EXACT.finditer(folded) if not _PLAIN.fullmatch(token[0]))


def spelled(token: str) -> str:
    """As one word for FTS5: symbols become characters of a private plane, which count as letters."""
    return "".join(c if unicodedata.category(c)[0] in "LNM" else chr(0xF0000 + ord(c)) for c in token)


def as_typed(expression: str) -> str:
    """What stands in the quotes of a phrase or an exact token, without what was done to it for FTS5."""
    letters = (chr(ord(c) - 0xF0000) if "\U000f0000" <= c < "\U00100000" else c for c in expression.strip('"'))
    return "".join(letters).replace(" ", "")


def _words(query: str) -> list[str]:
    """Letters, digits and the marks that belong to them, as the tokenizer in `schema.py` takes them."""
    kept = (c if unicodedata.category(c)[0] in "LNM" else " " for c in fold(query))
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
