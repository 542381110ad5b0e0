"""The table of vectors: float32 rows under the numbers of their passages, and the transform fitted on them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from semsearch.arrays import Ids, Vectors
from semsearch.errors import StoreError
from semsearch.stores.local.catalog import Catalog
from semsearch.stores.local.database import Database
from semsearch.transforms import Transform

LITTLE_ENDIAN = np.dtype("<f4")

LAST = 2**63 - 1
"""No passage has a higher number."""

ROWS_AT_ONCE = 8_192
"""Vectors in memory while a transform is fitted."""


class VectorTable:
    """The vectors as they are stored, and as they are searched: with the transform, unit rows."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database, self._catalog = database, catalog

    def stored(self, first: int, last: int | None) -> tuple[Ids, Vectors]:
        """Passages `[n]` of a range, ascending, and their vectors `[n, dim]` before the fitted transform."""
        upper = LAST if last is None else last
        with self._database.snapshot():
            n = self._database.one("SELECT count(*) FROM vectors WHERE passage BETWEEN ? AND ?", first, upper)
            ids, rows = np.empty(n, np.int64), np.empty((n, self._catalog.spec.dim), np.float32)
            sql = "SELECT passage, vector FROM vectors WHERE passage BETWEEN ? AND ? ORDER BY passage"
            for row, (passage, blob) in enumerate(self._database.execute(sql, (first, upper))):
                ids[row], rows[row] = passage, np.frombuffer(blob, LITTLE_ENDIAN)
            return ids, rows

    def searched(self, first: int, last: int | None) -> tuple[Ids, Vectors]:
        """As `stored`, after the fitted transform: unit rows."""
        with self._database.snapshot():
            ids, rows = self.stored(first, last)
            return ids, self.transformed(rows)

    def transformed(self, rows: Vectors) -> Vectors:
        """Vectors `[n, dim]` as the encoder gives them to unit rows as they are searched.

        Raises:
            StoreError: The index has a transform that is not fitted yet.
        """
        if not self._catalog.spec.transform:
            return rows
        transform = self.transform()
        if transform is None:
            raise StoreError(
                f"the transform {self._catalog.spec.transform!r} of {str(self._database.folder)!r} is not fitted yet: "
                "the first run did not come to its end; run the same semsearch index command again"
            )
        return transform(rows)

    def transform(self) -> Transform | None:
        """The fitted transform; None where there is none (yet)."""
        with self._database.snapshot():
            row = self._database.execute("SELECT name, mean, matrix FROM transform").fetchone()
        if row is None:
            return None
        mean = np.frombuffer(row[1], LITTLE_ENDIAN)
        return Transform(row[0], mean, np.frombuffer(row[2], LITTLE_ENDIAN).reshape(len(mean), -1))

    def batches(self) -> Iterator[Vectors]:
        """All stored vectors, in the order of their passages, some thousand at a time."""
        last = 0
        while True:
            sql = "SELECT max(passage) FROM (SELECT passage FROM vectors WHERE passage > ? ORDER BY passage LIMIT ?)"
            (end,) = self._database.execute(sql, (last, ROWS_AT_ONCE)).fetchone()
            if end is None:
                return
            yield self.stored(last + 1, end)[1]
            last = end
