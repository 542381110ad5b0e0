"""Reading CSV and TSV, one document per row."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice

from semsearch.corpus.fields import DerivedIds, from_cells, header_problem
from semsearch.corpus.formats.csv_rows import read_rows, read_tabbed_rows
from semsearch.corpus.formats.delimiters import SAMPLE_LENGTH, SAMPLE_LINES, declared_delimiter, detect_delimiter
from semsearch.corpus.records import MAX_LINE_BYTES, Line, Record, guarded, lines
from semsearch.corpus.sources import ReadOptions, Source
from semsearch.errors import RecordError

SUGGESTING = 20
"""Number of rows that are examined to suggest columns with text."""


def read_delimited(source: Source, options: ReadOptions, delimiter: str) -> Iterator[Record]:
    """Read CSV or TSV with a header row; `from_cells` builds the documents.

    Args:
        source: The file.
        options: Options for reading.
        delimiter: The usual delimiter of the format; the file may declare or use another one.
    """
    read, ids = lines(source), DerivedIds(source.doc_id)
    ahead, complete = _ahead(read)
    sample = [line.text for line in ahead]
    declared = declared_delimiter(sample[0]) if sample else None
    if declared:
        ahead.popleft()
    else:
        delimiter = detect_delimiter(sample, delimiter, lambda row: not _problem(row, options), complete=complete)
    rows = _rows(source, _again(ahead, read), declared or delimiter, 1 if declared else 0)
    del sample
    header: list[str] | None = None
    for line, row in rows:
        if isinstance(row, RecordError):
            yield row
            if header is None:
                return
        elif header is None:
            header = _names(row)
            if header_problem(header, options):
                some = [cells for _, cells in islice(rows, SUGGESTING) if isinstance(cells, list)]
                yield RecordError(source.name, line, header_problem(header, options, some) or "")
                return
        elif len(row) != len(header):
            yield RecordError(source.name, line, f"expected {len(header)} columns, as in the header, got {len(row)}")
        else:
            yield guarded(source, line, partial(from_cells, header, row, options, ids))
    if header is None:
        yield RecordError(source.name, 1, "no header; expected column names on the first line")


def _names(row: Sequence[str]) -> list[str]:
    return [name.strip() for name in row]


def _problem(row: Sequence[str], options: ReadOptions) -> str | None:
    return header_problem(_names(row), options)


def _ahead(read: Iterator[Line]) -> tuple[deque[Line], bool]:
    """Take the first lines, and return them with whether there are no more."""
    ahead: deque[Line] = deque()
    length = 0
    for line in read:
        ahead.append(line)
        length += len(line.text)
        if len(ahead) >= SAMPLE_LINES or length >= SAMPLE_LENGTH:
            return ahead, False
    return ahead, True


def _again(ahead: deque[Line], read: Iterator[Line]) -> Iterator[Line]:
    """Yield lines that were taken ahead, which are then forgotten, and the others."""
    while ahead:
        yield ahead.popleft()
    yield from read


def _rows(
    source: Source, read: Iterator[Line], delimiter: str, skipped: int
) -> Iterator[tuple[int, list[str] | RecordError]]:
    """Yield each row with the number of the line on which it begins; a quoted cell may span lines."""
    problems: deque[RecordError] = deque()
    taken = 0

    def fed() -> Iterator[str]:
        nonlocal taken
        for line in read:
            taken += 1
            if line.problem:
                problems.append(line.problem)
            yield line.text

    begins, ends = 1, skipped
    for n_lines, row in _parsed(fed(), delimiter, lambda: taken):
        begins, ends = ends + 1, ends + n_lines
        mine = [problems.popleft() for problem in list(problems) if (problem.line or begins) <= ends]
        if mine:
            yield from ((problem.line or begins, problem) for problem in mine)
        elif isinstance(row, str):
            reason = f"not valid {source.format.upper()}: {row} (the record ends on line {ends})"
            yield begins, RecordError(source.name, begins, reason)
        elif len(row) > 1 or "".join(row).strip():
            yield begins, row


def _parsed(lines: Iterator[str], delimiter: str, taken: Callable[[], int]) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the number of lines that each row spans, and its cells or the reason why it is malformed."""
    if delimiter == "\t":
        yield from read_tabbed_rows(lines, MAX_LINE_BYTES)
        return
    before = 0
    for row in read_rows(lines, delimiter, MAX_LINE_BYTES):
        yield taken() - before, row
        before = taken()
