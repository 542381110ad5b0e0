"""Rebuilding: making everything anew that follows from the documents, passages and vectors of an index."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from semsearch.errors import StoreError
from semsearch.stores.codecs import CODECS
from semsearch.stores.local.array_file import open_arrays
from semsearch.stores.local.catalog import OPTIONAL, Catalog, SegmentRecord
from semsearch.stores.local.database import Database
from semsearch.stores.local.guard import INDEX_AGAIN, checksum
from semsearch.types import content_hash


@dataclass(slots=True)
class RebuildResult:
    """What was made anew, and what could not be.

    Attributes:
        rebuilt: Parts of the index that were made anew.
        recovered: Number of vectors that were damaged in the database and intact in a segment.
        lost: Ids of documents whose text, metadata, passages or vectors are damaged, and have to be indexed again.
        reset: Settings that were damaged and now have their default values.
        failed: What could not be made anew, and what to do; the result is false if there is anything.
        notes: What is incomplete without being wrong.
    """

    rebuilt: list[str] = field(default_factory=list)
    recovered: int = 0
    lost: list[str] = field(default_factory=list)
    reset: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return not self.failed


def rebuild_database(database: Database, catalog: Catalog) -> RebuildResult:
    """Make everything in the database anew that follows from documents, passages and vectors; see `Writer.rebuild`."""
    result = RebuildResult()
    with database.change():
        database.execute("REINDEX")
        result.recovered = _recover_vectors(database, catalog)
        database.execute("DELETE FROM passages WHERE document NOT IN (SELECT id FROM documents)")
        database.execute("DELETE FROM vectors WHERE passage NOT IN (SELECT id FROM passages)")
        having = "SELECT DISTINCT key FROM documents, json_each(metadata) WHERE json_valid(metadata)"
        database.execute("DELETE FROM fields")
        database.execute(f"INSERT INTO fields {having}")
        result.reset = _reset_settings(database, catalog)
        for table in ("documents", "passages", "segments"):
            sql = (
                f"UPDATE sqlite_sequence SET seq = max(seq, (SELECT coalesce(max(id), 0) FROM {table})) WHERE name = ?"
            )
            database.execute(sql, (table,))
        result.lost = list(dict.fromkeys([*_damaged_documents(database), *_without_vectors(database, catalog)]))
    result.rebuilt.append("fields")
    if result.lost:
        result.failed.append(
            f"{len(result.lost)} documents are damaged, such as {', '.join(map(repr, result.lost[:3]))}; {INDEX_AGAIN}"
        )
    return result


def _recover_vectors(database: Database, catalog: Catalog) -> int:
    """Copy vectors that are damaged in the database from segments, where their checksums prove that they are the same.

    A segment of an index with a transform has other vectors.
    """
    damaged = {} if catalog.spec.transform else dict(_damaged_vectors(database, catalog))
    n = 0
    for segment in catalog.segments() if damaged else []:
        for passage, blob in _rows_of(database, segment, damaged.keys()):
            if checksum(passage, blob) == damaged.get(passage):
                database.execute("UPDATE vectors SET vector = ? WHERE passage = ?", (blob, passage))
                n += 1
    return n


def _damaged_vectors(database: Database, catalog: Catalog) -> Iterator[tuple[int, int]]:
    """Yield the passages whose vectors do not match their checksums, with these checksums."""
    n_bytes = CODECS[catalog.store_precision].n_bytes(catalog.spec.dim)
    for passage, blob, stored in database.execute("SELECT passage, vector, checksum FROM vectors"):
        if type(blob) is not bytes or len(blob) != n_bytes or checksum(passage, blob) != stored:
            yield passage, stored


def _rows_of(database: Database, segment: SegmentRecord, passages: Collection[int]) -> Iterator[tuple[int, bytes]]:
    """Yield the rows of some passages from a segment, however damaged it is otherwise."""
    file = open_arrays(database.folder / segment.vectors, segment.vectors_digest)
    ids, rows = (file.array("ids"), file.array("rows", check=False)) if file else (None, None)
    if ids is not None and rows is not None and len(ids) == len(rows):
        for place in np.flatnonzero(np.isin(ids, list(passages))).tolist():
            yield int(ids[place]), rows[place].tobytes()


def _reset_settings(database: Database, catalog: Catalog) -> list[str]:
    """Delete damaged settings that have a default value; return their names."""
    reset = []
    for key, read in OPTIONAL.items():
        try:
            read(catalog)
        except StoreError:
            database.execute("DELETE FROM settings WHERE key = ?", (key,))
            reset.append(key)
    return reset


def _damaged_documents(database: Database) -> Iterator[str]:
    """Yield the ids of documents whose text or metadata do not match their checksums, or whose passages do not."""
    columns = "id, doc_id, title, text, layout, metadata, content_hash, n_passages, root, file, checksum"
    for number, doc_id, title, text, layout, metadata, content, n, root, file, stored in database.execute(
        f"SELECT {columns} FROM documents"
    ):
        sound = checksum(doc_id, metadata, content, n, root, file) == stored
        found = database.one("SELECT count(*) FROM passages WHERE document = ?", number)
        if not sound or found != n or content_hash(str(title), str(text), str(layout)) != content:
            yield str(doc_id)


def _without_vectors(database: Database, catalog: Catalog) -> Iterator[str]:
    """Yield the ids of documents with passages whose vectors are damaged or missing."""
    missing = database.execute("SELECT id FROM passages WHERE id NOT IN (SELECT passage FROM vectors)").fetchall()
    damaged: Sequence[int] = [*(n for (n,) in missing), *(n for n, _ in _damaged_vectors(database, catalog))]
    sql = "SELECT doc_id FROM passages JOIN documents ON documents.id = document WHERE passages.id = ?"
    for passage in damaged:
        for (doc_id,) in database.execute(sql, (passage,)):
            yield str(doc_id)
