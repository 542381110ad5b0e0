"""Searching: `POST /search`."""

from __future__ import annotations

from fastapi import APIRouter

from semsearch.server.access import Asked
from semsearch.server.links import document_url
from semsearch.server.models import Found, FoundHit, Search
from semsearch.server.schema import REFUSALS

router = APIRouter(responses=REFUSALS)


@router.post("/search", operation_id="search")
async def search(asked: Search, service: Asked) -> Found:
    """The documents that answer a query, best first, each shown by its best passage."""
    name = service.one_of(asked.index)
    wishes = asked.model_dump(exclude={"index", "query", "k"})
    answer = await service.search(name, asked.query, asked.k, **wishes)
    hits = [FoundHit.of(hit, document_url(service, name, hit.doc_id, hit.start, hit.end)) for hit in answer.hits]
    return Found(index=name, query=asked.query, mode=answer.mode, warming=answer.warming, hits=hits)
