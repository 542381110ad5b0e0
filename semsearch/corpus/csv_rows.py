"""A reader of CSV that agrees with the strict mode of Python's csv module, but takes its size limit as an argument.

The csv module has one limit on the size of a cell for the whole process: raising it temporarily breaks other threads,
and leaving it raised changes the settings of the host program.
"""

from __future__ import annotations

from collections.abc import Iterator

ENDS = "\r\n"


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
