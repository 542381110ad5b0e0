"""The structure of a document's text: its sections, and the tables and code in it."""

from __future__ import annotations

import json
from bisect import bisect, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf
from typing import Any

SEPARATOR = " > "
"""Separates the headings of a path, as in `csv > Module Contents > Reader Objects`."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a document, which ends where the next section of its level or a higher one begins.

    Attributes:
        start: Offset of the section's first character, usually that of its heading, in the document's text.
        level: Level of the heading; 1 is the highest.
        title: Text of the heading; empty if the section has none and only ends the ones before it.
    """

    start: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the sections of a text begin, and what belongs together in it.

    Attributes:
        sections: The sections in the order of their starts.
        blocks: Tables and code, as half-open character offsets `(start, end)` in order, without overlaps.
    """

    sections: tuple[Section, ...] = ()
    blocks: tuple[tuple[int, int], ...] = ()
    _parents: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find for each section the one around it, as its position; -1 if there is none."""
        parents: list[int] = []
        for place, section in enumerate(self.sections):
            around = place - 1
            while around >= 0 and self.sections[around].level >= section.level:
                around = parents[around]
            parents.append(around)
        object.__setattr__(self, "_parents", tuple(parents))

    def __bool__(self) -> bool:
        """Return whether anything is known about the structure."""
        return bool(self.sections or self.blocks)

    def begun(self, start: int, end: int) -> tuple[Section, ...]:
        """Return the sections that begin in a span of the text, after its first character."""
        here, there = (bisect(self.sections, place, key=lambda one: one.start) for place in (start, end - 1))
        return self.sections[here:there]

    def path(self, start: int, end: int) -> tuple[str, ...]:
        """Return the headings of the sections that contain a whole span of the text, the outermost first."""
        place = bisect(self.sections, start, key=lambda one: one.start) - 1
        below = min((section.level for section in self.begun(start, end)), default=inf)  # these close what is around
        around: list[str] = []
        while place >= 0:
            section = self.sections[place]
            if section.level < below and section.title:
                around.append(section.title)
            place = self._parents[place]
        return tuple(reversed(around))

    @property
    def title(self) -> str:
        """The heading that titles the text: the first of level 1, or one at its beginning; empty if there is none."""
        first = next((one.title for one in self.sections if one.title and one.level == 1), "")
        return first or next((one.title for one in self.sections if one.start == 0), "")

    def section(self, title: str, start: int, end: int) -> str:
        """Return the path of the sections that contain a whole span as text, without a heading that is the title."""
        path = self.path(start, end)
        return SEPARATOR.join(path[1:] if path and path[0] == " ".join(title.split()) else path)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object without what is empty; `from_json` restores it."""
        sections = [[one.start, one.level, one.title] for one in self.sections]
        return {
            name: value
            for name, value in (("sections", sections), ("blocks", [list(block) for block in self.blocks]))
            if value
        }

    @property
    def text(self) -> str:
        """The layout as canonical JSON; an empty string if nothing is known."""
        return json.dumps(self.to_json(), ensure_ascii=False, sort_keys=True) if self else ""

    @classmethod
    def from_json(cls, value: Any, length: float = inf) -> Layout:
        """Restore a layout from the output of `to_json`.

        Args:
            value: The JSON object.
            length: Number of characters in the document's text.

        Raises:
            ValueError: If it is not a layout of a text of this length.
        """
        try:
            sections = tuple(_section(*one) for one in value.get("sections", ()))
            blocks = tuple((start, end) for start, end in value.get("blocks", ()))
        except (TypeError, ValueError, AttributeError):
            raise ValueError(_EXPECTED) from None
        starts = [one.start for one in sections]
        bounds = [bound for block in blocks for bound in block]
        known = all(type(place) is int and 0 <= place <= length for place in (*starts, *bounds))
        if not known or starts != sorted(starts) or bounds != sorted(bounds):
            raise ValueError(_EXPECTED)
        return cls(sections, blocks)


_EXPECTED = (
    'the layout is not valid; expected {"sections": [[start, level, heading], …], "blocks": [[start, end], …]} with '
    "offsets in the text, in order"
)


def _section(start: object, level: object, title: object) -> Section:
    if type(start) is not int or type(level) is not int or not isinstance(title, str) or level < 1:
        raise ValueError
    return Section(start, level, title)


NO_LAYOUT = Layout()


@lru_cache(16)
def layout_of(text: str) -> Layout:
    """Return a layout from `Layout.text`; none if it is damaged, which the content hash of its document reveals."""
    try:
        return Layout.from_json(json.loads(text)) if text else NO_LAYOUT
    except (ValueError, RecursionError):
        return NO_LAYOUT


def headed(title: str, section: str) -> str:
    """Return a title followed by the path of a section, as hits show it."""
    return SEPARATOR.join(part for part in (title, section) if part)


def page_of(metadata: Mapping[str, Any], start: int) -> int | None:
    """Return the 1-based page that contains a character offset; None if the document has no page information."""
    starts = metadata.get("page_starts")
    if not isinstance(starts, list) or not all(isinstance(one, int) for one in starts) or not starts:
        return None
    return max(1, bisect_right(starts, start))
