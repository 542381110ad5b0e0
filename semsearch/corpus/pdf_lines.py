"""The lines of a PDF's pages: characters put together, with the size, the place and the kind of their type.

PDFium, the library of the Chrome browser, knows the characters and where they stand; what it leaves is an accent beside
its letter, as TeX sets it, and a space before an Arabic vowel sign. It must not be called from two threads at a time.
"""

from __future__ import annotations

import ctypes
import math
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any, TypeAlias

Box: TypeAlias = tuple[float, float, float, float]
"""Left, right, bottom and top in points of 1/72 inch, from the lower left corner of the page as it is read."""

HYPHEN = "\x02"
"""What PDFium makes of a hyphen at the end of a line; also of one that the author wrote."""

CELL_GAP = 1.3
"""A gap between words that parts two cells or columns, as a multiple of the height of the type."""

MAX_CHARS = 2**25
"""Maximum number of characters of a document, some 10,000 pages."""

_MARKS = {
    **{"´": "\u0301", "`": "\u0300", "^": "\u0302", "ˆ": "\u0302", "¨": "\u0308", "~": "\u0303", "˜": "\u0303"},
    **{"ˇ": "\u030c", "˘": "\u0306", "¯": "\u0304", "˙": "\u0307", "˚": "\u030a", "°": "\u030a", "˝": "\u030b"},
    **{"¸": "\u0327", "˛": "\u0328"},
}
"""Accents that stand by themselves, and the combining marks that they are once they are above or below a letter."""

_NARROW, _WIDE = frozenset("ijlt.,:;'()[]|!"), frozenset("acemnopuwABCDEMW=+")

_DOTLESS = {"ı": "i", "ȷ": "j"}

