"""Rows of CSV as the strict reader of Python's csv module takes them, without that module's limit on a cell.

csv's limit holds for the whole process, so raising it for a while disturbs every other thread, and leaving it raised
disturbs the program that semsearch is a part of. Here the limit is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator

ENDS = "\r\n"


def read_rows(lines: Iterator[str], delimiter: str, longest: int) -> Iterator[list[str] | str]:
    """Rows of cells; a quoted cell may span lines, and two quotes in it stand for one.

    Args:
        lines: With their ends, which belong to the cell where it is quoted.
        delimiter: One character.
        longest: Characters of a cell, at most.

    Yields:
        The cells of a row, none for an empty line; or the reason why there are none, after which the next line begins
        a row.
    """
    for line in lines:
        try:
            yield _row(line, lines, delimiter, longest)
        except ValueError as error:
            yield str(error)


def _row(line: str, lines: Iterator[str], delimiter: str, longest: int) -> list[str]:
    """The row that begins with this line; raises ValueError with the reason where it is not one."""
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
    """The cell behind an opening quote, the line that it ends in, and where its closing quote ends."""
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
    """Text outside quotes, in which a line end can only be one that its file does not use."""
    if "\r" in text or "\n" in text:
        raise ValueError("a line end in a cell without quotes; quote the cell, or end lines with \\n")
    return text


def _within(cell: str, longest: int) -> str:
    if len(cell) > longest:
        raise ValueError(_too_long(longest))
    return cell


def _too_long(longest: int) -> str:
    return f"a cell longer than {longest} characters; close its quote, or split the document"
