"""Filters resolved to the passages that match them: once for each condition and state of an index."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Ids
from semsearch.stores.local.catalog import State
from semsearch.stores.local.vectors.ann.library import Chosen

Mask: TypeAlias = NDArray[np.bool_]
"""Whether each passage of a part is meant, `[n]`."""

SPARSE = 1_000
"""Passage numbers per member of a set above which it is not kept as a bitmap: damage can produce any number."""

KEPT = 16
"""Number of conditions whose passages are kept, one byte for each passage of the index."""


class Selection:
    """A set of passages, and the rows of each segment that are in it.

    Attributes:
        passages: Their numbers, ascending.
    """

    def __init__(self, passages: Ids) -> None:
        self.passages = passages
        self.chosen: Sequence[Chosen | None] | None = None
        """The rows of each part that dense search may find, once they have been computed; None for all rows of one."""
        self.words: Sequence[Mask] | None = None
        """Which rows of each part keyword search may find, once that has been computed."""
        last = int(passages[-1]) + 1 if len(passages) else 0
        self._bits: Mask | None = None
        if not len(passages) or (passages[0] >= 0 and last <= SPARSE * len(passages) + 2**20):
            self._bits = np.zeros(last + 1, bool)  # the last one stands for all greater numbers
            self._bits[passages] = True

    def masks(self, parts: Sequence[Ids], living: Sequence[Mask | None]) -> list[Mask]:
        """Return, for the passages of each part, which of them are in the set and not deleted."""
        masks = [self.mask(ids) for ids in parts]
        return [mask if alive is None else mask & alive for mask, alive in zip(masks, living, strict=True)]

    def mask(self, ids: Ids) -> Mask:
        """Return whether each of these passages `[n]` is in the set."""
        if self._bits is None:
            return np.isin(ids, self.passages)
        return self._bits[np.clip(ids, 0, len(self._bits) - 1)] & (ids >= 0)


class Selections:
    """The selections of the conditions that were used last, for one state of an index."""

    def __init__(self) -> None:
        self._state: State | None = None
        self._kept: OrderedDict[str, Selection] = OrderedDict()

    def get(self, state: State, condition: str, resolve: Callable[[], Ids]) -> Selection:
        """Return the selection of a condition; `resolve` returns its passages, ascending, if it is a new one."""
        if self._state != state:
            self._state, self._kept = state, OrderedDict()
        if condition not in self._kept:
            self._kept[condition] = Selection(resolve())
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(condition)
        return self._kept[condition]
