"""Files, folders, standard input and Python objects to documents, one at a time.

A record that cannot be used is yielded as a RecordError in its place; only what makes a whole source unreadable is
raised. Whether ids repeat is for the caller to see.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any, TypeAlias

from semsearch.corpus.fields import from_fields
from semsearch.corpus.formats import FORMATS, READERS, Record, guarded
from semsearch.corpus.sources import STDIN, ReadOptions, Source, as_written, find_sources, shown
from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.types import Document, Query

__all__ = [
    "FORMATS",
    "READERS",
    "Corpus",
    "Paths",
    "ReadOptions",
    "Record",
    "Source",
    "as_records",
    "count_records",
    "read_corpus",
    "read_queries",
]

LOG = logging.getLogger(__name__)

_PYTHON = Source("<record>", "<record>", "", "jsonl")

_EXAMPLE = '{"_id": "1", "text": "…"}'

_DEFAULTS = ReadOptions()

Paths: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""One file, folder or `-` (standard input), or several."""

Corpus: TypeAlias = (
    str
    | os.PathLike[str]
    | Mapping[str, Any]
    | Document
    | Iterable[Record | Mapping[str, Any] | str | os.PathLike[str]]
)
"""What Python hands over to be indexed: a path, a document, or any number of both, with bad records among them."""


def read_corpus(paths: Paths, options: ReadOptions = _DEFAULTS) -> Iterator[Record]:
    """The documents of files, folders (recursively, sorted by name) and `-`, standard input, one by one.

    All paths are checked when this is called, before anything is read. A folder that holds corpus.jsonl is read as
    BEIR lays it out: that file alone.

    Args:
        paths: One path or several.
        options: How to read them.

    Raises:
        UsageError: The format is unknown, or what was given is not a path.
        SourceError: A path does not exist, has an unknown ending, or is a folder with nothing to read.
    """
    _check_format(options)
    found = [(path, find_sources(path, options)) for path in _each(paths)]
    return chain.from_iterable(_read(path, sources, options) for path, sources in found)


def _check_format(options: ReadOptions) -> None:
    if options.format not in (None, *FORMATS):
        raise UsageError(f'unknown format "{options.format}"; expected one of {", ".join(FORMATS)}')


def _each(paths: Paths) -> list[str]:
    """Paths in their user's spelling; raises UsageError where there is anything else."""
    if isinstance(paths, str | os.PathLike):
        return [as_written(paths, "paths")]
    if isinstance(paths, bytes | bytearray | Mapping) or not isinstance(paths, Iterable):
        raise UsageError(f"`paths` is {paths!r:.60}; expected a path as text or pathlib.Path, or a list of them")
    return [as_written(path, f"paths[{number}]") for number, path in enumerate(paths)]


def _read(path: str, sources: Iterable[Source | RecordError], options: ReadOptions) -> Iterator[Record]:
    """The records of the sources that a path stands for; an operator is told how many files were read as what."""
    files: Counter[str] = Counter()
    for source in sources:
        if isinstance(source, RecordError):
            yield source
        else:
            files[source.format] += 1
            yield from READERS[source.format](source, options)
    LOG.info("%s: read %s", path, ", ".join(f"{n} as {kind}" for kind, n in files.most_common()) or "nothing")


def as_records(corpus: Corpus, options: ReadOptions = _DEFAULTS) -> Iterator[Record]:
    """The documents of Python objects, checked as lines of a file are.

    Args:
        corpus: A path, which is read as by `read_corpus`; a document, as a Document or a dict with the fields of a
            JSONL record; or an iterable of these and of RecordErrors, which are passed on.
        options: The names of fields, and how to read files.

    Returns:
        Records in the order given: an element of an iterable that is nothing of the kind is a RecordError in its
        place.

    Raises:
        UsageError: The corpus as a whole is nothing of the kind, such as bytes, a number or None.
        SourceError: As for `read_corpus`; where a path comes out of an iterator, when its turn comes.
    """
    if isinstance(corpus, str | os.PathLike):
        return _read_given(corpus, "corpus", options)
    if isinstance(corpus, Mapping | Document):
        return _stream([corpus], options)
    if isinstance(corpus, bytes | bytearray) or not isinstance(corpus, Iterable):
        raise UsageError(f"`corpus` is {corpus!r:.60}; expected a path, a document, or an iterable of these")
    if isinstance(corpus, list | tuple):  # a path that is none is better met before hours of encoding than after
        for number, element in enumerate(corpus):
            if isinstance(element, str | os.PathLike):
                _read_given(element, f"corpus[{number}]", options)
    return _stream(corpus, options)


def _stream(corpus: Iterable[object], options: ReadOptions) -> Iterator[Record]:
    for number, element in enumerate(corpus, 1):
        if isinstance(element, RecordError) or (isinstance(element, Document) and element.source):
            yield element
        elif isinstance(element, str | os.PathLike):
            yield from _read_given(element, f"corpus[{number - 1}]", options)
        else:
            yield guarded(_PYTHON, number, partial(_from_python, element, options))


def _read_given(path: str | os.PathLike[str], name: str, options: ReadOptions) -> Iterator[Record]:
    """A path where a document might stand: who gives a text in place of one is told what a document is."""
    given = as_written(path, name)
    if given != STDIN and not os.path.exists(given):
        raise SourceError(f'"{shown(given)}" does not exist; expected a path, or a document such as {_EXAMPLE}')
    return read_corpus(given, options)


def _from_python(record: object, options: ReadOptions) -> Document:
    if isinstance(record, Document):
        return record
    if not isinstance(record, Mapping):
        raise ValueError(f"{record!r:.60} is not a document; expected a dict, a Document or a path")
    return from_fields(record, options)


def read_queries(path: str | os.PathLike[str]) -> Iterator[Query]:
    """The queries of a JSONL file with `_id` and `text`, one by one.

    Raises:
        RecordError: The first line that is not a query, or repeats an id.
        SourceError: The file does not exist, or holds no query.
        UsageError: What was given is not a path.
    """
    given = as_written(path)
    return _queries(given, read_corpus(given, ReadOptions(format="jsonl")))


def _queries(path: str, records: Iterator[Record]) -> Iterator[Query]:
    seen: set[str] = set()
    for record in records:
        if isinstance(record, RecordError):
            raise record
        if not record.text.strip():
            raise RecordError(record.source, None, "the query is empty; expected some text")
        if record.doc_id in seen:
            raise RecordError(record.source, None, f"a second query with the id {record.doc_id!r}; each needs its own")
        seen.add(record.doc_id)
        yield Query(record.doc_id, record.text)
    if not seen:
        raise SourceError(f'"{path}" holds no query; expected JSON lines with "_id" and "text"')


def count_records(paths: Paths, options: ReadOptions = _DEFAULTS) -> int | None:
    """About how many records `read_corpus` will yield, for a progress bar; None if only reading would tell.

    Raises:
        UsageError, SourceError: As for `read_corpus`.
    """
    total = 0
    for source in chain.from_iterable([find_sources(path, options) for path in _each(paths)]):
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
