"""The one writer of an index folder: batches of documents in, each committed as a whole.

Committing is the only moment at which anything becomes visible or durable. Segments are made from what is committed,
so a crash between the two costs nothing but the making.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from semsearch.errors import NoIndexError, RecordError
from semsearch.files import copy_folder, sync
from semsearch.stores.base import Entry, Plan, refuse_other_chunking, refuse_other_encoder
from semsearch.stores.local import segments as faiss_segments
from semsearch.stores.local.catalog import Catalog, Segment, last_covered
from semsearch.stores.local.database import DATABASE, Database, connect, create, translated_errors
from semsearch.stores.local.keywords import body, tokens
from semsearch.stores.local.lock import hold_lock
from semsearch.stores.local.vectors import LAST, LITTLE_ENDIAN, VectorTable
from semsearch.transforms import fit_transform
from semsearch.types import Document, EncoderSpec

log = logging.getLogger(__name__)

SEGMENT_BYTES = 64 * 2**20
"""Vectors in one segment: what building or rebuilding one holds in memory."""

TAIL_ROWS = 1_000
"""Rows that may stay outside segments when a run ends; they are read from SQLite when an index is opened."""

DELETED_AT_ONCE = 1_000
"""Documents whose texts are in memory while they are deleted."""

MAX_DELETED = 0.2
"""Share of deleted rows above which a segment is made again."""


class Writer:
    """An index open for writing; make one with `open`. See `StoreWriter`."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._folder, self._database, self._catalog = database.folder, database, catalog
        self._vectors = VectorTable(database, catalog)
        self._segment_rows = max(1, SEGMENT_BYTES // (4 * catalog.spec.dim))
        database.execute("PRAGMA synchronous = FULL")  # a committed batch survives a power cut
        database.execute("CREATE TEMP TABLE seen (doc_id TEXT PRIMARY KEY, source TEXT) WITHOUT ROWID")

    @classmethod
    @contextmanager
    def open(cls, folder: Path, spec: EncoderSpec, chunking: Mapping[str, Any], origin: str) -> Iterator[Self]:
        """Hold the folder's lock with the index open for writing; it is made where there is none.

        Raises:
            LockedError: Somebody else is writing; names them.
            MismatchError: The index was built with another encoder or other chunking.
            NoIndexError: The folder holds something else.
        """
        with ExitStack() as opened:
            with translated_errors():
                writer = cls._opened(opened, folder, spec, chunking, origin)
            yield writer  # errors of what is written, such as a corpus that cannot be read, stay what they are

    @classmethod
    def _opened(
        cls, opened: ExitStack, folder: Path, spec: EncoderSpec, chunking: Mapping[str, Any], origin: str
    ) -> Self:
        """The writer; what must be undone behind it is left with `opened`."""
        _prepare_folder(folder)
        opened.enter_context(hold_lock(folder))
        if not (folder / DATABASE).is_file():
            _create(folder, spec, chunking, origin)
        database = opened.enter_context(closing(Database(folder, write=True)))
        catalog = Catalog(database)
        refuse_other_encoder(str(folder), catalog.spec, spec)
        refuse_other_chunking(str(folder), catalog.chunking, chunking)
        if spec.model != catalog.spec.model:  # the same checkpoint in another place
            database.execute("UPDATE settings SET value = ? WHERE key = 'encoder'", (json.dumps(spec.to_json()),))
        return cls(database, catalog)

    def keep(self, artifacts: Mapping[str, Path]) -> None:
        """See `StoreWriter.keep`."""
        for name, folder in artifacts.items():
            with translated_errors():
                copy_folder(folder, self._folder / name)

    def see(self, document: Document) -> RecordError | None:
        """See `StoreWriter.see`."""
        with self._database.turn():
            row = (document.doc_id, document.source)
            if self._database.execute("INSERT OR IGNORE INTO temp.seen VALUES (?, ?)", row).rowcount:
                return None
            sql = "SELECT source FROM temp.seen WHERE doc_id = ?"
            (first,) = self._database.execute(sql, (document.doc_id,)).fetchone()
        return RecordError(document.source, None, f"duplicate id {document.doc_id!r}; {first} has it too")

    def plan(self, documents: Sequence[Document]) -> Plan:
        """See `StoreWriter.plan`: content hash and metadata are compared."""
        stored = self._stored_hashes([document.doc_id for document in documents])
        encode, describe = [], []
        for document in documents:
            content, metadata = stored.get(document.doc_id, ("", ""))
            if content != document.content_hash:
                encode.append(document)
            elif metadata != document.metadata_json:
                describe.append(document)
        return Plan(encode, describe, len(documents) - len(encode) - len(describe))

    def commit(self, entries: Iterable[Entry], describe: Sequence[Document] = ()) -> None:
        """See `StoreWriter.commit`: one transaction."""
        entries = list(entries)
        documents = [*(entry.document for entry in entries), *describe]
        fields = {name for document in documents for name in document.metadata}
        metadata = [(document.metadata_json, document.doc_id) for document in describe]
        with self._database.change():
            self._drop_passages([entry.document.doc_id for entry in entries])
            self._insert(entries)
            self._database.execute_many("UPDATE documents SET metadata = ? WHERE doc_id = ?", metadata)
            self._database.execute_many("INSERT OR IGNORE INTO fields VALUES (?)", [(name,) for name in fields])
            self._mark_changed()

    def delete(self, doc_ids: Sequence[str]) -> list[str]:
        """See `StoreWriter.delete`: one transaction."""
        there: list[str] = []
        with self._database.change():
            for start in range(0, len(doc_ids), DELETED_AT_ONCE):
                known = self._row_numbers(doc_ids[start : start + DELETED_AT_ONCE])
                self._drop_passages(list(known))
                self._database.execute_many("DELETE FROM documents WHERE id = ?", [(row,) for row in known.values()])
                there += known
            self._mark_changed()
        return there

    def unseen(self) -> list[str]:
        """See `StoreWriter.unseen`."""
        sql = "SELECT doc_id FROM documents WHERE doc_id NOT IN (SELECT doc_id FROM temp.seen) ORDER BY id"
        with self._database.turn():
            return [doc_id for (doc_id,) in self._database.execute(sql)]

    def fit(self, *, again: bool = False) -> bool:
        """See `StoreWriter.fit`."""
        if not self._catalog.spec.transform or (self._vectors.transform() and not again):
            return False
        fitted = fit_transform(self._catalog.spec.transform, self._vectors.batches(), self._catalog.spec.dim)
        with self._database.change():
            self._database.execute("DELETE FROM transform")
            blobs = (fitted.mean.astype(LITTLE_ENDIAN).tobytes(), fitted.matrix.astype(LITTLE_ENDIAN).tobytes())
            self._database.execute("INSERT INTO transform VALUES (?, ?, ?)", (fitted.name, *blobs))
            self._database.execute("DELETE FROM segments")
            self._database.execute("DELETE FROM deleted")
            self._mark_changed()
        return True

    def seal(self, *, final: bool) -> None:
        """Bring committed vectors into segments.

        Full segments are made as soon as there are rows enough; a rest of more than `TAIL_ROWS` only at the end of a
        run (`final`). Segments that lost their file or more than `MAX_DELETED` of their rows are made again.
        """
        if self._catalog.spec.transform and not self._vectors.transform():
            return
        with self._database.turn():
            for segment in self._catalog.segments():
                n_deleted = self._deleted_in(segment.first, segment.last)
                if n_deleted > MAX_DELETED * segment.n_rows or not (self._folder / segment.file).is_file():
                    self._write_segment(segment.first, segment.last, replaces=[segment])
            while self._seal_tail(final):
                pass
            if final:
                self._sweep()

    def _seal_tail(self, final: bool) -> bool:
        """Make one segment of the rows behind the last; a small last one is taken up into it."""
        segments = self._catalog.segments()
        small = [segment for segment in segments[-1:] if segment.n_rows < self._segment_rows // 2]
        behind = last_covered(segments)
        waiting = self._database.one("SELECT count(*) FROM vectors WHERE passage > ?", behind)
        gone = self._deleted_in(behind + 1, LAST)
        room = self._segment_rows - sum(segment.n_rows for segment in small)
        if waiting < room and not (final and waiting and waiting + gone > (TAIL_ROWS if segments else 0)):
            return False
        first = small[0].first if small else behind + 1
        last = self._database.one(
            "SELECT max(passage) FROM (SELECT passage FROM vectors WHERE passage > ? ORDER BY passage LIMIT ?)",
            behind,
            room,
        )
        self._write_segment(first, last, replaces=small)
        return True

    def _write_segment(self, first: int, last: int, *, replaces: list[Segment]) -> None:
        """Make a segment of a range of passages: first the file, then the record of it."""
        ids, rows = self._vectors.searched(first, last)
        number = self._database.one(
            "SELECT coalesce(max(seq), 0) + 1 FROM (SELECT seq FROM sqlite_sequence WHERE name = 'segments')"
        )
        file = f"vectors.{number:06}.faiss"
        digest = ""
        if len(ids):
            digest = faiss_segments.write(faiss_segments.build(ids, rows), self._folder / file)
            log.info("%s: wrote %s with %d vectors", self._folder, file, len(ids))
        with self._database.change():
            for segment in replaces:
                self._database.execute("DELETE FROM segments WHERE id = ?", (segment.id,))
            self._database.execute("DELETE FROM deleted WHERE passage BETWEEN ? AND ?", (first, last))
            if len(ids):
                self._database.execute(
                    "INSERT INTO segments (id, file, kind, first, last, n_rows, sha256) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (number, file, faiss_segments.KIND, first, last, len(ids), digest),
                )
            self._mark_changed()
        for segment in replaces:
            (self._folder / segment.file).unlink(missing_ok=True)

    def _deleted_in(self, first: int, last: int) -> int:
        return self._database.one("SELECT count(*) FROM deleted WHERE passage BETWEEN ? AND ?", first, last)

    def _sweep(self) -> None:
        """Remove files that no record names: what a crash left behind."""
        named = {segment.file for segment in self._catalog.segments()}
        for file in self._folder.glob("vectors.*.faiss*"):
            if file.name not in named:
                file.unlink(missing_ok=True)
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _insert(self, entries: Sequence[Entry]) -> None:
        """Insert documents, or take over the rows of those with their ids, whose passages must be gone."""
        documents = [entry.document for entry in entries]
        self._database.execute_many(
            """
            INSERT INTO documents (doc_id, title, text, metadata, content_hash) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (doc_id) DO UPDATE SET title = excluded.title, text = excluded.text,
                metadata = excluded.metadata, content_hash = excluded.content_hash
            """,
            [(d.doc_id, d.title, d.text, d.metadata_json, d.content_hash) for d in documents],
        )
        row_numbers = self._row_numbers([document.doc_id for document in documents])
        next_passage = self._database.one(
            "SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'passages'"
        )
        flat = [
            (entry.document, passage, vector.tobytes())
            for entry in entries
            for passage, vector in zip(entry.passages, entry.vectors.astype(LITTLE_ENDIAN, copy=False), strict=True)
        ]
        numbered = list(enumerate(flat, next_passage))
        self._database.execute_many(
            "INSERT INTO passages (id, document, ordinal, start, end, n_tokens, n_lost) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(n, row_numbers[d.doc_id], p.ordinal, p.start, p.end, p.n_tokens, p.n_lost) for n, (d, p, _) in numbered],
        )
        self._database.execute_many("INSERT INTO vectors VALUES (?, ?)", [(n, blob) for n, (_, _, blob) in numbered])
        self._database.execute_many(
            "INSERT INTO keywords (rowid, body) VALUES (?, ?)",
            [(n, body(d.title, d.text[p.start : p.end])) for n, (d, p, _) in numbered],
        )
        self._database.execute_many(
            "INSERT INTO exact (rowid, tokens) VALUES (?, ?)",
            [(n, tokens(d.title, d.text[p.start : p.end])) for n, (d, p, _) in numbered],
        )

    def _drop_passages(self, doc_ids: Sequence[str]) -> None:
        """Delete the passages of documents, their words and vectors; segments are told."""
        rows = self._database.execute(
            """
            SELECT passages.id, title, substr(text, start + 1, end - start)
            FROM passages JOIN documents ON documents.id = passages.document
            WHERE doc_id IN (SELECT value FROM json_each(?))
            """,
            (json.dumps(doc_ids),),
        ).fetchall()
        words = [(number, body(title, text)) for number, title, text in rows]
        exact = [(number, tokens(title, text)) for number, title, text in rows]
        numbers = [(number,) for number, _, _ in rows]
        self._database.execute_many("INSERT INTO keywords (keywords, rowid, body) VALUES ('delete', ?, ?)", words)
        self._database.execute_many("INSERT INTO exact (exact, rowid, tokens) VALUES ('delete', ?, ?)", exact)
        self._database.execute_many("DELETE FROM passages WHERE id = ?", numbers)
        self._database.execute_many("INSERT INTO deleted VALUES (?)", numbers)

    def _row_numbers(self, doc_ids: Sequence[str]) -> dict[str, int]:
        """Those of the ids that are there, in the order given, with their rows in `documents`."""
        sql = "SELECT doc_id, id FROM documents WHERE doc_id IN (SELECT value FROM json_each(?))"
        known = dict(self._database.execute(sql, (json.dumps(doc_ids),)))
        return {doc_id: known[doc_id] for doc_id in doc_ids if doc_id in known}

    def _mark_changed(self) -> None:
        """Tell readers that there is something new."""
        self._database.execute("UPDATE settings SET value = value + 1 WHERE key = 'revision'")
        self._database.execute("UPDATE settings SET value = ? WHERE key = 'updated'", (json.dumps(_now()),))

    def _stored_hashes(self, doc_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        sql = "SELECT doc_id, content_hash, metadata FROM documents WHERE doc_id IN (SELECT value FROM json_each(?))"
        with self._database.turn():
            rows = self._database.execute(sql, (json.dumps(doc_ids),)).fetchall()
        return {doc_id: (content, metadata) for doc_id, content, metadata in rows}


def _prepare_folder(folder: Path) -> None:
    """Make the folder; refuse one that holds something else, before anything is written to it."""
    if (folder / DATABASE).is_file():
        connect(folder / DATABASE).close()
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NoIndexError(f"{str(folder)!r} is or lies below a file; give a folder for the index") from None
    ours = (f"{DATABASE}.new", "writer.", "vectors.")
    foreign = [file.name for file in folder.iterdir() if not file.name.startswith(ours)]
    if foreign:
        raise NoIndexError(
            f"{str(folder)!r} is not an index and holds other files ({foreign[0]} …); give an empty or new folder"
        )


def _create(folder: Path, spec: EncoderSpec, chunking: Mapping[str, Any], origin: str) -> None:
    """Make the database complete under another name, so that a crash leaves no half of one."""
    settings = {"encoder": spec.to_json(), "chunking": dict(chunking), "origin": origin, "revision": 0}
    settings |= {"created": _now(), "updated": _now()}
    temporary = folder / f"{DATABASE}.new"
    with translated_errors():
        connection = create(temporary)
        rows = [(key, json.dumps(value)) for key, value in settings.items()]
        connection.executemany("INSERT INTO settings VALUES (?, ?)", rows)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        temporary.replace(folder / DATABASE)
        sync(folder)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
