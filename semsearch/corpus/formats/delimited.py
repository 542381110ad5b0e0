"""Reading CSV and TSV, one document per row."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from semsearch.corpus.fields import from_cells, header_problem
from semsearch.corpus.formats.csv_rows import read_rows, read_tabbed_rows
from semsearch.corpus.records import MAX_LINE_BYTES, Record, guarded, lines
from semsearch.corpus.sources import ReadOptions, Source
from semsearch.errors import RecordError


def read_delimited(source: Source, options: ReadOptions, delimiter: str) -> Iterator[Record]:
    """Read CSV or TSV with a header row; `from_cells` builds the documents."""
    rows = _rows(source, delimiter)
    header: list[str] | None = None
    for line, row in rows:
        if isinstance(row, RecordError):
            yield row
            if header is None:
                return
        elif header is None:
            header = [name.strip() for name in row]
            problem = header_problem(header, options)
            if problem:
                yield RecordError(source.name, line, problem)
                return
        elif len(row) != len(header):
            yield RecordError(source.name, line, f"expected {len(header)} columns, as in the header, got {len(row)}")
        else:
            yield guarded(source, line, partial(from_cells, header, row, options))
    if header is None:
        yield RecordError(source.name, 1, "no header; expected column names on the first line")


def _rows(source: Source, delimiter: str) -> Iterator[tuple[int, list[str] | RecordError]]:
    """Yield each row with the number of the line on which it begins; a quoted cell may span lines."""
    problems: deque[RecordError] = deque()
    taken = 0

    def fed() -> Iterator[str]:
        nonlocal taken
        for line in lines(source):
            taken += 1
            if line.problem:
                problems.append(line.problem)
            yield line.text

    begins, ends = 1, 0
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
