"""Reranking for clients of Cohere, Jina, vLLM and TEI, in one handler: they differ in two fields of the body.

{"query", "documents": [text or {"text"}], "top_n"?, "model"?, "return_documents"?}    Cohere, Jina, vLLM
{"query", "texts": [text], "raw_scores"?, "return_text"?}                              TEI
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from fastapi import APIRouter
from pydantic import BaseModel, Field

from semsearch.errors import UsageError
from semsearch.server.access import Asked
from semsearch.server.embedding import model_of
from semsearch.server.problems import Problem
from semsearch.server.relevance import Relevance, relevance
from semsearch.server.routes.openai import Usage, texts_of
from semsearch.server.schema import refusals


class RerankError(BaseModel):
    """Error with the message under the name that each of the clients reads."""

    message: str
    detail: str
    error: str
    error_type: str


class TextOf(BaseModel):
    """Text of a document in the request."""

    text: str


class Reranked(BaseModel):
    """Score of a document, identified by its position in the request."""

    index: int
    relevance_score: float
    document: TextOf | None = None


class Reranking(BaseModel):
    """Documents, best first."""

    id: str
    object: str
    model: str
    results: list[Reranked]
    meta: dict[str, Any]
    usage: Usage


class TeiScore(BaseModel):
    """Score of a text, identified by its position in the request."""

    index: int
    score: float
    text: str | None = None


router = APIRouter(responses={**refusals(RerankError, 422), 200: {"model": Reranking | list[TeiScore]}})


class RerankRequest(BaseModel):
    """Request body with either `documents` or `texts`; other fields, such as `max_tokens_per_doc`, are ignored."""

    query: str = Field(examples=["a patient bird"])
    documents: list[Any] | None = Field(None, description="Texts, or objects with a `text`.", examples=[["A heron."]])
    texts: list[Any] | None = Field(None, description="The same for TEI, whose response is a list.")
    model: str | None = Field(None, description="Name of the index whose encoder to use.")
    top_n: int | None = Field(None, description="Number of best documents to return; 0 for all.")
    return_documents: bool | None = None
    return_text: bool | None = None
    raw_scores: bool | None = Field(None, description="TEI: return similarities instead of scores from 0 to 1.")


@router.post("/rerank", summary="Rank documents by relevance to a query (Jina, vLLM, TEI)")
@router.post("/v1/rerank", summary="Rank documents by relevance to a query (Cohere v1, Jina)")
@router.post("/v2/rerank", summary="Rank documents by relevance to a query (Cohere v2)")
async def rerank(body: RerankRequest, service: Asked) -> Any:
    """Score each document by itself from 0 to 1, and return them best first."""
    if (body.documents is None) == (body.texts is None):
        raise UsageError("expected either `documents` or `texts`, a list of texts to rank")
    if not body.query.strip():
        raise UsageError("`query` is empty; expected text")
    if body.documents is not None and body.top_n is not None and body.top_n < 0:
        raise UsageError(f"`top_n` is {body.top_n}; expected a number of documents, or 0 for all")
    texts = texts_to_order(body)
    model = await model_of(service, body.model)
    scored = await relevance(service, model.index, body.query, texts) if texts else NOTHING
    order = sorted(range(len(texts)), key=lambda index: -scored.raw[index])
    if body.documents is None:
        return _tei_results(body, texts, scored, order)
    results = [
        {"index": index, "relevance_score": scored.scores[index]}
        | ({"document": {"text": texts[index]}} if body.return_documents else {})
        for index in order[: body.top_n or None]
    ]
    return {
        "id": uuid4().hex,
        "object": "rerank",
        "model": model.name,
        "results": results,
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
        "usage": {"prompt_tokens": scored.tokens, "total_tokens": scored.tokens},
    }


NOTHING = Relevance([], [], 0)


def texts_to_order(body: RerankRequest) -> list[str]:
    """Return the texts of a request, possibly none for Cohere; raise UsageError if one is unusable."""
    if body.documents is None:
        return texts_of(body.texts, "texts")
    texts = []
    for index, one in enumerate(body.documents):
        text = one.get("text") if isinstance(one, Mapping) else one
        if not isinstance(text, str):
            raise UsageError(
                f"`documents` has {one!r:.60} at position {index}; expected text or an object with a `text`"
            )
        texts.append(text)
    if texts:
        texts_of([text or "empty" for text in texts], "documents")  # Cohere's clients may send empty texts
    return texts


def _tei_results(body: RerankRequest, texts: Sequence[str], scored: Relevance, order: Sequence[int]) -> Any:
    scores = scored.raw if body.raw_scores else scored.scores
    return [
        {"index": index, "score": scores[index]} | ({"text": texts[index]} if body.return_text else {})
        for index in order
    ]


def rerank_shape(problem: Problem, request_id: str) -> tuple[int, Mapping[str, Any]]:
    """Return an error for all clients: Cohere and vLLM read `message`, Jina `detail`, TEI `error` and `error_type`."""
    status = 422 if problem.status == 413 else problem.status
    message = problem.message
    return status, {"message": message, "detail": message, "error": message, "error_type": tei_type(status)}


def tei_type(status: int) -> str:
    """Return TEI's error type for an HTTP status."""
    return {429: "Overloaded", 503: "Unhealthy"}.get(status, "Validation" if status < 500 else "Backend")
