"""How sure a search can be that a hit has anything to do with the query: one number for every mode and every query.

Every index has something nearest to every query, nonsense included, and a score alone does not tell: a cosine of 0.3 is
much for one encoder and nothing for another. So an index keeps how pairs of a query and a passage score that have
nothing to do with each other, see `background.py`. The confidence in a hit is

    1 / (1 + p / PRIOR)

where p is the share of unrelated pairs that score at least as high. That is Bayes' rule where one passage in 1 / PRIOR
is related to the query and every related one reaches the score: at p = 1% it is 0.5, at p = 0.1% it is 0.91.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Self, TypeAlias

from semsearch.stores.base import Readable

log = logging.getLogger(__name__)

PRIOR = 0.01
"""Share of unrelated pairs at which confidence is 0.5."""

DEFAULT = 0.5
"""Confidence below which a chatbot should not be shown a hit; measured in bench/confidence.py."""

Tail: TypeAlias = tuple[tuple[float, float], ...]
"""Scores, ascending, each with the share of unrelated pairs that reach it, descending."""


@dataclass(frozen=True, slots=True)
class Background:
    """How unrelated pairs score in an index.

    Attributes:
        passages: How many the index had when it was measured.
        tails: By mode, on the scale of `semsearch.search.Found.strengths`.
    """

    passages: int
    tails: Mapping[str, Tail]

    def confidence(self, mode: str, strength: float) -> float | None:
        """The confidence from 0 to 1 in a hit of that strength; None for a mode that was not measured."""
        tail = self.tails.get(mode)
        return None if tail is None else 1 / (1 + share_above(tail, strength) / PRIOR)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; `from_json` takes it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            ValueError: It is something else.
        """
        try:
            tails = {mode: tuple((float(x), float(p)) for x, p in tail) for mode, tail in stored["tails"].items()}
            background = cls(stored["passages"], tails)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no background: {error}") from None
        if type(background.passages) is not int or not all(map(_is_tail, tails.values())):
            raise ValueError("no background: its numbers are in no order")
        return background


def background_of(store: Readable) -> Background | None:
    """What an index keeps; None where it was not measured yet, or what it has makes no sense."""
    stored = store.background
    try:
        return None if stored is None else Background.from_json(stored)
    except ValueError as error:
        log.warning("the index has %s; index the same corpus again, which measures it anew", error)
        return None


def share_above(tail: Tail, strength: float) -> float:
    """The share of unrelated pairs that reach a strength.

    Its logarithm is a line between the points of the tail, and beyond the last has the slope of the whole: real tails
    fall faster, so that this errs on the side of doubt.
    """
    scores = [score for score, _ in tail]
    right = bisect_right(scores, strength)
    if right == 0 or len(tail) == 1:
        return tail[0][1]
    (low, much), (high, little) = (tail[right - 1], tail[right]) if right < len(tail) else (tail[0], tail[-1])
    slope = (math.log(little) - math.log(much)) / (high - low)
    start, share = tail[right - 1]
    return share * math.exp(max(slope * (strength - start), LEAST))


LEAST = -50.0
"""Logarithm of what no share falls by."""


def _is_tail(tail: Tail) -> bool:
    ascending = all(one < two and much > little for (one, much), (two, little) in pairwise(tail))
    finite = all(math.isfinite(score) and 0 < share <= 1 for score, share in tail)
    return bool(tail) and ascending and finite
