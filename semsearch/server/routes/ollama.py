"""Embeddings as Ollama gives them, with the two questions that its clients ask first."""

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
    """An error, as Ollama's clients read it."""

    error: str


class OllamaEmbeddings(BaseModel):
    """Vectors in the order of the texts; times are in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None


router = APIRouter(responses=refusals(OllamaError))


class OllamaRequest(BaseModel):
    """What `/api/embed` is asked for; `truncate`, `options` and `keep_alive` are of no account."""

    model: str | None = Field(None, description="An index, whose encoder answers; NAME:query for queries.")
    input: Texts = Field(examples=["a heron waits in the reeds"])
    dimensions: int | None = None


@router.post("/api/embed", summary="Vectors of texts (Ollama)", responses={200: {"model": OllamaEmbeddings}})
async def create_ollama_vectors(body: OllamaRequest, service: Asked) -> Response:
    """Encode texts; without any, or with an empty one, Ollama's clients expect no vectors, and the model is loaded."""
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


@router.get("/api/tags", summary="The indexes, as models (Ollama)")
async def list_ollama_models(service: Asked) -> dict[str, Any]:
    """Every index that may be seen; an index that is gone is left out."""
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


@router.get("/api/version", summary="The version (Ollama)")
async def read_version() -> dict[str, str]:
    """The server's version."""
    return {"version": __version__}


def ollama_shape(problem: Problem, request_id: str) -> tuple[int, Mapping[str, Any]]:
    """How Ollama's clients read errors."""
    return problem.status, {"error": problem.message}
