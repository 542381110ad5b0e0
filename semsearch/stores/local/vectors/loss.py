"""What storing vectors in fewer bits costs, measured while an index grows."""

from __future__ import annotations

import numpy as np

from semsearch.arrays import Vectors
from semsearch.loss import measure_loss
from semsearch.stores.local.array_file import Array
from semsearch.stores.local.catalog import Catalog, write_setting
from semsearch.stores.local.database import Database
from semsearch.stores.local.vectors.codecs import FLOAT32
from semsearch.stores.local.vectors.table import VectorTable

SAMPLE = 1_000
"""Number of passages of a run that the loss is measured on."""


class StoreLoss:
    """The first vectors of a run, and their loss, which is stored with the index unless it is known from more."""

    def __init__(self, database: Database, catalog: Catalog, vectors: VectorTable) -> None:
        self._database, self._catalog, self._vectors = database, catalog, vectors
        self._exact: list[Vectors] = []
        self._stored: list[Array] = []
        self._n = 0

    def take(self, exact: Vectors, stored: Array) -> None:
        """Add vectors `[n, dim]` that are about to be committed as these rows; must be called inside a change."""
        chosen = np.flatnonzero(exact.any(1))[: SAMPLE - self._n]  # zeros have no neighbors
        if len(chosen) and self._vectors.codec is not FLOAT32:
            self._exact.append(exact[chosen])
            self._stored.append(stored[chosen])
            self._n += len(chosen)
            if not self._catalog.spec.transform or self._vectors.transform():
                self.measure()

    def measure(self) -> None:
        """Measure the loss of the vectors as they are searched; must be called inside a change."""
        if not self._n or self._n < self._catalog.storage().measured:
            return
        exact, decoded = np.concatenate(self._exact), self._vectors.codec.decode(np.concatenate(self._stored))
        loss = measure_loss(
            self._vectors.transformed(decoded), self._vectors.transformed(exact), self._catalog.spec.similarity
        )
        value = {"mean_cosine": loss.mean_cosine, "overlap": loss.overlap, "measured": self._n}
        write_setting(self._database, "store_loss", value)
