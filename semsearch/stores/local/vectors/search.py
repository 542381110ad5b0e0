"""Dense search over an index: its segments of vectors, and the vectors that were committed after them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from semsearch.arrays import Ids, Vectors
from semsearch.similarity import Spread
from semsearch.stores.local.catalog import Catalog, SegmentRecord
from semsearch.stores.local.database import Database
from semsearch.stores.local.parts import Parts
from semsearch.stores.local.selections import Selection
from semsearch.stores.local.vectors.ann.library import Chosen
from semsearch.stores.local.vectors.segments import Segment, open_segment, search
from semsearch.stores.local.vectors.table import VectorTable

log = logging.getLogger(__name__)


class VectorSearch:
    """Searches vectors; every method must be called inside a snapshot, except `close`."""

    def __init__(self, database: Database, catalog: Catalog, vectors: VectorTable) -> None:
        self._catalog, self._folder = catalog, database.folder
        self._vectors = vectors
        self._parts: Parts[Segment] = Parts(database, catalog, self)
        self._chosen: Sequence[Chosen | None] = ()
        self._spread: Spread | None = None
        self._target = 1.0

    def close(self) -> None:
        """Release the files of segments; must be called when no operation is in progress."""
        self._parts.close()
        self._chosen, self._spread = (), None

    def search(self, queries: Vectors, k: int, selection: Selection | None) -> tuple[Vectors, Ids]:
        """Find the k passages that are most similar to each query `[n, dim]`; see `segments.search`."""
        self._refresh()
        chosen = self._chosen if selection is None else self._selected(selection)
        return search(list(zip(self._parts.all, chosen, strict=True)), queries, k, self._target)

    def spread(self, dim: int) -> Spread:
        """Return where all vectors lie; their dimension is that after the transform."""
        self._refresh()
        if self._spread is None:
            self._spread = Spread(0, np.zeros(dim))
            for part, chosen in zip(self._parts.all, self._chosen, strict=True):
                if len(part):
                    self._spread += part.spread(chosen)
        return self._spread

    def _refresh(self) -> None:
        if self._parts.refresh():
            self._chosen = [None if mask is None else Chosen.of(mask) for mask in self._parts.living]
            self._spread, self._target = None, self._catalog.vector_options().target_recall

    def _selected(self, selection: Selection) -> Sequence[Chosen | None]:
        """Return the rows of each segment that are selected and not deleted."""
        if selection.chosen is None:
            masks = selection.masks([part.ids for part in self._parts.all], self._parts.living)
            selection.chosen = [None if mask.all() else Chosen.of(mask) for mask in masks]
        return selection.chosen

    def load(self, record: SegmentRecord) -> Segment:
        """See `parts.Source.load`."""
        path = self._folder / record.vectors
        similarity = self._catalog.spec.similarity
        if found := open_segment(
            path, record, self._vectors.dim(), similarity, self._reload, self._vectors.segment_codec
        ):
            return found
        log.warning("%s is missing or damaged; rebuilding it in memory from the database", path)
        return self.read(record.first, record.last)

    def read(self, first: int, last: int | None) -> Segment:
        """See `parts.Source.read`."""
        return Segment(*self._vectors.searched(first, last), self._catalog.spec.similarity)

    def join(self, parts: Sequence[Segment]) -> Segment:
        """See `parts.Source.join`."""
        return Segment.joined(parts)

    def passages(self, part: Segment) -> Ids:
        """See `parts.Source.passages`."""
        return part.ids

    def _reload(self, passages: Ids) -> Vectors:
        return self._vectors.of(passages.tolist())
