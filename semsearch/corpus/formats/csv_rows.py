"""Readers of CSV and TSV rows, with a cell size limit for each call.

The CSV reader agrees with the strict mode of Python's csv module in everything but this limit. The csv module has one
limit for the whole process: raising it temporarily breaks other threads, and leaving it raised changes the settings of
the host program.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator

ENDS = "\r\n"

_PAIRED = '[^"]*+(?:""[^"]*+)*+'
_QUOTED = re.compile(f'"({_PAIRED})"')
_CELL = re.compile(rf'\t(?:("{_PAIRED}")(?=\t|\Z)|([^\t]*))')
_OPEN_CELL = re.compile(rf'(?:\A|\t)"{_PAIRED}\Z')
_END_OF_CELL = re.compile(rf'{_PAIRED}"(?=\t|\r?\n?\Z)')
_INSIDE_CELL = re.compile(_PAIRED)


def read_rows(lines: Iterator[str], delimiter: str, longest: int) -> Iterator[list[str] | str]:
    """Parse rows of cells; a quoted cell may span lines, and a doubled quote in it stands for one quote.

    Args:
        lines: Lines with their line endings, which are preserved in quoted cells.
        delimiter: The character that separates cells.
        longest: Maximum number of characters in a cell.

    Yields:
        The cells of a row (none for an empty line), or the reason why it is malformed; parsing then resumes on the
        next line.
    """
    for line in lines:
        try:
            yield _row(line, lines, delimiter, longest)
        except ValueError as error:
            yield str(error)


def read_tabbed_rows(lines: Iterator[str], longest: int) -> Iterator[tuple[int, list[str] | str]]:
    """Parse rows of TSV, in which a quote at the start of a cell may be an ordinary character.

    A cell counts as quoted, in the style of pandas and Excel, if it also ends with a quote and all quotes inside are
    doubled. A quoted cell may span lines, unless these are complete rows, with as many cells as the first row.

    Args:
        lines: Lines with their line endings.
        longest: Maximum number of characters in a cell.

    Yields:
        The number of lines that a row spans, and its cells (none for an empty line) or the reason why it is malformed.
    """
    ahead: deque[str] = deque()
    width = 0

    def following() -> str | None:
        return ahead.popleft() if ahead else next(lines, None)

    while (line := following()) is not None:
        more, closed = _spanned(line, following, width, longest) if width and _OPEN_CELL.search(line) else ([], False)
        row = _tabbed(line + "".join(more), width, longest) if closed else []
        if more and len(row) != width:
            ahead.extendleft(reversed(more))
            more = []
        if not more:
            row = _tabbed(line, width, longest)
        width = width or len(row)
        yield 1 + len(more), row


def _spanned(first: str, following: Callable[[], str | None], width: int, longest: int) -> tuple[list[str], bool]:
    """Return the lines that may continue a quoted cell opened on the first line, and whether the last one closes it."""
    more: list[str] = []
    length = len(first)
    while length <= longest and (line := following()) is not None:
        more.append(line)
        length += len(line)
        is_row = line.count("\t") + 1 == width
        if end := _END_OF_CELL.match(line):
            if is_row and first.count("\t") + 1 == width:
                break
            if not _OPEN_CELL.search(line, end.end()):
                return more, True
        elif is_row or not _INSIDE_CELL.fullmatch(line):
            break
    return more, False


def _tabbed(record: str, width: int, longest: int) -> list[str] | str:
    """Return the cells of a TSV row, or why it is malformed.

    Tabs inside quoted cells are considered only if splitting at every tab gives the wrong number of cells.
    """
    bare = record.rstrip(ENDS)
    if not bare:
        return []
    cells = bare.split("\t")
    if width and len(cells) != width:
        cells = [cell[1] or cell[2] for cell in _CELL.finditer(f"\t{bare}")]
    try:
        return [_within(_unquoted(cell), longest) for cell in cells]
    except ValueError as error:
        return str(error)


def _unquoted(cell: str) -> str:
    """Return the content of a quoted cell, and any other cell unchanged."""
    quoted = _QUOTED.fullmatch(cell)
    return quoted[1].replace('""', '"') if quoted else _bare(cell)


def _row(line: str, lines: Iterator[str], delimiter: str, longest: int) -> list[str]:
    """Parse the row that begins on this line; raises ValueError with the reason if it is malformed."""
    if '"' not in line:
        bare = _bare(line.rstrip(ENDS))
        return [_within(cell, longest) for cell in bare.split(delimiter)] if bare else []
    cells: list[str] = []
    start = 0
    while True:
        if line.startswith('"', start):
            cell, line, end = _quoted(line, start + 1, lines, longest)
            if not line.startswith((delimiter, *ENDS), end) and end < len(line):
                raise ValueError(f"{delimiter!r} expected after '\"'")
        else:
            end = line.find(delimiter, start)
            end = len(line.rstrip(ENDS)) if end < 0 else end
            cell = _within(_bare(line[start:end]), longest)
        cells.append(cell)
        if not line.startswith(delimiter, end):
            _bare(line[end:].rstrip(ENDS))
            return cells
        start = end + 1


def _quoted(line: str, start: int, lines: Iterator[str], longest: int) -> tuple[str, str, int]:
    """Return the cell after an opening quote, the line on which it ends, and the offset after its closing quote."""
    pieces: list[str] = []
    length = 0
    while True:
        end = line.find('"', start)
        pieces.append(line[start:] if end < 0 else line[start:end])
        length += len(pieces[-1])
        if length > longest:
            raise ValueError(_too_long(longest))
        if end < 0:
            following = next(lines, None)
            if following is None:
                raise ValueError("unexpected end of data")
            line, start = following, 0
        elif line.startswith('"', end + 1):
            pieces.append('"')
            length += 1
            start = end + 2
        else:
            return "".join(pieces), line, end + 1


def _bare(text: str) -> str:
    """Return unquoted text unchanged; raises ValueError if it contains a line break other than the file's own."""
    if "\r" in text or "\n" in text:
        raise ValueError("a line break in an unquoted cell; quote the cell, or end lines with \\n")
    return text


def _within(cell: str, longest: int) -> str:
    if len(cell) > longest:
        raise ValueError(_too_long(longest))
    return cell


def _too_long(longest: int) -> str:
    return f"a cell longer than {longest} characters; close its quote, or split the document"
