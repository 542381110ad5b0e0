"""The structure of a document's text: its sections, and the tables and code in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SEPARATOR = " > "
"""Separates the headings of a path, as in `csv > Module Contents > Reader Objects`."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a document, which ends where the next section of its level or a higher one begins.

    Attributes:
        start: Offset of the section's first character, usually that of its heading, in the document's text.
        level: Level of the heading; 1 is the highest.
        title: Text of the heading; empty for a part without one, which ends the section in front of it.
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

    def __bool__(self) -> bool:
        """Return whether anything is known about the structure."""
        return bool(self.sections or self.blocks)

    def path(self, start: int, end: int) -> tuple[str, ...]:
        """Return the headings of the sections that contain a whole span of the text, the outermost first."""
        open_: list[Section] = []
        for section in self.sections:
            if section.start >= end:
                break
            while open_ and open_[-1].level >= section.level and section.start <= start:
                open_.pop()
            if section.start <= start:
                open_.append(section)
            else:  # begins inside the span, so that what it closes does not contain the whole span
                open_ = [one for one in open_ if one.level < section.level]
        return tuple(section.title for section in open_ if section.title)

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
    def from_json(cls, value: Mapping[str, Any], length: int) -> Layout:
        """Restore a layout from the output of `to_json`.

        Args:
            value: The JSON object.
            length: Number of characters in the document's text.

        Raises:
            ValueError: If it is not a layout of a text of this length.
        """
        try:
            sections = tuple(Section(*_checked(one)) for one in value.get("sections", ()))
            blocks = tuple((start, end) for start, end in value.get("blocks", ()))
        except (TypeError, ValueError, AttributeError):
            raise ValueError(_EXPECTED) from None
        starts = [one.start for one in sections]
        bounds = [bound for block in blocks for bound in block]
        if starts != sorted(starts) or bounds != sorted(bounds):
            raise ValueError(_EXPECTED)
        if not all(type(place) is int and 0 <= place <= length for place in (*starts, *bounds)):
            raise ValueError(_EXPECTED)
        return cls(sections, blocks)


_EXPECTED = (
    'the layout is not valid; expected {"sections": [[start, level, heading], …], "blocks": [[start, end], …]} with '
    "offsets in the text, in order"
)


def _checked(section: Any) -> Iterator[Any]:
    start, level, title = section
    if type(start) is not int or type(level) is not int or not isinstance(title, str) or level < 1:
        raise ValueError
    return iter((start, level, title))


NO_LAYOUT = Layout()
