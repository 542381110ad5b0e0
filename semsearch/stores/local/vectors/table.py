"""The table of vectors: rows keyed by passage number, in the precision of the index, and the fitted transform."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TypeAlias

import numpy as np

from semsearch.arrays import Array, Ids, Vectors
from semsearch.errors import DamagedError, StoreError
from semsearch.stores.codecs import CODECS, FLOAT32, Codec
from semsearch.stores.local import guard
from semsearch.stores.local.catalog import LAST, Catalog, State
from semsearch.stores.local.database import Database
from semsearch.stores.local.guard import checksum
from semsearch.transforms import Transform, canonical_transform

LITTLE_ENDIAN = np.dtype("<f4")

ROWS_AT_ONCE = 8_192
"""Number of vectors in memory while a transform is fitted."""

NAMED = 3
"""Maximum number of documents with damaged vectors that a message names."""

Read: TypeAlias = Callable[[int, int | None], tuple[Ids, Array]]
"""Returns the passages `[n]` of a range, ascending, and their vectors in some form."""


class VectorTable:
    """The vectors as stored, as decoded, and as searched: after the transform, which makes them unit rows."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database, self._catalog = database, catalog
        self._fitted: tuple[State, Transform | None] | None = None

    @property
    def codec(self) -> Codec:
        """The form in which vectors are stored."""
        return CODECS[self._catalog.store_precision]

    @property
    def segment_codec(self) -> Codec:
        """The form of the rows in segments: that of the stored vectors, but float32 after a fitted transform.

        Transforming vectors is not exactly reproducible, so their codes would not be, either.
        """
        return FLOAT32 if self._catalog.spec.transform else self.codec

    def stored(self, first: int, last: int | None) -> tuple[Ids, Array]:
        """Return the passages `[n]` of a range, ascending, and their stored rows `[n, columns]`; see `Codec`.

        Raises:
            DamagedError: If vectors are corrupt or missing; the message names some documents with corrupt ones.
        """
        upper = LAST if last is None else last
        with self._database.snapshot():
            codec, dim = self.codec, self._catalog.spec.dim
            n = self._database.one("SELECT count(*) FROM vectors WHERE passage BETWEEN ? AND ?", first, upper)
            ids, rows = np.zeros(n, np.int64), np.zeros((n, codec.columns(dim)), codec.dtype)
            damaged: list[int] = []
            sql = "SELECT passage, vector, checksum FROM vectors WHERE passage BETWEEN ? AND ? ORDER BY passage"
            for row, (passage, blob, stored) in enumerate(self._database.execute(sql, (first, upper))):
                ids[row], vector = passage, _row(codec, dim, passage, blob, stored)
                if vector is None:
                    damaged.append(passage)
                else:
                    rows[row] = vector
            damaged += ids[~np.isfinite(codec.decode(rows)).all(1)].tolist()
            if damaged:
                raise self._named(damaged)
            wanted = self._database.one("SELECT count(*) FROM passages WHERE id BETWEEN ? AND ?", first, upper)
            if n != wanted:
                what = f"there are {n} vectors for {wanted} passages"
                raise guard.damaged(self._database.folder, what, guard.INDEX_AGAIN)
            return ids, rows

    def decoded(self, first: int, last: int | None) -> tuple[Ids, Vectors]:
        """Return the same as `stored`, but decoded, `[n, dim]`."""
        with self._database.snapshot():
            ids, rows = self.stored(first, last)
            return ids, self.codec.decode(rows)

    def of(self, passages: Sequence[int]) -> Vectors:
        """Return the vectors of passages `[n, dim]` as they are searched; zeros for deleted passages.

        Raises:
            DamagedError: If one of them is corrupt.
        """
        with self._database.snapshot():
            found = self._found(passages)
            rows = np.zeros((len(passages), self.dim()), np.float32)
            there = [place for place, passage in enumerate(passages) if passage in found]
            if there:
                decoded = self.codec.decode(np.stack([found[passages[place]] for place in there]))
                rows[there] = self.transformed(decoded)
            return rows

    def rows_of(self, passages: Sequence[int]) -> Array:
        """Return the same for passages that exist, at least one, but as rows of a segment; see `segment_codec`."""
        if self._catalog.spec.transform:
            return self.of(passages)
        with self._database.snapshot():
            found = self._found(passages)
            return np.stack([found[passage] for passage in passages])

    def _found(self, passages: Sequence[int]) -> dict[int, Array]:
        """Return the stored rows of those passages that exist."""
        with self._database.snapshot():
            sql = "SELECT passage, vector, checksum FROM vectors WHERE passage IN (SELECT value FROM json_each(?))"
            found: dict[int, Array] = {}
            codec, dim = self.codec, self._catalog.spec.dim
            for passage, blob, stored in self._database.execute(sql, (json.dumps(list(passages)),)):
                row = _row(codec, dim, passage, blob, stored)
                if row is None:
                    raise self._named([passage])
                found[passage] = row
            return found

    def _named(self, passages: list[int]) -> DamagedError:
        """Return the error for corrupt vectors, which names some of their documents."""
        sql = (
            "SELECT DISTINCT doc_id FROM passages JOIN documents ON documents.id = document "
            "WHERE passages.id IN (SELECT value FROM json_each(?)) LIMIT ?"
        )
        names = [repr(name) for (name,) in self._database.execute(sql, (json.dumps(passages), NAMED))]
        what = f"{len(passages)} vectors are corrupt, including those of {', '.join(names)}"
        return guard.damaged(self._database.folder, what, guard.INDEX_AGAIN)

    def searched(self, first: int, last: int | None) -> tuple[Ids, Vectors]:
        """Return the same as `decoded`, but after the fitted transform, if the index has one."""
        with self._database.snapshot():
            ids, rows = self.decoded(first, last)
            return ids, self.transformed(rows)

    def in_segments(self, first: int, last: int | None) -> tuple[Ids, Array]:
        """Return the same as `searched`, but as rows of a segment; see `segment_codec`."""
        return self.searched(first, last) if self._catalog.spec.transform else self.stored(first, last)

    def transformed(self, rows: Vectors) -> Vectors:
        """Convert vectors `[n, dim]` as the encoder returns them to rows as they are searched.

        Raises:
            StoreError: If the index has a transform that is not fitted yet.
        """
        transform = self.fitted()
        return transform(rows) if transform else rows

    def fitted(self) -> Transform | None:
        """See `Readable.fitted`."""
        if not self._catalog.spec.transform:
            return None
        transform = self.transform()
        if transform is None:
            raise StoreError(
                f"the transform {self._catalog.spec.transform!r} of {str(self._database.folder)!r} is not fitted yet: "
                "the first run did not finish; run the same semsearch index command again"
            )
        return transform

    def transform(self) -> Transform | None:
        """Return the fitted transform; None if there is none (yet).

        Raises:
            DamagedError: If it is corrupt.
        """
        with self._database.snapshot():
            state = self._catalog.state()
            if self._fitted is None or self._fitted[0] != state:
                self._fitted = state, self._read_transform()
            return self._fitted[1]

    def _read_transform(self) -> Transform | None:
        row = self._database.execute("SELECT name, mean, matrix, checksum FROM transform").fetchone()
        if row is None:
            return None
        (name, mean, matrix, stored), spec = row, self._catalog.spec
        if checksum(name, mean, matrix) == stored and canonical_transform(str(name)) == spec.transform:
            with suppress(ValueError, TypeError):  # values that are not blobs, or do not have this shape
                one, many = (np.frombuffer(blob, LITTLE_ENDIAN) for blob in (mean, matrix))
                many = many.reshape(spec.dim, -1)
                if len(one) == spec.dim and 0 < many.shape[1] <= spec.dim and np.isfinite(one).all():
                    if np.isfinite(many).all():
                        return Transform(spec.transform, one, many)
        raise guard.damaged(self._database.folder, "its fitted transform is corrupt", guard.FIT_AGAIN)

    def dim(self) -> int:
        """Return the dimension of a vector as it is searched."""
        transform = self.transform() if self._catalog.spec.transform else None
        return transform.matrix.shape[1] if transform else self._catalog.spec.dim

    def batches(self) -> Iterator[Vectors]:
        """Yield all vectors before the fitted transform, decoded, in passage order, a few thousand at a time."""
        return (rows for _, rows in self.parts(self.decoded))

    def parts(self, read: Read, first: int = 0, last: int = LAST) -> Iterator[tuple[Ids, Array]]:
        """Yield what one of the methods above returns for a range of passages, a few thousand at a time."""
        while True:
            some = "SELECT passage FROM vectors WHERE passage BETWEEN ? AND ? ORDER BY passage LIMIT ?"
            parameters = (first, last, ROWS_AT_ONCE)
            (end,) = self._database.execute(f"SELECT max(passage) FROM ({some})", parameters).fetchone()
            if end is None:
                return
            yield read(first, end)
            first = end + 1

    def passages(self, first: int, last: int) -> Ids:
        """Return the passages of a range that have vectors, ascending."""
        rows = self._database.execute(
            "SELECT passage FROM vectors WHERE passage BETWEEN ? AND ? ORDER BY passage", (first, last)
        )
        return np.fromiter((row[0] for row in rows), np.int64)


def _row(codec: Codec, dim: int, passage: int, blob: object, stored: int) -> Array | None:
    """Read the stored row of a vector from its blob; return None if the blob is corrupt."""
    if type(blob) is bytes and len(blob) == codec.n_bytes(dim) and checksum(passage, blob) == stored:
        return np.frombuffer(blob, codec.dtype)
    return None
