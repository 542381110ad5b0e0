"""Putting the lines of a PDF's pages together: paragraphs without their line breaks, headings, tables and code.

A PDF has no paragraphs. What decides is what a typesetter does: the distance between two lines, an indented first line,
and a line that ends although the first word of the next one would have fitted.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, takewhile
from statistics import median

from semsearch.corpus.formats.pdf_lines import BROKEN, Bookmark, Line, Page
from semsearch.corpus.plain import KEEP, KEPT, Heading, Piece, cleaned, lay_out
from semsearch.layout import Layout, Section

EDGE = 0.15
"""Share of a page's height, at the top and at the bottom, where running headers and page numbers stand."""

REPEATED = 3
"""Number of pages that have the same header or footer in the same place; in short documents, a third of the pages."""

NEAR = 100
"""Number of lines before and after a line that may show how wide its column is."""

LARGER = 1.12
"""Size of the type of a heading relative to that of most text, at the least."""

HEADING_CHARS, HEADING_LINES = 160, 3
"""Maximum length of a heading."""

_ACCENTS = "¨¯´¸˘˙˚˛˜˝"
_NOT_ACCENTS = re.compile(f"[^{_ACCENTS}]+")
"""NFKC would put a space before an accent that stands by itself."""

_LEADERS = re.compile(r"(?:\s?[.·…]){4,}\s*")
_BULLET = re.compile(r"(?:[•◦▪■●○‣⁃∗*–—-]|[([]?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,4})[.)\]])\s")
_PLAIN_BULLET = re.compile(r"[•◦▪■●○‣⁃]")
_ENDS = re.compile(r"[.!?:;。！？؟]['\"’”)\]]*$")
_NUMBER = re.compile(r"(?:chapter|part|appendix|section|kapitel|chapitre)?[0-9ivxlc]*[a-z]?[0-9]*")
_NUMBERED = re.compile(r"(?:\d+(?:\.\d+)*|[A-Z](?:\.\d+)+|[IVX]+)\.?\s+[^\W\d]")
_CAPTION = re.compile(r"(?:fig(?:ure|\.)|table|listing|algorithm|abb\.|tab\.)\s*\d", re.IGNORECASE)
_COMPOUND = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)+")
_WORD = re.compile(r"[^\W\d_]+")
_LAST = re.compile(r"([^\W\d_]+(?:-[^\W\d_]+)*)[-‐\xad]$")
_FOOTNOTE = re.compile(r"(?<=[^\W\d_])\d{1,2}$")
"""The mark of a footnote at the end of a heading."""

_ROMAN = re.compile(r"[ivxlc]+")


@dataclass(frozen=True, slots=True)
class Block:
    """Lines that belong together: a paragraph, a heading (with a level), or a table or code (kept as it is)."""

    lines: tuple[Line, ...]
    text: str
    level: int = 0
    kept: bool = False
    open: bool = False  # the last line is full and ends no sentence


