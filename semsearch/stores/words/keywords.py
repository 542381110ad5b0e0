"""Conversion of text to words for FTS5's tokenizers, and of queries to phrases of words; both are normalized alike.

Words consist of letters, digits and combining marks. FTS5 removes accents from Latin letters and stems English words.

*   Case and compatibility: Unicode's NFKC_Casefold, so `Straße` equals `STRASSE`, and a final sigma equals a sigma.
*   Invisible characters never change a word: variation selectors, soft hyphens, joiners, zero-width spaces, directional
    marks. A zero-width non-joiner between Arabic letters separates words, as in Lucene's PersianCharFilter.
*   Hebrew and Arabic vowel points are removed, as are the tatweel and a hamza or madda on a letter (أ becomes ا); so
    are Greek accents. The Russian ё becomes е and the Turkish ı becomes i; й and ї remain distinct letters.
*   Chinese, Japanese, Korean, Thai, Lao, Burmese and Khmer are written without spaces between words (or with attached
    particles), so each of their characters, with its combining marks, is indexed as a word of its own, and a query
    asks for every pair of adjacent characters, as Lucene's CJKAnalyzer does.
*   `jane.doe@example.com`, `3.11.2`, `snake_case`, `C++`, `C#` and `.NET` are found by their parts, and also indexed as
    exact tokens: a passage with the exact token ranks above passages that only have its parts.
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
"""Ordinary words, not exact tokens: words and numbers, hyphenated words, contractions, abbreviations such as `e.g`."""

_IN_WORDS = {"Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No", "Mn", "Mc"}
"""Unicode categories of the characters in words; enclosing marks (Me) separate words, as for the tokenizer `WORDS`."""

MAX_QUERY_WORDS = 1_000
"""Maximum number of phrases in a query: a book-length query would exceed the limits of SQLite's parser."""

MAX_EXACT = 20
"""Maximum number of exact tokens in a query."""


def separated(folded: str) -> str:
    """Return a folded text with the spaces that are inserted around each character of an unspaced script."""
    if folded.isascii() or not _RUN.search(folded):
        return folded
    return "".join(" " if space else folded[start:end] for space, start, end in spaced(folded))


def is_unspaced(word: str) -> bool:
    """Return whether a word is a character of an unspaced script, with its combining marks."""
    return _RUN.match(word) is not None


def spaced(folded: str) -> Iterator[tuple[bool, int, int]]:
    """Yield (is_space, start, end) for each part of a folded text as it is indexed, and each space inserted between.

    A space is inserted before and after each character of an unspaced script.
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


def spelled_tokens(folded: str) -> str:
    """Return the exact tokens in a folded text, each once and spelled as one word, separated by spaces."""
    return " ".join(dict.fromkeys(map(spelled, _exact(folded))))


def phrases(query: str) -> list[str]:
    """Return the words of a query, each quoted for FTS5; an unspaced script yields pairs of characters.

    A word that occurs twice counts twice.
    """
    found = islice((phrase for word in _words(query) for phrase in _phrases(word)), MAX_QUERY_WORDS)
    return [f'"{phrase}"' for phrase in found]


def match_expression(query: str) -> str:
    """Return an FTS5 expression that matches any of the words; empty if there are none."""
    return " OR ".join(phrases(query))


def exact_tokens(query: str) -> dict[str, list[str]]:
    """Return the exact tokens of a query as they are indexed, quoted for FTS5, each with the phrases of its parts."""
    return {f'"{spelled(token)}"': phrases(token) for token in islice(_exact(fold(query)), MAX_EXACT)}


def fold(text: str) -> str:
    """Normalize text for comparison, except for FTS5's own lowercasing, accent removal and stemming."""
    if text.isascii():
        return text
    text = _INVISIBLE.sub("", _PARTED.sub(" ", text))
    text = unicodedata.normalize("NFKC", text).casefold().replace("ı", "i")
    return unicodedata.normalize("NFC", _POINTS.sub("", unicodedata.normalize("NFD", text)))


def _exact(text: str) -> list[str]:
    """Return the tokens with symbols inside, or at an end, that are part of the token and not punctuation."""
    return [text[start:end] for start, end in exact_in(text)]


def exact_in(folded: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each exact token in a folded text."""
    return (token.span() for token in _EXACT.finditer(folded) if not _PLAIN.fullmatch(token[0]))


def spelled(token: str) -> str:
    """Spell a token as one word for FTS5: symbols become private-use characters, which count as letters."""
    return "".join(c if unicodedata.category(c)[0] in "LNM" else chr(0xF0000 + ord(c)) for c in token)


def as_typed(expression: str) -> str:
    """Return a quoted phrase or exact token without the quotes and without the spelling for FTS5."""
    letters = (chr(ord(c) - 0xF0000) if "\U000f0000" <= c < "\U00100000" else c for c in expression.strip('"'))
    return "".join(letters).replace(" ", "")


def _words(query: str) -> list[str]:
    """Return the words of a query: letters, digits and combining marks, as the tokenizer `WORDS` finds them."""
    kept = (c if unicodedata.category(c) in _IN_WORDS else " " for c in fold(query))
    return _RUN.sub(lambda run: f" {run[0]} ", "".join(kept)).split()


def _phrases(word: str) -> list[str]:
    """Return the word itself, or the pairs of adjacent characters of an unspaced script."""
    clusters = _clusters(word) if _RUN.match(word) else [word]
    return [f"{first} {second}" for first, second in pairwise(clusters)] or clusters


def _clusters(run: str) -> list[str]:
    """Split a run into characters, each with the combining marks that follow it."""
    clusters: list[str] = []
    for character in run:
        if clusters and unicodedata.category(character) in ("Mn", "Mc"):
            clusters[-1] += character
        else:
            clusters.append(character)
    return clusters
