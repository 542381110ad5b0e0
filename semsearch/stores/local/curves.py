"""Recall and latency of a vector index at each effort, as recorded with its segment, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any


@dataclass(frozen=True, slots=True)
class Measured:
    """Recall and latency of an index at one effort.

    Attributes:
        effort: Value of the search parameter; see `Kind.efforts`.
        recall: Share of the ten nearest neighbors that are found, from 0 to 1.
        ms: Median milliseconds of a search for ten, with one thread.
        error: Standard error of the recall.
    """

    effort: int
    recall: float
    ms: float
    error: float = 0.0

    def reaches(self, target: float) -> bool:
        """Return whether the recall is at least the target, even if it is really lower by its standard error."""
        return self.recall - self.error >= target


def choose_effort(curve: Sequence[Measured], target: float) -> Measured:
    """Return the least effort that reaches the target, or else the one with the highest recall."""
    enough = [measured for measured in curve if measured.reaches(target)]
    return enough[0] if enough else max(curve, key=lambda measured: measured.recall)


def curve_from(stored: Any) -> list[Measured]:
    """Read a curve from JSON; empty if it is not one."""
    try:
        curve = [Measured(int(effort), *map(float, others)) for effort, *others in stored]
    except (TypeError, ValueError, OverflowError):
        return []
    sound = all(0 < one.effort <= 2**20 and 0 <= one.recall <= 1 and isfinite(one.ms + one.error) for one in curve)
    return curve if sound else []
