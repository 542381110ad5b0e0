"""Duplicates among hits: passages that repeat the text of a better one, exactly or nearly.

Texts are compared by their shingles, the sets of all runs of SHINGLE words (Broder 1997).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from semsearch.types import Hit

SHINGLE, SAME_TEXT = 3, 0.8
"""Words per shingle, and the share of common shingles from which a text counts as a repeat of another."""

LEAST_WORDS = 40
"""Fewest words of a text that may differ from one that it repeats: in shorter texts, a number or a name matters."""

REPEATS = 3
"""Oversampling factor: how many times more hits to fetch than are wanted, because some may be duplicates."""

DEEPER, DEEPEST = 4, 1_000
"""Factor by which to fetch more if too few hits remain, and the number of hits up to which to do so."""

_WORD = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]|\w+")
"""A word, or a character of a script without spaces: Thai, Lao, Burmese, Khmer, Japanese or Chinese."""

Shingles: TypeAlias = frozenset[int]
"""Hashes of the shingles of a text; they compare faster than tuples of words, and differ between processes."""


def shingles(text: str) -> Shingles:
    """Return the set of word n-grams of a text, or of character n-grams if it has few words."""
    words = _WORD.findall(text.casefold())
    return _grams(words if len(words) > SHINGLE else list(text.casefold()))


def _grams(units: Sequence[str]) -> Shingles:
    runs = zip(*(units[place:] for place in range(min(SHINGLE, len(units)))), strict=False)
    return frozenset(map(hash, runs))


def is_repeat(grams: Shingles, other: Shingles) -> bool:
    """Return whether a text is mostly contained in another one, or contains it, given the shingles of both."""
    return len(grams & other) >= SAME_TEXT * max(1, min(len(grams), len(other)))


def distinct(hits: Sequence[Hit]) -> list[Hit]:
    """Return the hits without those whose passage has the same words as that of a better hit."""
    first: dict[str, Hit] = {}
    for hit in hits:
        first.setdefault(_spaced_alike(hit.text), hit)
    return list(first.values())


def group_similar(hits: Sequence[Hit]) -> list[Hit]:
    """Return the hits without those whose passage nearly repeats that of a better hit, which names them as `similar`.

    Two passages of at least LEAST_WORDS words are alike if they share SAME_TEXT of their shingles, or if one contains
    all shingles of the other. Shorter passages must have the same words and the same title. The remaining hits keep
    their order and scores, and get new ranks.

    Args:
        hits: Hits of one query, best first.
    """
    groups: list[tuple[_Passage, Hit, dict[str, None]]] = []
    for hit in hits:
        passage = _passage(hit)
        similar = next((similar for first, _, similar in groups if _is_alike(first, passage)), None)
        if similar is None:
            groups.append((passage, hit, {}))
        else:
            similar[hit.doc_id] = None
    return [
        replace(hit, rank=rank, similar=tuple(doc_id for doc_id in similar if doc_id != hit.doc_id))
        for rank, (_, hit, similar) in enumerate(groups, 1)
    ]


@dataclass(frozen=True, slots=True)
class _Passage:
    """The text of a hit as it is compared; `grams` is None for a text with fewer than LEAST_WORDS words."""

    title: str
    text: str
    grams: Shingles | None


def _passage(hit: Hit) -> _Passage:
    words = _WORD.findall(hit.text.casefold())
    grams = _grams(words) if len(words) >= LEAST_WORDS else None
    return _Passage(_spaced_alike(hit.title), _spaced_alike(hit.text), grams)


def _is_alike(one: _Passage, other: _Passage) -> bool:
    if one.grams is None or other.grams is None:
        return one.text == other.text and one.title == other.title
    common, sizes = len(one.grams & other.grams), (len(one.grams), len(other.grams))
    return common == min(sizes) or common >= SAME_TEXT * (sum(sizes) - common)


def _spaced_alike(text: str) -> str:
    return " ".join(text.split())
