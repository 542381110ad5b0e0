"""How relevant texts are to a query, whether they are in an index or not: the second stage that clients ask for.

The joint for rerankers: whatever scores pairs of texts takes the place of `relevance`. Until then the encoder of the
index does, and a cosine becomes a score from 0 to 1 by what unrelated pairs have in the index, see
`semsearch.confidence`; except where the index transforms its vectors, whose cosines are others. The score of a text
never depends on the other texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semsearch.errors import UsageError
from semsearch.transforms import unit_rows

if TYPE_CHECKING:
    from semsearch.server.service import Service


@dataclass(frozen=True, slots=True)
class Relevance:
    """Scores of texts, in their order.

    Attributes:
        scores: From 0 to 1.
        raw: Before they were brought there: cosines. They order the texts as `scores` do.
        tokens: How many were encoded.
    """

    scores: list[float]
    raw: list[float]
    tokens: int


async def relevance(service: Service, name: str, query: str, texts: Sequence[str]) -> Relevance:
    """Score texts against a query by an index's encoder.

    Raises:
        UsageError: More texts than are taken at once.
        UnknownIndexError, ForbiddenError: The index may not be read.
    """
    most = service.settings.max_batch
    if len(texts) > most:
        raise UsageError(f"there are {len(texts):,} documents; expected at most {most:,} in a request")
    asked = await service.encode(name, [query], "query")
    given = await service.encode(name, texts, "document")
    cosines = unit_rows(given.vectors) @ unit_rows(asked.vectors)[0]
    raw = [float(cosine) for cosine in cosines]
    background = None if (await service.spec(name)).transform else await service.background(name)
    confidences = [background.confidence("dense", cosine) if background else None for cosine in raw]
    scores = [max(0.0, cosine) if one is None else one for cosine, one in zip(raw, confidences, strict=True)]
    return Relevance([min(1.0, score) for score in scores], raw, sum(asked.tokens) + sum(given.tokens))
