"""The one writer of an index: batches of documents in, each committed as a whole.

Committing is the only moment at which anything becomes visible or durable. Segments are made from what is committed,
so a crash between the two costs nothing but the making.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from semsearch.arrays import Vectors
from semsearch.errors import LockedError, MismatchError, NoIndexError, RecordError
from semsearch.stores.local import segments as faiss_segments
from semsearch.stores.local.catalog import Segment
from semsearch.stores.local.database import DATABASE, LOCK, connect, create, transaction, translated_errors
from semsearch.stores.local.keywords import body
from semsearch.stores.local.reader import LAST, LITTLE_ENDIAN, ROWS_AT_ONCE, Index
from semsearch.transforms import fit_transform
from semsearch.types import Document, EncoderSpec, Passage

SEGMENT_BYTES = 64 * 2**20
"""Vectors in one segment: what building or rebuilding one holds in memory."""

TAIL_ROWS = 1_000
"""Rows that may stay outside segments when a run ends; they are read from SQLite when a searcher opens."""

DELETED_AT_ONCE = 1_000
"""Documents whose texts are in memory while they are deleted."""

MAX_DELETED = 0.2
"""Share of deleted rows above which a segment is made again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A document with its passages and their vectors `[passages, dim]`, ready to be committed."""

    document: Document
    passages: Sequence[Passage]
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class Plan:
    """What a batch of documents asks for: encoding, a change of metadata, or nothing."""

    encode: list[Document]
    describe: list[Document]
    unchanged: int


class IndexWriter(Index):
    """An index open for writing; a context manager that holds the folder's lock."""

    def __init__(self, folder: str | Path, spec: EncoderSpec, chunking: dict[str, object], origin: str) -> None:
        """Open the index in `folder`, or make it.

        Raises:
            LockedError: Another process is writing; names it.
            MismatchError: It was built with another encoder or other chunking.
            NoIndexError: The folder holds something else.
        """
        folder = Path(folder)
        with translated_errors(), ExitStack() as opened:
            _prepare_folder(folder)
            opened.enter_context(_lock(folder))
            if not Index.exists(folder):
                _create(folder, spec, chunking, origin)
            super().__init__(folder, _write=True)
            opened.callback(self.close)
            self.refuse_other(spec)
            self._refuse_other_chunking(chunking)
            if spec.model != self.spec.model:  # the same checkpoint in another place
                self._connection.execute(
                    "UPDATE settings SET value = ? WHERE key = 'encoder'", (json.dumps(spec.to_json()),)
                )
                self.spec = spec
            self._connection.execute("PRAGMA synchronous = FULL")  # a committed batch survives a power cut
            self._connection.execute("CREATE TEMP TABLE seen (doc_id TEXT PRIMARY KEY, source TEXT) WITHOUT ROWID")
            self._segment_rows = max(1, SEGMENT_BYTES // (4 * spec.dim))
            self._opened = opened.pop_all()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._opened.close()

    @classmethod
    def reopen(cls, folder: str | Path) -> IndexWriter:
        """Open an existing index for writing, whatever it was built with."""
        with Index(folder) as index:
            return cls(folder, index.spec, index.chunking, index.origin)

    def see(self, document: Document) -> RecordError | None:
        """Remember that this run has met a document; gives the error where it has met the id before."""
        with self._turn, translated_errors():
            row = (document.doc_id, document.source)
            if self._connection.execute("INSERT OR IGNORE INTO temp.seen VALUES (?, ?)", row).rowcount:
                return None
            sql = "SELECT source FROM temp.seen WHERE doc_id = ?"
            (first,) = self._connection.execute(sql, (document.doc_id,)).fetchone()
        return RecordError(document.source, None, f"duplicate id {document.doc_id!r}; {first} has it too")

    def plan(self, documents: Sequence[Document]) -> Plan:
        """Sort a batch by what has to be done: content hash and metadata are compared with the index."""
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
        """Write a batch in one transaction: new documents, changed ones in place of the old, changed metadata.

        Each document stands in the batch once.
        """
        entries = list(entries)
        documents = [*(entry.document for entry in entries), *describe]
        fields = {name for document in documents for name in document.metadata}
        metadata = [(document.metadata_json, document.doc_id) for document in describe]
        with self._turn, transaction(self._connection):
            self._drop_passages([entry.document.doc_id for entry in entries])
            self._insert(entries)
            self._connection.executemany("UPDATE documents SET metadata = ? WHERE doc_id = ?", metadata)
            self._connection.executemany("INSERT OR IGNORE INTO fields VALUES (?)", [(name,) for name in fields])
            self._mark_changed()

    def delete(self, doc_ids: Sequence[str]) -> list[str]:
        """Take documents out in one transaction; returns the ids that were there."""
        there: list[str] = []
        with self._turn, transaction(self._connection):
            for start in range(0, len(doc_ids), DELETED_AT_ONCE):
                known = self._row_numbers(doc_ids[start : start + DELETED_AT_ONCE])
                self._drop_passages(list(known))
                self._connection.executemany("DELETE FROM documents WHERE id = ?", [(row,) for row in known.values()])
                there += known
            self._mark_changed()
        return there

    def unseen(self) -> list[str]:
        """Ids of documents in the index that this run has not met."""
        sql = "SELECT doc_id FROM documents WHERE doc_id NOT IN (SELECT doc_id FROM temp.seen) ORDER BY id"
        with translated_errors():
            return [doc_id for (doc_id,) in self._connection.execute(sql)]

    def fit(self, *, again: bool = False) -> bool:
        """Fit the encoder's transform on all vectors, where it has one and it is not fitted yet (or `again`).

        Returns:
            Whether it was fitted now.
        """
        if not self.spec.transform or (self.transform() and not again):
            return False
        fitted = fit_transform(self.spec.transform, self._stored_batches(), self.spec.dim)
        with self._turn, transaction(self._connection):
            self._connection.execute("DELETE FROM transform")
            blobs = (fitted.mean.astype(LITTLE_ENDIAN).tobytes(), fitted.matrix.astype(LITTLE_ENDIAN).tobytes())
            self._connection.execute("INSERT INTO transform VALUES (?, ?, ?)", (fitted.name, *blobs))
            self._connection.execute("DELETE FROM segments")
            self._connection.execute("DELETE FROM deleted")
            self._mark_changed()
        return True

    def seal(self, *, final: bool) -> None:
        """Bring committed vectors into segments.

        Full segments are made as soon as there are rows enough; a rest of more than `TAIL_ROWS` only at the end of a
        run (`final`). Segments that lost their file or more than `MAX_DELETED` of their rows are made again.
        """
        if self.spec.transform and not self.transform():
            return
        with self._turn, translated_errors():
            for segment in self._segments():
                n_deleted = self._deleted_in(segment.first, segment.last)
                if n_deleted > MAX_DELETED * segment.n_rows or not (self.folder / segment.file).is_file():
                    self._write_segment(segment.first, segment.last, replaces=[segment])
            while self._seal_tail(final):
                pass
            if final:
                self._sweep()

    def _seal_tail(self, final: bool) -> bool:
        """Make one segment of the rows behind the last; a small last one is taken up into it."""
        segments = self._segments()
        small = [segment for segment in segments[-1:] if segment.n_rows < self._segment_rows // 2]
        behind = max((segment.last for segment in segments), default=0)
        waiting = self._one("SELECT count(*) FROM vectors WHERE passage > ?", behind)
        gone = self._deleted_in(behind + 1, LAST)
        room = self._segment_rows - sum(segment.n_rows for segment in small)
        if waiting < room and not (final and waiting and waiting + gone > (TAIL_ROWS if segments else 0)):
            return False
        first = small[0].first if small else behind + 1
        last = self._one(
            "SELECT max(passage) FROM (SELECT passage FROM vectors WHERE passage > ? ORDER BY passage LIMIT ?)",
            behind,
            room,
        )
        self._write_segment(first, last, replaces=small)
        return True

    def _write_segment(self, first: int, last: int, *, replaces: list[Segment]) -> None:
        """Make a segment of a range of passages: first the file, then the record of it."""
        ids, rows = self.rows(first, last)
        number = self._one(
            "SELECT coalesce(max(seq), 0) + 1 FROM (SELECT seq FROM sqlite_sequence WHERE name = 'segments')"
        )
        file = f"vectors.{number:06}.faiss"
        digest = ""
        if len(ids):
            digest = faiss_segments.write(faiss_segments.build(ids, rows), self.folder / file)
        with self._turn, transaction(self._connection):
            for segment in replaces:
                self._connection.execute("DELETE FROM segments WHERE id = ?", (segment.id,))
            self._connection.execute("DELETE FROM deleted WHERE passage BETWEEN ? AND ?", (first, last))
            if len(ids):
                self._connection.execute(
                    "INSERT INTO segments (id, file, kind, first, last, n_rows, sha256) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (number, file, faiss_segments.KIND, first, last, len(ids), digest),
                )
            self._mark_changed()
        for segment in replaces:
            (self.folder / segment.file).unlink(missing_ok=True)

    def _deleted_in(self, first: int, last: int) -> int:
        return self._one("SELECT count(*) FROM deleted WHERE passage BETWEEN ? AND ?", first, last)

    def _sweep(self) -> None:
        """Remove files that no record names: what a crash left behind."""
        named = {segment.file for segment in self._segments()}
        for file in self.folder.glob("vectors.*.faiss*"):
            if file.name not in named:
                file.unlink(missing_ok=True)
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _insert(self, entries: Sequence[Entry]) -> None:
        """Insert documents, or take over the rows of those with their ids, whose passages must be gone."""
        documents = [entry.document for entry in entries]
        self._connection.executemany(
            """
            INSERT INTO documents (doc_id, title, text, metadata, content_hash) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (doc_id) DO UPDATE SET title = excluded.title, text = excluded.text,
                metadata = excluded.metadata, content_hash = excluded.content_hash
            """,
            [(d.doc_id, d.title, d.text, d.metadata_json, d.content_hash) for d in documents],
        )
        row_numbers = self._row_numbers([document.doc_id for document in documents])
        next_passage = self._one("SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'passages'")
        flat = [
            (entry.document, passage, vector.tobytes())
            for entry in entries
            for passage, vector in zip(entry.passages, entry.vectors.astype(LITTLE_ENDIAN, copy=False), strict=True)
        ]
        numbered = list(enumerate(flat, next_passage))
        self._connection.executemany(
            "INSERT INTO passages (id, document, ordinal, start, end, n_tokens, n_lost) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(n, row_numbers[d.doc_id], p.ordinal, p.start, p.end, p.n_tokens, p.n_lost) for n, (d, p, _) in numbered],
        )
        self._connection.executemany("INSERT INTO vectors VALUES (?, ?)", [(n, blob) for n, (_, _, blob) in numbered])
        self._connection.executemany(
            "INSERT INTO keywords (rowid, body) VALUES (?, ?)",
            [(n, body(d.title, d.text[p.start : p.end])) for n, (d, p, _) in numbered],
        )

    def _drop_passages(self, doc_ids: Sequence[str]) -> None:
        """Delete the passages of documents, their words and vectors; segments are told."""
        rows = self._connection.execute(
            """
            SELECT passages.id, title, substr(text, start + 1, end - start)
            FROM passages JOIN documents ON documents.id = passages.document
            WHERE doc_id IN (SELECT value FROM json_each(?))
            """,
            (json.dumps(doc_ids),),
        ).fetchall()
        words = [(number, body(title, text)) for number, title, text in rows]
        numbers = [(number,) for number, _, _ in rows]
        self._connection.executemany("INSERT INTO keywords (keywords, rowid, body) VALUES ('delete', ?, ?)", words)
        self._connection.executemany("DELETE FROM passages WHERE id = ?", numbers)
        self._connection.executemany("INSERT INTO deleted VALUES (?)", numbers)

    def _row_numbers(self, doc_ids: Sequence[str]) -> dict[str, int]:
        """Those of the ids that are there, in the order given, with their rows in `documents`."""
        sql = "SELECT doc_id, id FROM documents WHERE doc_id IN (SELECT value FROM json_each(?))"
        known = dict(self._connection.execute(sql, (json.dumps(doc_ids),)))
        return {doc_id: known[doc_id] for doc_id in doc_ids if doc_id in known}

    def _mark_changed(self) -> None:
        """Tell readers that there is something new."""
        self._connection.execute("UPDATE settings SET value = value + 1 WHERE key = 'revision'")
        self._connection.execute("UPDATE settings SET value = ? WHERE key = 'updated'", (json.dumps(_now()),))

    def _stored_hashes(self, doc_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        sql = "SELECT doc_id, content_hash, metadata FROM documents WHERE doc_id IN (SELECT value FROM json_each(?))"
        with self._turn, translated_errors():
            rows = self._connection.execute(sql, (json.dumps(doc_ids),)).fetchall()
        return {doc_id: (content, metadata) for doc_id, content, metadata in rows}

    def _stored_batches(self) -> Iterator[Vectors]:
        """All stored vectors, in the order of their passages."""
        last = 0
        while True:
            sql = "SELECT max(passage) FROM (SELECT passage FROM vectors WHERE passage > ? ORDER BY passage LIMIT ?)"
            (end,) = self._connection.execute(sql, (last, ROWS_AT_ONCE)).fetchone()
            if end is None:
                return
            yield self.stored(last + 1, end)[1]
            last = end

    def _refuse_other_chunking(self, chunking: dict[str, object]) -> None:
        different = [
            f"{name} {value}, not {chunking[name]}" for name, value in self.chunking.items() if chunking[name] != value
        ]
        if different:
            raise MismatchError(
                f"{str(self.folder)!r} was built with other passages: it has {'; '.join(different)}. "
                "Leave these options out to go on with the index, or build another one (--index DIR)"
            )


def _prepare_folder(folder: Path) -> None:
    """Make the folder; refuse one that holds something else, before anything is written to it."""
    if Index.exists(folder):
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


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system frees when the process ends in whatever way."""
    lock, holder = FileLock(folder / LOCK), folder / "writer.holder"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        name = holder.read_text(encoding="utf-8").strip() if holder.exists() else ""
        raise LockedError(
            f"{str(folder)!r} is being written by {name or 'another process'}; wait for it to end, or stop it"
        ) from None
    try:
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()}, since {_now()}\n", encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _create(folder: Path, spec: EncoderSpec, chunking: dict[str, object], origin: str) -> None:
    """Make the database complete under another name, so that a crash leaves no half of one."""
    settings = {"encoder": spec.to_json(), "chunking": chunking, "origin": origin, "revision": 0}
    settings |= {"created": _now(), "updated": _now()}
    temporary = folder / f"{DATABASE}.new"
    with translated_errors():
        connection = create(temporary)
        rows = [(key, json.dumps(value)) for key, value in settings.items()]
        connection.executemany("INSERT INTO settings VALUES (?, ?)", rows)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        temporary.replace(folder / DATABASE)
        faiss_segments.sync_folder(folder)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
