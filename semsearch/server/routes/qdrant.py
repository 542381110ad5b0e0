"""The one question that Open WebUI asks Qdrant: the nearest points to a vector, which come with their text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from semsearch.context import distinct
from semsearch.errors import UsageError
from semsearch.server.access import Asked
from semsearch.server.finding import depth, link_to, score_of, threshold
from semsearch.server.problems import Problem
from semsearch.server.schema import refusals
from semsearch.types import Hit


class QdrantProblem(BaseModel):
    """What is wrong."""

    error: str


class QdrantError(BaseModel):
    """An error, as Qdrant's clients read it."""

    status: QdrantProblem
    time: float


class Payload(BaseModel):
    """A passage and its document."""

    text: str
    metadata: dict[str, Any]


class Point(BaseModel):
    """A passage that was found."""

    id: int
    version: int
    score: float = Field(description="From 0 to 1.")
    payload: Payload


class PointList(BaseModel):
    """The nearest, best first."""

    points: list[Point]


class Points(BaseModel):
    """What was found."""

    result: PointList
    status: str
    time: float


router = APIRouter(responses=refusals(QdrantError))


class Nearest(BaseModel):
    """A query by a vector."""

    nearest: list[float]


class PointsQuery(BaseModel):
    """What `points/query` is asked for; `using`, `with_vector` and `with_payload` are of no account."""

    query: Nearest | list[float] = Field(description="A vector of the index's encoder, from /v1/embeddings.")
    limit: int | None = None
    score_threshold: float | None = Field(None, description="The least score, from 0 to 1.")
    filter: Any = None


@router.post("/collections/{name}/points/query", summary="The nearest passages to a vector (Qdrant)")
async def query_points(name: str, body: PointsQuery, service: Asked) -> Points:
    """Find passages by a vector; the link is in `payload.metadata.source`, where Open WebUI shows it."""
    if body.filter:
        raise UsageError("`filter` is not taken here; leave it out")
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
    """How Qdrant's clients read errors."""
    return problem.status, {"status": {"error": problem.message}, "time": 0}
