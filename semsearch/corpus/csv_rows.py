"""Readers of CSV and TSV; that of CSV agrees with the strict mode of Python's csv module, except for its size limit.

The csv module has one limit on the size of a cell for the whole process: raising it temporarily breaks other threads,
and leaving it raised changes the settings of the host program.
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
    """Parse rows of cells; a quoted cell may span lines, and two quotes in it stand for one.

    Args:
        lines: Lines with their line ends, which are part of a quoted cell.
        delimiter: The character between cells.
        longest: Maximum number of characters in a cell.

    Yields:
        The cells of a row (none for an empty line), or the reason why it is malformed; the next row then begins on the
        next line.
    """
    for line in lines:
        try:
            yield _row(line, lines, delimiter, longest)
        except ValueError as error:
            yield str(error)


def read_tabbed_rows(lines: Iterator[str], longest: int) -> Iterator[tuple[int, list[str] | str]]:
    """Parse rows of TSV, where a quotation mark at the start of a cell may be a character like any other.

    A cell is quoted, as pandas and Excel write it, if it ends in a quotation mark as well and has only pairs of them
    inside. It may span lines, but not such as are rows by themselves, with as many cells as the first row has.

    Args:
        lines: Lines with their line ends.
        longest: Maximum number of characters in a cell.

    Yields:
        The number of lines, and the cells (none for an empty line) or the reason why they are malformed.
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
    """Return the lines that may belong to a quoted cell which the first line opens, and whether the last closes it."""
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
    """Return the cells of a row of TSV, or why it is malformed; where all cells are there, none of them holds a tab."""
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
    """Return the content of a quoted cell, and any other cell as it is."""
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
    """Return text outside quotes, in which a line end is one that its file does not use."""
    if "\r" in text or "\n" in text:
        raise ValueError("a line end in an unquoted cell; quote the cell, or end lines with \\n")
    return text


def _within(cell: str, longest: int) -> str:
    if len(cell) > longest:
        raise ValueError(_too_long(longest))
    return cell


def _too_long(longest: int) -> str:
    return f"a cell longer than {longest} characters; close its quote, or split the document"
