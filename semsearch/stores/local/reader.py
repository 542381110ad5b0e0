"""An index to search: SQLite's rows and FAISS's segments, always of the same moment.

It is handed vectors, and knows nothing of the models that they come from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semsearch.arrays import Vectors
from semsearch.errors import StoreError
from semsearch.filters.sqlite import Condition, compile_filter
from semsearch.filters.syntax import Filter, check_fields
from semsearch.stores.local import segments as faiss_segments
from semsearch.stores.local.catalog import IndexFolder, Segment, last_covered
from semsearch.stores.local.keywords import match_expression
from semsearch.stores.local.segments import FaissIndex, Ids
from semsearch.transforms import Transform
from semsearch.types import Metadata

LITTLE_ENDIAN = np.dtype("<f4")

LAST = 2**63 - 1
"""No passage has a higher number."""

ROWS_AT_ONCE = 8_192
"""Vectors in memory while a transform is fitted."""


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage as a search shows it."""

    doc_id: str
    title: str
    text: str
    start: int
    end: int
    metadata: Metadata


class Index(IndexFolder):
    """A reader of an index folder; also the base of the writer."""

    def __init__(self, folder: str | Path, *, _write: bool = False) -> None:
        """Open an index; see `IndexFolder`."""
        super().__init__(folder, _write=_write)
        self._revision = -1
        self._loaded: dict[int, FaissIndex] = {}
        self._tail: list[FaissIndex] = []
        self._sealed = self._tail_end = -1
        self._deleted: Ids = np.empty(0, np.int64)

    def transform(self) -> Transform | None:
        """The fitted transform, None where there is none (yet)."""
        with self.snapshot():
            row = self._connection.execute("SELECT name, mean, matrix FROM transform").fetchone()
        if row is None:
            return None
        mean = np.frombuffer(row[1], LITTLE_ENDIAN)
        return Transform(row[0], mean, np.frombuffer(row[2], LITTLE_ENDIAN).reshape(len(mean), -1))

    def search_vectors(self, queries: Vectors, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """The k passages with the highest cosine to each query; the filter comes first, so it never costs recall.

        Args:
            queries: float32 `[n, dim]` as the encoder gives them.
            k: Passages a query.
            where: Only documents that meet this.

        Returns:
            Scores and passage ids `[n, at most k]`, best first, padded with -inf and -1.
        """
        with self.snapshot():
            self._refresh()
            if self.spec.transform:
                queries = self._fitted()(queries)
            indexes = [*(self._loaded[number] for number in sorted(self._loaded)), *self._tail]
            allowed = None if where is None else self._allowed(where)
            return faiss_segments.search(indexes, queries, k, allowed=allowed, excluded=self._deleted)

    def search_keywords(self, query: str, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """The k passages with the highest BM25 for a query: scores and passage ids, best first."""
        with self.snapshot():
            if where is not None:
                self._check_fields(where)
            expression = match_expression(query)
            rows: list[tuple[float, int]] = []
            if expression:
                sql = "SELECT -bm25(keywords), rowid FROM keywords WHERE keywords MATCH ?"
                parameters: list[str | int | float] = [expression]
                if where is not None:
                    condition = compile_filter(where)
                    sql += f" AND rowid IN ({_passages_of(condition)})"
                    parameters += condition.parameters
                rows = self._connection.execute(f"{sql} ORDER BY rank, rowid LIMIT ?", [*parameters, k]).fetchall()
            return np.array([row[0] for row in rows], np.float32), np.array([row[1] for row in rows], np.int64)

    def documents_of(self, passages: Sequence[int]) -> dict[int, int]:
        """The document (its row number) of each of these passages."""
        sql = "SELECT id, document FROM passages WHERE id IN (SELECT value FROM json_each(?))"
        with self.snapshot():
            return dict(self._connection.execute(sql, (json.dumps(list(passages)),)))

    def doc_ids(self, documents: Iterable[int]) -> dict[int, str]:
        """The id of each of these documents (row numbers)."""
        sql = "SELECT id, doc_id FROM documents WHERE id IN (SELECT value FROM json_each(?))"
        with self.snapshot():
            return dict(self._connection.execute(sql, (json.dumps(list(documents)),)))

    def show(self, passages: Sequence[int]) -> dict[int, StoredPassage]:
        """Text and metadata of each of these passages."""
        sql = """
            SELECT passages.id, doc_id, title, substr(text, start + 1, end - start), start, end, metadata
            FROM passages JOIN documents ON documents.id = passages.document
            WHERE passages.id IN (SELECT value FROM json_each(?))
            """
        with self.snapshot():
            return {
                number: StoredPassage(doc_id, title, text, start, end, json.loads(metadata))
                for number, doc_id, title, text, start, end, metadata in self._connection.execute(
                    sql, (json.dumps(list(passages)),)
                )
            }

    def _allowed(self, where: Filter) -> Ids:
        """Passages of the documents that meet a filter, ascending."""
        self._check_fields(where)
        condition = compile_filter(where)
        rows = self._connection.execute(f"{_passages_of(condition)} ORDER BY passages.id", condition.parameters)
        return np.fromiter((row[0] for row in rows), np.int64)

    def _check_fields(self, where: Filter) -> None:
        check_fields(where, self.fields())

    def _refresh(self) -> None:
        """Take in what was committed since the last search."""
        revision = int(self._setting("revision"))
        if revision == self._revision:
            return
        segments = {segment.id: segment for segment in self._segments()}
        covered = last_covered(segments.values())
        self._loaded = {number: self._loaded.get(number) or self._load(segments[number]) for number in segments}
        sealed = self._one("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'segments'")
        if self._sealed != sealed or self.spec.transform:  # which, fitted again, moves every row
            self._tail, self._sealed, self._tail_end = [], sealed, covered
        ids, rows = self.rows(self._tail_end + 1, None)
        if len(ids):
            self._tail = [*self._tail, faiss_segments.build(ids, rows)]
            self._tail_end = int(ids[-1])
        if len(self._tail) > 8:  # many small steps, as beside a running ingest
            ids, rows = self.rows(covered + 1, None)
            self._tail = [faiss_segments.build(ids, rows)]
        deleted = self._connection.execute("SELECT passage FROM deleted ORDER BY passage")
        self._deleted = np.fromiter((row[0] for row in deleted), np.int64)
        self._revision = revision

    def _load(self, segment: Segment) -> FaissIndex:
        """A segment from its file, or from SQLite where the file is gone or damaged."""
        index = faiss_segments.read(self.folder / segment.file, segment.sha256)
        return index or faiss_segments.build(*self.rows(segment.first, segment.last))

    def rows(self, first: int, last: int | None) -> tuple[Ids, Vectors]:
        """Passage ids `[n]`, ascending, and their vectors `[n, dim]` as searched: with the transform, unit rows."""
        ids, rows = self.stored(first, last)
        return ids, self._fitted()(rows) if self.spec.transform else rows

    def stored(self, first: int, last: int | None) -> tuple[Ids, Vectors]:
        """Passage ids `[n]`, ascending, and their vectors `[n, dim]` as stored: before the fitted transform."""
        upper = LAST if last is None else last
        n = self._one("SELECT count(*) FROM vectors WHERE passage BETWEEN ? AND ?", first, upper)
        ids, rows = np.empty(n, np.int64), np.empty((n, self.spec.dim), np.float32)
        sql = "SELECT passage, vector FROM vectors WHERE passage BETWEEN ? AND ? ORDER BY passage"
        for row, (passage, blob) in enumerate(self._connection.execute(sql, (first, upper))):
            ids[row], rows[row] = passage, np.frombuffer(blob, LITTLE_ENDIAN)
        return ids, rows

    def _fitted(self) -> Transform:
        transform = self.transform()
        if transform is None:
            raise StoreError(
                f"the transform {self.spec.transform!r} of {str(self.folder)!r} is not fitted yet: the first run "
                "did not come to its end; run the same semsearch index command again"
            )
        return transform


def _passages_of(where: Condition) -> str:
    """SQL for the passages of the documents that meet a condition."""
    return f"SELECT passages.id FROM passages JOIN documents ON documents.id = passages.document WHERE {where.sql}"
