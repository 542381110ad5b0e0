"""Reading documents, one at a time, from files, folders, standard input and Python objects.

A record that cannot be used is yielded as a RecordError in its place; an error is raised only if a whole source is
unreadable. Duplicate ids are the caller's concern.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, TypeAlias

from semsearch.corpus.archives import members
from semsearch.corpus.fields import from_fields
from semsearch.corpus.formats.table import ARCHIVES, ENDINGS, FORMATS, has_many
from semsearch.corpus.given import glob_of
from semsearch.corpus.records import Reading, ReadingWarning, Record, guarded
from semsearch.corpus.roots import Coverage
from semsearch.corpus.sources import STDIN, ReadOptions, Source
from semsearch.corpus.walk import as_written, find_sources, source_of
from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.layout import NO_LAYOUT
from semsearch.paths import shown
from semsearch.types import Document, Origin, Query, Root
from semsearch.urls import scheme_of

__all__ = [
    "FORMATS",
    "Corpus",
    "Coverage",
    "Paths",
    "ReadOptions",
    "Record",
    "Source",
    "as_records",
    "count_bytes",
    "read_corpus",
    "read_queries",
]

log = logging.getLogger(__name__)

_PYTHON = Source("<record>", "", "jsonl", Origin())

_EXAMPLE = '{"_id": "1", "text": "…"}'

_DEFAULTS = ReadOptions()

WARNED = 10
"""Maximum number of warnings shown for a path; further ones are only counted."""

Paths: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""One or more paths of files or folders, patterns, URLs, or `-` for standard input."""

Corpus: TypeAlias = (
    str
    | os.PathLike[str]
    | Mapping[str, Any]
    | Document
    | Iterable[Record | Mapping[str, Any] | str | os.PathLike[str]]
)
"""Anything that can be indexed from Python: a path, a document, or an iterable of these and of RecordErrors."""


def read_corpus(paths: Paths, options: ReadOptions = _DEFAULTS, coverage: Coverage | None = None) -> Iterator[Record]:
    """Read the documents of files, folders (recursively, sorted by name) and standard input (`-`), one by one.

    A path may be a pattern such as `data/**/*.jsonl`, or a URL that pyarrow opens, such as `s3://bucket/folder`.

    All paths are checked when the function is called, before anything is read. If a folder contains corpus.jsonl, as in
    the BEIR layout, only that file is read. A file that can be reached through several paths is read once. If a file is
    a single document, its id is its path relative to the given folder, or to its parent folder if the file itself was
    given. From the second folder on, ids are prefixed with the folder's name.

    Args:
        paths: One or more paths of files or folders, patterns, URLs, or `-` for standard input.
        options: Field names, format and other options for reading.
        coverage: The roots of an index, which determine the ids of files, and a record of what is given and read; None
            if the documents are not read for an index.

    Returns:
        An iterator over the documents, with a RecordError in place of each record that cannot be used.

    Raises:
        UsageError: If the format is unknown, `paths` is neither a path nor an iterable of paths, or pyarrow cannot open
            a URL.
        SourceError: If a path does not exist, has an unknown extension, or is a folder with nothing to read, or if a
            URL does not answer.
    """
    _check_format(options)
    coverage = coverage or Coverage()
    found = find_sources(_each(paths), options, coverage)
    return chain.from_iterable(_read(path, sources, options, coverage) for path, sources in found)


def _check_format(options: ReadOptions) -> None:
    if options.format not in (None, *FORMATS) and f".{options.format}" not in ENDINGS:
        raise UsageError(f'unknown format "{options.format}"; expected one of {", ".join(FORMATS)}')


def _each(paths: Paths) -> list[str]:
    """Return the paths as the user spelled them; raises UsageError for anything else."""
    if isinstance(paths, str | os.PathLike):
        return [as_written(paths, "paths")]
    if isinstance(paths, bytes | bytearray | Mapping) or not isinstance(paths, Iterable):
        raise UsageError(f"`paths` is {paths!r:.60}; expected a path as text or pathlib.Path, or a list of them")
    return [as_written(path, f"paths[{number}]") for number, path in enumerate(paths)]


