"""Ollama's embeddings API, with the two requests that its clients send first: models and version."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, Field

from semsearch.errors import StoreError
from semsearch.server.access import Asked
from semsearch.server.embedding import embed, model_of, shown_name
from semsearch.server.json_bytes import json_response
from semsearch.server.problems import Problem
from semsearch.server.routes.openai import Texts, texts_of
from semsearch.server.schema import refusals
from semsearch.version import __version__


class OllamaError(BaseModel):
    """Error in Ollama's format."""

    error: str


class OllamaEmbeddings(BaseModel):
    """Vectors in the order of the texts; durations are in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None


router = APIRouter(responses=refusals(OllamaError))


class OllamaRequest(BaseModel):
    """Request body of `/api/embed`; `truncate`, `options` and `keep_alive` are ignored."""

    model: str | None = Field(None, description="Name of the index whose encoder to use; NAME:query for queries.")
    input: Texts = Field(examples=["a heron waits in the reeds"])
    dimensions: int | None = None


@router.post("/api/embed", summary="Encode texts (Ollama)", responses={200: {"model": OllamaEmbeddings}})
async def create_ollama_vectors(body: OllamaRequest, service: Asked) -> Response:
    """Encode texts; for an empty input, with which Ollama's clients load a model, return no vectors."""
    started = time.perf_counter_ns()
    if body.input in ("", []):
        model = await model_of(service, body.model)
        return json_response({"model": model.name, "embeddings": []})
    embedded = await embed(service, body.model, texts_of(body.input, "input"), dimensions=body.dimensions)
    return json_response(
        {
            "model": embedded.model.name,
            "embeddings": list(embedded.vectors),
            "total_duration": time.perf_counter_ns() - started,
            "load_duration": 0,
            "prompt_eval_count": embedded.tokens,
        }
    )


@router.get("/api/tags", summary="List the indexes as models (Ollama)")
async def list_ollama_models(service: Asked) -> dict[str, Any]:
    """List every visible index as a model; an index that is gone is left out."""
    models = []
    for name in service.names:
        try:
            spec = await service.spec(name)
        except StoreError:
            continue
        models.append(
            {
                "name": name,
                "model": name,
                "modified_at": "1970-01-01T00:00:00Z",
                "size": 0,
                "digest": spec.fingerprint,
                "details": {"format": "safetensors", "family": "bert", "families": ["bert"]}
                | {"parent_model": shown_name(spec), "parameter_size": "", "quantization_level": spec.precision},
            }
        )
    return {"models": models}


@router.get("/api/version", summary="Return the version (Ollama)")
async def read_version() -> dict[str, str]:
    """Return the server's version."""
    return {"version": __version__}


def ollama_shape(problem: Problem, request_id: str) -> tuple[int, Mapping[str, Any]]:
    """Return an error in Ollama's format."""
    return problem.status, {"error": problem.message}
