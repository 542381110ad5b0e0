"""Which segments are merged at the end of a run, so that a large index has few and adding to it stays cheap.

Segments cover consecutive ranges of passages, from old and large ones to new and small ones. New rows are merged with
small segments into one that is searched exactly, until this is large enough for a vector index; larger segments are
merged when newer ones have become a third of their size. So every row is rewritten about as often as the index has
tripled. A run only merges in proportion to what it has changed; `semsearch compact` merges the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

GROWTH = 3
"""A segment with a vector index is merged with newer ones once they have at least a third of its rows."""

PER_CHANGE, AT_LEAST = 16, 4
"""Number of rows that a run may merge for each row that it added or deleted; in any case `AT_LEAST` times the rows of
the largest segment that is searched exactly, which takes a few seconds."""


class Size(NamedTuple):
    """Number of rows of a segment, and whether it is searched exactly."""

    n_rows: int
    is_exact: bool


def most_merged(changed: int, exact_rows: int) -> int:
    """Return the number of rows that a run may merge if it has added or deleted `changed` rows."""
    return max(AT_LEAST * exact_rows, PER_CHANGE * changed)


def first_merged(segments: Sequence[Size], waiting: int, changed: int, exact_rows: int) -> int:
    """Return the position of the first segment to merge with all newer ones and the rows outside segments.

    Args:
        segments: Sizes of the segments, from the oldest to the newest.
        waiting: Number of rows outside segments that are to be written.
        changed: Number of rows that the run has added or deleted.
        exact_rows: Number of rows up to which a segment is searched exactly.

    Returns:
        The number of segments if none is to be merged.
    """
    n, most = waiting, most_merged(changed, exact_rows)
    first = len(segments)
    while first > 0:
        size = segments[first - 1]
        if n + size.n_rows > most or not (size.is_exact or size.n_rows <= GROWTH * n):
            break
        n += size.n_rows
        first -= 1
    return first
