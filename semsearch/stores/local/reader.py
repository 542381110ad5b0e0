"""Search over an index: SQLite's rows and FAISS's segments, always in the same committed state."""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from semsearch.arrays import Ids, Vectors
from semsearch.filters.sqlite import Condition, compile_filter
from semsearch.filters.syntax import Filter, check_fields
from semsearch.similarity import Spread, reference_scores, similarities
from semsearch.stores.base import StoredDocument, StoredPassage
from semsearch.stores.local.ann.library import Chosen
from semsearch.stores.local.catalog import Catalog, SegmentRecord, State, last_covered, read_object
from semsearch.stores.local.database import Database, Parameter
from semsearch.stores.local.guard import INDEX_AGAIN, PASSAGE, checksum, damaged, passage_checksum
from semsearch.stores.local.keywords import as_typed, exact_tokens, match_expression, phrases
from semsearch.stores.local.segments import Segment, open_segment, search
from semsearch.stores.local.selections import Selection, Selections
from semsearch.stores.local.vectors import VectorTable
from semsearch.transforms import Transform
from semsearch.types import Document, Term

log = logging.getLogger(__name__)

MANY_STEPS = 8
"""Maximum number of small FAISS indexes beside the segments, as during an ingest, before they are merged into one."""

K1, LEAST_WEIGHT = 1.2, 1e-6
"""FTS5's own constants; see https://sqlite.org/fts5.html#the_bm25_function."""

PASSAGES_OF = "SELECT passages.id FROM documents CROSS JOIN passages ON passages.document = documents.id"
"""CROSS JOIN fixes the order of the tables, so that a condition is evaluated once per document."""

SPARSE = 1_000
"""Passage numbers per allowed passage above which the others are not listed: damage can produce any number."""

MANY_PHRASES = 100_000
"""Maximum number of phrases whose weights are cached."""

Whole: TypeAlias = tuple[str, str, str, dict[str, Any]]
"""Id, title, text and metadata of a document."""


