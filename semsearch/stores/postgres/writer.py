"""A writer of an index in PostgreSQL, of which there may be several at once.

Each batch is one transaction. Those of several writers take turns at an advisory lock, which a writer holds from the
first statement of a transaction to its end and not for the whole run; whoever commits a document last has its content.
A writer whose index was moved to another encoder meanwhile is refused.
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np

from semsearch.arrays import Vectors
from semsearch.errors import MismatchError, RecordError, UsageError
from semsearch.moments import now
from semsearch.similarity import Spread
from semsearch.stores.base import (
    Entry,
    Plan,
    Store,
    refuse_other_chunking,
    refuse_other_encoder,
    refuse_other_precision,
)
from semsearch.stores.loss import as_setting
from semsearch.stores.plans import origin_of, plan_of
from semsearch.stores.postgres import artifacts as files
from semsearch.stores.postgres.address import Address
from semsearch.stores.postgres.batches import Batches, fields_in
from semsearch.stores.postgres.catalog import Catalog
from semsearch.stores.postgres.connections import Writing
from semsearch.stores.postgres.drafts import OpenStore, discard, draft_of, take_over
from semsearch.stores.postgres.graphs import Graphs, parse
from semsearch.stores.postgres.schema import FOUND, OTHERS, VERSION, prepare, refuse_other_tables
from semsearch.stores.postgres.vectors import COLUMNS, VectorTable, decode, literal
from semsearch.stores.seen import Seen
from semsearch.stores.settings import COUNTED
from semsearch.transforms import Transform, fit_transform
from semsearch.types import Document, EncoderSpec, Origin, Root, Storage

log = logging.getLogger(__name__)

AT_ONCE = 1_000
"""Number of documents that are deleted by one statement."""

ROWS_AT_ONCE = 4_096
"""Number of vectors that are in memory at a time."""


class Writer:
    """An index that is open for writing; create one with `open`. See `StoreWriter`."""

    def __init__(self, writing: Writing, catalog: Catalog, identity: str, open_store: OpenStore) -> None:
        self._writing, self._catalog, self._open_store = writing, catalog, open_store
        self._identity = identity
        self._vectors = VectorTable(writing, catalog)
        self._batches = Batches(writing, catalog, self._vectors)
        self._graphs = Graphs(writing, catalog, self._vectors, self._batches)
        self._seen = Seen()

    @classmethod
    @contextmanager
    def open(
        cls,
        address: Address,
        spec: EncoderSpec,
        chunking: Mapping[str, Any],
        origin: str,
        artifacts: Mapping[str, Path],
        vectors: Mapping[str, Any],
        store_precision: str | None,
        open_store: OpenStore,
    ) -> Iterator[Self]:
        """Open the index for writing; create it if it does not exist. The store of a draft is opened by `open_store`.

        Raises:
            MismatchError: If the index was built with another encoder, other chunking settings or another precision of
                stored vectors.
            NoIndexError: If the schema contains something else.
            UsageError: If pgvector cannot store vectors in the precision.
        """
        if store_precision not in (None, *COLUMNS):
            raise UsageError(
                f"`store_precision` is {store_precision!r}; PostgreSQL stores vectors as {' or '.join(COLUMNS)}"
            )
        if vectors.get("vector_index"):
            parse(vectors["vector_index"])
        with ExitStack() as opened:
            writing = opened.enter_context(closing(Writing(address)))
            catalog = Catalog(writing)
            with writing.change():
                prepare(writing.connection, address)
                if not writing.rows("SELECT 1 FROM settings WHERE key = 'revision'"):
                    _create(writing, catalog, spec, chunking, origin, store_precision or Storage().store_precision)
                refuse_other_encoder(address.shown, catalog.spec, spec)
                refuse_other_chunking(address.shown, catalog.setting("chunking"), chunking)
                files.keep_folders(writing, artifacts)
                identity = catalog.revision()[0]
            writer = cls(writing, catalog, identity, open_store)
            opened.callback(writer._seen.close)
            writer._configure(spec, vectors, store_precision)
            yield writer

    def _configure(self, spec: EncoderSpec, vectors: Mapping[str, Any], store_precision: str | None) -> None:
        """Change settings of an existing index as far as they may change."""
        with self._writing.change():
            if store_precision not in (None, self._catalog.store_precision):
                if self._catalog.counts()["passages"]:
                    refuse_other_precision(
                        self._writing.address.shown, self._catalog.store_precision, str(store_precision)
                    )
                self._batches.set("store_precision", store_precision)
                self._mark_changed()
            if spec.model != self._catalog.spec.model:  # the same checkpoint at another location
                self._batches.set("encoder", spec.to_json())
                self._mark_changed()
            if vectors:
                options = dataclasses.replace(self._catalog.vector_options(), **vectors)
                self._batches.set("vectors", options.to_json())
                self._mark_changed()

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Commit what is written inside at once; see `Writing.change`.

        Raises:
            MismatchError: If the index has been moved to another encoder since it was opened.
        """
        with self._writing.change():
            if self._catalog.revision()[0] != self._identity:
                raise MismatchError(
                    f"{self._writing.address.shown!r} was moved to another encoder while this run was writing to it; "
                    "run the same command again"
                )
            yield
            self._mark_changed()

    def _mark_changed(self) -> None:
        identity, number = self._catalog.revision()
        self._batches.set("revision", {"identity": identity, "number": number + 1})
        self._batches.set("updated", now())

    def see(self, document: Document) -> RecordError | None:
        """See `StoreWriter.see`."""
        return self._seen.add(document)

    def remember(self, roots: Sequence[Root]) -> None:
        """See `StoreWriter.remember`."""
        with self._change():
            self._batches.set("roots", [dataclasses.asdict(root) for root in roots])

    def plan(self, documents: Sequence[Document], *, replace: bool = False) -> Plan:
        """See `StoreWriter.plan`."""
        sql = "SELECT doc_id, content_hash, metadata, root, file FROM documents WHERE doc_id = ANY(%s)"
        with self._writing.snapshot():
            rows = self._writing.rows(sql, ([document.doc_id for document in documents],))
            roots = {root.name: root for root in self._catalog.roots()}
        return plan_of(documents, {doc_id: tuple(row) for doc_id, *row in rows}, roots, replace=replace)

    def commit(self, entries: Iterable[Entry], describe: Sequence[Document] = ()) -> None:
        """See `StoreWriter.commit`: one transaction."""
        entries = list(entries)
        written = [entry.document for entry in entries]
        with self._change():
            there = self._batches.numbers([document.doc_id for document in (*written, *describe)])
            described = [document for document in describe if document.doc_id in there]
            before = self._batches.fields_of(list(there))
            known = {one.doc_id: there[one.doc_id] for one in written if one.doc_id in there}
            self._batches.remove_passages(list(known.values()))
            self._batches.insert(entries, known)
            self._batches.describe(described)
            self._batches.change_fields(before, fields_in([*written, *described]))

    def delete(self, doc_ids: Sequence[str]) -> list[str]:
        """See `StoreWriter.delete`: one transaction."""
        there: list[str] = []
        with self._change():
            for start in range(0, len(doc_ids), AT_ONCE):
                known = self._batches.numbers(list(dict.fromkeys(doc_ids[start : start + AT_ONCE])))
                numbers = list(known.values())
                self._batches.change_fields(self._batches.fields_of(list(known)), fields_in([]))
                self._batches.remove_passages(numbers)
                self._writing.execute("DELETE FROM documents WHERE id = ANY(%s)", (numbers,))
                self._batches.count({"documents": -len(known)})
                there += known
        return there

    def unseen(self, within: Origin | None = None) -> list[tuple[str, Origin | None]]:
        """See `StoreWriter.unseen`."""
        where, parameters = "true", list[Any]()
        if within is not None:
            root, file = within.key
            where, parameters = "root IS NOT DISTINCT FROM %s", [root]
            if file:
                where += " AND (file = %s OR starts_with(file, %s))"
                parameters += [file, f"{file}/"]
        with self._writing.snapshot():
            rows = self._writing.rows(f"SELECT doc_id, root, file FROM documents WHERE {where} ORDER BY id", parameters)
            roots = {root.name: root for root in self._catalog.roots()}
        return [(doc_id, origin_of(roots, root, file)) for doc_id, root, file in rows if doc_id not in self._seen]

    def fit(self, *, again: bool = False) -> bool:
        """See `StoreWriter.fit`."""
        with self._change():
            spec = self._catalog.spec
            if not spec.transform or (not again and self._catalog.transform()):
                return False
            fitted = fit_transform(spec.transform, (rows for _, rows in self._stored()), spec.dim)
            self._search_by(fitted)
        return True

    def keep_transform(self, transform: Transform) -> None:
        """See `StoreWriter.keep_transform`."""
        with self._change():
            self._search_by(transform)

    def _search_by(self, transform: Transform) -> None:
        """Store a fitted transform, and all vectors as it makes them."""
        arrays = (("mean", transform.mean), ("matrix", transform.matrix))
        files.keep(self._writing, files.TRANSFORM, ((name, one.astype("<f4").tobytes()) for name, one in arrays))
        self._batches.set("transform", {"name": transform.name, "token": secrets.token_hex(8)})
        self._graphs.drop()
        similarity, spread = self._catalog.spec.similarity, None
        sql = "UPDATE vectors SET searched = %s::vector WHERE passage = %s"
        for passages, rows in self._stored():
            finished = transform(rows)
            own = Spread.of(similarity, finished)
            spread = own if spread is None else spread + own
            with self._writing.connection.cursor() as cursor:
                cursor.executemany(sql, list(zip(map(literal, finished), passages, strict=True)))
        if spread is not None:
            self._batches.set("spread", spread.to_json())
        self._batches.measure_loss()

    def keep_loss(self, storage: Storage) -> None:
        """See `StoreWriter.keep_loss`."""
        with self._change():
            self._batches.set("store_loss", as_setting(storage))

    def _stored(self) -> Iterator[tuple[list[int], Vectors]]:
        """Yield the numbers of passages, ascending, with their vectors as they were committed."""
        name, dim, last = COLUMNS[self._catalog.store_precision], self._catalog.spec.dim, 0
        sql = f"SELECT passage, {name} FROM vectors WHERE passage > %s ORDER BY passage LIMIT {ROWS_AT_ONCE}"
        while rows := self._writing.rows(sql, (last,), binary=True):
            last = rows[-1][0]
            yield [number for number, _ in rows], np.stack([decode(data, name, dim) for _, data in rows])

    def keep_background(self, background: Mapping[str, Any]) -> None:
        """See `StoreWriter.keep_background`."""
        with self._change():
            self._batches.set("background", dict(background))

    def draft(self) -> Store:
        """See `StoreWriter.draft`: a schema of its own, beside that of the index."""
        return self._open_store(draft_of(self._writing.address))

    def discard_draft(self) -> None:
        """See `StoreWriter.discard_draft`."""
        with self._writing.change():
            discard(self._writing)

    def adopt(self, draft: Store) -> None:
        """See `StoreWriter.adopt`: one transaction."""
        with self._change():
            self._graphs.drop()
            take_over(self._writing, draft)
            self._identity = secrets.token_hex(16)
            _, number = self._catalog.revision()
            self._batches.set("revision", {"identity": self._identity, "number": number})

    def seal(self, *, final: bool) -> None:
        """See `StoreWriter.seal`: builds HNSW if there are enough vectors for it, and counts on them again."""
        if not final:
            return
        with self._writing.snapshot():
            due = self._graphs.is_due()
        if due:
            with self._change():
                self._graphs.build()
        self._writing.connection.execute("SELECT gin_clean_pending_list('passages_terms')")
        self._writing.connection.execute("ANALYZE documents, passages, vectors")

    def compact(self, *, secure: bool = False) -> bool:
        """See `StoreWriter.compact`: builds HNSW anew, and lets PostgreSQL use the space of what was deleted again.

        With `secure`, the tables are written anew, during which nobody can search; the server's log and backups are not
        in the power of a client.
        """
        if secure:
            self.discard_draft()
        with self._change():
            self._writing.execute("DELETE FROM terms WHERE n <= 0")
            self._writing.execute("DELETE FROM fields WHERE n <= 0")
            changed = self._graphs.build()
        full = "FULL, " if secure else ""
        self._writing.connection.execute(
            f"VACUUM ({full}ANALYZE) documents, passages, vectors, terms, fields, settings"
        )
        return changed


def migrate(address: Address) -> tuple[int, int]:
    """See `Store.migrate`."""
    with closing(Writing(address)) as writing, writing.change():
        if not writing.one(FOUND, (address.schema,)):
            refuse_other_tables(address, next((name for (name,) in writing.rows(OTHERS, (address.schema,))), None))
        former = int(writing.one("SELECT version FROM semsearch_schema"))
        prepare(writing.connection, address)
    return former, VERSION


def _create(
    writing: Writing, catalog: Catalog, spec: EncoderSpec, chunking: Mapping[str, Any], origin: str, precision: str
) -> None:
    """Write the settings of a new index."""
    batches = Batches(writing, catalog, VectorTable(writing, catalog))
    settings = {
        "revision": {"identity": secrets.token_hex(16), "number": 0},
        "encoder": spec.to_json(),
        "chunking": dict(chunking),
        "origin": origin,
        "created": now(),
        "updated": now(),
        "store_precision": precision,
        "counts": dict.fromkeys(COUNTED, 0),
    }
    for key, value in settings.items():
        batches.set(key, value)
