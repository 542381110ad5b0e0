"""An index folder and what it says of itself: its settings, its counts, its segments. It needs no numpy.

    <folder>/passages.sqlite          the truth
    <folder>/vectors.<n>.faiss        segments; can be deleted, they are made again
    <folder>/writer.lock, .holder     who is writing

This module knows nothing of models: it compares the encoder's fingerprint.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from semsearch.errors import MismatchError, StoreError
from semsearch.stores.local.database import DATABASE, connect, is_frozen, transaction, translated_errors
from semsearch.types import EncoderSpec

OTHER_ENCODER = "Leave the encoder's options out to go on with the index, or build another one (--index DIR)"


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of vectors as recorded in SQLite.

    Attributes:
        first, last: Lowest and highest passage id that it covers.
        n_rows: Vectors in the file.
        sha256: Of the file, in hex.
    """

    id: int
    file: str
    kind: str
    first: int
    last: int
    n_rows: int
    sha256: str


class IndexFolder:
    """An index open for reading what it says of itself; `Index` searches it as well.

    Several threads may share one; they then take turns.
    """

    def __init__(self, folder: str | Path, *, _write: bool = False) -> None:
        """Open an index.

        Raises:
            NoIndexError: Nothing there, or something else.
            SchemaError: Written by a newer semsearch.
        """
        self.folder = Path(folder)
        self._turn = threading.RLock()
        self._connect(write=_write)
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
        """Close the database, after what is being done with it; the object is then of no more use."""
        with self._turn:
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
            beside = self._one("SELECT count(*) FROM vectors WHERE passage > ?", last_covered(segments))
            fitted = "fitted" if self._one("SELECT count(*) FROM transform") else "not fitted yet"
            return {
                "index": str(self.folder),
                "origin": self.origin,
                "created": self._setting("created"),
                "updated": self._setting("updated"),
                **self.counts(),
                "fields": self.fields(),
                "segments": len(segments),
                "rows_in_segments": sum(segment.n_rows for segment in segments),
                "rows_beside_segments": beside,
                "deleted_rows": self._one("SELECT count(*) FROM deleted"),
                "bytes": _size(self.folder),
                "transform": self.spec.transform and fitted,
                "encoder": {**self.spec.to_json(), "fingerprint": self.spec.fingerprint},
                "chunking": self.chunking,
            }

    def fields(self) -> list[str]:
        """Names of the metadata fields that documents have, sorted."""
        with self.snapshot():
            return [name for (name,) in self._connection.execute("SELECT name FROM fields ORDER BY name")]

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


def last_covered(segments: Any) -> int:
    """Highest passage id that segments cover; 0 for none."""
    return max((segment.last for segment in segments), default=0)


def _size(folder: Path) -> int:
    """Bytes of the files in a folder in which a writer may be at work."""
    total = 0
    for file in folder.iterdir():
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total
