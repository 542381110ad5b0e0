"""Search: `POST /search`, and `POST /context` for prompts."""

from __future__ import annotations

from fastapi import APIRouter, Response

from semsearch.server.access import Asked
from semsearch.server.links import document_url
from semsearch.server.models import CitedExcerpt, ContextWish, Excerpted, Found, FoundContext, FoundHit, Search
from semsearch.server.schema import REFUSALS

router = APIRouter(responses=REFUSALS)


@router.post("/search", operation_id="search", response_model=Found)
async def search(asked: Search, service: Asked) -> Response:
    """Find the documents that answer a query, best first, each with its best passage."""
    name = service.one_of(asked.index)
    wishes = asked.model_dump(exclude={"index", "query", "k", "snippets"})
    answer = await service.search(name, asked.query, asked.k, **wishes)
    hits = [FoundHit.of(hit, document_url(service, name, hit.doc_id, hit.start, hit.end)) for hit in answer.hits]
    if asked.snippets:
        for hit, snippet in zip(hits, await service.snippets(asked.query, answer.hits), strict=True):
            hit.snippet = Excerpted.of(snippet)
    found = Found(
        index=name,
        query=asked.query,
        mode=answer.mode,
        warming=answer.warming,
        unknown_language=answer.unknown_language,
        hits=hits,
    )
    return Response(found.model_dump_json(), media_type="application/json")  # already validated


@router.post("/context", operation_id="context")
async def context(asked: ContextWish, service: Asked) -> FoundContext:
    """Find the passages that answer a question, numbered and within a token budget, to put into a prompt."""
    name = service.one_of(asked.index)
    wishes = asked.model_dump(exclude={"index", "question", "budget", "mode"})
    made, mode, warming = await service.context(name, asked.question, asked.budget, mode=asked.mode, **wishes)
    excerpts = [
        CitedExcerpt(
            id=one.doc_id,
            url=one.url or document_url(service, name, one.doc_id, one.start, one.end),
            **{field: getattr(one, field) for field in CitedExcerpt.model_fields if field not in ("id", "url")},
        )
        for one in made.excerpts
    ]
    return FoundContext(
        index=name,
        question=asked.question,
        mode=mode,
        warming=warming,
        unknown_language=made.unknown_language,
        text=made.text,
        tokens=made.tokens,
        excerpts=excerpts,
    )