def without_furniture(pages: Sequence[Page]) -> list[Page]:
    """Leave out the running headers, footers and page numbers."""
    edges = [_edge(page) for page in pages]
    seen: Counter[tuple[str, int]] = Counter()
    for lines in edges:
        seen.update({(_masked(line), place) for line in lines for place in _places(line)})
    shifts = Counter(
        number - at for at, lines in enumerate(edges) for number in {n for one in lines for n in _numbers(one)}
    )
    shift, votes = max(shifts.items(), key=lambda one: one[1], default=(0, 0))
    numbered = votes >= max(REPEATED, len(pages) // 3)
    often = min(REPEATED, max(2, len(pages) // 3))
    kept = []
    for at, (page, lines) in enumerate(zip(pages, edges, strict=True)):
        out = {
            id(line)
            for line in lines
            if max(seen[_masked(line), place] for place in _places(line)) >= often
            or (numbered and (at + shift in _numbers(line) or _ROMAN.fullmatch(line.text)))
        }
        kept.append(replace(page, lines=tuple(line for line in page.lines if id(line) not in out)) if out else page)
    return kept


def _edge(page: Page) -> list[Line]:
    """Return the lines of the two outermost rows at the top and at the bottom."""
    lines = []
    for outer in (
        sorted((one for one in page.lines if one.box[2] > (1 - EDGE) * page.height), key=lambda one: -one.box[2]),
        sorted((one for one in page.lines if one.box[3] < EDGE * page.height), key=lambda one: one.box[2]),
    ):
        rows: list[float] = []
        for line in outer:
            if not rows or abs(line.box[2] - rows[-1]) > line.height / 2:
                rows.append(line.box[2])
            if len(rows) > 2:
                break
            lines.append(line)
    return lines


def _masked(line: Line) -> str:
    """Return the text without a number at its beginning or end, which may be that of the page."""
    return re.sub(r"^\d+(?!\S)|(?<!\S)\d+$", "#", line.text.casefold())


def _places(line: Line) -> tuple[int, int]:
    """Return the two 6-point strips that a line is nearest to, so that one of them is the same on another page."""
    strip = int(line.box[2] / 6)
    return strip, strip + (1 if line.box[2] / 6 - strip > 0.5 else -1)


def _numbers(line: Line) -> set[int]:
    """Return the numbers with which a line begins and ends, one of which may be that of the page."""
    words = line.text.strip("-–—| ").split()
    return {int(word) for word in (words[0], words[-1]) if word.isdecimal() and len(word) < 6} if words else set()


def in_reading_order(page: Page) -> Page:
    """Merge the parts of rows; if the page shows two columns of prose row by row, put one after the other."""
    rows: list[Line] = []
    for line in page.lines:
        before = rows[-1] if rows else None
        if before and abs(before.box[2] - line.box[2]) < 0.25 * before.height and line.box[0] > before.box[1]:
            rows[-1] = _beside(before, line)
        else:
            rows.append(line)
    out: list[Line] = []
    run: list[Line] = []
    for row in rows:
        if run and not _same_columns(run[-1], row):
            out += _unwoven(run)
            run = []
        run.append(row)
    out += _unwoven(run)
    return replace(page, lines=tuple(out))


def _beside(one: Line, other: Line) -> Line:
    box = (one.box[0], other.box[1], one.box[2], one.box[3])
    cells, starts = one.cells + other.cells, one.starts + other.starts
    return replace(one, cells=cells, starts=starts, box=box, broken=other.broken, bold=one.bold and other.bold)


def _same_columns(one: Line, other: Line) -> bool:
    if len(one.cells) != 2 or len(other.cells) != 2:
        return False
    return all(abs(a - b) < 1.5 * one.size for a, b in zip(one.starts, other.starts, strict=True))


def _unwoven(run: list[Line]) -> list[Line]:
    """Return the left parts of rows before the right ones if they are prose, rather than the cells of a table."""
    prose = [row for row in run if len(row.cells) == 2 and all(len(cell.split()) >= 4 for cell in row.cells)]
    if len(run) < 4 or len(prose) < 0.7 * len(run):
        return run
    halves: tuple[list[Line], list[Line]] = ([], [])
    for row in run:
        for side, (cell, start) in enumerate(zip(row.cells, row.starts, strict=True)):
            share = row.first / max(len(row.cells[0].split()[0]), 1)
            end = row.box[1] if side else start + share * len(cell)
            halves[side].append(
                replace(
                    row,
                    cells=(cell,),
                    starts=(start,),
                    box=(start, end, *row.box[2:]),
                    first=share * len(cell.split()[0]),
                    broken=cell.endswith(BROKEN),
                )
            )
    return [*halves[0], *halves[1]]


@dataclass(slots=True)
class Words:
    """Counts of the words of a document, which tell a hyphen from a hyphenation."""

    plain: Counter[str] = field(default_factory=Counter)
    compounds: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, pages: Iterable[Page]) -> Words:
        """Count the words within lines; not the parts of words at their ends."""
        words = cls()
        for page in pages:
            broken = False
            for line in page.lines:
                text = unicodedata.normalize("NFKC", line.text).casefold()
                whole = _LAST.sub("", text) if line.broken else text
                whole = _WORD.sub("", whole, count=1) if broken else whole
                words.compounds.update(_COMPOUND.findall(whole))
                words.plain.update(_WORD.findall(whole))
                broken = line.broken
        return words

    def seam(self, before: str, after: str) -> tuple[int, str]:
        """Return how many characters the end of a line loses before its next line, and what comes between them."""
        last, first = _LAST.search(before[-60:]), _WORD.match(after)
        if not last:
            if re.search(r"\d[-‐]$", before) and after[:1].isalnum():
                return 0, ""
            return 0, "" if not before or not after or (_is_wide(before[-1]) and _is_wide(after[0])) else " "
        if not first:
            return 0, ""
        if before[-1] == "\xad":
            return 1, ""
        left, right = last[1].casefold(), first[0].casefold()
        whole, compound = self.plain[left + right], self.compounds[f"{left}-{right}"]
        if whole != compound:
            keep = compound > whole
        else:
            keep = "-" in left or not first[0].islower() or (left in _PREFIXES and self.plain[right] > 0)
        return int(not keep), ""


_PREFIXES = frozenset("well self non high low long short full left right two three four first second user".split())
"""Words that more often end at a hyphen than at a hyphenation, where the document has neither spelling elsewhere."""


@dataclass(slots=True)
class Typesetting:
    """What is usual in a document: size of the type, distance between lines, and the words.

    Attributes:
        words: The words of the document.
        size: Size of the type of most characters.
        pitch: Distance between the lines of a paragraph, as a multiple of the size of their type.
        bookmarks: Entries of the outline, by page.
        title: Title, which is no heading.
    """

    words: Words
    size: float
    pitch: float
    bookmarks: Mapping[int, list[Bookmark]] = field(default_factory=dict)
    title: str = ""

    @classmethod
    def of(cls, pages: Sequence[Page]) -> Typesetting:
        """Measure the pages."""
        sizes: Counter[float] = Counter()
        steps: Counter[float] = Counter()
        for page in pages:
            for line in page.lines:
                sizes[_rounded(line.size)] += len(line.text)
            for one, other in pairwise(page.lines):
                step = (one.box[2] - other.box[2]) / max(other.size, 0.1)
                if 0.8 < step < 3 and abs(one.size - other.size) < 0.1:
                    steps[round(step, 1)] += len(other.text)
        size = max(sizes, key=lambda one: sizes[one], default=10.0)
        return cls(Words.of(pages), size, max(steps, key=lambda one: steps[one], default=1.2))


def _rounded(size: float) -> float:
    return round(2 * size) / 2


def blocks_of(page: Page, number: int, usual: Typesetting) -> list[Block]:
    """Put the lines of a page together."""
    bookmarks = usual.bookmarks.get(number, [])
    lines = _without_notes(page.lines, bookmarks)
    levels = _bookmarked(lines, bookmarks)
    columns = _Columns(lines)
    groups: list[list[tuple[Line, int]]] = []
    gap = 2
    for at, line in enumerate(lines):
        last, gap = gap, 2
        if at and levels[at] == levels[at - 1]:
            gap = 0 if levels[at] else columns.gap(at, last, usual)
        if gap > 1:
            groups.append([])
        groups[-1].append((line, gap))
    at, blocks = 0, list[Block]()
    for group in groups:
        level = (levels[at] or (0, 0))[0]
        at += len(group)
        blocks += _split(group, level, usual, columns)
    return blocks


def _split(group: list[tuple[Line, int]], level: int, usual: Typesetting, columns: _Columns) -> Iterator[Block]:
    """Part a group of lines where a table or code begins or ends."""
    start = 0
    for end in range(1, len(group) + 1):
        if end == len(group) or (group[end][1] and _kept(group[end][0]) != _kept(group[start][0])):
            part = group[start:end]
            lines = tuple(line for line, _ in part)
            kept = not level and len(part) > 1 and all(_kept(line) for line in lines)
            text = _as_it_stands(lines) if kept else _running(part, usual.words)
            if text:
                unfinished = not level and not kept and not _ENDS.search(text) and not columns.is_short(lines[-1], 0)
                yield Block(lines, text, level, kept, unfinished)
            start = end


def _kept(line: Line) -> bool:
    return line.fixed or len(line.cells) > 1


def _as_it_stands(lines: Sequence[Line]) -> str:
    """Return lines with their breaks, and those of code with their indentation."""
    left = min(line.box[0] for line in lines)
    width = median((line.box[1] - line.box[0]) / len(line.text) for line in lines)
    texts = []
    for line in lines:
        indent = round((line.box[0] - left) / width) if line.fixed and len(line.cells) == 1 and width > 0 else 0
        texts.append(" " * min(indent, 80) + readable(line.text))
    return "\n".join(texts)


def _running(part: Sequence[tuple[Line, int]], words: Words) -> str:
    text = ""
    for line, gap in part:
        more = readable(line.text)
        if not text:
            text = more
        elif gap:
            text += f"\n{more}"
        else:
            lost, between = words.seam(text, more)
            text = text[: len(text) - lost] + between + more
    return text


def _is_wide(char: str) -> bool:
    """Return whether a character is Chinese or Japanese, which has no spaces between words."""
    return unicodedata.east_asian_width(char) in "WF" and not "\uac00" <= char <= "\ud7a3"


def readable(text: str) -> str:
    """Return a text in normalized characters: ligatures in letters, Arabic in its base letters, without leaders."""
    text = _NOT_ACCENTS.sub(lambda found: unicodedata.normalize("NFKC", found[0]), cleaned(text))
    text = _LEADERS.sub(" … ", text)
    return " ".join((text[:-1].replace("\xad", "") + text[-1:]).split())


class _Columns:
    """The lines of a page with the right edges of the columns that they stand in."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = lines
        self.right: dict[int, float] = {}
        known: dict[tuple[int, int], float] = {}
        for at, line in enumerate(lines):
            key = (round(line.box[0]), round(line.size))
            if key in known:
                self.right[id(line)] = max(known[key], line.box[1])
                continue
            near = lines[max(0, at - NEAR) : at + NEAR]
            alike = [one for one in near if abs(one.box[0] - line.box[0]) < 4 * line.size and _is_alike(one, line)]
            ends = sorted((one.box[1] for one in alike), reverse=True)
            shared = (end for end, other in pairwise(ends) if end - other < line.size)  # not a header across columns
            known[key] = next(shared, ends[0])
            self.right[id(line)] = max(known[key], line.box[1])

    def is_short(self, line: Line, first: float) -> bool:
        """Return whether a line ends although there was room for a word of the given width."""
        return self.right[id(line)] - line.box[1] > first + 0.3 * line.size + 0.02 * self.right[id(line)]

    def gap(self, at: int, last: int, usual: Typesetting) -> int:
        """Return 0 if a line continues the one before it, 1 if it is a new line, and 2 if it is a new paragraph.

        Args:
            at: Number of the line.
            last: The gap before the line before it.
            usual: What is usual in the document.
        """
        before, line = self.lines[at - 1], self.lines[at]
        if not _is_alike(before, line):
            return 2
        step = before.box[2] - line.box[2]
        ended = bool(_ENDS.search(before.text))
        if step < -0.3 * before.height or line.box[0] > before.box[1] + 2 * line.size:  # another column
            return 0 if before.broken or (not ended and line.text[0].islower()) else 2
        if step > 1.25 * usual.pitch * line.size:
            return 2
        if (_kept(before) and _kept(line)) or _LEADERS.search(before.text):  # a table, code, or a list of contents
            return 1
        if _BULLET.match(line.text) and (_PLAIN_BULLET.match(line.text) or ended or self.is_short(before, line.first)):
            return 1
        if before.broken:
            return 0
        if self.is_short(before, line.first):
            return 2 if ended or before.bold != line.bold else 1
        if _is_centered(before, line):
            return 1
        return 2 if self._is_indented(at, last) else 0

    def _is_indented(self, at: int, last: int) -> bool:
        """Return whether a line begins a paragraph by its indentation; the lines after a hanging first line do not."""
        before, line = self.lines[at - 1], self.lines[at]
        indent = line.box[0] - before.box[0]
        if indent > 0.8 * line.size:
            after = self.lines[at + 1] if at + 1 < len(self.lines) else None
            back = after is not None and after.box[2] < line.box[2] and line.box[0] - after.box[0] > 0.8 * line.size
            return back and bool(_ENDS.search(before.text))
        if indent < -0.8 * line.size and not last:  # out again after several lines: the next hanging first line
            return abs(self.lines[at - 2].box[0] - before.box[0]) < 0.3 * line.size
        return False


def _is_alike(one: Line, other: Line) -> bool:
    return abs(one.size - other.size) < 0.08 * one.size


def _is_centered(one: Line, other: Line) -> bool:
    """Return whether two lines are centered, so that neither edge of them is the same."""
    left, right = other.box[0] - one.box[0], other.box[1] - one.box[1]
    return abs(left) > one.size and abs(left + right) < 0.2 * one.size


def _bookmarked(lines: Sequence[Line], bookmarks: Sequence[Bookmark]) -> list[tuple[int, int] | None]:
    """Return level and number of the bookmark for each line that is its heading, and None for all others."""
    found: list[tuple[int, int] | None] = [None] * len(lines)
    if not bookmarks:
        return found
    names = [_letters(line.text) for line in lines]
    for number, bookmark in enumerate(bookmarks[:NEAR]):
        wanted = _letters(bookmark.title)
        best = None
        for at in range(len(lines)):
            for end in range(at + 1, min(at + 1 + HEADING_LINES, len(lines) + 1)):
                if not any(found[at:end]) and _is_title("".join(names[at:end]), wanted):
                    distance = abs(lines[at].box[3] - bookmark.top) if bookmark.top is not None else 0
                    rank = (-lines[at].size, distance)
                    best = min(best, (rank, at, end)) if best else (rank, at, end)
        if best:
            for at in range(best[1], best[2]):
                found[at] = (bookmark.level, number)
    return found


def _without_notes(lines: Sequence[Line], bookmarks: Sequence[Bookmark]) -> Sequence[Line]:
    """Part headings from notes beside them, and take the marks of footnotes off, if the outline has them without."""
    names = [_letters(line.text) for line in lines]
    titles = [_letters(bookmark.title) for bookmark in bookmarks[:NEAR]]
    missing = [title for title in titles if not any(_is_title(name, title) for name in names)]
    if not missing:
        return lines
    out: list[Line] = []
    for line in lines:
        out += next((parts for parts in _parted(line) if _is_any(parts[0], missing)), (line,))
    return out


def _parted(line: Line) -> Iterator[tuple[Line, ...]]:
    """Yield a line without the mark of a footnote, and each division of its cells."""
    if mark := _FOOTNOTE.search(line.cells[-1]):
        yield (replace(line, cells=(*line.cells[:-1], line.cells[-1][: mark.start()])),)
    for n, start in enumerate(line.starts[1:], 1):
        left, right, bottom, top = line.box
        one = replace(line, cells=line.cells[:n], starts=line.starts[:n], box=(left, start, bottom, top), broken=False)
        yield one, replace(line, cells=line.cells[n:], starts=line.starts[n:], box=(start, right, bottom, top))


def _is_any(line: Line, titles: Sequence[str]) -> bool:
    name = _letters(line.text)
    return any(_is_title(name, title) for title in titles)


def _letters(text: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKC", text).casefold() if char.isalnum())


def _is_title(name: str, wanted: str) -> bool:
    """Return whether a line is a title; either may have a number before it."""
    for long, short in ((name, wanted), (wanted, name)):
        if short and long.endswith(short) and _NUMBER.fullmatch(long[: len(long) - len(short)]):
            return True
    return False


def is_heading(block: Block, usual: Typesetting) -> bool:
    """Return whether a block looks like a heading: in larger type, or bold and numbered or by itself."""
    text, line = block.text, block.lines[0]
    if len(text) > HEADING_CHARS or len(block.lines) > HEADING_LINES or sum(map(str.isalpha, text)) < 2:
        return False
    listed = len(line.cells) > 1 and line.cells[-1].isdecimal()  # with its page, in a list of contents
    if _CAPTION.match(text) or "…" in text or line.fixed or listed:
        return False
    if line.size >= LARGER * usual.size:
        return True
    bold = all(one.bold for one in block.lines) and line.size >= 0.95 * usual.size
    return bold and "\n" not in text and (bool(_NUMBERED.match(text)) or not _ENDS.search(text))


def by_type(pages: Sequence[Sequence[Block]], usual: Typesetting) -> list[list[Block]]:
    """Return the blocks with the levels of headings, by the sizes of their type: the largest is 1.

    Args:
        pages: The blocks of each page.
        usual: What is usual in the document.
    """

    def size_of(block: Block) -> float | None:
        """Return the size of the type of a heading, and None for other blocks."""
        heading = not block.kept and is_heading(block, usual) and _letters(block.text) != _letters(usual.title)
        return _rounded(block.lines[0].size) if heading else None

    front = {id(block) for block in _front(pages)}
    sizes = [[size_of(block) if id(block) not in front else None for block in blocks] for blocks in pages]
    known = sorted({size for some in sizes for size in some if size is not None}, reverse=True)
    levels = {size: level for level, size in enumerate(known, 1)}
    return [
        [replace(block, level=levels[size]) if size is not None else block for block, size in zip(*one, strict=True)]
        for one in zip(pages, sizes, strict=True)
    ]


def _front(pages: Sequence[Sequence[Block]]) -> list[Block]:
    """Return title, authors and date: what stands above the text of the first page, in plain type of no other block."""
    front = list(takewhile(lambda block: len(block.text) <= HEADING_CHARS, pages[0] if pages else ()))
    styles = {_style(block) for blocks in [pages[0][len(front) :], *pages[1:]] for block in blocks} if front else set()
    return [
        block
        for block in front
        if not block.lines[0].bold and not _NUMBERED.match(block.text) and _style(block) not in styles
    ]


def _style(block: Block) -> tuple[float, bool]:
    return _rounded(block.lines[0].size), block.lines[0].bold


def joined(pages: Iterable[Sequence[Block]], words: Words) -> tuple[str, list[int], Layout]:
    """Join the blocks of all pages.

    Returns:
        The text, the offset at which each page begins in it, and its layout.
    """
    parts: list[str] = []
    starts: list[int] = []
    sections: list[Section] = []
    tables: list[tuple[int, int]] = []
    length = waiting = 0  # a page without text begins where the next one with text does
    last: Block | None = None
    for blocks in pages:
        text, layout = lay_out(_pieces(blocks))
        if not text:
            waiting += 1
            continue
        if last and _goes_on(last, blocks[0]):
            lost, between = words.seam(parts[-1], text)
            parts[-1] = parts[-1][: len(parts[-1]) - lost]
        else:
            lost, between = 0, "\n\n" if last else ""
        start = length - lost + len(between)
        starts += [start] * (waiting + 1)
        sections += [replace(one, start=one.start + start) for one in layout.sections]
        tables += [(one + start, end + start) for one, end in layout.blocks]
        parts += [between, text]
        length, last, waiting = start + len(text), blocks[-1], 0
    return "".join(parts), [*starts, *[length] * waiting], Layout(tuple(sections), tuple(tables))


def _goes_on(last: Block, block: Block) -> bool:
    """Return whether the paragraph at the end of a page goes on at the top of the next one."""
    same = abs(last.lines[-1].size - block.lines[0].size) < 0.1
    return last.open and same and not block.kept and not block.level and block.text[0].islower()


def _pieces(blocks: Iterable[Block]) -> Iterator[Piece]:
    for block in blocks:
        yield 2
        if block.kept:
            yield from (KEEP, block.text, 2, KEPT)
        elif block.level:
            yield from (Heading(block.level), block.text.replace("\n", " "))
        else:
            yield block.text