class Reader:
    """Searches vectors and words, and keeps up with new commits."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database, self._catalog = database, catalog
        self._vectors = VectorTable(database, catalog)
        self._state: State | None = None
        self._loaded: dict[SegmentRecord, Segment] = {}
        self._tail: list[Segment] = []
        self._beside: tuple[int, int] | None = None  # newest segment and last covered passage before the tail
        self._tail_end = -1
        self._spread: Spread | None = None
        self._target = 1.0
        self._alive: list[Chosen | None] = []
        self._selections = Selections()
        self._weights: tuple[State | None, dict[str, float]] = None, {}

    def search_vectors(self, queries: Vectors, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """See `Searchable.search_vectors`."""
        with self._database.snapshot():
            self._refresh()
            chosen = self._alive if where is None else self._rows_of(self._selected(where))
            vectors = self._vectors.transformed(queries)
            return search(list(zip(self._parts(), chosen, strict=True)), vectors, k, self._target)

    def _parts(self) -> list[Segment]:
        return [*self._loaded.values(), *self._tail]

    def _rows_of(self, selection: Selection) -> Sequence[Chosen | None]:
        """Return the rows of each segment that are selected and not deleted."""
        if selection.chosen is None:
            masks = [selection.mask(part.ids) for part in self._parts()]
            alive = [
                mask if living is None else mask & living.mask for mask, living in zip(masks, self._alive, strict=True)
            ]
            selection.chosen = [None if mask.all() else Chosen.of(mask) for mask in alive]
        return selection.chosen

    def search_keywords(self, query: str, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """See `Searchable.search_keywords`."""
        with self._database.snapshot():
            allowed = None if where is None else self._selected(where).passages
            expression = match_expression(query)
            if not expression:
                return np.empty(0, np.float32), np.empty(0, np.int64)
            sql, parameters = self._scored(query, expression)
            if allowed is not None:
                among, numbers = self._shorter(allowed)
                sql += f" AND +rowid {among} (SELECT value FROM json_each(?))"  # + bars the index: words come first
                parameters.append(json.dumps(numbers.tolist()))
            rows = self._database.execute(f"{sql} ORDER BY score DESC, rowid LIMIT ?", [*parameters, k]).fetchall()
            return np.array([row[0] for row in rows], np.float32), np.array([row[1] for row in rows], np.int64)

    def _scored(self, query: str, expression: str) -> tuple[str, list[Parameter]]:
        """Return SQL for the score and the number of each passage that has words of a query, and its parameters."""
        exact = self._exact_weights(query)
        score = "-bm25(keywords)" + " + ? * (rowid IN (SELECT rowid FROM exact WHERE exact MATCH ?))" * len(exact)
        parameters: list[Parameter] = [value for token, weight in exact.items() for value in (weight, token)]
        return f"SELECT {score} AS score, rowid FROM keywords WHERE keywords MATCH ?", [*parameters, expression]

    def keyword_scores(self, query: str, passages: Sequence[int]) -> Vectors:
        """See `Readable.keyword_scores`."""
        expression = match_expression(query)
        if not expression or not passages:
            return np.zeros(len(passages), np.float32)
        with self._database.snapshot():
            sql, parameters = self._scored(query, expression)
            sql += " AND rowid BETWEEN ? AND ? AND +rowid IN (SELECT value FROM json_each(?))"
            parameters += [min(passages), max(passages), json.dumps(list(passages))]
            scores = {number: score for score, number in self._database.execute(sql, parameters)}
        return np.array([scores.get(number, 0.0) for number in passages], np.float32)

    def keyword_terms(self, query: str, passage: int) -> dict[Term, float]:
        """See `Readable.keyword_terms`; BM25 is a sum over phrases, so each phrase is scored separately."""
        one = "SELECT -bm25(keywords) FROM keywords WHERE keywords MATCH ? AND rowid = ?"
        found = {}
        with self._database.snapshot():
            for phrase, times in Counter(phrases(query)).items():
                for (score,) in self._database.execute(one, (phrase, passage)):
                    found[Term(as_typed(phrase), exact=False)] = times * score
            for token, weight in self._exact_weights(query).items():
                sql = "SELECT rowid FROM exact WHERE exact MATCH ? AND rowid = ?"
                if self._database.execute(sql, (token, passage)).fetchone():
                    found[Term(as_typed(token), exact=True)] = weight
        return found

    def fitted(self) -> Transform | None:
        """See `Readable.fitted`."""
        return self._vectors.fitted()

    def highest_keyword_score(self, query: str) -> float:
        """See `Searchable.highest_keyword_score`."""
        with self._database.snapshot():
            return self._most(phrases(query)) + sum(self._exact_weights(query).values())

    def reference_scores(self, queries: Vectors) -> tuple[Vectors, Vectors]:
        """See `Searchable.reference_scores`."""
        with self._database.snapshot():
            self._refresh()
            similarity, rows = self._catalog.spec.similarity, self._vectors.transformed(queries)
            if self._spread is None:
                self._spread = Spread(0, np.zeros(rows.shape[1]))
                for part, living in zip(self._parts(), self._alive, strict=True):
                    self._spread += part.spread(living)
            return reference_scores(similarity, rows, self._spread)

    def passages_from(self, position: float, n: int) -> list[int]:
        """See `Readable.passages_from`."""
        with self._database.snapshot():
            first = self._database.one("SELECT coalesce(min(id), 0) FROM passages")
            last = self._database.one("SELECT coalesce(max(id), 0) FROM passages")
            start = first + round(position * (last - first))
            rows = self._database.execute("SELECT id FROM passages WHERE id >= ? ORDER BY id LIMIT ?", (start, n))
            return [int(number) for (number,) in rows]

    def vectors_of(self, passages: Sequence[int]) -> Vectors:
        """See `Readable.vectors_of`."""
        return self._vectors.of(passages)

    def stored_vectors(self, passages: Sequence[int]) -> Vectors:
        """Return the vectors `[n, dim]` of a document's passages as the encoder made them, before the transform.

        Raises:
            DamagedError: If one of them is corrupt or missing.
        """
        if not passages:
            return np.zeros((0, self._catalog.spec.dim), np.float32)
        ids, rows = self._vectors.stored(passages[0], passages[-1])  # numbered one after another
        if ids.tolist() != list(passages):
            raise damaged(self._database.folder, f"passages {passages[0]} to {passages[-1]} are not one document's")
        return rows

    def similarities(self, queries: Vectors, passages: Sequence[int]) -> Vectors:
        """See `Readable.similarities`."""
        with self._database.snapshot():
            asked, found = self._vectors.transformed(queries), self._vectors.of(passages)
            return similarities(self._catalog.spec.similarity, asked, found)

    def documents(self, doc_ids: Sequence[str]) -> dict[str, StoredDocument]:
        """See `Readable.documents`."""
        asked = json.dumps(list(doc_ids))
        sql = (
            f"SELECT {PASSAGE}, passages.checksum, doc_id FROM passages JOIN documents ON documents.id = document "
            "WHERE doc_id IN (SELECT value FROM json_each(?)) ORDER BY document, ordinal"
        )
        placed: dict[str, list[tuple[int, int, int]]] = {}
        with self._database.snapshot():
            for row in self._database.execute(sql, (asked,)):
                number, _, _, *span = self._sound(row)[:5]
                placed.setdefault(str(row[8]), []).append((number, *span))
            found: dict[str, Whole] = dict(self._documents("doc_id", doc_ids))
        return {
            doc_id: StoredDocument(*found[doc_id], [(start, end) for _, start, end in own], [n for n, _, _ in own])
            for doc_id in doc_ids
            if doc_id in found
            for own in (placed.get(doc_id, []),)
        }

    def select(self, where: Filter | None) -> list[str]:
        """See `Readable.select`."""
        described = "doc_id, metadata, content_hash, n_passages, root, file, checksum"
        with self._database.snapshot():
            condition = Condition("1", ())
            if where is not None:
                check_fields(where, self._catalog.fields())
                condition = compile_filter(where)
            sql = f"SELECT {described} FROM documents WHERE {condition.sql} ORDER BY id"
            return [self._described(*row) for row in self._database.execute(sql, condition.parameters)]

    def documents_of(self, passages: Sequence[int]) -> dict[int, int]:
        """See `Searchable.documents_of`."""
        with self._database.snapshot():
            rows = self._database.execute(
                f"SELECT {PASSAGE}, passages.checksum FROM passages WHERE id IN (SELECT value FROM json_each(?))",
                (json.dumps(list(passages)),),
            )
            return {self._sound(row)[0]: row[1] for row in rows}

    def doc_ids(self, documents: Iterable[int]) -> dict[int, str]:
        """See `Searchable.doc_ids`."""
        sql = (
            "SELECT id, doc_id, metadata, content_hash, n_passages, root, file, checksum FROM documents "
            "WHERE id IN (SELECT value FROM json_each(?))"
        )
        with self._database.snapshot():
            rows = self._database.execute(sql, (json.dumps(list(documents)),))
            return {number: self._described(*described) for number, *described in rows}

    def show(self, passages: Sequence[int]) -> dict[int, StoredPassage]:
        """See `Readable.show`."""
        sql = (
            f"SELECT {PASSAGE}, passages.checksum FROM passages JOIN documents ON documents.id = document "
            "WHERE passages.id IN (SELECT value FROM json_each(?))"
        )
        shown: dict[int, StoredPassage] = {}
        with self._database.snapshot():
            placed: dict[int, list[tuple[int, int, int]]] = {}
            for row in self._database.execute(sql, (json.dumps(list(passages)),)):
                number, document, _, *span = self._sound(row)[:5]
                placed.setdefault(document, []).append((number, *span))
            for document, (doc_id, title, text, metadata) in self._documents("id", placed):
                for number, start, end in placed[document]:
                    shown[number] = StoredPassage(doc_id, title, text[start:end], start, end, metadata)
        return shown

    def _documents(self, column: str, values: Iterable[Any]) -> Iterator[tuple[Any, Whole]]:
        """Yield documents, each with its value of `column` (`id` or `doc_id`), read and checked one by one."""
        sql = (
            f"SELECT {column}, title, text, doc_id, metadata, content_hash, n_passages, root, file, checksum "
            f"FROM documents WHERE {column} IN (SELECT value FROM json_each(?))"
        )
        for value, *row in self._database.execute(sql, (json.dumps(list(values)),)):
            yield value, self._whole(tuple(row))

    def _whole(self, row: tuple[Any, ...]) -> Whole:
        """Return the id, title, text and metadata of a document, after verifying its checksums."""
        title, text, *described = row
        doc_id = self._described(*described)
        metadata = read_object(described[1], self._database.folder, f"the metadata of {doc_id!r} is not an object")
        if not isinstance(title, str) or Document(doc_id, str(text), title).content_hash != described[2]:
            what = f"the text of document {doc_id!r} does not match its checksum"
            raise damaged(self._database.folder, what, INDEX_AGAIN)
        return doc_id, title, text, metadata

    def _sound(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a row that begins with the columns of PASSAGE, after verifying the checksum that follows them."""
        try:
            if passage_checksum(row[:7]) == row[7]:
                return row
        except TypeError:  # a value that should be a number is not
            pass
        raise damaged(self._database.folder, f"passage {row[0]!r:.30} does not match its checksum", INDEX_AGAIN)

    def _described(self, doc_id: Any, *described: Any) -> str:
        """Return the id of a document, after verifying the checksum over it and the columns that describe it."""
        *others, stored = described
        if isinstance(doc_id, str) and checksum(doc_id, *others) == stored:
            return doc_id
        what = f"the record of document {doc_id!r:.60} does not match its checksum"
        raise damaged(self._database.folder, what, INDEX_AGAIN)

    def _exact_weights(self, query: str) -> dict[str, float]:
        """Return the score of each exact token in a query: the most that its parts can score, so it ranks first."""
        return {token: self._most(pieces) for token, pieces in exact_tokens(query).items()}

    def _most(self, phrases: Sequence[str]) -> float:
        """Return the upper bound of BM25: FTS5's weight of each phrase as its term frequency goes to infinity."""
        state = self._catalog.state()
        if self._weights[0] != state or len(self._weights[1]) > MANY_PHRASES:
            self._weights = state, {}
        return (K1 + 1) * sum(self._weight(phrase) for phrase in phrases)

    def _weight(self, phrase: str) -> float:
        """Return the IDF of a phrase as FTS5 computes it; cached, because common phrases are slow and frequent."""
        known = self._weights[1]
        if phrase not in known:
            n = self._database.one("SELECT count(*) FROM passages")
            having = self._database.one("SELECT count(*) FROM keywords WHERE keywords MATCH ?", phrase)
            known[phrase] = max(math.log((n - having + 0.5) / (having + 0.5)), LEAST_WEIGHT)
        return known[phrase]

    def _selected(self, where: Filter) -> Selection:
        """Return the passages of documents that match a filter."""

        def resolve() -> Ids:
            check_fields(where, self._catalog.fields())
            condition = compile_filter(where)
            rows = self._database.execute(f"{PASSAGES_OF} WHERE {condition.sql}", condition.parameters)
            return np.sort(np.fromiter((row[0] for row in rows), np.int64))

        # 1 and True are equal in Python, but not in a filter
        return self._selections.get(self._catalog.state(), repr(where), resolve)

    def _shorter(self, allowed: Ids) -> tuple[str, Ids]:
        """Return IN with the allowed passages or, if most are allowed, NOT IN with the others."""
        size = self._database.one("SELECT coalesce(max(id), 0) + 1 FROM passages")
        if size > SPARSE * (len(allowed) + 1):
            return "IN", allowed
        others = np.ones(size, bool)
        others[allowed] = False
        return ("IN", allowed) if len(allowed) < len(others) / 2 else ("NOT IN", np.flatnonzero(others))

    def _refresh(self) -> None:
        """Load what was committed since the last search, or everything if the index is a different one."""
        state = self._catalog.state()
        if state == self._state:
            return
        if self._state is None or state[:2] != self._state[:2]:
            self._loaded, self._beside = {}, None
        self._state = None  # until everything is loaded
        segments = self._catalog.segments()
        if not self._catalog.is_complete(segments):
            log.warning("%s: the segments do not match the database; searching without them", self._database.folder)
            segments = []
        self._take_in(segments)
        self._state, self._spread, self._target = state, None, self._catalog.vector_options().target_recall
        log.debug("%s: revision %d, %d segments", self._database.folder, state[2], len(segments))

    def _take_in(self, segments: Sequence[SegmentRecord]) -> None:
        """Load these segments, the vectors after them, and the deletions."""
        covered, dim = last_covered(segments), self._vectors.dim()
        self._loaded = {segment: self._loaded.get(segment) or self._load(segment, dim) for segment in segments}
        sealed = self._database.one("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'segments'")
        if self._beside != (sealed, covered) or self._catalog.spec.transform:  # refitting it changes every row
            self._tail, self._beside, self._tail_end = [], (sealed, covered), covered
        ids, rows = self._vectors.searched(self._tail_end + 1, None)
        if len(ids):
            self._tail = [*self._tail, self._built(ids, rows)]
            self._tail_end = int(ids[-1])
        if len(self._tail) > MANY_STEPS:
            ids, rows = self._vectors.searched(covered + 1, None)
            self._tail = [self._built(ids, rows)]
        noted = "SELECT passage FROM deleted WHERE passage NOT IN (SELECT id FROM passages) ORDER BY passage"
        deleted = np.fromiter((row[0] for row in self._database.execute(noted)), np.int64)
        self._alive = [_living(part, deleted) for part in self._parts()]

    def _load(self, record: SegmentRecord, dim: int) -> Segment:
        """Return a segment from its file, or from SQLite if the file is missing or damaged."""
        path = self._database.folder / record.vectors
        if found := open_segment(path, record, dim, self._catalog.spec.similarity, self._reload):
            return found
        log.warning("%s is missing or damaged; rebuilding it in memory from the database", path)
        return self._built(*self._vectors.searched(record.first, record.last))

    def _reload(self, passages: Ids) -> Vectors:
        return self._vectors.of(passages.tolist())

    def _built(self, ids: Ids, rows: Vectors) -> Segment:
        return Segment(ids, rows, self._catalog.spec.similarity)


def _living(segment: Segment, deleted: Ids) -> Chosen | None:
    """Return the rows of a segment that are not deleted; None if none is."""
    if not len(segment) or not len(deleted):
        return None
    mask = ~np.isin(segment.ids, deleted)
    return None if mask.all() else Chosen.of(mask)