_FIXED_PITCH = 1
_BOLD = 600
"""Flag of a font (PDF 32000-1, table 123), and the weight from which it is bold (400 is normal)."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a page, or of a column of it.

    Attributes:
        cells: Its text; more than one if wide gaps part it, as in the row of a table.
        box: Where it stands.
        starts: Left edge of each cell.
        size: Size of its type in points.
        bold: Whether it is set in bold type.
        fixed: Whether all characters of its type have the same width, as those of code do.
        first: Width of its first word, which might have fitted into the line before.
        broken: Whether it ends with a hyphen that may be there only because the line ends.
    """

    cells: tuple[str, ...]
    box: Box
    starts: tuple[float, ...]
    size: float
    bold: bool = False
    fixed: bool = False
    first: float = 0.0
    broken: bool = False

    @property
    def text(self) -> str:
        """The text of all cells."""
        return " ".join(self.cells)

    @property
    def height(self) -> float:
        """The height of the type, from the lowest descender to the highest ascender."""
        return self.box[3] - self.box[2]


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its width and height in points, its lines, and whether it has pictures (known only without lines)."""

    width: float
    height: float
    lines: tuple[Line, ...]
    pictures: bool = False


@dataclass(frozen=True, slots=True)
class Bookmark:
    """An entry of the outline: level (1 is the highest), title, number of the page from 0, and height on it."""

    level: int
    title: str
    page: int
    top: float | None


def read_pages(document: Any) -> Iterator[Page]:
    """Read the pages of a pypdfium2.PdfDocument one by one; each is closed before the next is opened.

    Raises:
        ValueError: If the document is longer than MAX_CHARS.
    """
    left = MAX_CHARS
    for number in range(len(document)):
        with closing(document[number]) as page:
            with closing(page.get_textpage()) as text:
                left -= text.count_chars()
                if left < 0:
                    raise ValueError(f"the PDF has more than {MAX_CHARS} characters; split it")
                lines = _Reader(text.raw, _turn(page)).lines(text.count_chars())
            size = page.get_size()
            yield Page(*size, tuple(lines), not lines and _has_pictures(page))


def read_bookmarks(document: Any) -> Iterator[Bookmark]:
    """Read the outline of a pypdfium2.PdfDocument."""
    for bookmark in document.get_toc():
        destination = bookmark.get_dest()
        page = destination and destination.get_index()
        if page is not None:
            _, view = destination.get_view()
            top = view[1] if len(view) > 1 else None
            yield Bookmark(bookmark.level + 1, bookmark.get_title(), page, top)


def _has_pictures(page: Any) -> bool:
    from pypdfium2 import raw

    return next(iter(page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3)), None) is not None


def _turn(page: Any) -> Any:
    """Return a function that turns a box on the page the way that the page is turned for reading."""
    left, bottom, right, top = page.get_bbox()
    return {
        0: lambda x0, x1, y0, y1: (x0, x1, y0, y1),
        90: lambda x0, x1, y0, y1: (y0 - bottom, y1 - bottom, right - x1, right - x0),
        180: lambda x0, x1, y0, y1: (right - x1, right - x0, top - y1, top - y0),
        270: lambda x0, x1, y0, y1: (top - y1, top - y0, x0 - left, x1 - left),
    }[page.get_rotation()]


@dataclass(slots=True)
class _Reader:
    """Reads the characters of a page through PDFium's handle of its text."""

    raw: Any
    turn: Any

    def lines(self, n: int) -> list[Line]:
        """Return the lines in the order in which the page shows them, which is nearly always that of reading."""
        from pypdfium2 import raw

        unicode = raw.FPDFText_GetUnicode
        made: list[Line] = []
        places: list[int] = []
        text: list[str] = []
        at = 0
        while at <= n:
            code = unicode(self.raw, at) if at < n else 10
            if 0xD800 <= code < 0xDC00 and at + 1 < n and 0xDC00 <= (low := unicode(self.raw, at + 1)) < 0xE000:
                code = 0x10000 + ((code - 0xD800) << 10) + low - 0xDC00  # PDFium counts such a character as two
                at += 1
            char = chr(code) if code <= 0x10FFFF else "\ufffd"
            if char == "\n" or char == HYPHEN:
                if char == HYPHEN:
                    text.append("-")
                    places.append(at)
                line = self._line("".join(text), places)
                if line:
                    made.append(replace(line, broken=line.text.endswith(("-", "\xad", "‐"))))
                text, places = [], []
            elif char != "\r":
                text.append(char)
                places.append(at)
            at += 1
        return made

    def _line(self, text: str, places: list[int]) -> Line | None:
        """Return a line with the given characters, of which `places` are the numbers on the page."""
        text, places = self._composed(text, places)
        words = _words(text)
        if not words:
            return None
        boxes = [self._around(places[start], places[end - 1]) for start, end in words]
        height = median(top - bottom for _, _, bottom, top in boxes)
        cells, starts = [text[words[0][0] : words[0][1]]], [boxes[0][0]]
        for (here, there), (one, other) in zip(pairwise(boxes), pairwise(words), strict=True):
            if there[0] - here[1] > CELL_GAP * max(height, 1):
                cells.append(text[other[0] : other[1]])
                starts.append(there[0])
            else:
                cells[-1] += text[one[1] : other[1]]
        box = (
            min(one[0] for one in boxes),
            max(one[1] for one in boxes),
            median(one[2] for one in boxes),
            median(one[3] for one in boxes),
        )
        size, bold, fixed = self._type([places[start] for start, _ in words])
        fixed = fixed or self._is_even(text, places)
        width = boxes[0][1] - boxes[0][0]
        return Line(tuple(cells), box, tuple(starts), size, bold, fixed, width)

    def _around(self, first: int, last: int) -> Box:
        """Return the box around the characters from the first to the last of a word."""
        x0, x1, y0, y1 = self._box(first)
        x2, x3, _, _ = self._box(last)
        return min(x0, x2), max(x1, x3), y0, y1

    def _box(self, place: int) -> Box:
        from pypdfium2 import raw

        rect = raw.FS_RECTF()
        raw.FPDFText_GetLooseCharBox(self.raw, place, rect)
        box: Box = self.turn(rect.left, rect.right, rect.bottom, rect.top)
        return box

    def _ink(self, place: int) -> Box:
        """Return the box around what is printed of a character, which for an accent is not as high as the line."""
        from pypdfium2 import raw

        left, right, bottom, top = (ctypes.c_double() for _ in range(4))
        raw.FPDFText_GetCharBox(self.raw, place, left, right, bottom, top)
        box: Box = self.turn(left.value, right.value, bottom.value, top.value)
        return box

    def _type(self, places: list[int]) -> tuple[float, bool, bool]:
        """Return size, boldness and fixed pitch of the type, from a few of its characters."""
        from pypdfium2 import raw

        sample = places[:: max(1, len(places) // 4)]
        sizes, bold, fixed = [], 0, 0
        matrix, flags, name = raw.FS_MATRIX(), ctypes.c_int(), ctypes.create_string_buffer(128)
        for place in sample:
            raw.FPDFText_GetMatrix(self.raw, place, matrix)
            sizes.append(raw.FPDFText_GetFontSize(self.raw, place) * math.hypot(matrix.c, matrix.d))
            raw.FPDFText_GetFontInfo(self.raw, place, name, len(name), flags)
            font = name.value.decode("utf-8", "replace").lower()
            heavy = "bold" in font or "cmb" in font or "black" in font
            bold += heavy or raw.FPDFText_GetFontWeight(self.raw, place) >= _BOLD
            fixed += bool(flags.value & _FIXED_PITCH) or "mono" in font or "cmtt" in font or "courier" in font
        return median(sizes), bold == len(sample), fixed == len(sample)

    def _is_even(self, text: str, places: list[int]) -> bool:
        """Return whether the first and last narrow letters are as wide as wide ones, as only in type of fixed pitch."""
        narrow = [place for char, place in zip(text, places, strict=True) if char in _NARROW]
        wide = [place for char, place in zip(text, places, strict=True) if char in _WIDE]
        if not narrow or not wide:
            return False
        boxes = [self._box(place) for place in {narrow[0], narrow[-1], wide[0], wide[-1]}]
        widths = [right - left for left, right, _, _ in boxes]
        return max(widths) < 1.02 * min(widths)

    def _composed(self, text: str, places: list[int]) -> tuple[str, list[int]]:
        """Put accents and vowel signs onto their letters."""
        if text.isascii() and not any(mark in text for mark in "`^~"):
            return text, places
        out: list[str] = []
        kept: list[int] = []
        for at, char in enumerate(text):
            if unicodedata.combining(char):
                self._attach(out, kept, char, places[at], places[at + 1 : at + 2])
            elif char in _MARKS and (beside := self._letter(char, at, text, places)):
                if beside > 0:  # the accent comes first: wait for its letter
                    out.append(_MARKS[char])
                    kept.append(places[at])
                else:
                    while out and out[-1] == " ":
                        out.pop()
                        kept.pop()
                    out[-1] = _DOTLESS.get(out[-1], out[-1]) + _MARKS[char]
            elif out and out[-1] in _COMBINING and (char.isalpha() or char == " "):
                if char.isalpha():
                    out[-1] = _DOTLESS.get(char, char) + out[-1]
                    kept[-1] = places[at]
            else:
                out.append(char)
                kept.append(places[at])
        parts = [unicodedata.normalize("NFC", part) for part in out]
        return "".join(parts), [place for place, part in zip(kept, parts, strict=True) for _ in part]

    def _letter(self, char: str, at: int, text: str, places: list[int]) -> int:
        """Return 1 if an accent is above or below the letter after it, -1 if before it, and 0 if it stands apart."""
        left, right, _, _ = self._ink(places[at])
        for step in (1, -1):
            beside = at + step
            while 0 <= beside < len(text) and text[beside] == " ":
                beside += step
            if 0 <= beside < len(text) and text[beside].isalpha():
                x0, x1, _, _ = self._ink(places[beside])
                if x0 <= (left + right) / 2 <= x1:
                    return step
        return 0

    def _attach(self, out: list[str], kept: list[int], mark: str, place: int, following: list[int]) -> None:
        """Attach a combining mark to the letter before it; a space between them goes behind it, if there is a gap."""
        spaced = False
        while out and out[-1] == " ":
            spaced = True
            out.pop()
            kept.pop()
        if not out:
            return
        here = self._box(kept[-1])
        out[-1] += mark
        if spaced and following:
            there = self._box(following[0])
            gap = max(there[0] - here[1], here[0] - there[1])
            if gap > 0.1 * (here[3] - here[2]):
                out.append(" ")
                kept.append(place)


_COMBINING = frozenset(_MARKS.values())


def _words(text: str) -> list[tuple[int, int]]:
    """Return the bounds of the words."""
    bounds, start = [], None
    for at, char in enumerate(text):
        if char.isspace():
            if start is not None:
                bounds.append((start, at))
                start = None
        elif start is None:
            start = at
    return bounds if start is None else [*bounds, (start, len(text))]
