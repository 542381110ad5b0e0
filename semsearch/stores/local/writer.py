"""The only writer of an index folder, which takes documents in batches and commits each batch atomically.

Nothing becomes visible or durable before it is committed.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np

from semsearch.arrays import Vectors
from semsearch.errors import DamagedError, RecordError
from semsearch.files import is_regular
from semsearch.stores.base import (
    Entry,
    Plan,
    Store,
    refuse_other_chunking,
    refuse_other_encoder,
    refuse_other_precision,
)
from semsearch.stores.codecs import refuse_unstorable
from semsearch.stores.local.care.rebuild import RebuildResult, rebuild_database
from semsearch.stores.local.catalog import Catalog, write_setting
from semsearch.stores.local.database import DATABASE, Database, Parameter, translated_errors
from semsearch.stores.local.drafts import discard_draft, place_of_draft, take_over
from semsearch.stores.local.folder import (
    DRAFT,
    check_space,
    create_index,
    encoder_folder,
    keep_artifacts,
    prepare_folder,
    space_needed,
)
from semsearch.stores.local.guard import checksum, passage_checksum
from semsearch.stores.local.lock import hold_lock
from semsearch.stores.local.plans import Planner
from semsearch.stores.local.sealing import MAX_DELETED, Sealer
from semsearch.stores.local.vectors.ann.kinds import EXACT, create
from semsearch.stores.local.vectors.table import LITTLE_ENDIAN, VectorTable
from semsearch.stores.loss import StoreLoss, as_setting
from semsearch.stores.plans import key_of, origin_of
from semsearch.transforms import Transform, fit_transform
from semsearch.types import AUTO, Document, EncoderSpec, Origin, Passage, Root, Storage

log = logging.getLogger(__name__)

DELETED_AT_ONCE = 1_000
"""Number of documents whose texts are in memory at once while documents are deleted."""

OpenStore: TypeAlias = Callable[[Path], Store]
"""Opens the store in a folder."""


class Writer:
    """An index that is open for writing; create one with `open`. See `StoreWriter`."""

    def __init__(self, database: Database, catalog: Catalog, open_store: OpenStore) -> None:
        self._open_store = open_store
        self._folder, self._database, self._catalog = database.folder, database, catalog
        self._vectors = VectorTable(database, catalog)
        self._loss = StoreLoss()
        self._planner = Planner(database, catalog)
        self._sealer = Sealer(database, catalog, self._vectors)
        database.execute("PRAGMA synchronous = FULL")  # a committed batch survives a power cut
        database.execute("CREATE TEMP TABLE seen (doc_id TEXT PRIMARY KEY, source TEXT) WITHOUT ROWID")

    @classmethod
    @contextmanager
    def open(
        cls,
        folder: Path,
        spec: EncoderSpec,
        chunking: Mapping[str, Any],
        origin: str,
        artifacts: Mapping[str, Path],
        vectors: Mapping[str, Any],
        store_precision: str | None,
        open_store: OpenStore,
    ) -> Iterator[Self]:
        """Hold the folder's lock while the index is open for writing; create the index if it does not exist.

        The store of a draft, in another folder, is opened by `open_store`.

        Raises:
            LockedError: If someone else is writing; the message says who.
            MismatchError: If the index was built with another encoder, other chunking settings or another precision of
                stored vectors.
            NoIndexError: If the folder contains something else.
        """
        with ExitStack() as opened:
            with translated_errors():
                writer = cls._opened(opened, folder, spec, chunking, origin, artifacts, store_precision, open_store)
                if vectors:
                    writer.set_vector_options(vectors)
            yield writer  # the caller's errors, such as a corpus that cannot be read, are not translated

    @classmethod
    def _opened(
        cls,
        opened: ExitStack,
        folder: Path,
        spec: EncoderSpec,
        chunking: Mapping[str, Any],
        origin: str,
        artifacts: Mapping[str, Path],
        store_precision: str | None,
        open_store: OpenStore,
    ) -> Self:
        """Return the writer; register what must be undone afterwards with `opened`."""
        prepare_folder(folder)
        opened.enter_context(hold_lock(folder))
        if not is_regular(folder / DATABASE):
            keep_artifacts(folder, artifacts)  # an index that names an encoder must have all of its artifacts
            create_index(folder, spec, chunking, origin, store_precision or Storage().store_precision)
        database = opened.enter_context(closing(Database(folder, write=True)))
        catalog = Catalog(database)
        refuse_other_encoder(str(folder), catalog.spec, spec)
        refuse_other_chunking(str(folder), catalog.chunking, chunking)
        if store_precision not in (None, catalog.store_precision):
            cls._change_precision(database, catalog, store_precision)
        keep_artifacts(folder, artifacts)
        if spec.model != catalog.spec.model:  # the same checkpoint at another location
            with database.change():
                write_setting(database, "encoder", spec.to_json())
        return cls(database, catalog, open_store)

    @staticmethod
    def _change_precision(database: Database, catalog: Catalog, asked: str) -> None:
        """Have vectors stored in another precision; only possible while there are none."""
        with database.change():
            if database.one("SELECT count(*) FROM vectors"):
                refuse_other_precision(str(database.folder), catalog.store_precision, asked)
            write_setting(database, "store_precision", asked)
            write_setting(database, "identity", secrets.token_hex(16))  # readers keep settings for as long as it stays

    def set_vector_options(self, changes: Mapping[str, Any]) -> None:
        """Change how vectors are searched; existing segments keep their vector indexes until they are rewritten."""
        options = dataclasses.replace(self._catalog.vector_options(), **changes)
        if options.vector_index not in (AUTO, EXACT):
            create(options.vector_index, self._vectors.dim(), self._catalog.spec.similarity)
        with self._database.change():
            write_setting(self._database, "vectors", options.to_json())
            self._catalog.mark_changed()

    def see(self, document: Document) -> RecordError | None:
        """See `StoreWriter.see`."""
        with self._database.turn():
            row = (document.doc_id, document.source)
            if self._database.execute("INSERT OR IGNORE INTO temp.seen VALUES (?, ?)", row).rowcount:
                return None
            sql = "SELECT source FROM temp.seen WHERE doc_id = ?"
            (first,) = self._database.execute(sql, (document.doc_id,)).fetchone()
        return RecordError(document.source, None, f"duplicate id {document.doc_id!r}, already used in {first}")

    def remember(self, roots: Sequence[Root]) -> None:
        """See `StoreWriter.remember`."""
        with self._database.change():
            write_setting(self._database, "roots", [dataclasses.asdict(root) for root in roots])

    def plan(self, documents: Sequence[Document], *, replace: bool = False) -> Plan:
        """See `StoreWriter.plan`."""
        return self._planner.plan(documents, replace=replace)

    def commit(self, entries: Iterable[Entry], describe: Sequence[Document] = ()) -> None:
        """See `StoreWriter.commit`: one transaction."""
        entries = list(entries)
        documents = [*(entry.document for entry in entries), *describe]
        names = {name for document in documents for name in document.metadata}
        rows = [(document.metadata_json, *key_of(document), document.doc_id) for document in describe]
        with self._database.change():
            before = self._fields_of([document.doc_id for document in documents])
            self._drop_passages([entry.document.doc_id for entry in entries])
            self._drop_orphans()
            self._insert(entries)
            self._database.execute_many(
                "UPDATE documents SET metadata = ?1, root = ?2, file = ?3, "
                "checksum = checksum(doc_id, ?1, content_hash, n_passages, ?2, ?3) WHERE doc_id = ?4",
                rows,
            )
            self._database.execute_many("INSERT OR IGNORE INTO fields VALUES (?)", [(name,) for name in names])
            self._forget_fields(before - names)
            self._catalog.mark_changed()

    def delete(self, doc_ids: Sequence[str]) -> list[str]:
        """See `StoreWriter.delete`: one transaction."""
        there, before = list[str](), set[str]()
        with self._database.change():
            for start in range(0, len(doc_ids), DELETED_AT_ONCE):
                known = self._row_numbers(doc_ids[start : start + DELETED_AT_ONCE])
                before |= self._fields_of(list(known))
                self._planner.look_at(list(known))
                self._drop_passages(list(known))
                self._database.execute_many("DELETE FROM documents WHERE id = ?", [(row,) for row in known.values()])
                there += known
            self._drop_orphans()
            self._forget_fields(before)
            self._catalog.mark_changed()
        return there

    def unseen(self, within: Origin | None = None) -> list[tuple[str, Origin | None]]:
        """See `StoreWriter.unseen`."""
        where, parameters = "1", list[Parameter]()
        if within is not None:
            root, file = within.key
            where, parameters = "root IS ?", [root]
            if file:
                where += " AND (file = ? OR file >= ? AND file < ?)"
                parameters += [file, f"{file}/", f"{file}0"]  # 0 is the character after /
        sql = (
            f"SELECT doc_id, root, file FROM documents WHERE {where} AND doc_id NOT IN (SELECT doc_id FROM temp.seen) "
            "ORDER BY id"
        )
        with self._database.turn():
            rows = self._database.execute(sql, parameters).fetchall()
            roots = {root.name: root for root in self._catalog.roots()}
        return [(doc_id, origin_of(roots, root, file)) for doc_id, root, file in rows]

    def fit(self, *, again: bool = False) -> bool:
        """See `StoreWriter.fit`."""
        if not self._catalog.spec.transform or (not again and self._vectors.transform()):
            return False
        self.keep_transform(
            fit_transform(self._catalog.spec.transform, self._vectors.batches(), self._catalog.spec.dim)
        )
        return True

    def keep_transform(self, transform: Transform) -> None:
        """See `StoreWriter.keep_transform`."""
        with self._database.change():
            self._database.execute("DELETE FROM transform")
            blobs = (transform.mean.astype(LITTLE_ENDIAN).tobytes(), transform.matrix.astype(LITTLE_ENDIAN).tobytes())
            row = (transform.name, *blobs, checksum(transform.name, *blobs))
            self._database.execute("INSERT INTO transform (name, mean, matrix, checksum) VALUES (?, ?, ?, ?)", row)
            self._database.execute("DELETE FROM segments")
            self._database.execute("DELETE FROM deleted")
            self._catalog.mark_changed()
            self._measure_loss()

    def keep_loss(self, storage: Storage) -> None:
        """See `StoreWriter.keep_loss`."""
        with self._database.change():
            write_setting(self._database, "store_loss", as_setting(storage))
            self._catalog.mark_changed()

    def _measure_loss(self) -> None:
        vectors, catalog = self._vectors, self._catalog
        loss = self._loss.measure(vectors.codec, vectors.transformed, catalog.spec.similarity, catalog.storage())
        if loss:
            write_setting(self._database, "store_loss", loss)

    def keep_background(self, background: Mapping[str, Any]) -> None:
        """See `StoreWriter.keep_background`."""
        with self._database.change():
            write_setting(self._database, "background", dict(background))
            self._catalog.mark_changed()

    def draft(self) -> Store:
        """See `StoreWriter.draft`: a folder inside that of the index."""
        return self._open_store(place_of_draft(self._folder))

    def discard_draft(self) -> None:
        """See `StoreWriter.discard_draft`."""
        discard_draft(self._folder)

    def adopt(self, draft: Store) -> None:
        """See `StoreWriter.adopt`: one transaction; the next `seal` writes the segments."""
        inner = self._folder / DRAFT
        if name := encoder_folder(draft.spec.precision):
            with translated_errors():
                keep_artifacts(self._folder, {name: inner / name})
        with self._database.change():
            take_over(self._database, inner)
            self._catalog.mark_changed()

    def seal(self, *, final: bool) -> None:
        """See `StoreWriter.seal`."""
        self._sealer.seal(final=final)

    def rebuild(self) -> RebuildResult:
        """Make everything anew that follows from the documents, passages and vectors.

        Damaged vectors are recovered from segments, if these have them. If any remain, the segments stay as they are.

        Raises:
            DiskFullError: If the disk is full; what was committed is kept.
        """
        with self._database.turn():
            result = rebuild_database(self._database, self._catalog)
            try:
                self._sealer.rewrite()
                result.rebuilt.append("segments")
            except DamagedError as error:
                result.failed.append(f"the segments stay as they are, because {error}")
            self._sealer.sweep()
        return result

    def compact(self, *, secure: bool = False) -> bool:
        """See `StoreWriter.compact`: one segment for everything, and a database without free space.

        Raises:
            UsageError: If the smallest vector index takes more than the memory that the options allow.
            DiskFullError: If there is not enough space; the message says how much it takes.
            LockedError: If a reader keeps old contents on disk.
        """
        with self._database.turn():
            check_space(self._folder, space_needed(self._folder), f"compacting {str(self._folder)!r}")
            if secure:
                discard_draft(self._folder)
            merged = self._sealer.merge_all(0.0 if secure else MAX_DELETED)
            self._sealer.sweep()
            self._database.compact()
            return merged

    def _insert(self, entries: Sequence[Entry]) -> None:
        """Insert documents, or update the rows that have their ids, whose passages must be deleted already."""
        documents = [entry.document for entry in entries]
        self._database.execute_many(
            """
            INSERT INTO documents
                (doc_id, title, text, metadata, content_hash, n_passages, root, file, layout, checksum)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, checksum(?1, ?4, ?5, ?6, ?7, ?8))
            ON CONFLICT (doc_id) DO UPDATE SET title = excluded.title, text = excluded.text, layout = excluded.layout,
                metadata = excluded.metadata, content_hash = excluded.content_hash,
                n_passages = excluded.n_passages, root = excluded.root, file = excluded.file,
                checksum = excluded.checksum
            """,
            [
                (
                    *(d.doc_id, d.title, d.text, d.metadata_json, d.content_hash, len(entry.passages)),
                    *(*key_of(d), d.layout.text),
                )
                for entry in entries
                for d in [entry.document]
            ],
        )
        row_numbers = self._row_numbers([document.doc_id for document in documents])
        next_passage = self._database.one(
            "SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'passages'"
        )
        numbered = list(enumerate(self._stored(entries), next_passage))
        self._sealer.changed += len(numbered)
        rows = [
            (n, row_numbers[d.doc_id], p.ordinal, p.start, p.end, p.n_tokens, p.n_lost) for n, (d, p, _) in numbered
        ]
        self._database.execute_many(
            "INSERT INTO passages (id, document, ordinal, start, end, n_tokens, n_lost, checksum) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(*row, passage_checksum(row)) for row in rows],
        )
        self._database.execute_many(
            "INSERT INTO vectors (passage, vector, checksum) VALUES (?, ?, ?)",
            [(n, blob, checksum(n, blob)) for n, (_, _, blob) in numbered],
        )

    def _stored(self, entries: Sequence[Entry]) -> Iterator[tuple[Document, Passage, bytes]]:
        """Yield each passage with its document and the bytes of its vector as it is stored.

        Raises:
            UsageError: If a vector cannot be stored.
        """
        flat = [(entry.document, passage) for entry in entries for passage in entry.passages]
        if not flat:
            return
        rows: Vectors = np.concatenate([entry.vectors for entry in entries if entry.passages])
        codec = self._vectors.codec
        stored = codec.encode(rows)
        refuse_unstorable([document.doc_id for document, _ in flat], rows, stored, self._catalog.store_precision)
        if self._loss.take(rows, stored, codec) and (not self._catalog.spec.transform or self._vectors.transform()):
            self._measure_loss()
        for (document, passage), row in zip(flat, stored, strict=True):
            yield document, passage, row.tobytes()

    def _drop_passages(self, doc_ids: Sequence[str]) -> None:
        """Delete the passages of documents with their vectors, and record the deletion for the segments."""
        numbers = self._database.execute(
            "SELECT passages.id FROM documents CROSS JOIN passages ON passages.document = documents.id "
            "WHERE doc_id IN (SELECT value FROM json_each(?))",
            (json.dumps(doc_ids),),
        ).fetchall()
        self._database.execute_many("DELETE FROM passages WHERE id = ?", numbers)
        self._database.execute_many("INSERT INTO deleted VALUES (?)", numbers)
        self._sealer.changed += len(numbers)

    def _drop_orphans(self) -> None:
        """Delete passages without a document, which damage can leave behind; it has been seen in documents, then."""
        if not self._planner.found_damage:
            return
        rows = self._database.execute("SELECT id FROM passages WHERE document NOT IN (SELECT id FROM documents)")
        numbers = rows.fetchall()
        self._database.execute_many("DELETE FROM passages WHERE id = ?", numbers)
        self._database.execute_many("INSERT OR IGNORE INTO deleted VALUES (?)", numbers)

    def _fields_of(self, doc_ids: Sequence[str]) -> set[str]:
        """Return the names of the metadata fields that documents have in the index."""
        sql = (
            "SELECT DISTINCT field.key FROM documents, json_each(metadata) AS field "
            "WHERE json_valid(metadata) AND doc_id IN (SELECT value FROM json_each(?))"
        )
        return {str(name) for (name,) in self._database.execute(sql, (json.dumps(doc_ids),))}

    def _forget_fields(self, names: Set[str]) -> None:
        """Delete the names of fields that no document has anymore.

        Documents are looked at from the last one: a run that rewrites a corpus in order comes to those last.
        """
        having = "SELECT 1 FROM documents, json_each(metadata) WHERE json_valid(metadata) AND key = fields.name"
        last = f"({having} ORDER BY documents.id DESC LIMIT 1)"
        sql = f"DELETE FROM fields WHERE name IN (SELECT value FROM json_each(?)) AND {last} IS NULL"
        if names:
            self._database.execute(sql, (json.dumps(sorted(names)),))

    def _row_numbers(self, doc_ids: Sequence[str]) -> dict[str, int]:
        """Return the ids that exist, in the order given, with their rows in `documents`."""
        sql = "SELECT doc_id, id FROM documents WHERE doc_id IN (SELECT value FROM json_each(?))"
        known = dict(self._database.execute(sql, (json.dumps(doc_ids),)))
        return {doc_id: known[doc_id] for doc_id in doc_ids if doc_id in known}
