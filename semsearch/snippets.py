"""Snippets: the part of a passage that answers a query best, with the matching words highlighted.

Words match as in keyword search. A snippet is an unchanged piece of the passage, line breaks included; how to render it
is up to the caller.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, TypeAlias

from semsearch.checks import TEXT, WHOLE, check_types
from semsearch.errors import UsageError
from semsearch.stores.words.matches import READ, Spans, find_matches
from semsearch.types import Hit

SIZE = 240
"""Maximum number of characters in a snippet."""

Weights: TypeAlias = Sequence[tuple[int, int, float]]
"""Spans of a text (start and end), each with its weight in choosing a snippet."""

_SENTENCE = re.compile(r"[.!?…]+[\"'”’)\]]*\s+|[。！？]+[」』”）]*\s*")
_LINE = re.compile(r"\n(?:[ \t\r]*\n)*")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Snippet:
    """A part of a passage.

    Attributes:
        text: `passage[start:end]`, with its line breaks.
        start, end: Character offsets into the text of the passage, half-open.
        highlights: Matches of the query, as half-open offsets into `text`, ascending and without overlaps.
    """

    text: str
    start: int
    end: int
    highlights: tuple[tuple[int, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object: `{"text", "start", "end", "highlights": [[start, end], …]}`."""
        highlights = [list(span) for span in self.highlights]
        return {"text": self.text, "start": self.start, "end": self.end, "highlights": highlights}


def make_snippets(query: str, hits: Sequence[Hit], size: int = SIZE) -> list[Snippet]:
    """Return a snippet of each hit's passage, in the given order: the window with the most and rarest query words.

    A word weighs less the more often it occurs in the passage. A passage without any word of the query is represented
    by its beginning. Only the first READ characters of a passage are considered.

    Args:
        query: The query that was searched.
        hits: Hits of that search.
        size: Maximum number of characters in a snippet.

    Raises:
        UsageError: If the query is not text, or the size is below 1.
    """
    check_types({"query": query, "size": size}, {"query": TEXT, "size": WHOLE})
    if size < 1:
        raise UsageError(f"`size` must be at least 1, got {size}")
    texts = [hit.text[:READ] for hit in hits]
    return [
        cut(text, matches, by_rarity(text, matches), size)
        for text, matches in zip(texts, find_matches(query, texts), strict=True)
    ]


def cut(text: str, matches: Spans, weights: Weights, size: int = SIZE) -> Snippet:
    """Return the window of a text with the highest total weight, and the matches in it.

    Windows begin and end at line, sentence or word boundaries. Among windows of equal weight, the one whose weight is
    centered best is chosen; if nothing has any weight, the beginning of the text.
    """
    start, end = _window(text, weights, size) if len(text) > size else (0, len(text))
    while start < end and text[start].isspace() and text[start] not in " \t":
        start += 1  # skip blank lines, but keep the indentation of the first line
    end = start + len(text[start:end].rstrip())
    inside = ((max(a, start) - start, min(b, end) - start) for a, b in matches if a < end and b > start)
    return Snippet(text[start:end], start, end, tuple(inside))


def by_rarity(text: str, matches: Spans) -> Weights:
    """Weight each match by the inverse of its number of occurrences in the passage."""
    counts = Counter(text[start:end].casefold() for start, end in matches)
    return [(start, end, 1 / counts[text[start:end].casefold()]) for start, end in matches]


def _window(text: str, weights: Weights, size: int) -> tuple[int, int]:
    units = list(_units(text, size))
    if not units:
        return 0, 0
    worth = [0.0] * len(units)
    moments = [0.0] * len(units)  # weight times position
    place = 0
    for start, end, weight in sorted(weights):
        while place + 1 < len(units) and units[place][1] <= start:
            place += 1
        worth[place] += weight
        moments[place] += weight * (start + end) / 2
    summed, moved = [0.0, *accumulate(worth)], [0.0, *accumulate(moments)]
    best, chosen, last = (0.0, 0.0), (0, 0), 0
    for first, (start, _) in enumerate(units):
        last = max(last, first)
        while last + 1 < len(units) and units[last + 1][1] - start <= size:
            last += 1
        total = round(summed[last + 1] - summed[first], 9)
        off = abs((moved[last + 1] - moved[first]) / total - (start + size / 2)) if total > 0 else 0.0
        if first == 0 or (total, -off) > best:
            best, chosen = (total, -off), (start, units[last][1])
        if last + 1 == len(units):
            break
    return chosen[0], _filled_up(text, *chosen, size)


def _filled_up(text: str, start: int, end: int, size: int) -> int:
    """Return the end of a window after extending it by as many words as fit."""
    limit = start + size
    if limit >= len(text):
        return len(text)
    spaces = [space.start() for space in _SPACE.finditer(text, end, limit + 1)]
    return min(max(spaces, default=end), limit)


def _units(text: str, size: int) -> Iterator[tuple[int, int]]:
    """Cut a text into units to make windows from: lines, or sentences if lines are long, or words if those are long.

    A unit is at most a third of a window long, so that there is a choice of context around a match.
    """
    yield from _pieces(text, 0, len(text), max(1, size // 3), (_LINE, _SENTENCE, _SPACE))


def _pieces(
    text: str, start: int, end: int, longest: int, breaks: Sequence[re.Pattern[str]]
) -> Iterator[tuple[int, int]]:
    if end - start <= longest and breaks and breaks[0] is not _LINE:
        yield start, end
        return
    if not breaks:
        for place in range(start, end, longest):
            yield place, min(place + longest, end)
        return
    cuts = [start, *(found.end() for found in breaks[0].finditer(text, start, end) if found.end() < end), end]
    if breaks[0] is _SPACE:
        cuts = list(_filled(cuts, longest))
    for first, last in pairwise(cuts):
        if first < last:
            yield from _pieces(text, first, last, longest, breaks[1:])


def _filled(cuts: Sequence[int], longest: int) -> Iterator[int]:
    """Drop cuts so that each piece is as long as allowed."""
    yield cuts[0]
    behind = cuts[0]
    for cut, following in pairwise(cuts[1:]):
        if following - behind > longest:
            yield cut
            behind = cut
    if len(cuts) > 1:
        yield cuts[-1]
