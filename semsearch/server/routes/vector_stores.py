"""OpenAI's vector store search: an index is a vector store, a document is a file, and results are passages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from semsearch.errors import UsageError
from semsearch.filters.notation import write_key
from semsearch.filters.openai import from_openai
from semsearch.server.access import Asked
from semsearch.server.finding import find, link_to
from semsearch.server.routes.openai import OpenAIError, Texts, texts_of
from semsearch.server.schema import refusals
from semsearch.server.service import Service
from semsearch.types import Hit

router = APIRouter(responses=refusals(OpenAIError))

MOST = 50
"""Maximum number of results in OpenAI's API."""


class RankingOptions(BaseModel):
    """Ranking options; only the threshold, a confidence from 0 to 1, has an effect."""

    score_threshold: float | None = None


class VectorStoreQuery(BaseModel):
    """Request body of a vector store search; `rewrite_query` and rankers are ignored."""

    query: Texts = Field(examples=["a patient bird"])
    filters: dict[str, Any] | None = Field(None, examples=[{"type": "gte", "key": "year", "value": 2020}])
    max_num_results: int | None = Field(None, description="1 to 50; 10 by default.")
    ranking_options: RankingOptions | None = None


class Content(BaseModel):
    """A passage."""

    type: str
    text: str


class SearchResult(BaseModel):
    """A passage that was found, with its document."""

    file_id: str
    filename: str
    score: float = Field(description="From 0 to 1.")
    attributes: dict[str, str | bool | float | int]
    content: list[Content]


class SearchPage(BaseModel):
    """The passages that were found, best first, all on one page."""

    object: str = "vector_store.search_results.page"
    search_query: list[str]
    data: list[SearchResult]
    has_more: bool = False
    next_page: str | None = None


@router.post("/v1/vector_stores/{vector_store_id}/search", summary="Search an index as a vector store")
async def search_vector_store(vector_store_id: str, body: VectorStoreQuery, service: Asked) -> SearchPage:
    """Find passages; several queries share one result list, in which each passage has the best of its scores."""
    queries = texts_of(body.query, "query")
    k = 10 if body.max_num_results is None else body.max_num_results
    if not 1 <= k <= MOST:
        raise UsageError(f"`max_num_results` is {k}; expected 1 to {MOST}")
    if len(queries) > MOST:
        raise UsageError(f"`query` has {len(queries)} texts; expected at most {MOST}")
    where = None if body.filters is None else from_openai(body.filters)
    least = body.ranking_options.score_threshold if body.ranking_options else None
    best: dict[tuple[str, int], tuple[float, Hit]] = {}
    pages = await asyncio.gather(*(find(service, vector_store_id, one, k, where=where, least=least) for one in queries))
    for score, hit in chain.from_iterable(pages):
        place = hit.doc_id, hit.start
        best[place] = max(best.get(place, (score, hit)), (score, hit), key=lambda one: one[0])
    found = sorted(best.values(), key=lambda one: -one[0])[:k]
    return SearchPage(
        search_query=queries, data=[_result(service, vector_store_id, score, hit) for score, hit in found]
    )


def _result(service: Service, name: str, score: float, hit: Hit) -> SearchResult:
    return SearchResult(
        file_id=hit.doc_id,
        filename=hit.title or hit.doc_id,
        score=score,
        attributes={"url": link_to(service, name, hit), **dict(attributes_of(hit.metadata))},
        content=[Content(type="text", text=hit.text)],
    )


def attributes_of(metadata: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, str | float | bool]]:
    """Yield metadata as OpenAI's flat attributes: each key, as filters name it, with text, a number or a boolean.

    Nulls are left out, and a list is joined into one text.
    """
    for name, value in metadata.items():
        path = (*above, name)
        if isinstance(value, Mapping):
            yield from attributes_of(value, path)
        elif isinstance(value, list | tuple):
            yield write_key(path), ", ".join(str(one) for one in value if one is not None)
        elif value is not None:
            yield write_key(path), value
