"""The lines of a PDF's pages: characters put together, with the size, the place and the kind of their type.

PDFium, the library of the Chrome browser, knows the characters and where they stand; what it leaves is an accent beside
its letter, as TeX sets it, a space before an Arabic vowel sign, and letters where TeX has angle brackets. It must not
be called from two threads at a time.
"""

from __future__ import annotations

import ctypes
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from statistics import median
from typing import Any, TypeAlias

Box: TypeAlias = tuple[float, float, float, float]
"""Left, right, bottom and top in points of 1/72 inch, from the lower left corner of the page as it is read."""

HYPHEN = "\x02"
"""What PDFium makes of a hyphen at the end of a line; also of one that the author wrote."""

BROKEN = ("-", "\xad", "‐")
"""Hyphens, one of which may be at the end of a line only because it ends there."""

_LINE_ENDS = frozenset(("\n", HYPHEN))

CELL_GAP = 1.3
"""A gap between words that parts two cells or columns, as a multiple of the height of the type."""

MAX_CHARS, MAX_PAGE_CHARS = 2**24, 2**17
"""Maximum number of characters of a document, some 5,000 pages, and of a page, some 40 times as many as in books."""

MAX_OBJECTS, MAX_PAGE_OBJECTS = 2**23, 2**19
"""Maximum number of texts, lines and pictures that a document and a page are drawn with; 300 bytes of memory each."""

MAX_BOOKMARKS = 10_000
"""Maximum number of entries of an outline; further ones are no headings."""

_MARKS = {
    **{"´": "\u0301", "`": "\u0300", "^": "\u0302", "ˆ": "\u0302", "¨": "\u0308", "~": "\u0303", "˜": "\u0303"},
    **{"ˇ": "\u030c", "˘": "\u0306", "¯": "\u0304", "˙": "\u0307", "˚": "\u030a", "°": "\u030a", "˝": "\u030b"},
    **{"¸": "\u0327", "˛": "\u0328"},
}
"""Accents that stand by themselves, and the combining marks that they are once they are above or below a letter."""

_NARROW, _WIDE = frozenset("ijlt.,:;'()[]|!"), frozenset("acemnopuwABCDEMW=+")

_DOTLESS = {"ı": "i", "ȷ": "j"}

_BRACKETS = {"h": "\u27e8", "i": "\u27e9"}
_AS_LETTERS = re.compile(r"(?<![^\W\d_])h|i(?![^\W\d_])")
_TEX_SYMBOLS = re.compile(r"cmb?sy\d|lmmathsymbols")
"""Angle brackets in TeX's fonts of symbols: PDFium does not know their names, and takes their codes for letters."""

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
        ValueError: If the document is longer than MAX_CHARS, or a page than MAX_PAGE_CHARS, or one is drawn with more
            objects than MAX_OBJECTS or MAX_PAGE_OBJECTS; they are counted before their text is put together.
    """
    from pypdfium2 import raw

    left, drawn = MAX_CHARS, MAX_OBJECTS
    for number in range(len(document)):
        with closing(document[number]) as page:
            n_objects = raw.FPDFPage_CountObjects(page.raw)
            drawn -= n_objects
            if n_objects > MAX_PAGE_OBJECTS or drawn < 0:
                most = MAX_PAGE_OBJECTS if n_objects > MAX_PAGE_OBJECTS else MAX_OBJECTS
                raise ValueError(f"page {number + 1}: drawn with too many objects (over {most}); print it to a new PDF")
            with closing(page.get_textpage()) as text:
                n = text.count_chars()
                left -= n
                if left < 0:
                    raise ValueError(f"the PDF has more than {MAX_CHARS} characters; split it")
                if n > MAX_PAGE_CHARS:
                    raise ValueError(f"page {number + 1} has more than {MAX_PAGE_CHARS} characters; split it")
                lines = _Reader(text.raw, _turn(page)).lines(n)
            width, height = page.get_size()
            yield Page(width, height, tuple(lines), not lines and _has_pictures(page))


def read_bookmarks(document: Any) -> Iterator[Bookmark]:
    """Read the outline of a pypdfium2.PdfDocument."""
    for bookmark in islice(document.get_toc(), MAX_BOOKMARKS):
        destination = bookmark.get_dest()
        page = destination and destination.get_index()
        if page is not None:
            _, view = destination.get_view()
            top = view[1] if len(view) > 1 else None
            yield Bookmark(bookmark.level + 1, bookmark.get_title(), page, top)


def _has_pictures(page: Any) -> bool:
    from pypdfium2 import raw

    return next(iter(page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3)), None) is not None


def _turn(page: Any) -> Callable[..., Box] | None:
    """Return a function that turns a box on the page the way that the page is turned for reading; None if it isn't."""
    left, bottom, right, top = page.get_bbox()
    turns: dict[int, Callable[..., Box]] = {
        90: lambda x0, x1, y0, y1: (y0 - bottom, y1 - bottom, right - x1, right - x0),
        180: lambda x0, x1, y0, y1: (right - x1, right - x0, top - y1, top - y0),
        270: lambda x0, x1, y0, y1: (top - y1, top - y0, x0 - left, x1 - left),
    }
    return turns.get(page.get_rotation())


