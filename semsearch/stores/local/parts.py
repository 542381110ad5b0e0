"""What is in memory of an index for one way of searching it: its segments, and what was committed after them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Ids
from semsearch.stores.local.catalog import Catalog, SegmentRecord, State, last_covered
from semsearch.stores.local.database import Database

log = logging.getLogger(__name__)

MANY_STEPS = 8
"""Maximum number of small parts beside the segments, as during an ingest, before they are merged into one."""

Part = TypeVar("Part")


class Source(Protocol[Part]):
    """Provides the parts of an index for one way of searching it."""

    def load(self, record: SegmentRecord) -> Part:
        """Return a segment, from its file or, if that is missing or damaged, from SQLite."""
        ...

    def read(self, first: int, last: int | None) -> Part:
        """Return the passages of a range, from SQLite."""
        ...

    def join(self, parts: Sequence[Part]) -> Part:
        """Return one part for successive ranges of passages."""
        ...

    def passages(self, part: Part) -> Ids:
        """Return the passages of a part `[n]`."""
        ...


class Parts(Generic[Part]):
    """The parts of an index, which keep up with commits; every passage is in one of them.

    Attributes:
        all: The parts; segments come first.
        living: For each part, which of its passages are not deleted `[n]`; None for all.
    """

    def __init__(self, database: Database, catalog: Catalog, source: Source[Part]) -> None:
        self._database, self._catalog, self._source = database, catalog, source
        self.close()

    def close(self) -> None:
        """Release everything; must be called when no operation is in progress."""
        self._state: State | None = None
        self._loaded: dict[SegmentRecord, Part] = {}
        self._tail: list[Part] = []
        self._beside: tuple[int, int] | None = None  # newest segment and last covered passage before the tail
        self._tail_end = -1
        self.all: Sequence[Part] = ()
        self.living: Sequence[NDArray[np.bool_] | None] = ()

    def refresh(self) -> bool:
        """Load what was committed since the last call, or everything if the index is a different one.

        Must be called inside a snapshot.

        Returns:
            Whether anything has changed.
        """
        state = self._catalog.state()
        if state == self._state:
            return False
        if self._state is None or state[:2] != self._state[:2]:
            self._loaded, self._beside = {}, None
        self._state = None  # until everything is loaded
        self._take_in(self._catalog.complete_segments())
        self.all = [*self._loaded.values(), *self._tail]
        noted = "SELECT passage FROM deleted WHERE passage NOT IN (SELECT id FROM passages) ORDER BY passage"
        deleted = np.fromiter((row[0] for row in self._database.execute(noted)), np.int64)
        self.living = [_living(self._source.passages(part), deleted) for part in self.all]
        self._state = state
        log.debug("%s: revision %d, %d segments", self._database.folder, state[2], len(self._loaded))
        return True

    def _take_in(self, segments: Sequence[SegmentRecord]) -> None:
        """Load these segments and what comes after them."""
        covered, loaded = last_covered(segments), self._loaded
        self._loaded = {each: loaded[each] if each in loaded else self._source.load(each) for each in segments}
        sealed = self._database.one("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'segments'")
        if self._beside != (sealed, covered) or self._catalog.spec.transform:  # refitting it changes every row
            self._tail, self._beside, self._tail_end = [], (sealed, covered), covered
        part = self._source.read(self._tail_end + 1, None)
        if len(passages := self._source.passages(part)):
            self._tail.append(part)
            self._tail_end = int(passages[-1])
        if len(self._tail) > MANY_STEPS:
            self._tail = [self._source.join(self._tail)]


def _living(passages: Ids, deleted: Ids) -> NDArray[np.bool_] | None:
    """Return which passages are not deleted; None if none is."""
    if not len(passages) or not len(deleted):
        return None
    gone = np.isin(passages, deleted)
    return ~gone if gone.any() else None
