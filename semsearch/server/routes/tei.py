"""Embeddings API of Text Embeddings Inference (TEI); its reranking is in `rerank.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, Field

from semsearch.errors import UsageError
from semsearch.server.access import Asked
from semsearch.server.embedding import ROLES, embed, model_of, shown_name
from semsearch.server.json_bytes import json_response
from semsearch.server.problems import Problem
from semsearch.server.routes.openai import Texts, texts_of
from semsearch.server.routes.rerank import tei_type
from semsearch.server.schema import refusals
from semsearch.types import COSINE
from semsearch.version import __version__


class TeiError(BaseModel):
    """Error in TEI's format."""

    error: str
    error_type: str


router = APIRouter(responses=refusals(TeiError, 422))


class EmbedRequest(BaseModel):
    """Request body of `/embed`; texts over the encoder's token limit are always cut, whatever `truncate` says."""

    inputs: Texts = Field(examples=["a heron waits in the reeds"])
    truncate: bool | None = None
    normalize: bool | None = None
    prompt_name: str | None = Field(None, description="query or document, for encoders with prefixes.")
    dimensions: int | None = None


@router.post("/embed", summary="Encode texts (TEI)", responses={200: {"model": list[list[float]]}})
async def create_vectors(body: EmbedRequest, service: Asked) -> Response:
    """Encode texts with the encoder of the first index."""
    if body.prompt_name is not None and body.prompt_name not in ROLES:
        raise UsageError(f"`prompt_name` is {body.prompt_name!r:.60}; expected one of {', '.join(ROLES)}")
    name = (await model_of(service, None)).index
    spec = await service.spec(name)
    if body.normalize is False and spec.normalize:
        raise UsageError("`normalize` is false, but this encoder only returns vectors of unit length; omit it")
    if body.normalize and spec.similarity != COSINE:
        raise UsageError(f"`normalize` is true, but vectors ranked by {spec.similarity!r} keep their lengths; omit it")
    role = ROLES[body.prompt_name or "document"]
    texts = texts_of(body.inputs, "inputs")
    embedded = await embed(service, name, texts, role=role, dimensions=body.dimensions)
    return json_response(list(embedded.vectors))


@router.get("/info", summary="Describe the model (TEI)")
async def read_info(service: Asked) -> dict[str, Any]:
    """Describe the encoder of the first index."""
    spec = await service.spec((await model_of(service, None)).index)
    settings = service.settings
    return {
        "model_id": shown_name(spec),
        "model_sha": None,
        "model_dtype": spec.precision.partition(":")[0],
        "model_type": {"embedding": {"pooling": spec.pooler}},
        "max_concurrent_requests": settings.max_waiting,
        "max_input_length": spec.max_tokens,
        "max_batch_tokens": settings.batch_tokens,
        "max_batch_requests": None,
        "max_client_batch_size": settings.max_batch,
        "auto_truncate": True,
        "tokenization_workers": 1,
        "version": __version__,
        "sha": None,
        "docker_label": None,
    }


def tei_shape(problem: Problem, request_id: str) -> tuple[int, Mapping[str, Any]]:
    """Return an error in TEI's format."""
    status = 422 if problem.status in (400, 413) else problem.status
    return status, {"error": problem.message, "error_type": tei_type(status)}
