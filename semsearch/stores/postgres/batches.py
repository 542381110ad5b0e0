"""Batches on their way into the tables of an index: rows for COPY, and what they change in counts, terms and fields.

Every method must be called inside a change.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np

from semsearch.arrays import Vectors
from semsearch.filters.postgres import comparable, moments_in
from semsearch.similarity import Spread
from semsearch.stores.base import Entry
from semsearch.stores.codecs import CODECS, refuse_unstorable
from semsearch.stores.loss import StoreLoss
from semsearch.stores.plans import key_of
from semsearch.stores.postgres.catalog import Catalog
from semsearch.stores.postgres.connections import Writing
from semsearch.stores.postgres.vectors import COLUMNS, VectorTable, decode, encode
from semsearch.stores.postgres.words import spelled
from semsearch.stores.settings import COUNTED
from semsearch.stores.words.analysis import analyze, heading_of
from semsearch.types import Document, Passage

DOCUMENTS = (
    "id int8, doc_id text, title text, text text, layout text, metadata text, fields jsonb, moments jsonb, "
    "content_hash text, n_passages int4, root text, file text"
)
PASSAGES = (
    "id int8, document int8, ordinal int4, first int4, last int4, n_tokens int4, n_lost int4, n_words int4, "
    "terms int4[], counts int4[]"
)
"""Columns for COPY, with their types."""

REMOVED = """
    WITH gone AS (DELETE FROM passages WHERE document = ANY(%s) RETURNING n_tokens, n_lost, n_words, terms),
    lost AS (SELECT term, count(*) AS n FROM gone, unnest(terms) AS one (term) GROUP BY term),
    changed AS (UPDATE terms SET n = terms.n - lost.n FROM lost WHERE terms.id = lost.term)
    SELECT count(*), coalesce(sum(n_tokens), 0)::int8, count(*) FILTER (WHERE n_lost > 0),
        coalesce(sum(n_lost), 0)::int8, coalesce(sum(n_words), 0)::int8 FROM gone
