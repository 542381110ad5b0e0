"""OpenAI's embeddings and models API, for its clients and those of compatible servers.

Written from OpenAI's API reference and tested with its openai clients (Python and Node); see tests/clients.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, Field, WithJsonSchema

from semsearch.arrays import Vectors
from semsearch.encoder.texts import is_broken
from semsearch.errors import StoreError, UnknownIndexError, UsageError
from semsearch.server.access import Asked
from semsearch.server.contract import Shape
from semsearch.server.embedding import ROLES, embed, model_of
from semsearch.server.json_bytes import json_response
from semsearch.server.problems import Problem
from semsearch.server.schema import refusals
from semsearch.server.service import Service


class OpenAIProblem(BaseModel):
    """Details of an error."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(BaseModel):
    """Error in OpenAI's format."""

    error: OpenAIProblem


class Embedding(BaseModel):
    """One vector, as numbers or as base64-encoded little-endian float32."""

    object: str
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Number of tokens that the encoder saw."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    """Vectors in the order of the texts."""

    object: str
    model: str
    data: list[Embedding]
    usage: Usage


class ModelEntry(BaseModel):
    """An index, presented as a model."""

    id: str
    object: str
    created: int
    owned_by: str


class ModelList(BaseModel):
    """All indexes, presented as models."""

    object: str
    data: list[ModelEntry]


router = APIRouter(responses=refusals(OpenAIError))

_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}

Texts = Annotated[Any, WithJsonSchema(_TEXTS)]
"""One text or several; validated by `texts_of`, whose messages are clearer than those of a schema."""

FOREIGN_TOKENS = "send text instead; in LangChain, set check_embedding_ctx_length=False"


class EmbeddingsRequest(BaseModel):
    """Request body of `/v1/embeddings`; other fields, such as `user`, are ignored."""

    input: Texts = Field(examples=[["a heron waits in the reeds"]])
    model: str | None = Field(None, description="Name of the index whose encoder to use; NAME:query for queries.")
    encoding_format: str | None = Field(None, description="float (default) or base64.")
    dimensions: int | None = Field(
        None, description="Number of leading components to keep, rescaled if ranked by cosine."
    )
    input_type: str | None = Field(None, description="query or document, for encoders with prefixes.")


@router.post("/v1/embeddings", summary="Encode texts", responses={200: {"model": Embeddings}})
async def create_embeddings(body: EmbeddingsRequest, service: Asked) -> Response:
    """Encode up to 2,048 texts, and return their vectors in OpenAI's format."""
    encode = _choose(FORMATS, "encoding_format", body.encoding_format or "float")
    role = _choose(ROLES, "input_type", body.input_type or "document")
    texts = texts_of(body.input, "input")
    embedded = await embed(service, body.model, texts, role=role, dimensions=body.dimensions)
    data = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in enumerate(encode(embedded.vectors))
    ]
    usage = {"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens}
    return json_response({"object": "list", "model": embedded.model.name, "data": data, "usage": usage})


@router.get("/v1/models", summary="List the indexes as models")
async def list_models(service: Asked) -> ModelList:
    """List every visible index as a model, whose vectors are those of its encoder."""
    models = [model for name in service.names for model in await _models(service, name)]
    return ModelList(object="list", data=models)


@router.get("/v1/models/{model:path}", summary="Return one index as a model")
async def retrieve_model(model: str, service: Asked) -> ModelEntry:
    """Return the model with that name."""
    found = await model_of(service, model)
    return _model(found.name)


def texts_of(value: object, name: str) -> list[str]:
    """Return a text, or a list of texts, as a list.

    Raises:
        UsageError: If the value is something else, such as another tokenizer's tokens, or a text is empty or broken.
    """
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        raise UsageError(f"`{name}` is {value!r:.60}; expected text or a non-empty list of texts")
    if all(isinstance(one, int) or (isinstance(one, list) and _are_tokens(one)) for one in texts):
        raise UsageError(f"`{name}` contains tokens of another model's tokenizer; {FOREIGN_TOKENS}")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise UsageError(f"`{name}` has {text!r:.60} at position {index}; expected text")
        if not text:
            raise UsageError(f"`{name}` has an empty text at position {index}; remove it")
        if is_broken(text):
            raise UsageError(f"`{name}` has a text with an unpaired surrogate at position {index}; expected Unicode")
    return texts


def _are_tokens(value: Sequence[object]) -> bool:
    return all(isinstance(one, int) for one in value)


FORMATS: Mapping[str, Callable[[Vectors], Sequence[object]]] = {
    "float": lambda vectors: list(vectors),
    "base64": lambda vectors: [base64.b64encode(row).decode() for row in np.ascontiguousarray(vectors, "<f4")],
}
"""Serializations of vectors: as numbers, or as base64-encoded little-endian float32."""


def _choose(table: Mapping[str, Any], name: str, asked: str) -> Any:
    if asked not in table:
        raise UsageError(f"`{name}` is {asked!r:.60}; expected one of {', '.join(table)}")
    return table[asked]


async def _models(service: Service, name: str) -> list[ModelEntry]:
    """Return an index as a model, and one for each role if roles matter; none if the index is gone."""
    try:
        spec = await service.spec(name)
    except (StoreError, UnknownIndexError):
        return []
    roles = () if spec.query_prefix == spec.passage_prefix else (":query", ":document")
    return [_model(f"{name}{role}") for role in ("", *roles)]


def _model(name: str) -> ModelEntry:
    return ModelEntry(id=name, object="model", created=0, owned_by="semsearch")


def openai_shape(missing: str) -> Shape:
    """Return a function that formats errors as OpenAI does.

    Args:
        missing: Error code for an unknown index.
    """

    def shape(problem: Problem, request_id: str) -> tuple[int, Mapping[str, Any]]:
        status = 400 if problem.status in (413, 422) else problem.status
        parameter = re.search(r"`(\w+)`", problem.message)
        return status, {
            "error": {
                "message": problem.message,
                "type": KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error"),
                "param": parameter[1] if parameter and status == 400 else None,
                "code": missing if problem.code == "unknown_index" else CODES.get(problem.code, problem.code),
            }
        }

    return shape


KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
"""Maps an HTTP status to OpenAI's error type, if it has its own."""

CODES = {"unauthorized": "invalid_api_key", "overloaded": "rate_limit_exceeded"}
"""Maps our error codes to OpenAI's, where they differ."""
