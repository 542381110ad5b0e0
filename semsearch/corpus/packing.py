"""Cutting a text at the edges of its tables and code, and joining what fits into a passage."""

from __future__ import annotations

from bisect import bisect, bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import TypeAlias

from semsearch.layout import Layout

Span: TypeAlias = tuple[int, int]
"""Half-open character offsets in the text."""

LONELY = 24
"""Number of tokens below which the text before a table or code, such as its heading, never is a passage of its own."""


class Packer:
    """Cuts one text into spans as long as possible, without cutting tables and code that fit.

    What is too long is cut by `cut`, whose last part may be joined with what follows.
    """

    def __init__(
        self,
        text: str,
        layout: Layout,
        count: Callable[[Sequence[str]], list[int]],
        room: Callable[[int, int], int],
        cut: Callable[[int, int, int], Iterable[Span]],
    ) -> None:
        """Count the tokens between all tables and code.

        Args:
            text: The text.
            layout: Its sections, tables and code.
            count: Counts the tokens of texts.
            room: Returns how many tokens a span may have, given its start and end: fewer below a long heading.
            cut: Cuts a span, given its start and end, into parts that leave room for a number of tokens.
        """
        self._text, self._sections = text, layout.sections
        self._count, self._room, self._cut = count, room, cut
        self._edges = sorted({0, len(text), *(edge for block in layout.blocks for edge in block)})
        self._block_starts = {start for start, _ in layout.blocks}
        sizes = count([text[start:end] for start, end in pairwise(self._edges)])
        self._tokens = dict(zip(self._edges, accumulate(sizes, initial=0), strict=True))

    def spans(self) -> Iterator[Span]:
        """Yield the spans in order, without white space at their ends; neighbors overlap only in running text.

        A heading at the end of a span is left out: it is in the path of what follows.
        """
        return (span for span in map(self._trimmed, self._packed()) if span[0] < span[1])

    def _trimmed(self, span: Span) -> Span:
        """Return a span without the headings at its end and without outer white space."""
        start, end = span[0], self._without_headings(*span)
        part = self._text[start:end]
        return start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())

    def _without_headings(self, start: int, end: int) -> int:
        """Return the end of a span without the headings at its end, unless the text ends there, too."""
        place = bisect(self._sections, end - 1, key=lambda one: one.start)
        while end < len(self._text) and place and (section := self._sections[place - 1]).start >= start:
            if " ".join(self._text[section.start : end].split()) != section.title or not section.title:
                break
            end, place = section.start, place - 1
        return end

    def _packed(self) -> Iterator[Span]:
        together: Span | None = None
        for part in pairwise(self._edges):
            if together and not self._fits((together[0], part[1])):
                *whole, together = self._whole_or_cut(together)
                yield from whole
            if together and not self._fits((together[0], part[1])):
                if self._size(together) < LONELY and part[0] in self._block_starts and not self._fits(part):
                    parts = list(self._cut(*part, self._size(together)))
                    joined = together[0], parts[0][1]
                    *whole, together = [joined, *parts[1:]] if self._fits(joined) else [together, *parts]
                    yield from whole
                    continue
                yield together
                together = None
            together = (together or part)[0], part[1]
        if together:
            yield from self._whole_or_cut(together)

    def _whole_or_cut(self, span: Span) -> list[Span]:
        return [span] if self._fits(span) else list(self._cut(*span, 0))

    def _fits(self, span: Span) -> bool:
        return self._size(span) <= self._room(*self._trimmed(span))

    def _size(self, span: Span) -> int:
        start, end = span
        for place in span:
            if place not in self._tokens:  # a part of what was cut
                edge = self._edges[bisect_left(self._edges, place) - 1]
                self._tokens[place] = self._tokens[edge] + self._count([self._text[edge:place]])[0]
        return self._tokens[end] - self._tokens[start]
