"""Files, folders and standard input to documents, one at a time.

A reader yields a RecordError in place of a record that it cannot use and goes on; only what makes a whole source
unreadable is raised. Whether ids repeat is for the caller to see. Files of records are read line by line and never
lie in memory; files that are one document are bounded by MAX_FILE_BYTES.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from typing import Any, TypeAlias

from semsearch.corpus.fields import from_cells, from_fields, from_json, header_problem, refuse_unstorable
from semsearch.corpus.markup import Plain, from_html, from_markdown, from_pdf, from_text
from semsearch.corpus.sources import STDIN, ReadOptions, Source, find_sources
from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.types import Document, Query

__all__ = [
    "FORMATS",
    "READERS",
    "ReadOptions",
    "Record",
    "Source",
    "as_records",
    "count_records",
    "read_corpus",
    "read_queries",
]

Record: TypeAlias = Document | RecordError
"""Errors travel as values, so that one bad record never ends the stream; the caller raises or counts."""

MAX_LINE_BYTES = 64 * 2**20
MAX_FILE_BYTES = 64 * 2**20

_CORRUPT = (EOFError, zlib.error)  # what gzip raises besides OSError
_DEFAULTS = ReadOptions()

Reader: TypeAlias = Callable[[Source, ReadOptions], Iterator[Record]]


def read_corpus(paths: Sequence[str], options: ReadOptions = _DEFAULTS) -> Iterator[Record]:
    """The documents of files, folders (recursively, in the order of names) and `-`, standard input, one by one.

    All paths are looked at when this is called, before anything is read. A folder that holds corpus.jsonl is read as
    BEIR lays it out: that file alone.

    Raises:
        UsageError: The format is unknown.
        SourceError: A path does not exist, has an unknown ending, or is a folder with nothing to read.
    """
    if options.format not in (None, *FORMATS):
        raise UsageError(f'unknown format "{options.format}"; expected one of {", ".join(FORMATS)}')
    return _read(chain.from_iterable([find_sources(path, options) for path in paths]), options)


def _read(sources: Iterable[Source | RecordError], options: ReadOptions) -> Iterator[Record]:
    for source in sources:
        if isinstance(source, RecordError):
            yield source
        else:
            yield from READERS[source.format](source, options)


def as_records(corpus: Iterable[Record | Mapping[str, Any]], options: ReadOptions = _DEFAULTS) -> Iterator[Record]:
    """Yields the documents of Python objects: dicts with the fields of a JSONL record, or records as they are."""
    if isinstance(corpus, str):
        raise UsageError(f"the corpus is the text {corpus!r:.60}; expected documents, as read_corpus([path]) gives")
    for number, record in enumerate(corpus, 1):
        if isinstance(record, RecordError) or (isinstance(record, Document) and record.source):
            yield record
        else:
            yield _guarded(_PYTHON, number, partial(_from_python, record, options))


def _from_python(record: object, options: ReadOptions) -> Document:
    if isinstance(record, Document):
        return record
    if not isinstance(record, Mapping):
        raise ValueError(f"{record!r:.60} is no document; expected a dict or a Document")
    return from_fields(record, options)


def read_queries(path: str) -> Iterator[Query]:
    """Yields the queries of a JSONL file with `_id` and `text`.

    Raises:
        RecordError: The first line that is not a query, or repeats an id.
        SourceError: No such file, or no query in it.
    """
    seen: set[str] = set()
    for record in read_corpus([path], ReadOptions(format="jsonl")):
        if isinstance(record, RecordError):
            raise record
        if not record.text.strip():
            raise RecordError(record.source, None, "the query is empty; ask something")
        if record.doc_id in seen:
            raise RecordError(record.source, None, f"a second query with the id {record.doc_id!r}; each needs its own")
        seen.add(record.doc_id)
        yield Query(record.doc_id, record.text)
    if not seen:
        raise SourceError(f'"{path}" holds no query; expected JSON lines with "_id" and "text"')


def count_records(paths: Sequence[str], options: ReadOptions = _DEFAULTS) -> int | None:
    """About how many records `read_corpus` will yield, for a progress bar; None where only reading would tell."""
    total = 0
    for source in chain.from_iterable([find_sources(path, options) for path in paths]):
        if isinstance(source, RecordError):
            continue
        by_line = source.format in ("jsonl", "csv", "tsv") or options.per_line
        if source.path == STDIN or (by_line and source.path.endswith(".gz")):
            return None
        total += _count_lines(source) if by_line else 1
    return total


def _count_lines(source: Source) -> int:
    with source.open() as stream:
        return sum(block.count(b"\n") for block in iter(partial(stream.read, 2**20), b""))


_PYTHON = Source("<record>", "<record>", "", "jsonl")


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: str
    problem: RecordError | None = None


def _lines(source: Source) -> Iterator[_Line]:
    """Lines with their ends; where one cannot be used, its text is a stand-in."""
    number = 0
    try:
        with source.open() as stream:
            for number in count(1):
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
    except (OSError, *_CORRUPT) as error:
        yield _Line(number, "", RecordError(source.name, number or None, _unreadable(error)))


def _decoded(raw: bytes, source: Source, number: int) -> _Line:
    try:
        return _Line(number, raw.decode())
    except UnicodeDecodeError as error:
        # The stand-in keeps its quotes and separators, so that CSV does not lose its place.
        return _Line(number, raw.decode(errors="replace"), RecordError(source.name, number, _undecodable(error)))


def _read_jsonl(source: Source, options: ReadOptions) -> Iterator[Record]:
    for line in _lines(source):
        if line.problem:
            yield line.problem
        elif line.text.strip():
            yield _guarded(source, line.number, partial(from_json, line.text.rstrip(), options))


def _read_csv(source: Source, options: ReadOptions, delimiter: str) -> Iterator[Record]:
    """CSV or TSV with a header; `from_cells` says what becomes of a row."""
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
            yield RecordError(source.name, line, f"{len(row)} columns; the header has {len(header)}")
        else:
            yield _guarded(source, line, partial(from_cells, header, row, options))
    if header is None:
        yield RecordError(source.name, 1, "no header; expected the names of the columns in the first line")


def _rows(source: Source, delimiter: str) -> Iterator[tuple[int, list[str] | RecordError]]:
    """Each row with the line that it begins on; a quoted cell may span lines."""
    problems: list[RecordError] = []

    def fed() -> Iterator[str]:
        for line in _lines(source):
            if line.problem:
                problems.append(line.problem)
            yield line.text

    rows = csv.reader(fed(), delimiter=delimiter, strict=True)
    while True:
        start = rows.line_num + 1
        row: list[str] | RecordError
        limit = csv.field_size_limit(MAX_LINE_BYTES)
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            reason = f"not valid CSV: {error} (the record ends on line {rows.line_num})"
            row = RecordError(source.name, start, reason)
        finally:
            csv.field_size_limit(limit)
        if problems:
            yield from ((problem.line or start, problem) for problem in problems)
            problems.clear()
        elif isinstance(row, RecordError) or len(row) > 1 or "".join(row).strip():
            yield start, row


def _read_text(source: Source, options: ReadOptions) -> Iterator[Record]:
    if not options.per_line:
        yield from _read_whole(source, options, from_text)
        return
    for line in _lines(source):
        text = line.text.rstrip("\r\n")
        if line.problem:
            yield line.problem
        elif text.strip():
            document = partial(Document, f"{source.relative}:{line.number}", text, metadata={"path": source.relative})
            yield _guarded(source, line.number, document)


def _read_whole(source: Source, options: ReadOptions, convert: Callable[[bytes], Plain]) -> Iterator[Record]:
    """A file that is one document: its path is its id."""

    def document() -> Document:
        with source.open() as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ValueError(f"the file is longer than {MAX_FILE_BYTES} bytes; split it")
        plain = convert(data)
        return Document(source.relative, plain.text, plain.title, {"path": source.relative, **plain.metadata})

    yield _guarded(source, None, document)


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


def _guarded(source: Source, line: int | None, make: Callable[[], Document]) -> Record:
    """The document with its place, or why there is none; ValueError is how the steps below say so."""
    place = source.name if line is None else f"{source.name}:{line}"
    try:
        document = make()
        refuse_unstorable(document)
    except UnicodeDecodeError as error:
        if line is None:
            line = 1 + error.object.count(b"\n", 0, error.start)
        return RecordError(source.name, line, _undecodable(error))
    except RecursionError:
        return RecordError(source.name, line, "nested too deeply; flatten it")
    except ValueError as error:
        return RecordError(source.name, line, str(error))
    except (OSError, *_CORRUPT) as error:
        return RecordError(source.name, line, _unreadable(error))
    return Document(document.doc_id, document.text, document.title, document.metadata, place)


def _unreadable(error: Exception) -> str:
    if isinstance(error, gzip.BadGzipFile | EOFError | zlib.error):
        return f"corrupt gzip data ({error}); what follows is lost, fetch the file again"
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def _undecodable(error: UnicodeDecodeError) -> str:
    byte = error.start - error.object.rfind(b"\n", 0, error.start)
    return f"not valid {error.encoding} at byte {byte} of the line ({error.reason}); convert the file to UTF-8"
