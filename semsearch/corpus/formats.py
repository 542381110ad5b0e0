"""Readers for the documents of a file, one for each format.

A reader yields a RecordError in place of a record that it cannot use, and continues. Files of records are read line by
line, so they need not fit into memory; files that are a single document are limited to MAX_FILE_BYTES.
"""

from __future__ import annotations

import codecs
import gzip
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TypeAlias

from semsearch.corpus.csv_rows import read_rows, read_tabbed_rows
from semsearch.corpus.fields import from_cells, from_json, header_problem, storable
from semsearch.corpus.gzipped import CORRUPT
from semsearch.corpus.html import from_html
from semsearch.corpus.markup import from_markdown, from_pdf
from semsearch.corpus.plain import UTF16_MARKS, Plain, as_utf8, from_text
from semsearch.corpus.sources import ReadOptions, Source
from semsearch.errors import RecordError
from semsearch.types import Document

Record: TypeAlias = Document | RecordError
"""Errors are yielded as values, so that one bad record never ends the stream; the caller raises or counts them."""

MAX_LINE_BYTES = 64 * 2**20
MAX_FILE_BYTES = 64 * 2**20


class ReadingWarning(UserWarning):
    """A warning about part of a file that could not be read, although the document is usable."""


Reading: TypeAlias = Record | ReadingWarning

Reader: TypeAlias = Callable[[Source, ReadOptions], Iterator[Reading]]


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: str
    problem: RecordError | None = None


def _lines(source: Source) -> Iterator[_Line]:
    """Yield lines with their line endings; an unusable line has a problem, and its text is a placeholder."""
    number = 0
    try:
        with source.open() as stream:
            for number in count(1):
                raw = stream.readline(MAX_LINE_BYTES + 1)
                if number == 1 and raw.startswith(UTF16_MARKS):
                    stream = as_utf8(raw, stream)
                    raw = stream.readline(MAX_LINE_BYTES + 1)
                if not raw:
                    return
                if len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n"):
                    while raw and not raw.endswith(b"\n"):
                        raw = stream.readline(2**16)
                    reason = f"the line is longer than {MAX_LINE_BYTES} bytes; split the document"
                    yield _Line(number, "", RecordError(source.name, number, reason))
                else:
                    yield _decoded(raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw, source, number)
    except UnicodeDecodeError as error:
        reason = f"not valid {error.encoding} ({error.reason}); the rest of the file is skipped, convert it to UTF-8"
        yield _Line(number, "", RecordError(source.name, number, reason))
    except (OSError, *CORRUPT) as error:
        yield _Line(number, "", RecordError(source.name, number or None, _unreadable(error)))


def _decoded(raw: bytes, source: Source, number: int) -> _Line:
    try:
        return _Line(number, raw.decode())
    except UnicodeDecodeError as error:
        # The placeholder keeps quotes and separators, so that the CSV reader stays in sync.
        return _Line(number, raw.decode(errors="replace"), RecordError(source.name, number, _undecodable(error)))


def _read_jsonl(source: Source, options: ReadOptions) -> Iterator[Record]:
    for line in _lines(source):
        if line.problem:
            yield line.problem
        elif line.text.strip():
            yield guarded(source, line.number, partial(from_json, line.text.rstrip(), options))


def _read_csv(source: Source, options: ReadOptions, delimiter: str) -> Iterator[Record]:
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
        for line in _lines(source):
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


def _read_text(source: Source, options: ReadOptions) -> Iterator[Reading]:
    if not options.per_line:
        yield from _read_whole(source, options, from_text)
        return
    for line in _lines(source):
        text = line.text.rstrip("\r\n")
        if line.problem:
            yield line.problem
        elif text.strip():
            document = partial(Document, f"{source.doc_id}:{line.number}", text, metadata={"path": source.doc_id})
            yield guarded(source, line.number, document)


def _read_whole(source: Source, options: ReadOptions, convert: Callable[[bytes], Plain]) -> Iterator[Reading]:
    """Read a file as a single document, whose id is its path."""
    noted: list[ReadingWarning] = []

    def document() -> Document:
        with source.open() as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ValueError(f"the file is longer than {MAX_FILE_BYTES} bytes; split it")
        plain = convert(data)
        if plain.warning:
            noted.append(ReadingWarning(f"{source.name}: {plain.warning}"))
        return Document(source.doc_id, plain.text, plain.title, {"path": source.doc_id, **plain.metadata})

    record = guarded(source, None, document)
    yield from noted
    yield record


READERS: dict[str, Reader] = {
    "jsonl": _read_jsonl,
    "csv": partial(_read_csv, delimiter=","),
    "tsv": partial(_read_csv, delimiter="\t"),
    "text": _read_text,
    "markdown": partial(_read_whole, convert=from_markdown),
    "html": partial(_read_whole, convert=from_html),
    "pdf": partial(_read_whole, convert=from_pdf),
}

FORMATS = tuple(READERS)


def guarded(source: Source, line: int | None, make: Callable[[], Document]) -> Record:
    """Return the document that `make` builds, with its place as source, or a RecordError at that place."""
    place = source.name if line is None else f"{source.name}:{line}"
    try:
        return storable(make(), place)
    except UnicodeDecodeError as error:
        if line is None:
            line = 1 + error.object.count(b"\n", 0, error.start)
        return RecordError(source.name, line, _undecodable(error))
    except RecursionError:
        return RecordError(source.name, line, "nested too deeply; flatten it")
    except ValueError as error:
        return RecordError(source.name, line, str(error))
    except (OSError, *CORRUPT) as error:
        return RecordError(source.name, line, _unreadable(error))


def _unreadable(error: Exception) -> str:
    if isinstance(error, (gzip.BadGzipFile, *CORRUPT)):
        return f"corrupt gzip data ({error}); the rest of the file is skipped, download it again"
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def _undecodable(error: UnicodeDecodeError) -> str:
    byte = error.start - error.object.rfind(b"\n", 0, error.start)
    return f"not valid {error.encoding} at byte {byte} of the line ({error.reason}); convert the file to UTF-8"