def _read(
    path: str, sources: Iterable[Source | RecordError], options: ReadOptions, coverage: Coverage
) -> Iterator[Record]:
    """Read the sources of a path, and log how many files were read in each format."""
    files: Counter[str] = Counter()
    told: Counter[str] = Counter()
    for source in sources:
        if isinstance(source, RecordError):
            coverage.unread(source.origin)
            yield source
        elif source.path == STDIN or coverage.begins(source.path):
            for record in _readings(replace(source, count=coverage.count), options, files):
                if isinstance(record, ReadingWarning):
                    _tell(record, told)
                    continue
                if isinstance(record, RecordError):
                    coverage.unread(source.origin)
                yield record
            if has_many(source, options):
                coverage.complete(source.origin)
    if told[""]:
        warnings.warn(f"{path}: {told['']:,} more files with similar warnings", ReadingWarning, stacklevel=2)
    if options.per_line and files and coverage.only is None and not any(FORMATS[kind].by_line for kind in files):
        unused = f"{path}: `per_line` has no effect, since it is about text files alone"
        warnings.warn(unused, ReadingWarning, stacklevel=2)
    log.info("%s: read %s", path, ", ".join(f"{n} as {kind}" for kind, n in files.most_common()) or "nothing")


def _readings(source: Source, options: ReadOptions, files: Counter[str]) -> Iterator[Reading]:
    """Read a file, or all members of an archive, and count them by their formats."""
    parts = members(source, options) if source.format in ARCHIVES.values() else (source,)
    for part in parts:
        if isinstance(part, Source):
            files[part.format] += 1
            for record in FORMATS[part.format].read(part, options):
                yield _with_origin(record, part.origin)
        else:
            yield _with_origin(part, source.origin)


def _with_origin(record: Reading, origin: Origin) -> Reading:
    """Return what was read from a file with its origin; errors may know theirs already."""
    if isinstance(record, Document):
        return replace(record, origin=origin)
    if isinstance(record, RecordError):
        record.origin = record.origin or origin
    return record


def _tell(warning: ReadingWarning, told: Counter[str]) -> None:
    """Show a warning unless it was shown before, as those about a whole format are, or too many others were.

    Args:
        warning: The warning.
        told: Number of times that each text was to be shown; under an empty text, those beyond the limit.
    """
    text = str(warning)
    key = text if text in told or len(told) < WARNED else ""
    told[key] += 1
    if key and told[key] == 1:
        warnings.warn(warning, stacklevel=3)


def as_records(corpus: Corpus, options: ReadOptions = _DEFAULTS, coverage: Coverage | None = None) -> Iterator[Record]:
    """Read documents from Python objects, with the same checks as for the lines of a file.

    Args:
        corpus: A path, which is read by `read_corpus`; a document, as a Document or a dict with the fields of a JSONL
            record; or an iterable of these and of RecordErrors, which are passed through.
        options: Options for reading; the field names also apply to dicts.
        coverage: As for `read_corpus`.

    Returns:
        An iterator over the records in the given order, with a RecordError in place of each unsuitable element.

    Raises:
        UsageError: If the corpus itself is unsuitable, such as bytes, a number or None.
        SourceError: If a path cannot be read, as for `read_corpus`; for a path from an iterator, only when it is
            reached.
    """
    coverage = coverage or Coverage()
    if isinstance(corpus, str | os.PathLike):
        return _read_given({"corpus": corpus}, options, coverage)
    if isinstance(corpus, Mapping | Document):
        return _stream([corpus], options, coverage)
    if isinstance(corpus, bytes | bytearray) or not isinstance(corpus, Iterable):
        raise UsageError(f"`corpus` is {corpus!r:.60}; expected a path, a document, or an iterable of these")
    if isinstance(corpus, list | tuple):  # report a wrong path now, not after hours of encoding
        given = {f"corpus[{n}]": one for n, one in enumerate(corpus) if isinstance(one, str | os.PathLike)}
        records = _read_given(given, options, Coverage() if len(given) < len(corpus) else coverage)
        if given and len(given) == len(corpus):
            return records
    return _stream(corpus, options, coverage)


def _stream(corpus: Iterable[object], options: ReadOptions, coverage: Coverage) -> Iterator[Record]:
    """Read documents, and the files of any paths among them."""
    coverage.given.append(None)
    met: set[Origin] = set()
    for number, element in enumerate(corpus, 1):
        if isinstance(element, str | os.PathLike):
            yield from _read_given({f"corpus[{number - 1}]": element}, options, coverage)
        elif isinstance(element, RecordError):
            coverage.unread(element.origin and coverage.adopt(element.origin))
            yield element
        else:
            record = guarded(_PYTHON, number, partial(_from_python, element, options))
            if isinstance(record, RecordError):
                coverage.unread(None)
            elif record.origin:
                origin = coverage.adopt(record.origin)
                if record.doc_id == record.origin.doc_id:  # the file is the document
                    named = {"path": origin.doc_id} if record.metadata.get("path") == record.doc_id else {}
                    record = replace(record, doc_id=origin.doc_id, origin=origin, metadata={**record.metadata, **named})
                else:
                    met.add(origin)
                    record = replace(record, origin=origin)
            yield record
    for origin in met:
        coverage.complete(origin)


