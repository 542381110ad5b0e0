"""Verification: reading everything that an index folder contains, and reporting what is not as it was written.

All checks read one committed state, a few rows at a time, so they run beside a writer and within little memory. Each
reports problems instead of raising errors, because what comes after the damage is to be checked as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Array, Ids
from semsearch.errors import NoIndexError, SchemaError, StoreError
from semsearch.files import is_regular
from semsearch.stores.local.array_file import open_arrays
from semsearch.stores.local.catalog import OPTIONAL, Catalog, SegmentRecord, read_object
from semsearch.stores.local.database import DATABASE, SCHEMA_VERSION, Database, schema_version, translated_errors
from semsearch.stores.local.folder import OURS, encoder_folder
from semsearch.stores.local.guard import PASSAGE, checksum, passage_checksum
from semsearch.stores.local.holder import HOLDER
from semsearch.stores.local.lock import LOCK
from semsearch.stores.local.vectors.ann.kinds import EXACT
from semsearch.stores.local.vectors.segments import IndexedSegment, open_segment, row_sums
from semsearch.stores.local.vectors.table import VectorTable
from semsearch.stores.local.words.files import open_words, texts_of
from semsearch.stores.words.postings import build, word_sums
from semsearch.types import COSINE, content_hash

LISTED = 20
"""Maximum number of problems that each check lists; further ones are counted."""

ROWS_AT_ONCE = 1_000
"""Number of rows in memory at a time."""

UNIT = 0.01
"""Maximum difference of a unit vector's length from 1; 16-bit numbers are off by up to 0.004."""

CLOSE = 1e-5
"""Maximum difference of a component in a segment from the transform of the stored vector, which is not exactly
reproducible: a matrix product depends on the number of rows."""

Watch: TypeAlias = Callable[[str], None]
"""Receives the name of each part of an index before it is checked."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in an index that is not as it was written.

    Attributes:
        part: The part of the index: `database`, `settings`, `documents`, `vectors`, `transform`, `deletions`,
            `segments`, `words`, `artifacts` or `encoder`.
        found: What is wrong with it.
        derived: Whether `rebuild` can make it anew, because it follows from documents, passages and vectors.
    """

    part: str
    found: str
    derived: bool = False

    def __str__(self) -> str:
        return f"{self.part}: {self.found}"


def verify_folder(folder: Path, watch: Watch | None = None) -> list[Problem]:
    """Check everything in an index folder but its encoder.

    Args:
        folder: The folder.
        watch: Progress callback.

    Returns:
        What is wrong; at most `LISTED` problems of each part, with the number of further ones.

    Raises:
        NoIndexError: If there is no index.
        SchemaError: If the index was written by a newer semsearch, or by an older one, which opening would change.
    """
    try:
        if (version := schema_version(folder)) < SCHEMA_VERSION:
            raise SchemaError(
                f"{str(folder)!r} was written by an older semsearch (schema {version}, now {SCHEMA_VERSION}); "
                "bring it up to date first, with semsearch migrate"
            )
        database = Database(folder)
    except (NoIndexError, SchemaError):
        raise
    except StoreError as error:
        return [Problem("database", _said(error, folder))]
    found: list[Problem] = []
    try:
        with closing(database), database.snapshot():
            for part, check in PARTS.items():
                if watch:
                    watch(part)
                known = {problem.found for problem in found}
                problems = _limited(part, check(Checked(database)), folder)
                found += [problem for problem in problems if problem.found not in known]
    except StoreError as error:  # damage can keep even a transaction that only reads from ending
        found += [] if found else [Problem("database", _said(error, folder))]
    return [problem for problem in found if not _is_outdated(problem, folder)]


