"""Searching an index: SQLite's rows and FAISS's segments, always of the same moment."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Sequence

import numpy as np

from semsearch.arrays import Ids, Vectors
from semsearch.filters.sqlite import compile_filter
from semsearch.filters.syntax import Filter, check_fields
from semsearch.stores.base import StoredPassage
from semsearch.stores.local import segments as faiss_segments
from semsearch.stores.local.catalog import Catalog, Segment, last_covered
from semsearch.stores.local.database import Database, Parameter
from semsearch.stores.local.keywords import exact_tokens, match_expression, phrases
from semsearch.stores.local.segments import FaissIndex
from semsearch.stores.local.vectors import VectorTable

log = logging.getLogger(__name__)

MANY_STEPS = 8
"""Small indexes beside the segments, as beside a running ingest, before they are made one."""

K1, LEAST_WEIGHT = 1.2, 1e-6
"""FTS5's own; see https://sqlite.org/fts5.html#the_bm25_function."""

PASSAGES_OF = "SELECT passages.id FROM documents CROSS JOIN passages ON passages.document = documents.id"
"""In this order, so that a condition is asked once a document."""


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
        self._mean: Vectors | None = None
        self._weights: tuple[int, dict[str, float]] = -1, {}
        self._chosen: tuple[tuple[int, str], Ids] | None = None

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
            allowed = None if where is None else self._allowed(where)
            expression = match_expression(query)
            if not expression:
                return np.empty(0, np.float32), np.empty(0, np.int64)
            exact = self._exact_weights(query)
            score = "-bm25(keywords)" + " + ? * (rowid IN (SELECT rowid FROM exact WHERE exact MATCH ?))" * len(exact)
            sql = f"SELECT {score} AS score, rowid FROM keywords WHERE keywords MATCH ?"
            parameters: list[Parameter] = [value for token, weight in exact.items() for value in (weight, token)]
            parameters.append(expression)
            if allowed is not None:
                among, numbers = self._shorter(allowed)
                sql += f" AND +rowid {among} (SELECT value FROM json_each(?))"  # with + no index: the words come first
                parameters.append(json.dumps(numbers.tolist()))
            rows = self._database.execute(f"{sql} ORDER BY score DESC, rowid LIMIT ?", [*parameters, k]).fetchall()
            return np.array([row[0] for row in rows], np.float32), np.array([row[1] for row in rows], np.int64)

    def highest_keyword_score(self, query: str) -> float:
        """See `Searchable.highest_keyword_score`."""
        with self._database.snapshot():
            return self._most(phrases(query)) + sum(self._exact_weights(query).values())

    def mean_cosines(self, queries: Vectors) -> Vectors:
        """See `Searchable.mean_cosines`."""
        with self._database.snapshot():
            self._refresh()
            rows = self._vectors.transformed(queries)  # a transform may change their length
            if self._mean is None:
                self._mean = faiss_segments.mean([*self._loaded.values(), *self._tail], self._deleted, rows.shape[1])
            return rows @ self._mean

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

    def _exact_weights(self, query: str) -> dict[str, float]:
        """What a passage gets for an exact token of a query: what its pieces can bring at most, so that it is first."""
        return {token: self._most(pieces) for token, pieces in exact_tokens(query).items()}

    def _most(self, phrases: Sequence[str]) -> float:
        """The BM25 that no passage exceeds: FTS5's own weight of each phrase, for ever more of it."""
        revision = self._catalog.revision()
        if self._weights[0] != revision:
            self._weights = revision, {}
        return (K1 + 1) * sum(self._weight(phrase) for phrase in phrases)

    def _weight(self, phrase: str) -> float:
        """How rare a phrase is, as FTS5 weighs it; remembered, for common ones take longest and come often."""
        known = self._weights[1]
        if phrase not in known:
            n = self._database.one("SELECT count(*) FROM passages")
            having = self._database.one("SELECT count(*) FROM keywords WHERE keywords MATCH ?", phrase)
            known[phrase] = max(math.log((n - having + 0.5) / (having + 0.5)), LEAST_WEIGHT)
        return known[phrase]

    def _allowed(self, where: Filter) -> Ids:
        """Passages of the documents that meet a filter, ascending; one pass over the metadata for all of a search."""
        key = self._catalog.revision(), repr(where)  # 1 and True are equal, but not the same
        if self._chosen is None or self._chosen[0] != key:
            check_fields(where, self._catalog.fields())
            condition = compile_filter(where)
            rows = self._database.execute(f"{PASSAGES_OF} WHERE {condition.sql}", condition.parameters)
            self._chosen = key, np.sort(np.fromiter((row[0] for row in rows), np.int64))
        return self._chosen[1]

    def _shorter(self, allowed: Ids) -> tuple[str, Ids]:
        """Passages as a list to be in or, where most are allowed, the others as one not to be in."""
        others = np.ones(self._database.one("SELECT coalesce(max(id), 0) + 1 FROM passages"), bool)
        others[allowed] = False
        return ("IN", allowed) if len(allowed) < len(others) / 2 else ("NOT IN", np.flatnonzero(others))

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
        self._revision, self._mean = revision, None
        log.debug("%s: revision %d, %d segments", self._database.folder, revision, len(segments))

    def _load(self, segment: Segment) -> FaissIndex:
        """A segment from its file, or from SQLite where the file is gone or damaged."""
        path = self._database.folder / segment.file
        if index := faiss_segments.read(path, segment.sha256):
            return index
        log.warning("%s is missing or damaged; making it anew in memory from the database", path)
        return faiss_segments.build(*self._vectors.searched(segment.first, segment.last))
