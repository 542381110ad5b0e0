"""The one question that Open WebUI asks Qdrant: the nearest points to a vector, which come with their text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from semsearch.errors import UsageError
from semsearch.server.access import Asked
from semsearch.server.finding import link_to, score_of, threshold
from semsearch.server.problems import Problem

router = APIRouter()


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
async def query_points(name: str, body: PointsQuery, service: Asked) -> dict[str, Any]:
    """Find passages by a vector; the link is in `payload.metadata.source`, where Open WebUI shows it."""
    if body.filter:
        raise UsageError("`filter` is not taken here; leave it out")
    vector = body.query.nearest if isinstance(body.query, Nearest) else body.query
    k, least = 10 if body.limit is None else body.limit, threshold(service, body.score_threshold)
    answer = await service.search_vector(name, vector, k, unit="passage", min_confidence=least)
    points = [
        {
            "id": position,
            "version": 0,
            "score": score_of(hit),
            "payload": {
                "text": hit.text,
                "metadata": dict(hit.metadata)
                | {"source": link_to(service, name, hit), "name": hit.title or hit.doc_id, "doc_id": hit.doc_id},
            },
        }
        for position, hit in enumerate(answer.hits)
    ]
    return {"result": {"points": points}, "status": "ok", "time": 0}


def qdrant_shape(problem: Problem, request_id: str) -> tuple[int, Mapping[str, Any]]:
    """How Qdrant's clients read errors."""
    return problem.status, {"status": {"error": problem.message}, "time": 0}