class _Reader:
    """Reads the characters of a page through PDFium's handle of its text."""

    def __init__(self, handle: Any, turn: Callable[..., Box] | None) -> None:
        from pypdfium2 import raw

        self.raw, self.handle, self.turn = raw, handle, turn
        self.rect = raw.FS_RECTF()
        self.loose_box = raw.FPDFText_GetLooseCharBox

    def lines(self, n: int) -> list[Line]:
        """Return the lines in the order in which the page shows them, which is nearly always that of reading."""
        made: list[Line] = []
        text, places = self._characters(n)
        text = _AS_LETTERS.sub(lambda found: self._bracket(found[0], places[found.start()]), text)
        start = 0
        for end in (*(at for at, char in enumerate(text) if char in _LINE_ENDS), len(text)):
            divided = text[end : end + 1] == HYPHEN
            line = self._line(text[start:end] + "-" * divided, places[start : end + divided])
            if line:
                made.append(replace(line, broken=line.text.endswith(BROKEN)))
            start = end + 1
        return made

    def _characters(self, n: int) -> tuple[str, Sequence[int]]:
        """Return the characters of a page with their numbers on it; PDFium counts one beyond U+FFFF as two."""
        buffer = (ctypes.c_ushort * (n + 1))()
        self.raw.FPDFText_GetText(self.handle, 0, n, buffer)
        text = bytes(buffer)[: 2 * n].decode("utf-16-le", "surrogatepass").replace("\ufffe", HYPHEN)
        if len(text) == n and "\0" not in text:
            return text, range(n)
        units = [self.raw.FPDFText_GetUnicode(self.handle, at) for at in range(n)]
        chars: list[str] = []
        places: list[int] = []
        for at, unit in enumerate(units):
            if 0xDC00 <= unit < 0xE000 and at and 0xD800 <= units[at - 1] < 0xDC00:
                chars[-1] = chr(0x10000 + ((units[at - 1] - 0xD800) << 10) + unit - 0xDC00)
            else:
                chars.append(chr(unit) if unit <= 0x10FFFF else "\ufffd")
                places.append(at)
        return "".join(chars), places

    def _bracket(self, char: str, place: int) -> str:
        """Return the angle bracket that a letter stands for in a font of symbols; in other fonts, the letter."""
        return _BRACKETS[char] if _TEX_SYMBOLS.search(self._font(place)[0]) else char

    def _font(self, place: int) -> tuple[str, int]:
        """Return the name of a character's font in small letters, and its flags."""
        flags, name = ctypes.c_int(), ctypes.create_string_buffer(128)
        self.raw.FPDFText_GetFontInfo(self.handle, place, name, len(name), flags)
        return name.value.decode("utf-8", "replace").lower(), flags.value

    def _line(self, text: str, places: Sequence[int]) -> Line | None:
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
        firsts = [places[start] for start, _ in words]
        size, bold, fixed = self._type(firsts[self._is_numbered(text[slice(*words[0])], firsts) :])
        fixed = fixed or self._is_even(text, places)
        width = boxes[0][1] - boxes[0][0]
        return Line(tuple(cells), box, tuple(starts), size, bold, fixed, width)

    def _is_numbered(self, word: str, places: Sequence[int]) -> bool:
        """Return whether a line begins with its number in smaller type, as that of a listing does."""
        return word.isdecimal() and len(places) > 1 and self._size(places[0]) < 0.9 * self._size(places[1])

    def _size(self, place: int) -> float:
        matrix = self.raw.FS_MATRIX()
        self.raw.FPDFText_GetMatrix(self.handle, place, matrix)
        return float(self.raw.FPDFText_GetFontSize(self.handle, place) * math.hypot(matrix.c, matrix.d))

    def _around(self, first: int, last: int) -> Box:
        """Return the box around the characters from the first to the last of a word."""
        x0, x1, y0, y1 = self._box(first)
        if first == last:
            return x0, x1, y0, y1
        x2, x3, _, _ = self._box(last)
        return min(x0, x2), max(x1, x3), y0, y1

    def _box(self, place: int) -> Box:
        rect = self.rect
        self.loose_box(self.handle, place, rect)
        box = (rect.left, rect.right, rect.bottom, rect.top)
        return self.turn(*box) if self.turn else box

    def _ink(self, place: int) -> Box:
        """Return the box around what is printed of a character, which for an accent is not as high as the line."""
        left, right, bottom, top = (ctypes.c_double() for _ in range(4))
        self.raw.FPDFText_GetCharBox(self.handle, place, left, right, bottom, top)
        box = (left.value, right.value, bottom.value, top.value)
        return self.turn(*box) if self.turn else box

    def _type(self, places: list[int]) -> tuple[float, bool, bool]:
        """Return size, boldness and fixed pitch of the type, from a few of its characters."""
        raw = self.raw
        sample = places[:: max(1, len(places) // 4)]
        sizes, bold, fixed = [], 0, 0
        for place in sample:
            sizes.append(self._size(place))
            font, flags = self._font(place)
            heavy = "bold" in font or "cmb" in font or "black" in font
            bold += heavy or raw.FPDFText_GetFontWeight(self.handle, place) >= _BOLD
            fixed += bool(flags & _FIXED_PITCH) or "mono" in font or "cmtt" in font or "courier" in font
        return median(sizes), bold == len(sample), fixed == len(sample)

    def _is_even(self, text: str, places: Sequence[int]) -> bool:
        """Return whether the first and last narrow letters are as wide as wide ones, as only in type of fixed pitch."""
        narrow = [place for char, place in zip(text, places, strict=True) if char in _NARROW]
        wide = [place for char, place in zip(text, places, strict=True) if char in _WIDE]
        if not narrow or not wide:
            return False
        boxes = [self._box(place) for place in {narrow[0], narrow[-1], wide[0], wide[-1]}]
        widths = [right - left for left, right, _, _ in boxes]
        return max(widths) < 1.02 * min(widths)

    def _composed(self, text: str, places: Sequence[int]) -> tuple[str, Sequence[int]]:
        """Put accents and vowel signs onto their letters."""
        if text.isascii() and not any(mark in text for mark in "`^~"):
            return text, places
        out: list[str] = []
        kept: list[int] = []
        for at, char in enumerate(text):
            if unicodedata.combining(char):
                self._attach(out, kept, char, places[at], places[at + 1 : at + 2])
            elif char in _MARKS and (beside := self._letter(at, text, places)):
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

    def _letter(self, at: int, text: str, places: Sequence[int]) -> int:
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

    def _attach(self, out: list[str], kept: list[int], mark: str, place: int, following: Sequence[int]) -> None:
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


_WORD = re.compile(r"\S+")
_COMBINING = frozenset(_MARKS.values())


def _words(text: str) -> list[tuple[int, int]]:
    """Return the bounds of the words."""
    return [found.span() for found in _WORD.finditer(text)]
