"""Keyword search over an index: the inverted indexes of its segments, and one of what was committed after them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from semsearch.arrays import Ids, Vectors
from semsearch.stores.local.catalog import Catalog, SegmentRecord
from semsearch.stores.local.database import Database
from semsearch.stores.local.parts import Parts
from semsearch.stores.local.selections import Selection
from semsearch.stores.local.words.files import open_words, texts_of
from semsearch.stores.words.bm25 import KeywordIndex
from semsearch.stores.words.postings import Mask, Postings, build, merge

log = logging.getLogger(__name__)


class WordSearch:
    """Searches words; every method must be called inside a snapshot, except `close`."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database = database
        self._parts: Parts[Postings] = Parts(database, catalog, self)
        self._index = KeywordIndex([])

    def close(self) -> None:
        """Release the files of segments; must be called when no operation is in progress."""
        self._parts.close()
        self._index = KeywordIndex([])

    def search(self, query: str, k: int, selection: Selection | None) -> tuple[Vectors, Ids]:
        """Find the k passages with the highest score; see `KeywordIndex.search`."""
        index = self.index()
        return index.search(query, k, () if selection is None else self._selected(selection))

    def index(self) -> KeywordIndex:
        """Return the inverted indexes of everything that is committed."""
        if self._parts.refresh():
            self._index = KeywordIndex(list(zip(self._parts.all, self._parts.living, strict=True)))
        return self._index

    def _selected(self, selection: Selection) -> Sequence[Mask]:
        """Return which rows of each part are selected."""
        if selection.words is None:
            selection.words = selection.masks([part.passages for part in self._parts.all], self._parts.living)
        return selection.words

    def load(self, record: SegmentRecord) -> Postings:
        """See `parts.Source.load`."""
        path = self._database.folder / record.words
        if found := open_words(path, record):
            return found
        log.warning("%s is missing or damaged; rebuilding it in memory from the database", path)
        return self.read(record.first, record.last)

    def read(self, first: int, last: int | None) -> Postings:
        """See `parts.Source.read`."""
        return build(texts_of(self._database, first, last))

    def join(self, parts: Sequence[Postings]) -> Postings:
        """See `parts.Source.join`."""
        return merge([(part, None) for part in parts])

    def passages(self, part: Postings) -> Ids:
        """See `parts.Source.passages`."""
        return np.asarray(part.passages)
