"""Dify's external knowledge: an index is a knowledge base, and what is found are passages.

Dify registers an endpoint by a POST without a body, which must not be answered 403, 404 or 502 where the key is right,
and 403 where it is wrong.
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
    """An error, as Dify reads it."""

    error_code: int
    error_msg: str


class Record(BaseModel):
    """A passage that was found."""

    content: str
    score: float = Field(description="From 0 to 1.")
    title: str
    metadata: dict[str, Any]


class Records(BaseModel):
    """What was found, best first."""

    records: list[Record]


router = APIRouter(responses=refusals(DifyError))


class RetrievalSetting(BaseModel):
    """How much is wanted."""

    top_k: int | None = Field(None, description="How many; 5 where left out.")
    score_threshold: float | None = Field(None, description="The least score; 0 for what the server is set to.")


class Retrieval(BaseModel):
    """What `/retrieval` is asked for."""

    knowledge_id: str = Field(description="An index.")
    query: str = Field(examples=["a patient bird"])
    retrieval_setting: RetrievalSetting | None = None
    metadata_condition: dict[str, Any] | None = None


@router.post("/retrieval", summary="Find passages (Dify)")
async def retrieve(body: Retrieval, service: Asked) -> Records:
    """Find passages with a score from 0 to 1."""
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
    """How Dify reads errors: the code tells a wrong key and an unknown knowledge base from the rest."""
    status, code = STATUSES.get(problem.status, (problem.status, problem.status))
    return status, {"error_code": code, "error_msg": problem.message}


STATUSES = {401: (403, 1002), 403: (403, 1002), 404: (400, 2001), 422: (400, 400)}
"""Our status to the one that Dify understands and its code; other codes are the status."""