def _read_given(
    paths: Mapping[str, str | os.PathLike[str]], options: ReadOptions, coverage: Coverage
) -> Iterator[Record]:
    """Read paths, by parameter name, that were given where documents are accepted as well.

    A path that does not exist may be a text passed by mistake, so the error shows what a document looks like.
    """
    given = [as_written(path, name) for name, path in paths.items()]
    for path in given:
        if not (path == STDIN or scheme_of(path) or os.path.exists(path) or glob_of(path)):
            raise SourceError(
                f'"{shown(path)}" does not exist; expected a file, a folder, or a document such as {_EXAMPLE}'
            )
    try:
        return read_corpus(given, options, coverage)
    except SourceError as error:
        if any(glob_of(path) for path in given if not scheme_of(path)):  # or a text with a question mark
            raise SourceError(f"{error}, or a document such as {_EXAMPLE}") from None
        raise


def has_moved(folder: str, files: Mapping[str, str], options: ReadOptions) -> bool:
    """Return whether a folder contains at least half of the files indexed from another folder, with the same text.

    Args:
        folder: Absolute path of the folder, with links resolved.
        files: Paths relative to the other folder, with the content hashes of their documents.
        options: Options for reading.
    """
    coverage, same = Coverage([Root("", folder)]), 0
    for file, content_hash in files.items():
        path = os.path.join(folder, *file.split("/"))
        source = source_of(path, coverage.origin_of(path, found=True), options) if os.path.isfile(path) else None
        if isinstance(source, Source):
            records = _readings(source, options, Counter())
            same += any(isinstance(one, Document) and content_hash in _hashes(one) for one in records)
    return 0 < len(files) <= 2 * same


def _hashes(document: Document) -> list[str]:
    """Return the content hashes of a document: today's, without sections, and without a title, as in older indexes."""
    older = replace(document, layout=NO_LAYOUT)
    return [one.content_hash for one in (document, older, replace(older, title=""))]


def _from_python(record: object, options: ReadOptions) -> Document:
    if isinstance(record, Document):
        return record
    if not isinstance(record, Mapping):
        raise ValueError(f"{record!r:.60} is not a document; expected a dict, a Document or a path")
    return from_fields(record, options)


def read_queries(path: str | os.PathLike[str]) -> Iterator[Query]:
    """Read the queries of a JSONL file with `_id` and `text`, one by one.

    Raises:
        RecordError: If a line is not a query, or repeats an id.
        SourceError: If the file does not exist or contains no queries.
        UsageError: If `path` is not a path.
    """
    given = as_written(path)
    options = ReadOptions(format="jsonl", need_ids=True)
    if os.path.exists(given) and not os.path.isdir(given) and not os.path.isfile(given):  # a pipe, such as <(...)
        pipe = Source(given, given, "jsonl", Origin(None, given))
        return _queries(given, _read(given, [pipe], options, Coverage()))
    return _queries(given, read_corpus(given, options))


def _queries(path: str, records: Iterator[Record]) -> Iterator[Query]:
    seen: set[str] = set()
    for record in records:
        if isinstance(record, RecordError):
            raise record
        if not record.text.strip():
            raise RecordError(record.source, None, "the query is empty; expected some text")
        if record.doc_id in seen:
            raise RecordError(record.source, None, f"duplicate query id {record.doc_id!r}; each query needs its own id")
        seen.add(record.doc_id)
        yield Query(record.doc_id, record.text)
    if not seen:
        raise SourceError(f'"{path}" contains no queries; expected JSON lines with "_id" and "text"')


def count_bytes(paths: Paths, options: ReadOptions = _DEFAULTS) -> int | None:
    """Return how many bytes `read_corpus` will read, for a progress bar; None if that is not known in advance.

    Raises:
        UsageError, SourceError: Under the same conditions as in `read_corpus`.
    """
    sizes: dict[str, int] = {}
    for source in chain.from_iterable(found for _, found in find_sources(_each(paths), options, Coverage())):
        if isinstance(source, RecordError):
            continue
        if source.path == STDIN or source.format in ARCHIVES.values():
            return None
        if source.opened:
            sizes[source.path] = source.stored[0] if source.stored else 0
            continue
        with suppress(OSError):
            sizes[os.path.realpath(source.path)] = os.stat(source.path).st_size
    return sum(sizes.values())