"""


class Batches:
    """Writes batches."""

    def __init__(self, writing: Writing, catalog: Catalog, vectors: VectorTable) -> None:
        self._writing, self._catalog, self._vectors = writing, catalog, vectors
        self._loss = StoreLoss()

    def numbers(self, doc_ids: Sequence[str]) -> dict[str, int]:
        """Return the numbers of the documents that exist, in the order given."""
        rows = dict(self._writing.rows("SELECT doc_id, id FROM documents WHERE doc_id = ANY(%s)", (list(doc_ids),)))
        return {doc_id: rows[doc_id] for doc_id in doc_ids if doc_id in rows}

    def fields_of(self, doc_ids: Sequence[str]) -> Counter[str]:
        """Return how many of some documents have each metadata field."""
        sql = (
            "SELECT key, count(*) FROM documents, jsonb_object_keys(fields) AS key WHERE doc_id = ANY(%s) GROUP BY key"
        )
        return Counter(dict(self._writing.rows(sql, (list(doc_ids),))))

    def change_fields(self, before: Counter[str], after: Counter[str]) -> None:
        """Count the metadata fields that documents had before and have now."""
        changes = {name: after[name] - before[name] for name in {*before, *after} if after[name] != before[name]}
        self._writing.execute(
            "INSERT INTO fields SELECT * FROM unnest(%s::text[], %s::int8[]) "
            "ON CONFLICT (name) DO UPDATE SET n = fields.n + excluded.n",
            (list(changes), list(changes.values())),
        )

    def remove_passages(self, documents: Sequence[int]) -> None:
        """Delete the passages of documents, and all that follows from them."""
        if not documents:
            return
        column = self._vectors.column()
        sql = f"SELECT {column.name} FROM vectors WHERE document = ANY(%s) AND {column.name} IS NOT NULL"
        removed = self._writing.rows(sql, (list(documents),), binary=True)
        if removed:
            rows = np.stack([decode(data, column.name, column.dim) for (data,) in removed])
            self._change_spread(rows, sign=-1)
        ((*counts,),) = self._writing.rows(REMOVED, (list(documents),))
        self.count(dict(zip(COUNTED[1:], (-int(n) for n in counts), strict=True)))

    def insert(self, entries: Sequence[Entry], known: Mapping[str, int]) -> None:
        """Insert documents, or update those that are known by their numbers, and whose passages are removed."""
        new = [entry.document.doc_id for entry in entries if entry.document.doc_id not in known]
        numbers = {**known, **dict(zip(new, self._next("documents", len(new)), strict=True))}
        rows = {entry.document.doc_id: self._document(entry, numbers) for entry in entries}
        self._copy("documents", DOCUMENTS, (rows[doc_id] for doc_id in new))
        names = [one.split()[0] for one in DOCUMENTS.split(", ")]
        assigned = ", ".join(f"{name} = %s" for name in names[2:])
        with self._writing.connection.cursor() as cursor:
            cursor.executemany(
                f"UPDATE documents SET {assigned} WHERE id = %s",
                [(*row[2:], row[0]) for doc_id, row in rows.items() if doc_id in known],
            )
        self._insert_passages(entries, numbers)
        self.count({"documents": len(new)})

    def describe(self, documents: Sequence[Document]) -> None:
        """Update the metadata and origins of documents."""
        sql = "UPDATE documents SET metadata = %s, fields = %s, moments = %s, root = %s, file = %s WHERE doc_id = %s"
        with self._writing.connection.cursor() as cursor:
            cursor.executemany(
                sql, [(*_metadata(document), *key_of(document), document.doc_id) for document in documents]
            )

    def count(self, changes: Mapping[str, int]) -> None:
        """Change what is counted."""
        counts = self._catalog.counts()
        self.set("counts", {name: counts[name] + changes.get(name, 0) for name in COUNTED})

    def set(self, key: str, value: Any) -> None:
        """Write a setting."""
        self._writing.execute(
            "INSERT INTO settings VALUES (%s, %s::json) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, json.dumps(value)),
        )

    def _copy_vectors(self, numbers: Sequence[int], documents: Sequence[int], decoded: Vectors) -> None:
        """Insert the vectors `[n, dim]` of passages as they are stored, and take note of where they lie."""
        name, spec = COLUMNS[self._catalog.store_precision], self._catalog.spec
        columns, values = f"passage int8, document int8, {name} bytea", [encode(decoded, name)]
        transform = self._catalog.transform() if spec.transform else None
        if transform:
            decoded = transform(decoded)
            columns, values = f"{columns}, searched bytea", [*values, encode(decoded, "searched")]
        self._copy("vectors", columns, zip(numbers, documents, *values, strict=True))
        if transform or not spec.transform:
            self._change_spread(decoded, sign=1)

    def _insert_passages(self, entries: Sequence[Entry], numbers: Mapping[str, int]) -> None:
        flat = [(entry.document, passage) for entry in entries for passage in entry.passages]
        if not flat:
            return
        vectors = self._stored(flat, np.concatenate([entry.vectors for entry in entries if entry.passages]))
        ids = self._next("passages", len(flat))
        documents = [numbers[document.doc_id] for document, _ in flat]
        texts = [
            (heading_of(one.title, one.layout.section(one.title, p.start, p.end)), one.text[p.start : p.end])
            for one, p in flat
        ]
        words = self._words(texts)
        rows = [
            (number, document, p.ordinal, p.start, p.end, p.n_tokens, p.n_lost, *some)
            for number, document, (_, p), some in zip(ids, documents, flat, words, strict=True)
        ]
        self._copy("passages", PASSAGES, rows)
        self._copy_vectors(ids, documents, vectors)
        passages = [passage for _, passage in flat]
        self.count(
            {
                "passages": len(flat),
                "tokens": sum(passage.n_tokens for passage in passages),
                "truncated": sum(passage.n_lost > 0 for passage in passages),
                "tokens_lost": sum(passage.n_lost for passage in passages),
                "words": sum(some[0] for some in words),
            }
        )

    def _stored(self, flat: Sequence[tuple[Document, Passage]], rows: Vectors) -> Vectors:
        """Return vectors `[n, dim]` as they are stored.

        Raises:
            UsageError: If one cannot be stored in the precision of the index.
        """
        precision = self._catalog.store_precision
        codec = CODECS[precision]
        stored = codec.encode(rows)
        refuse_unstorable([document.doc_id for document, _ in flat], rows, stored, precision)
        if self._loss.take(rows, stored, codec) and (not self._catalog.spec.transform or self._catalog.transform()):
            self.measure_loss()
        return codec.decode(stored)

    def measure_loss(self) -> None:
        """Store what the store precision costs, unless the index knows it from more vectors than this run has."""
        catalog = self._catalog
        codec = CODECS[catalog.store_precision]
        loss = self._loss.measure(codec, self._vectors.transformed, catalog.spec.similarity, catalog.storage())
        if loss:
            self.set("store_loss", loss)

    def _words(self, texts: Sequence[tuple[str, str]]) -> list[tuple[int, list[int], list[int]]]:
        """Return the number of words of each passage, and its terms with how often each occurs."""
        found = analyze(texts)
        ids = np.array(self._term_numbers([spelled(term) for term in found.terms], found.rows, found.numbers), np.int64)
        keys, counts = np.unique(found.rows * max(len(ids), 1) + found.numbers, return_counts=True)
        rows, terms = np.divmod(keys, max(len(ids), 1))
        edges = np.searchsorted(rows, np.arange(len(texts) + 1)).tolist()
        return [
            (int(found.lengths[row]), ids[terms[start:end]].tolist(), counts[start:end].tolist())
            for row, (start, end) in enumerate(pairwise(edges))
        ]

    def _term_numbers(self, terms: list[bytes], rows: Any, numbers: Any) -> list[int]:
        """Return the numbers of terms, after counting the passages that have them."""
        having = np.bincount(np.unique(numbers + rows * max(len(terms), 1)) % max(len(terms), 1), minlength=len(terms))
        new = dict(zip(terms, having.tolist(), strict=True))
        update = (
            "UPDATE terms SET n = terms.n + new.n FROM unnest(%s::bytea[], %s::int8[]) AS new (term, n) "
            "WHERE terms.term = new.term RETURNING terms.term, terms.id"
        )
        known = {bytes(term): number for term, number in self._writing.rows(update, (list(new), list(new.values())))}
        rest = [term for term in new if term not in known]
        insert = "INSERT INTO terms (term, n) SELECT * FROM unnest(%s::bytea[], %s::int8[]) RETURNING term, id"
        made = self._writing.rows(insert, (rest, [new[term] for term in rest]))
        known |= {bytes(term): number for term, number in made}
        return [known[term] for term in terms]

    def _change_spread(self, rows: Vectors, *, sign: int) -> None:
        similarity = self._catalog.spec.similarity
        before, own = self._vectors.spread(), Spread.of(similarity, rows)
        after = own if before is None else before + own if sign > 0 else before - own
        if after.n > 0:
            self.set("spread", after.to_json())
        else:
            self._writing.execute("DELETE FROM settings WHERE key = 'spread'")

    def _next(self, table: str, n: int) -> list[int]:
        sql = f"SELECT nextval(pg_get_serial_sequence('{table}', 'id')) FROM generate_series(1, %s)"
        return [number for (number,) in self._writing.rows(sql, (n,))]

    def _copy(self, table: str, columns: str, rows: Iterable[Sequence[Any]]) -> None:
        """Insert rows by COPY in the binary format; vectors are bytes as pgvector receives them."""
        named = [one.split() for one in columns.split(", ")]
        sql = f"COPY {table} ({', '.join(name for name, _ in named)}) FROM STDIN (FORMAT BINARY)"
        with self._writing.connection.cursor() as cursor, cursor.copy(sql) as copy:
            copy.set_types([kind for _, kind in named])
            for row in rows:
                copy.write_row(row)

    def _document(self, entry: Entry, numbers: Mapping[str, int]) -> tuple[Any, ...]:
        d = entry.document
        return (
            *(numbers[d.doc_id], d.doc_id, d.title, d.text, d.layout.text, *_metadata(d)),
            *(d.content_hash, len(entry.passages), *key_of(d)),
        )


def _metadata(document: Document) -> tuple[Any, Any, Any]:
    """Return the columns `metadata`, `fields` and `moments`."""
    from psycopg.types.json import Jsonb

    moments = moments_in((document.doc_id, document.title), document.metadata)
    return document.metadata_json, Jsonb(comparable(document.metadata)), Jsonb(moments)


def fields_in(documents: Iterable[Document]) -> Counter[str]:
    """Return how many of some documents have each metadata field."""
    return Counter(chain.from_iterable(document.metadata for document in documents))
