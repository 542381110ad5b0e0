"""Search over an index: SQLite's rows and FAISS's segments, always in the same committed state."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from semsearch.arrays import Ids, Vectors
from semsearch.filters.sqlite import Condition, compile_filter
from semsearch.filters.syntax import Filter, check_fields
from semsearch.layout import Layout, layout_of
from semsearch.similarity import reference_scores, similarities
from semsearch.stores.base import Entry, StoredDocument, StoredPassage
from semsearch.stores.local.catalog import Catalog, read_object
from semsearch.stores.local.database import Database
from semsearch.stores.local.guard import INDEX_AGAIN, PASSAGE, checksum, damaged, passage_checksum
from semsearch.stores.local.selections import Selection, Selections
from semsearch.stores.local.vectors.search import VectorSearch
from semsearch.stores.local.vectors.table import VectorTable
from semsearch.stores.local.words.search import WordSearch
from semsearch.stores.plans import origin_of
from semsearch.transforms import Transform
from semsearch.types import Document, Origin, Passage, Term, content_hash

PASSAGES_OF = "SELECT passages.id FROM documents CROSS JOIN passages ON passages.document = documents.id"
"""CROSS JOIN fixes the order of the tables, so that a condition is evaluated once per document."""

Whole: TypeAlias = tuple[str, str, str, dict[str, Any], Layout]
"""Id, title, text, metadata and layout of a document."""


class Reader:
    """Searches vectors and words, and keeps up with new commits."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database, self._catalog = database, catalog
        self._vectors = VectorTable(database, catalog)
        self._dense = VectorSearch(database, catalog, self._vectors)
        self._words = WordSearch(database, catalog)
        self._selections = Selections()

    def close(self) -> None:
        """Release the files of segments; must be called when no operation is in progress."""
        self._dense.close()
        self._words.close()
        self._selections = Selections()

    def search_vectors(self, queries: Vectors, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """See `Searchable.search_vectors`."""
        with self._database.snapshot():
            selection = None if where is None else self._selected(where)
            return self._dense.search(self._vectors.transformed(queries), k, selection)

    def search_keywords(self, query: str, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """See `Searchable.search_keywords`."""
        with self._database.snapshot():
            return self._words.search(query, k, None if where is None else self._selected(where))

    def keyword_scores(self, query: str, passages: Sequence[int]) -> Vectors:
        """See `Searchable.keyword_scores`."""
        with self._database.snapshot():
            return self._words.index().scores(query, passages)

    def keyword_terms(self, query: str, passage: int) -> dict[Term, float]:
        """See `Readable.keyword_terms`."""
        with self._database.snapshot():
            return self._words.index().terms(query, passage)

    def fitted(self) -> Transform | None:
        """See `Readable.fitted`."""
        return self._vectors.fitted()

    def highest_keyword_score(self, query: str) -> float:
        """See `Searchable.highest_keyword_score`."""
        with self._database.snapshot():
            return self._words.index().highest(query)

    def reference_scores(self, queries: Vectors) -> tuple[Vectors, Vectors]:
        """See `Searchable.reference_scores`."""
        with self._database.snapshot():
            rows = self._vectors.transformed(queries)
            return reference_scores(self._catalog.spec.similarity, rows, self._dense.spread(rows.shape[1]))

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

    def _stored_vectors(self, passages: Sequence[int]) -> Vectors:
        """Return the vectors `[n, dim]` of a document's passages as the encoder made them, before the transform.

        Raises:
            DamagedError: If one of them is corrupt or missing.
        """
        if not passages:
            return np.zeros((0, self._catalog.spec.dim), np.float32)
        ids, rows = self._vectors.decoded(passages[0], passages[-1])  # numbered one after another
        if ids.tolist() != list(passages):
            raise damaged(self._database.folder, f"passages {passages[0]} to {passages[-1]} are not one document's")
        return rows

    def similarities(self, queries: Vectors, passages: Sequence[int]) -> Vectors:
        """See `Searchable.similarities`."""
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
            doc_id: StoredDocument(*whole[:4], [(a, b) for _, a, b in own], [n for n, _, _ in own], whole[4])
            for doc_id in doc_ids
            if doc_id in found
            for own, whole in ((placed.get(doc_id, []), found[doc_id]),)
        }

    def entries(self, doc_ids: Sequence[str]) -> list[Entry]:
        """See `Store.entries`."""
        sql = (
            f"SELECT doc_id, root, file, {PASSAGE}, passages.checksum FROM documents "
            "LEFT JOIN passages ON passages.document = documents.id "
            "WHERE doc_id IN (SELECT value FROM json_each(?)) ORDER BY documents.id, ordinal"
        )
        placed: dict[str, list[Passage]] = {}
        origins: dict[str, Origin | None] = {}
        with self._database.snapshot():
            documents, roots = self.documents(doc_ids), {root.name: root for root in self._catalog.roots()}
            for doc_id, root, file, *row in self._database.execute(sql, (json.dumps(list(doc_ids)),)):
                origins[doc_id] = origin_of(roots, root, file)
                own = placed.setdefault(doc_id, [])
                if row[0] is not None:
                    _, _, ordinal, start, end, n_tokens, n_lost = self._sound(tuple(row))[:7]
                    own.append(Passage(ordinal, start, end, "", n_tokens, n_lost))
            return [
                Entry(
                    Document(doc_id, d.text, d.title, d.metadata, origin=origins[doc_id], layout=d.layout),
                    placed[doc_id],
                    self._stored_vectors(d.passages),
                )
                for doc_id, d in documents.items()
            ]

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

    def passages_of(self, documents: Sequence[int], most: int) -> dict[int, list[int]]:
        """See `Searchable.passages_of`."""
        some = "SELECT id FROM documents WHERE id IN (SELECT value FROM json_each(?)) AND n_passages <= ?"
        sql = f"SELECT {PASSAGE}, passages.checksum FROM passages WHERE document IN ({some}) ORDER BY document, ordinal"
        found: dict[int, list[int]] = {}
        with self._database.snapshot():
            for row in self._database.execute(sql, (json.dumps(list(documents)), most)):
                found.setdefault(self._sound(row)[1], []).append(row[0])
        return found

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
            for document, (doc_id, title, text, metadata, layout) in self._documents("id", placed):
                for number, start, end in placed[document]:
                    section = layout.section(title, start, end)
                    shown[number] = StoredPassage(doc_id, title, text[start:end], start, end, metadata, section)
        return shown

    def _documents(self, column: str, values: Iterable[Any]) -> Iterator[tuple[Any, Whole]]:
        """Yield documents, each with its value of `column` (`id` or `doc_id`), read and checked one by one."""
        sql = (
            f"SELECT {column}, title, text, layout, doc_id, metadata, content_hash, n_passages, root, file, checksum "
            f"FROM documents WHERE {column} IN (SELECT value FROM json_each(?))"
        )
        for value, *row in self._database.execute(sql, (json.dumps(list(values)),)):
            yield value, self._whole(tuple(row))

    def _whole(self, row: tuple[Any, ...]) -> Whole:
        """Return the id, title, text, metadata and layout of a document, after verifying its checksums."""
        title, text, layout, *described = row
        doc_id = self._described(*described)
        metadata = read_object(described[1], self._database.folder, f"the metadata of {doc_id!r} is not an object")
        if not isinstance(title, str) or content_hash(title, str(text), str(layout)) != described[2]:
            what = f"the text of document {doc_id!r} does not match its checksum"
            raise damaged(self._database.folder, what, INDEX_AGAIN)
        return doc_id, title, text, metadata, layout_of(str(layout))

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

    def _selected(self, where: Filter) -> Selection:
        """Return the passages of documents that match a filter."""

        def resolve() -> Ids:
            check_fields(where, self._catalog.fields())
            condition = compile_filter(where)
            rows = self._database.execute(f"{PASSAGES_OF} WHERE {condition.sql}", condition.parameters)
            return np.sort(np.fromiter((row[0] for row in rows), np.int64))

        # 1 and True are equal in Python, but not in a filter
        return self._selections.get(self._catalog.state(), repr(where), resolve)
