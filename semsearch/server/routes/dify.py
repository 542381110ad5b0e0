"""Dify's external knowledge API: an index is a knowledge base, and its records are passages.

Dify registers an endpoint with a POST without a body. The response must be 403 if the key is invalid, and must not be
403, 404 or 502 if it is valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from semsearch.filters.dify import from_dify
from semsearch.server.access import Asked
from semsearch.server.finding import find, link_to
from semsearch.server.problems import Problem
from semsearch.server.schema import refusals


class DifyError(BaseModel):
    """Error in Dify's format."""

    error_code: int
    error_msg: str


class Record(BaseModel):
    """A passage that was found."""

    content: str
    score: float = Field(description="From 0 to 1.")
    title: str
    metadata: dict[str, Any]


class Records(BaseModel):
    """The passages that were found, best first."""

    records: list[Record]


router = APIRouter(responses=refusals(DifyError))


class RetrievalSetting(BaseModel):
    """Limits on the passages to return."""

    top_k: int | None = Field(None, description="Maximum number of passages; 5 if omitted.")
    score_threshold: float | None = Field(None, description="Minimum score; 0 for the server's default.")


class Retrieval(BaseModel):
    """Request body of `/retrieval`."""

    knowledge_id: str = Field(description="Name of an index.")
    query: str = Field(examples=["a patient bird"])
    retrieval_setting: RetrievalSetting | None = None
    metadata_condition: dict[str, Any] | None = None


@router.post("/retrieval", summary="Find passages (Dify)")
async def retrieve(body: Retrieval, service: Asked) -> Records:
    """Find passages for a query, each with a score from 0 to 1."""
    setting = body.retrieval_setting or RetrievalSetting(top_k=None, score_threshold=None)
    count = 5 if setting.top_k is None else setting.top_k
    where = None if body.metadata_condition is None else from_dify(body.metadata_condition)
    found = await find(
        service,
        body.knowledge_id,
        body.query,
        count,
        where=where,
        least=setting.score_threshold,
        asked_as="retrieval_setting.top_k",
    )
    return Records(
        records=[
            Record(
                content=hit.text,
                score=score,
                title=hit.title or hit.doc_id,
                metadata={"doc_id": hit.doc_id, "url": link_to(service, body.knowledge_id, hit), **hit.metadata},
            )
            for score, hit in found
        ]
    )


def dify_shape(problem: Problem, request_id: str) -> tuple[int, Mapping[str, Any]]:
    """Return an error in Dify's format, with its own codes for an invalid key and an unknown knowledge base."""
    status, code = STATUSES.get(problem.status, (problem.status, problem.status))
    return status, {"error_code": code, "error_msg": problem.message}


STATUSES = {401: (403, 1002), 403: (403, 1002), 404: (400, 2001), 422: (400, 400)}
"""Maps our status to Dify's status and code; for other statuses, the code is the status."""
