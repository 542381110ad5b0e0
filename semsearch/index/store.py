"""An index folder as one unit, for readers: SQLite's rows and FAISS's segments, always of the same moment.

    <folder>/passages.sqlite          the truth
    <folder>/vectors.<n>.faiss        segments; can be deleted, they are made again
    <folder>/writer.lock, .holder     who is writing

This module knows nothing of models: it is handed vectors, and compares the encoder's fingerprint.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from semsearch.errors import MismatchError, StoreError
from semsearch.index import vectors as faiss_segments
from semsearch.index.database import DATABASE, connect, is_frozen, transaction, translated_errors
from semsearch.index.filters import Filter, check_fields
from semsearch.index.keywords import match_expression
from semsearch.index.vectors import FaissIndex, Ids, Segment
from semsearch.records import EncoderSpec, Metadata, Vectors
from semsearch.transforms import Transform

LITTLE_ENDIAN = np.dtype("<f4")

LAST = 2**63 - 1
"""No passage has a higher number."""

ROWS_AT_ONCE = 8_192
"""Vectors in memory while a transform is fitted."""

OTHER_ENCODER = "Leave the encoder's options out to go on with the index, or build another one (--index DIR)"


@dataclass(frozen=True, slots=True)
class Found:
    """A passage as a search shows it."""

    doc_id: str
    title: str
    text: str
    start: int
    end: int
    metadata: Metadata


class Index:
    """A reader of an index folder; also the base of the writer.

    Several threads may share one; searches then take turns.
    """

    def __init__(self, folder: str | Path, *, _write: bool = False) -> None:
        """Open an index.

        Raises:
            NoIndexError: Nothing there, or something else.
            SchemaError: Written by a newer semsearch.
        """
        self.folder = Path(folder)
        self._connect(write=_write)
        self._turn = threading.RLock()
        self._revision = -1
        self._loaded: dict[int, FaissIndex] = {}
        self._tail: list[FaissIndex] = []
        self._sealed = self._tail_end = -1
        self._deleted: Ids = np.empty(0, np.int64)
        try:
            with self.snapshot():
                self.spec = EncoderSpec.from_json(self._setting("encoder"))
                self.chunking: dict[str, Any] = self._setting("chunking")
                self.origin: str = self._setting("origin")
        except BaseException:
            self.close()
            raise

    @staticmethod
    def exists(folder: str | Path) -> bool:
        """Whether there is an index in this folder."""
        return (Path(folder) / DATABASE).is_file()

    def close(self) -> None:
        """Close the database; the object is then of no more use."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything asked of the index inside sees one committed state, whatever a writer does meanwhile."""
        with self._turn, translated_errors():
            if self._connection.in_transaction:
                yield
                return
            if self._frozen is not None and self._frozen != self._stamp():
                self.close()
                self._connect()
            with transaction(self._connection, write=False):
                yield

    def _connect(self, *, write: bool = False) -> None:
        """Open the database; one that cannot change as far as SQLite knows is opened again when it did."""
        path = self.folder / DATABASE
        self._frozen = self._stamp() if not write and path.is_file() and is_frozen(path) else None
        self._connection = connect(path, write=write)

    def _stamp(self) -> tuple[int, int, bool]:
        """What a writer elsewhere cannot leave as it is: time and size of the database, and whether it has a log."""
        path = self.folder / DATABASE
        entry = path.stat()
        return entry.st_mtime_ns, entry.st_size, path.with_name(f"{path.name}-wal").exists()

    def refuse_other(self, spec: EncoderSpec, advice: str = OTHER_ENCODER) -> None:
        """Check that an encoder is the one that this index was built with.

        Raises:
            MismatchError: With what differs, and the advice.
        """
        if spec.fingerprint != self.spec.fingerprint:
            raise MismatchError(
                f"{str(self.folder)!r} belongs to another encoder: it has {'; '.join(self.spec.differences(spec))}. "
                f"{advice}"
            )

    def counts(self) -> dict[str, int]:
        """Documents, passages, tokens, passages that were truncated, and tokens lost by that."""
        with self.snapshot():
            row = self._connection.execute(
                "SELECT count(*), coalesce(sum(n_tokens), 0), coalesce(sum(n_lost > 0), 0), coalesce(sum(n_lost), 0) "
                "FROM passages"
            ).fetchone()
            names = ("passages", "tokens", "truncated", "tokens_lost")
            return {"documents": self._one("SELECT count(*) FROM documents"), **dict(zip(names, row, strict=True))}

    def status(self) -> dict[str, Any]:
        """What `semsearch status` shows: counts, settings, segments, size on disk in bytes."""
        with self.snapshot():
            segments = self._segments()
            return {
                "index": str(self.folder),
                "origin": self.origin,
                "created": self._setting("created"),
                "updated": self._setting("updated"),
                **self.counts(),
                "fields": self.fields(),
                "segments": len(segments),
                "rows_in_segments": sum(segment.n_rows for segment in segments),
                "rows_beside_segments": self._one("SELECT count(*) FROM vectors WHERE passage > ?", _covered(segments)),
                "deleted_rows": self._one("SELECT count(*) FROM deleted"),
                "bytes": _size(self.folder),
                "transform": self.spec.transform and ((self.transform() is not None and "fitted") or "not fitted yet"),
                "encoder": {**self.spec.to_json(), "fingerprint": self.spec.fingerprint},
                "chunking": self.chunking,
            }

    def fields(self) -> list[str]:
        """Names of the metadata fields that documents have, sorted."""
        with self.snapshot():
            return [name for (name,) in self._connection.execute("SELECT name FROM fields ORDER BY name")]

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
                    sql += f" AND rowid IN ({_passages_of(where)})"
                    parameters += where.parameters
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

    def show(self, passages: Sequence[int]) -> dict[int, Found]:
        """Text and metadata of each of these passages."""
        sql = """
            SELECT passages.id, doc_id, title, substr(text, start + 1, end - start), start, end, metadata
            FROM passages JOIN documents ON documents.id = passages.document
            WHERE passages.id IN (SELECT value FROM json_each(?))
            """
        with self.snapshot():
            return {
                number: Found(doc_id, title, text, start, end, json.loads(metadata))
                for number, doc_id, title, text, start, end, metadata in self._connection.execute(
                    sql, (json.dumps(list(passages)),)
                )
            }

    def _allowed(self, where: Filter) -> Ids:
        """Passages of the documents that meet a filter, ascending."""
        self._check_fields(where)
        rows = self._connection.execute(f"{_passages_of(where)} ORDER BY passages.id", where.parameters)
        return np.fromiter((row[0] for row in rows), np.int64)

    def _check_fields(self, where: Filter) -> None:
        check_fields(where, self.fields())

    def _refresh(self) -> None:
        """Take in what was committed since the last search."""
        revision = int(self._setting("revision"))
        if revision == self._revision:
            return
        segments = {segment.id: segment for segment in self._segments()}
        covered = _covered(segments.values())
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

    def _segments(self) -> list[Segment]:
        rows = self._connection.execute(
            "SELECT id, file, kind, first, last, n_rows, sha256 FROM segments ORDER BY first"
        )
        return [Segment(*row) for row in rows]

    def _setting(self, key: str) -> Any:
        row = self._connection.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise StoreError(f"{str(self.folder)!r} lacks the setting {key!r}; the index is damaged, build it again")
        return json.loads(row[0])

    def _one(self, sql: str, *parameters: object) -> int:
        """The single number that a query gives."""
        return int(self._connection.execute(sql, parameters).fetchone()[0])


def _covered(segments: Any) -> int:
    """Highest passage id that segments cover; 0 for none."""
    return max((segment.last for segment in segments), default=0)


def _size(folder: Path) -> int:
    """Bytes of the files in a folder in which a writer may be at work."""
    total = 0
    for file in folder.iterdir():
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


def _passages_of(where: Filter) -> str:
    """SQL for the passages of the documents that meet a filter."""
    return f"SELECT passages.id FROM passages JOIN documents ON documents.id = passages.document WHERE {where.sql}"
