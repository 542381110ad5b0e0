"""Searching an index: SQLite's rows and FAISS's segments, always of the same moment."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence

import numpy as np

from semsearch.arrays import Ids, Vectors
from semsearch.filters.sqlite import Condition, compile_filter
from semsearch.filters.syntax import Filter, check_fields
from semsearch.stores.base import StoredPassage
from semsearch.stores.local import segments as faiss_segments
from semsearch.stores.local.catalog import Catalog, Segment, last_covered
from semsearch.stores.local.database import Database, Parameter
from semsearch.stores.local.keywords import match_expression
from semsearch.stores.local.segments import FaissIndex
from semsearch.stores.local.vectors import VectorTable

log = logging.getLogger(__name__)

MANY_STEPS = 8
"""Small indexes beside the segments, as beside a running ingest, before they are made one."""


class Reader:
    """Searches vectors and words, and keeps up with what is committed."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database, self._catalog = database, catalog
        self._vectors = VectorTable(database, catalog)
        self._revision = -1
        self._loaded: dict[int, FaissIndex] = {}
        self._tail: list[FaissIndex] = []
        self._sealed = self._tail_end = -1
        self._deleted: Ids = np.empty(0, np.int64)

    def search_vectors(self, queries: Vectors, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """See `Searchable.search_vectors`."""
        with self._database.snapshot():
            self._refresh()
            indexes = [*(self._loaded[number] for number in sorted(self._loaded)), *self._tail]
            allowed = None if where is None else self._allowed(where)
            vectors = self._vectors.transformed(queries)
            return faiss_segments.search(indexes, vectors, k, allowed=allowed, excluded=self._deleted)

    def search_keywords(self, query: str, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """See `Searchable.search_keywords`."""
        with self._database.snapshot():
            if where is not None:
                check_fields(where, self._catalog.fields())
            expression = match_expression(query)
            rows: list[tuple[float, int]] = []
            if expression:
                sql = "SELECT -bm25(keywords), rowid FROM keywords WHERE keywords MATCH ?"
                parameters: list[Parameter] = [expression]
                if where is not None:
                    condition = compile_filter(where)
                    sql += f" AND rowid IN ({_passages_of(condition)})"
                    parameters += condition.parameters
                rows = self._database.execute(f"{sql} ORDER BY rank, rowid LIMIT ?", [*parameters, k]).fetchall()
            return np.array([row[0] for row in rows], np.float32), np.array([row[1] for row in rows], np.int64)

    def documents_of(self, passages: Sequence[int]) -> dict[int, int]:
        """See `Searchable.documents_of`."""
        sql = "SELECT id, document FROM passages WHERE id IN (SELECT value FROM json_each(?))"
        with self._database.snapshot():
            return dict(self._database.execute(sql, (json.dumps(list(passages)),)))

    def doc_ids(self, documents: Iterable[int]) -> dict[int, str]:
        """See `Searchable.doc_ids`."""
        sql = "SELECT id, doc_id FROM documents WHERE id IN (SELECT value FROM json_each(?))"
        with self._database.snapshot():
            return dict(self._database.execute(sql, (json.dumps(list(documents)),)))

    def show(self, passages: Sequence[int]) -> dict[int, StoredPassage]:
        """See `Searchable.show`."""
        sql = """
            SELECT passages.id, doc_id, title, substr(text, start + 1, end - start), start, end, metadata
            FROM passages JOIN documents ON documents.id = passages.document
            WHERE passages.id IN (SELECT value FROM json_each(?))
            """
        with self._database.snapshot():
            return {
                number: StoredPassage(doc_id, title, text, start, end, json.loads(metadata))
                for number, doc_id, title, text, start, end, metadata in self._database.execute(
                    sql, (json.dumps(list(passages)),)
                )
            }

    def _allowed(self, where: Filter) -> Ids:
        """Passages of the documents that meet a filter, ascending."""
        check_fields(where, self._catalog.fields())
        condition = compile_filter(where)
        rows = self._database.execute(f"{_passages_of(condition)} ORDER BY passages.id", condition.parameters)
        return np.fromiter((row[0] for row in rows), np.int64)

    def _refresh(self) -> None:
        """Take in what was committed since the last search."""
        revision = self._catalog.revision()
        if revision == self._revision:
            return
        segments = {segment.id: segment for segment in self._catalog.segments()}
        covered = last_covered(segments.values())
        self._loaded = {number: self._loaded.get(number) or self._load(segments[number]) for number in segments}
        sealed = self._database.one("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'segments'")
        if self._sealed != sealed or self._catalog.spec.transform:  # which, fitted again, moves every row
            self._tail, self._sealed, self._tail_end = [], sealed, covered
        ids, rows = self._vectors.searched(self._tail_end + 1, None)
        if len(ids):
            self._tail = [*self._tail, faiss_segments.build(ids, rows)]
            self._tail_end = int(ids[-1])
        if len(self._tail) > MANY_STEPS:
            ids, rows = self._vectors.searched(covered + 1, None)
            self._tail = [faiss_segments.build(ids, rows)]
        deleted = self._database.execute("SELECT passage FROM deleted ORDER BY passage")
        self._deleted = np.fromiter((row[0] for row in deleted), np.int64)
        self._revision = revision
        log.debug("%s: revision %d, %d segments", self._database.folder, revision, len(segments))

    def _load(self, segment: Segment) -> FaissIndex:
        """A segment from its file, or from SQLite where the file is gone or damaged."""
        path = self._database.folder / segment.file
        if index := faiss_segments.read(path, segment.sha256):
            return index
        log.warning("%s is missing or damaged; making it anew in memory from the database", path)
        return faiss_segments.build(*self._vectors.searched(segment.first, segment.last))


def _passages_of(condition: Condition) -> str:
    """SQL for the passages of the documents that meet a condition."""
    return f"SELECT passages.id FROM passages JOIN documents ON documents.id = passages.document WHERE {condition.sql}"
