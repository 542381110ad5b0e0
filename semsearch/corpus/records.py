"""What the readers of all formats share: records, errors in their place, lines, and files that are one document.

A reader yields a RecordError in place of a record that it cannot use, and continues. Files of records are read line by
line, so they need not fit into memory; files that are a single document are limited to MAX_FILE_BYTES.
"""

from __future__ import annotations

import codecs
import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from itertools import count
from typing import BinaryIO, TypeAlias

from semsearch.corpus.about import about
from semsearch.corpus.fields import storable
from semsearch.corpus.gzipped import CORRUPT
from semsearch.corpus.plain import UTF16_MARKS, Plain, as_utf8, opening_line
from semsearch.corpus.sources import ReadOptions, Source
from semsearch.errors import RecordError
from semsearch.types import Document

Record: TypeAlias = Document | RecordError
"""Errors are yielded as values, so that one bad record never ends the stream; the caller raises or counts them."""

MAX_LINE_BYTES = 64 * 2**20
MAX_FILE_BYTES = 64 * 2**20


class ReadingWarning(UserWarning):
    """A warning about part of a file that could not be read, although the document is usable."""


class TextlessError(ValueError):
    """A file that has no text at all, such as a logo or a scan, rather than a bad one."""


Reading: TypeAlias = Record | ReadingWarning

Reader: TypeAlias = Callable[[Source, ReadOptions], Iterator[Reading]]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file with its 1-based number, and the reason if it is unusable."""

    number: int
    text: str
    problem: RecordError | None = None


def lines(source: Source) -> Iterator[Line]:
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
                    yield Line(number, "", RecordError(source.name, number, reason))
                else:
                    yield _decoded(raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw, source, number)
    except UnicodeDecodeError as error:
        reason = f"not valid {error.encoding} ({error.reason}); the rest of the file is skipped, convert it to UTF-8"
        yield Line(number, "", RecordError(source.name, number, reason))
    except (OSError, *CORRUPT) as error:
        yield Line(number, "", RecordError(source.name, number or None, unreadable(error)))


def _decoded(raw: bytes, source: Source, number: int) -> Line:
    try:
        return Line(number, raw.decode())
    except UnicodeDecodeError as error:
        # The placeholder keeps quotes and separators, so that the CSV reader stays in sync.
        return Line(number, raw.decode(errors="replace"), RecordError(source.name, number, _undecodable(error)))


def read_whole(source: Source, options: ReadOptions, convert: Callable[[bytes], Plain]) -> Iterator[Reading]:
    """Read a file as a single document, whose id is its path; apart from the path, its own metadata wins."""
    noted: list[ReadingWarning] = []

    def document() -> Document:
        with source.open() as stream:
            data = b"".join(_blocks(stream))
        if len(data) > MAX_FILE_BYTES:
            raise ValueError(f"the file is longer than {MAX_FILE_BYTES} bytes; split it")
        if data.startswith(b"%PDF-") and source.format != "pdf":
            raise ValueError(f"the file is a PDF, not {source.format}; give it the extension .pdf")
        plain = convert(data)
        if plain.warning:
            noted.append(ReadingWarning(f"{source.name}: {plain.warning}"))
        metadata = {**about(source, plain.text), **plain.metadata, "path": source.doc_id}
        title = plain.title or opening_line(plain.text)
        return Document(source.doc_id, plain.text, title, metadata, layout=plain.layout)

    record = guarded(source, None, document)
    yield from noted
    yield record


def _blocks(stream: BinaryIO | BufferedIOBase) -> Iterator[bytes]:
    """Read a stream to its end, but little more than MAX_FILE_BYTES; a single call would allocate as many."""
    length = 0
    while length <= MAX_FILE_BYTES and (block := stream.read(2**18)):
        length += len(block)
        yield block


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
        problem = RecordError(source.name, line, str(error))
        problem.textless = isinstance(error, TextlessError)
        return problem
    except (OSError, *CORRUPT) as error:
        return RecordError(source.name, line, unreadable(error))


def unreadable(error: Exception) -> str:
    """Return the reason why a file, or the rest of it, cannot be read."""
    if isinstance(error, (gzip.BadGzipFile, *CORRUPT)):
        return f"corrupt gzip data ({error}); the rest of the file is skipped, download it again"
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def _undecodable(error: UnicodeDecodeError) -> str:
    byte = error.start - error.object.rfind(b"\n", 0, error.start)
    return f"not valid {error.encoding} at byte {byte} of the line ({error.reason}); convert the file to UTF-8"
