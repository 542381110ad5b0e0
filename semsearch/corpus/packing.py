"""Cutting a text at its sections, and packing small neighbors into spans that fit into a passage."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import TypeAlias

from semsearch.layout import Layout

Span: TypeAlias = tuple[int, int]
"""Half-open character offsets in the text."""

TOGETHER = 256
"""Maximum number of tokens of neighboring sections that share a passage, if there is room for more."""

LONELY = 24
"""Number of tokens below which the text before a table or code, such as its heading, never is a passage of its own."""


class Packer:
    """Cuts one text along its layout.

    A section that fits into a passage is kept whole, and so are several neighbors if they are small. A longer section
    is cut into its own sections. One without further sections is cut at the edges of its tables and code, and what is
    still too long is cut by `cut`.
    """

    def __init__(
        self,
        text: str,
        layout: Layout,
        count: Callable[[Sequence[str]], list[int]],
        capacity: Callable[[int, int], int],
        cut: Callable[[int, int], Iterable[Span]],
    ) -> None:
        """Count the tokens between all boundaries.

        Args:
            text: The text.
            layout: Its sections, tables and code.
            count: Counts the tokens of texts.
            capacity: Returns how many tokens a span may have, given its start and end.
            cut: Cuts a span into parts that fit.
        """
        self._text, self._sections = text, layout.sections
        self._capacity, self._cut = capacity, cut
        self._starts = [section.start for section in layout.sections]
        self._edges = sorted({0, len(text), *self._starts, *(edge for block in layout.blocks for edge in block)})
        self._block_starts = {start for start, _ in layout.blocks}
        sizes = count([text[start:end] for start, end in pairwise(self._edges)])
        self._tokens = dict(zip(self._edges, accumulate(sizes, initial=0), strict=True))

    def spans(self) -> Iterator[Span]:
        """Yield the spans in order, without white space at their ends; neighbors overlap only within a section."""
        for start, end in self._packed(0, len(self._text)):
            part = self._text[start:end]
            if part.strip():
                yield start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())

    def _size(self, span: Span) -> int:
        return self._tokens[span[1]] - self._tokens[span[0]]

    def _fits(self, span: Span) -> bool:
        return self._size(span) <= self._capacity(*span)

    def _packed(self, start: int, end: int) -> Iterator[Span]:
        if self._fits((start, end)):
            yield start, end
            return
        children = list(self._children(start, end))
        if len(children) == 1:
            yield from self._leaf(start, end)
            return
        together: Span | None = None
        for child in children:
            if together and self._may_join(together, child):
                together = (together[0], child[1])
                continue
            if together:
                yield from self._packed(*together)
            together = child
        if together:
            yield from self._packed(*together)

    def _may_join(self, one: Span, other: Span) -> bool:
        joined = (one[0], other[1])
        return self._size(joined) <= TOGETHER and self._fits(joined)

    def _children(self, start: int, end: int) -> Iterator[Span]:
        """Cut a span before the sections of the highest level that begin inside it."""
        inside = self._sections[bisect_left(self._starts, start + 1) : bisect_left(self._starts, end)]
        highest = min((section.level for section in inside), default=0)
        yield from pairwise([start, *(section.start for section in inside if section.level == highest), end])

    def _leaf(self, start: int, end: int) -> Iterator[Span]:
        """Cut a span without sections at its tables and code, and join what fits together again."""
        edges = self._edges[bisect_left(self._edges, start) : bisect_left(self._edges, end) + 1]
        together: Span | None = None
        for part in pairwise(edges):
            joined = (together[0], part[1]) if together else part
            lonely = together is not None and self._size(together) < LONELY and part[0] in self._block_starts
            if self._fits(joined) or (lonely and not self._fits(part)):
                together = joined
                continue
            if together:
                yield from self._whole_or_cut(together)
            together = part
        if together:
            yield from self._whole_or_cut(together)

    def _whole_or_cut(self, span: Span) -> Iterator[Span]:
        if self._fits(span):
            yield span
        else:
            yield from self._cut(*span)
