"""Relevance of texts to a query, whether or not they are in an index: the second stage for clients that rerank.

If the server's second stage is a cross-encoder, it scores the texts. Otherwise the encoder of the index does, by its
own similarity function, and each similarity is mapped to a score from 0 to 1 (see `Index.relevance`). The score of a
text never depends on the other texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semsearch.errors import UsageError
from semsearch.rerank import parse_rerank
from semsearch.similarity import similarities
from semsearch.transforms import unit_rows
from semsearch.types import COSINE

if TYPE_CHECKING:
    from semsearch.server.service import Service


@dataclass(frozen=True, slots=True)
class Relevance:
    """Scores of texts, in their order.

    Attributes:
        scores: Scores from 0 to 1.
        raw: Scores before scaling: similarities, or `scores` itself for a cross-encoder. They rank the texts as
            `scores` do.
        tokens: Number of tokens, counted by the index's encoder.
    """

    scores: list[float]
    raw: list[float]
    tokens: int


async def relevance(service: Service, name: str, query: str, texts: Sequence[str]) -> Relevance:
    """Score texts against a query.

    Raises:
        UsageError: If there are more texts than a request may have.
        UnknownIndexError, ForbiddenError: If the index may not be read.
    """
    most = service.settings.max_batch
    if len(texts) > most:
        raise UsageError(f"got {len(texts):,} documents; expected at most {most:,} per request")
    if parse_rerank(service.settings.rerank)[0] == "cross-encoder":
        scores, tokens = await service.score(name, query, texts)
        return Relevance(scores, scores, tokens)
    asked = await service.encode(name, [query], "query")
    given = await service.encode(name, texts, "document")
    similarity = (await service.spec(name)).similarity
    sides = asked.vectors, given.vectors
    if similarity == COSINE:  # a transform leaves them as pooled
        sides = unit_rows(asked.vectors), unit_rows(given.vectors)
    raw = similarities(similarity, *sides)[0].tolist()
    scores = await service.ask(name, lambda index: index.relevance(asked.vectors[0], raw))
    return Relevance(scores, raw, sum(asked.tokens) + sum(given.tokens))
