"""Explain why a hit was found: `POST /explain`."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from semsearch.errors import UnknownDocumentError
from semsearch.server.access import Asked
from semsearch.server.models import JsonObject, Mode
from semsearch.server.schema import REFUSALS

router = APIRouter(responses=REFUSALS)


class HitToExplain(BaseModel):
    """A search, and the document among its hits to explain."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"query": "saving money", "id": "money-004", "mode": "hybrid"}]}
    )

    query: str = Field(description="Query of the search.")
    id: str = Field(description="Id of the document.")
    index: str | None = Field(None, description="Name of the index; may be omitted if only one is served.")
    k: int = Field(10, ge=1, description="As in the search.")
    mode: Mode | None = Field(None, description="As in the search.")
    where: str | JsonObject | None = Field(None, description="As in the search.")
    fusion: Literal["convex", "rrf"] = Field("convex", description="As in the search.")
    group: bool = Field(False, description="As in the search.")


class Explained(BaseModel):
    """Explanation of the score of a hit."""

    index: str
    mode: str = Field(description="Search mode that was used.")
    warming: bool = Field(description="Whether keyword search was used because the model is not loaded yet.")
    explanation: JsonObject = Field(
        description="Contributions of tokens and terms to the score, as in `semsearch query --explain --json`."
    )


@router.post("/explain", operation_id="explain")
async def explain(asked: HitToExplain, service: Asked) -> Explained:
    """Explain how much each token and each term contributes to the score of a hit; the search is run again."""
    name = service.one_of(asked.index)
    wishes = asked.model_dump(exclude={"index", "query", "k", "id"})
    explanation, mode, warming = await service.explain(name, asked.query, asked.id, asked.k, **wishes)
    if explanation is None:
        raise UnknownDocumentError(f"document {asked.id!r:.200} is not among the {asked.k:,} best hits for that query")
    return Explained(index=name, mode=mode, warming=warming, explanation=explanation.to_json())
