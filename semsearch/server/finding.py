"""Searches for chatbots: passages with a score from 0 to 1, where what is not relevant is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semsearch.context import REPEATS, distinct, url_of
from semsearch.errors import TooLargeError, UsageError
from semsearch.server.links import document_url

if TYPE_CHECKING:
    from semsearch.filters.read import Where
    from semsearch.server.service import Service
    from semsearch.types import Hit


async def find(
    service: Service,
    name: str,
    query: str,
    k: int,
    *,
    where: Where | None = None,
    least: float | None = None,
    unit: str = "passage",
    asked_as: str = "k",
) -> list[tuple[float, Hit]]:
    """The k best passages of an index for a question, each with its score from 0 to 1, best first.

    A passage with the text of a better one is left out, so that the same file in several places is one answer.

    Args:
        service: As whoever asks may see it.
        name: Of the index.
        query: In plain words.
        k: How many, at most.
        where: Only documents that meet this.
        least: The least score; None or 0 for what the server is set to, in an index that was measured.
        unit: What is ranked: each `passage` by itself, or a `document` by its best passage.
        asked_as: What a request calls `k`.
    """
    asked = threshold(least)
    deep = depth(service, k, asked_as)
    answer = await service.search(name, query, deep, where=where, unit=unit, min_confidence=asked, usual=True)
    return [(score_of(hit), hit) for hit in distinct(answer.hits)[:k]]


def depth(service: Service, k: int, asked_as: str) -> int:
    """How many hits to look at for k that differ.

    Raises:
        UsageError, TooLargeError: So few, or so many, are not given.
    """
    most = service.settings.max_k
    if k < 1:
        raise UsageError(f"`{asked_as}` must be at least 1, got {k}")
    if k > most:
        raise TooLargeError(f"`{asked_as}` is {k:,}; this server gives at most {most:,} hits")
    return min(REPEATS * k, most)


def threshold(asked: float | None) -> float | None:
    """The least score that a request asks for, above 0 and up to 1; None where it asks for none, or for 0.

    Raises:
        UsageError: It is outside of that range, or no number.
    """
    if asked is not None and not 0 <= asked <= 1:
        raise UsageError(f"`score_threshold` is {asked}; expected a number from 0 to 1")
    return asked or None


def score_of(hit: Hit) -> float:
    """The score from 0 to 1 that contracts promise: how confident the hit is, see `Hit.confidence`.

    A hit of an index that has not been measured has its own score, cut to that range.
    """
    return min(1.0, max(0.0, hit.score if hit.confidence is None else hit.confidence))


def link_to(service: Service, name: str, hit: Hit) -> str:
    """Where a browser finds the passage: the document's own address, or the page that this server has for it."""
    return url_of(hit.metadata) or document_url(service, name, hit.doc_id, hit.start, hit.end)
