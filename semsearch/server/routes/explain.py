"""Why a hit was found: `POST /explain`."""

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
    """A search as it was made, and the document among its hits."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"query": "saving money", "id": "money-004", "mode": "hybrid"}]}
    )

    query: str = Field(description="As it was searched.")
    id: str = Field(description="Of the document.")
    index: str | None = Field(None, description="Name of the index; may be left out where one is served.")
    k: int = Field(10, ge=1, description="Of the search.")
    mode: Mode | None = Field(None, description="Of the search.")
    where: str | JsonObject | None = Field(None, description="Of the search.")
    fusion: Literal["convex", "rrf"] = Field("convex", description="Of the search.")


class Explained(BaseModel):
    """Where the score of a hit comes from."""

    index: str
    mode: str = Field(description="How the search was answered.")
    warming: bool = Field(description="Whether only words were compared because the model is not loaded yet.")
    explanation: JsonObject = Field(
        description="As `semsearch query --explain --json` prints it: what tokens and terms contribute to the score."
    )


@router.post("/explain", operation_id="explain")
async def explain(asked: HitToExplain, service: Asked) -> Explained:
    """What each token and each term contributes to the score of a hit; the search is made again."""
    name = service.one_of(asked.index)
    wishes = asked.model_dump(exclude={"index", "query", "k", "id"})
    explanation, mode, warming = await service.explain(name, asked.query, asked.id, asked.k, **wishes)
    if explanation is None:
        raise UnknownDocumentError(f"no document {asked.id!r:.200} among the {asked.k:,} best for that query")
    return Explained(index=name, mode=mode, warming=warming, explanation=explanation.to_json())
