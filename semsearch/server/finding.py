"""Search for chatbots: passages with a score from 0 to 1, without those that are not relevant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semsearch.context import url_of
from semsearch.duplicates import REPEATS, distinct
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
    """Return the k best passages of an index for a query, each with its score from 0 to 1, best first.

    A passage that repeats the text of a better one is left out, so a file stored in several places yields one hit.

    Args:
        service: The service, restricted to what the request's key allows.
        name: Name of the index.
        query: Query in natural language.
        k: Maximum number of passages.
        where: Filter that documents must match.
        least: Minimum score; None or 0 for the server's default, which applies only if the index has a `background`.
        unit: What to rank: each `passage` by itself, or each `document` by its best passage.
        asked_as: Name of `k` in the request, for error messages.
    """
    asked = threshold(least)
    deep = depth(service, k, asked_as)
    answer = await service.search(name, query, deep, where=where, unit=unit, min_confidence=asked, usual=True)
    return [(score_of(hit), hit) for hit in distinct(answer.hits)[:k]]


def depth(service: Service, k: int, asked_as: str) -> int:
    """Return how many hits to retrieve so that k distinct ones are likely to remain.

    Raises:
        UsageError: If k is less than 1.
        TooLargeError: If k is over the server's limit.
    """
    most = service.settings.max_k
    if k < 1:
        raise UsageError(f"`{asked_as}` must be at least 1, got {k}")
    if k > most:
        raise TooLargeError(f"`{asked_as}` is {k:,}; this server returns at most {most:,} hits")
    return min(REPEATS * k, most)


def threshold(asked: float | None) -> float | None:
    """Return the minimum score that a request asks for, above 0 and up to 1; None if it asks for none, or for 0.

    Raises:
        UsageError: If the score is outside the range from 0 to 1, or not a number.
    """
    if asked is not None and not 0 <= asked <= 1:
        raise UsageError(f"`score_threshold` is {asked}; expected a number from 0 to 1")
    return asked or None


def score_of(hit: Hit) -> float:
    """Return the score from 0 to 1 that contracts promise: the hit's confidence, see `Hit.confidence`.

    For a hit without a confidence, it is the hit's score, clipped to that range.
    """
    return min(1.0, max(0.0, hit.score if hit.confidence is None else hit.confidence))


def link_to(service: Service, name: str, hit: Hit) -> str:
    """Return a URL for the passage: the document's own URL, or that of this server's page for the document."""
    return url_of(hit.metadata) or document_url(service, name, hit.doc_id, hit.start, hit.end)