def stray_files(folder: Path) -> list[str]:
    """Return the names of files and folders in an index folder that no index has, or that a crash left behind.

    A writer removes what a crash left when its run ends, and may have such files while it is at work.
    """
    named = {DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", LOCK, HOLDER}
    with closing(Database(folder)) as database, database.snapshot():
        catalog = Catalog(database)
        named |= {file for segment in catalog.segments() for file in segment.files}
        named.add(encoder_folder(catalog.spec.precision))
    return sorted(name for name in os.listdir(folder) if name not in named)


def first_of(problems: Sequence[Problem]) -> str:
    """Return the first problem and the number of others, for a message."""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{problems[0]}{more}"


class Checked:
    """The index that is being checked."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._catalog: Catalog | None = None

    @property
    def catalog(self) -> Catalog:
        """The settings; raises DamagedError if one of those that every index needs is damaged."""
        if self._catalog is None:
            self._catalog = Catalog(self.database)
        return self._catalog

    @property
    def vectors(self) -> VectorTable:
        """The table of vectors."""
        return VectorTable(self.database, self.catalog)


def _said(error: StoreError, folder: Path) -> str:
    """Return an error about damage without the name of the folder, which is that of all problems."""
    return str(error).removeprefix(f"the index {str(folder)!r} is damaged: ")


def _limited(part: str, problems: Iterator[Problem], folder: Path) -> Iterator[Problem]:
    """Yield the first problems and the number of others; an error that ends a check is a problem, too."""
    found: list[Problem] = []
    n = 0
    try:
        with translated_errors():
            for problem in problems:
                n += 1
                found += [problem] if n <= LISTED else []
    except StoreError as error:
        found.append(Problem(part, _said(error, folder)))
    yield from found
    if n > LISTED:
        yield Problem(part, f"{n - LISTED:,} more problems of this kind", all(problem.derived for problem in found))


def _check_database(index: Checked) -> Iterator[Problem]:
    """SQLite's own checks, and the numbers from which new rows are counted."""
    for (line,) in index.database.execute(f"PRAGMA integrity_check({LISTED})"):
        if line != "ok":
            yield Problem("database", " ".join(str(line).split()))
    for table, row, parent, _ in index.database.execute("PRAGMA foreign_key_check"):
        yield Problem("database", f"row {row} of {table} refers to a missing row of {parent}")
    for table, column in (("documents", "id"), ("passages", "id"), ("segments", "id")):
        sql = f"SELECT coalesce(max({column}), 0), (SELECT seq FROM sqlite_sequence WHERE name = ?) FROM {table}"
        last, counted = index.database.execute(sql, (table,)).fetchone()
        if last and not (isinstance(counted, int) and counted >= last):
            yield Problem(
                "database", f"numbers of {table} are counted from {counted!r:.30}, but there is a {last}", True
            )


def _check_settings(index: Checked) -> Iterator[Problem]:
    database = index.database
    for key, value, stored in database.execute("SELECT key, value, checksum FROM settings ORDER BY key"):
        if checksum(key, value) != stored:
            yield Problem("settings", f"{key!r:.40} does not match its checksum", key in OPTIONAL)
    catalog = index.catalog
    for read in (Catalog.roots, *OPTIONAL.values(), Catalog.state):
        try:
            read(catalog)
        except StoreError as error:
            yield Problem("settings", _said(error, database.folder), read in OPTIONAL.values())
    named = {name for (name,) in database.execute("SELECT name FROM fields")}
    having = "SELECT DISTINCT key FROM documents, json_each(metadata) WHERE json_valid(metadata)"
    actual = {str(name) for (name,) in database.execute(having)}
    if named != actual:
        wrong = ", ".join(sorted(map(repr, named ^ actual))[:3])
        yield Problem("settings", f"the list of metadata fields does not match the documents: {wrong}", True)


def _check_documents(index: Checked) -> Iterator[Problem]:
    """Documents and their passages."""
    database, n_passages = index.database, 0
    columns = "id, doc_id, title, text, layout, metadata, content_hash, n_passages, root, file, checksum"
    for number, doc_id, title, text, layout, metadata, content, n, root, file, stored in database.execute(
        f"SELECT {columns} FROM documents ORDER BY id"
    ):
        name = repr(doc_id)[:60]
        rows = database.execute(
            f"SELECT {PASSAGE}, checksum FROM passages WHERE document = ? ORDER BY ordinal", (number,)
        )
        passages = rows.fetchall()
        n_passages += len(passages)
        sound = checksum(doc_id, metadata, content, n, root, file) == stored
        if not sound or content_hash(str(title), str(text), str(layout)) != content:
            yield Problem("documents", f"document {name} does not match its checksum")
            continue
        try:
            read_object(metadata, database.folder, f"the metadata of {name} is not an object")
        except StoreError as error:
            yield Problem("documents", _said(error, database.folder))
        if wrong := _wrong_passages(passages, len(str(text)), n):
            yield Problem("documents", f"document {name}: {wrong}")
    found = database.one("SELECT count(*) FROM passages")
    if found > n_passages:
        yield Problem("documents", f"{found - n_passages:,} passages belong to no document")


def _wrong_passages(rows: Sequence[tuple[int, ...]], length: int, expected: object) -> str:
    """Return what is wrong with the passages of a document, given its length and their number; empty if nothing is."""
    if len(rows) != expected:
        return f"it has {len(rows)} passages instead of {expected!r:.20}"
    for place, (*row, stored) in enumerate(rows):
        if not all(type(value) is int for value in row) or passage_checksum(tuple(row)) != stored:
            return f"passage {row[0]!r:.30} does not match its checksum"
        _, _, ordinal, start, end, *_ = row
        if ordinal != place or not 0 <= start <= end <= length:
            return f"passage {row[0]} is not a part of the text: number {ordinal}, from {start} to {end} of {length}"
    return ""


def _check_vectors(index: Checked) -> Iterator[Problem]:
    """Stored vectors; those of a passage are missing, foreign or corrupt."""
    database, spec, codec = index.database, index.catalog.spec, index.vectors.codec
    unit = spec.similarity == COSINE and spec.normalize and not spec.transform
    for what, sql in (
        ("passages have no vector", "SELECT count(*) FROM passages WHERE id NOT IN (SELECT passage FROM vectors)"),
        ("vectors belong to no passage", "SELECT count(*) FROM vectors WHERE passage NOT IN (SELECT id FROM passages)"),
    ):
        if n := database.one(sql):
            yield Problem("vectors", f"{n:,} {what}")
    rows = database.execute("SELECT passage, vector, checksum FROM vectors ORDER BY passage")
    while some := rows.fetchmany(ROWS_AT_ONCE):
        damaged = [
            passage
            for passage, blob, stored in some
            if not (type(blob) is bytes and len(blob) == codec.n_bytes(spec.dim) and checksum(passage, blob) == stored)
        ]
        for passage in damaged:
            yield Problem("vectors", f"the vector of {_owner(database, passage)} does not match its checksum")
        intact = [(passage, blob) for passage, blob, _ in some if passage not in damaged]
        values = codec.decode(codec.read(b"".join(blob for _, blob in intact), spec.dim))
        with np.errstate(all="ignore"):
            lengths = np.sqrt((values.astype(np.float64) ** 2).sum(1))
        wrong = ~np.isfinite(lengths)
        if unit:  # a document without any known token has zeros
            wrong |= (np.abs(lengths - 1) > UNIT) & (lengths > 0)
        for place in np.flatnonzero(wrong).tolist():
            owner = _owner(database, intact[place][0])
            yield Problem("vectors", f"the vector of {owner} has length {lengths[place]:.4g}; expected a unit vector")


def _owner(database: Database, passage: int) -> str:
    """Return a passage as problems name it, with its document."""
    sql = "SELECT doc_id FROM passages JOIN documents ON documents.id = document WHERE passages.id = ?"
    row = database.execute(sql, (passage,)).fetchone()
    return f"passage {passage!r:.30}" + (f" of document {row[0]!r:.60}" if row else "")


def _check_transform(index: Checked) -> Iterator[Problem]:
    if index.catalog.spec.transform:
        index.vectors.transform()  # raises DamagedError
    yield from ()


def _check_segments(index: Checked) -> Iterator[Problem]:
    """Segments against the passages and vectors in SQLite."""
    segments = index.catalog.segments()
    n = index.database.one("SELECT count(*) FROM segments")
    if len(segments) < n:
        yield Problem("segments", f"the records of {n} segments are damaged", True)
    if not index.catalog.is_complete(segments):
        yield Problem("segments", "the segments and the list of deletions do not match the passages", True)
    for segment in segments:
        for found in _check_segment(index, segment):
            yield Problem("segments", f"{segment.vectors}: {found}", True)


def _check_segment(index: Checked, segment: SegmentRecord) -> Iterator[str]:
    """Yield what is wrong with a segment, in the order in which it would be noticed."""
    path, vectors, similarity = index.database.folder / segment.vectors, index.vectors, index.catalog.spec.similarity
    file = open_arrays(path, segment.vectors_digest)
    if file is None:
        yield "the file is missing, or is not the one that was written" if is_regular(path) else "the file is missing"
        return
    if damaged := [name for name in file.names if file.array(name) is None]:
        yield f"the arrays {', '.join(damaged)} are damaged"
        return
    opened = open_segment(
        path, segment, vectors.dim(), similarity, lambda ids: vectors.of(ids.tolist()), vectors.segment_codec
    )
    is_exact = segment.factory == EXACT
    if opened is None or isinstance(opened, IndexedSegment) == is_exact:
        yield "its contents are not those of a segment of this index"
        return
    rows, sums = file.array("rows", check=False), file.array("row_sums", check=False)
    assert rows is not None
    assert sums is not None
    yield from _compare(index, segment, opened.ids, rows, sums)


def _compare(index: Checked, segment: SegmentRecord, ids: Ids, rows: Array, sums: NDArray[np.uint64]) -> Iterator[str]:
    """Compare the stored rows `[n, columns]` of a segment, and their checksums, with the vectors in SQLite."""
    order = np.argsort(ids, kind="stable")
    ordered, n_known = ids[order], 0
    tolerance = CLOSE if index.catalog.spec.transform else 0.0
    for passages, expected in index.vectors.parts(index.vectors.in_segments, segment.first, segment.last):
        places = np.minimum(np.searchsorted(ordered, passages), len(ids) - 1)
        known = ordered[places] == passages
        if not known.all():
            yield f"passage {passages[~known][0]} is missing"
            return
        n_known += len(passages)
        found = rows[order[places]]
        if not np.allclose(found, expected, rtol=0, atol=tolerance):
            wrong = ~np.isclose(found, expected, rtol=0, atol=tolerance).all(1)
            yield f"the vector of passage {passages[wrong][0]} is not the one in the database"
            return
        if not np.array_equal(row_sums(found), sums[order[places]]):
            yield "the checksums of its rows are not theirs"
            return
    gone = index.database.one("SELECT count(*) FROM deleted WHERE passage BETWEEN ? AND ?", segment.first, segment.last)
    if n_known + gone != len(ids):
        yield f"it has {len(ids)} passages, of which {gone} are deleted, but the database has {n_known}"


def _check_words(index: Checked) -> Iterator[Problem]:
    """The inverted indexes of segments against the words of each passage."""
    database = index.database
    for segment in index.catalog.segments():
        path = database.folder / segment.words
        found = open_words(path, segment)
        if found is None:
            why = "the file is missing" if not is_regular(path) else "the file is damaged"
            yield Problem("words", f"{segment.words}: {why}", True)
            continue
        sums, texts = word_sums(found), texts_of(database, segment.first, segment.last)
        while some := list(islice(texts, ROWS_AT_ONCE)):
            expected = build(some)
            places = np.searchsorted(found.passages, expected.passages).clip(0, len(sums) - 1)
            wrong = (found.passages[places] != expected.passages) | (sums[places] != word_sums(expected))
            for passage in expected.passages[wrong].tolist():
                owner = _owner(database, passage)
                yield Problem("words", f"{segment.words}: the words of {owner} are not those of its text", True)


PARTS: dict[str, Callable[[Checked], Iterator[Problem]]] = {
    "database": _check_database,
    "settings": _check_settings,
    "documents": _check_documents,
    "vectors": _check_vectors,
    "transform": _check_transform,
    "segments": _check_segments,
    "words": _check_words,
}
"""The checks by the part of an index that they are about, in the order in which they run."""


def _is_outdated(problem: Problem, folder: Path) -> bool:
    """Return whether a problem is about a segment that a writer has replaced since the checks began."""
    file = problem.found.partition(":")[0]
    if problem.part not in ("segments", "words") or not OURS.fullmatch(file):
        return False
    with suppress(StoreError), closing(Database(folder)) as database, database.snapshot():
        return all(file not in segment.files for segment in Catalog(database).segments())
    return False
