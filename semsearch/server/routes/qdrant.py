"""The one Qdrant request that Open WebUI sends: find the points nearest to a vector, with their text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from semsearch.duplicates import distinct
from semsearch.errors import UsageError
from semsearch.server.access import Asked
from semsearch.server.finding import depth, link_to, score_of, threshold
from semsearch.server.problems import Problem
from semsearch.server.schema import refusals
from semsearch.types import Hit


class QdrantProblem(BaseModel):
    """Details of an error."""

    error: str


class QdrantError(BaseModel):
    """Error in Qdrant's format."""

    status: QdrantProblem
    time: float


class Payload(BaseModel):
    """Text of a passage, and metadata of its document."""

    text: str
    metadata: dict[str, Any]


class Point(BaseModel):
    """A passage that was found."""

    id: int
    version: int
    score: float = Field(description="From 0 to 1.")
    payload: Payload


class PointList(BaseModel):
    """The nearest passages, best first."""

    points: list[Point]


class Points(BaseModel):
    """Response to a query by vector."""

    result: PointList
    status: str
    time: float


router = APIRouter(responses=refusals(QdrantError))


class Nearest(BaseModel):
    """A query by a vector."""

    nearest: list[float]


class PointsQuery(BaseModel):
    """Request body of `points/query`; `using`, `with_vector` and `with_payload` are ignored."""

    query: Nearest | list[float] = Field(description="A vector of the index's encoder, from /v1/embeddings.")
    limit: int | None = None
    score_threshold: float | None = Field(None, description="Minimum score, from 0 to 1.")
    filter: Any = None


@router.post("/collections/{name}/points/query", summary="Find the passages nearest to a vector (Qdrant)")
async def query_points(name: str, body: PointsQuery, service: Asked) -> Points:
    """Find passages by vector; the link is in `payload.metadata.source`, where Open WebUI looks for it."""
    if body.filter:
        raise UsageError("`filter` is not supported here; omit it")
    vector = body.query.nearest if isinstance(body.query, Nearest) else body.query
    k, least = 10 if body.limit is None else body.limit, threshold(body.score_threshold)
    deep = depth(service, k, "limit")
    answer = await service.search_vector(name, vector, deep, unit="passage", min_confidence=least, usual=True)
    points = [
        Point(
            id=position, version=0, score=score_of(hit), payload=Payload(text=hit.text, metadata=_metadata(hit, link))
        )
        for position, hit in enumerate(distinct(answer.hits)[:k])
        for link in (link_to(service, name, hit),)
    ]
    return Points(result=PointList(points=points), status="ok", time=0)


def _metadata(hit: Hit, link: str) -> dict[str, Any]:
    return {**hit.metadata, "source": link, "name": hit.title or hit.doc_id, "doc_id": hit.doc_id}


def qdrant_shape(problem: Problem, request_id: str) -> tuple[int, Mapping[str, Any]]:
    """Return an error in Qdrant's format."""
    return problem.status, {"status": {"error": problem.message}, "time": 0}
