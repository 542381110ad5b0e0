"""Confidence that a hit is related to the query at all, as a number that is comparable across modes and queries.

Every query has a nearest passage, even a nonsense query, and the score alone does not tell whether it is related: a
cosine of 0.3 is high for one encoder and meaningless for another. An index therefore stores how unrelated pairs of a
query and a passage score (see `background.py`). The confidence in a hit is

    1 / (1 + p / PRIOR)

where p is the share of unrelated pairs that score at least as high. This is Bayes' rule, assuming that one passage in
1 / PRIOR is related to the query and that every related passage reaches the score: the confidence is 0.5 at p = 1% and
0.91 at p = 0.1%.
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
"""Share of unrelated pairs at which the confidence is 0.5."""

DEFAULT = 0.5
"""Confidence below which a hit should not be shown to a chatbot; measured in bench/confidence.py."""

Tail: TypeAlias = tuple[tuple[float, float], ...]
"""Pairs of a score (ascending) and the share of unrelated pairs that reach it (descending)."""


@dataclass(frozen=True, slots=True)
class Background:
    """Score distribution of unrelated pairs of a query and a passage in an index.

    Attributes:
        passages: Number of passages in the index when it was measured.
        tails: Upper tail of the distribution by search mode, on the scale of `semsearch.search.Found.strengths`.
        unknown_language: Share of the passages in a language that the encoder does not know; None if that is not known,
            as in an index from before December 2026, or for an encoder without a vocabulary.
    """

    passages: int
    tails: Mapping[str, Tail]
    unknown_language: float | None = None

    def confidence(self, mode: str, strength: float, trust: float = 1.0) -> float | None:
        """Return the confidence in a hit of this strength, from 0 to 1; None if the mode was not measured.

        Args:
            mode: Search mode.
            strength: Score of the hit on the scale of the tails.
            trust: Weight of the dense score in a hybrid one, as a share of the usual weight. The lower it is, the more
                a hybrid score resembles a keyword score, and the confidence lies between those of the two modes.
        """
        tail = self.tails.get(mode)
        if tail is None:
            return None
        own = 1 / (1 + share_above(tail, strength) / PRIOR)
        words = None if trust == 1 else self.confidence("keyword", strength)
        return own if words is None else trust * own + (1 - trust) * words

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; `from_json` restores it."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Restore a background from the output of `to_json`.

        Raises:
            ValueError: If the object is malformed.
        """
        try:
            tails = {mode: tuple((float(x), float(p)) for x, p in tail) for mode, tail in stored["tails"].items()}
            background = cls(stored["passages"], tails, stored.get("unknown_language"))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"malformed background scores: {error}") from None
        if type(background.passages) is not int or not all(map(_is_tail, tails.values())):
            raise ValueError("malformed background scores: the values are not ordered")
        if not isinstance(background.unknown_language, float | None):
            raise ValueError("malformed background scores: the share of an unknown language is not a number")
        return background


def background_of(store: Readable) -> Background | None:
    """Return the stored background of an index; None if it has not been measured, or is malformed."""
    stored = store.background
    try:
        return None if stored is None else Background.from_json(stored)
    except ValueError as error:
        log.warning("the index has %s; index the same corpus again to measure them anew", error)
        return None


def share_above(tail: Tail, strength: float) -> float:
    """Return the share of unrelated pairs that reach a strength.

    The logarithm of the share is interpolated linearly between the points of the tail. Beyond the last point it is
    extrapolated with the average slope of the tail; real tails fall faster, so this errs on the side of doubt.
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
"""Lower bound of the change in the logarithm of a share, to avoid underflow."""


def _is_tail(tail: Tail) -> bool:
    ascending = all(one < two and much > little for (one, much), (two, little) in pairwise(tail))
    finite = all(math.isfinite(score) and 0 < share <= 1 for score, share in tail)
    return bool(tail) and ascending and finite
