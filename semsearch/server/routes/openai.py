"""OpenAI's embeddings and models, as its clients and those of compatible servers ask for them.

Written from OpenAI's API reference and tried with the clients of openai (Python and Node); see tests/clients.
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
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(BaseModel):
    """An error, as OpenAI's clients read it."""

    error: OpenAIProblem


class Embedding(BaseModel):
    """One vector: numbers, or base64 of little-endian float32."""

    object: str
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens that the encoder saw."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    """Vectors in the order of the texts."""

    object: str
    model: str
    data: list[Embedding]
    usage: Usage


class ModelEntry(BaseModel):
    """An index, as a model."""

    id: str
    object: str
    created: int
    owned_by: str


class ModelList(BaseModel):
    """Every index, as a model."""

    object: str
    data: list[ModelEntry]


router = APIRouter(responses=refusals(OpenAIError))

_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}

Texts = Annotated[Any, WithJsonSchema(_TEXTS)]
"""A text or several; checked by `texts_of`, whose messages say more than a schema's."""

FOREIGN_TOKENS = "send text; in LangChain set check_embedding_ctx_length=False"


class EmbeddingsRequest(BaseModel):
    """What `/v1/embeddings` is asked for; other fields, such as `user`, are of no account."""

    input: Texts = Field(examples=[["a heron waits in the reeds"]])
    model: str | None = Field(None, description="An index, whose encoder answers; NAME:query for queries.")
    encoding_format: str | None = Field(None, description="float (default) or base64.")
    dimensions: int | None = Field(None, description="Keep the first components and rescale to unit length.")
    input_type: str | None = Field(None, description="query or document, for encoders with prefixes.")


@router.post("/v1/embeddings", summary="Vectors of texts", responses={200: {"model": Embeddings}})
async def create_embeddings(body: EmbeddingsRequest, service: Asked) -> Response:
    """Encode up to 2,048 texts; the shape is OpenAI's."""
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


@router.get("/v1/models", summary="The indexes, as models")
async def list_models(service: Asked) -> ModelList:
    """Every index that may be seen is a model, whose vectors are those of its encoder."""
    models = [model for name in service.names for model in await _models(service, name)]
    return ModelList(object="list", data=models)


@router.get("/v1/models/{model:path}", summary="One index, as a model")
async def retrieve_model(model: str, service: Asked) -> ModelEntry:
    """The model of that name."""
    found = await model_of(service, model)
    return _model(found.name)


def texts_of(value: object, name: str) -> list[str]:
    """A text, or a list of texts, as a list.

    Raises:
        UsageError: It is something else, such as another tokenizer's tokens, or a text is empty.
    """
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        raise UsageError(f"`{name}` is {value!r:.60}; expected text, or a list of one or more texts")
    if all(isinstance(one, int) or (isinstance(one, list) and _are_tokens(one)) for one in texts):
        raise UsageError(f"`{name}` holds the tokens of another model's tokenizer; {FOREIGN_TOKENS}")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise UsageError(f"`{name}` has {text!r:.60} at {index}; expected text")
        if not text:
            raise UsageError(f"`{name}` has an empty text at {index}; leave it out")
        if is_broken(text):
            raise UsageError(f"`{name}` has a text with half a surrogate pair at {index}; expected Unicode")
    return texts


def _are_tokens(value: Sequence[object]) -> bool:
    return all(isinstance(one, int) for one in value)


FORMATS: Mapping[str, Callable[[Vectors], Sequence[object]]] = {
    "float": lambda vectors: list(vectors),
    "base64": lambda vectors: [base64.b64encode(row).decode() for row in np.ascontiguousarray(vectors, "<f4")],
}
"""How vectors are written: as numbers, or as the base64 of little-endian float32."""


def _choose(table: Mapping[str, Any], name: str, asked: str) -> Any:
    if asked not in table:
        raise UsageError(f"`{name}` is {asked!r:.60}; expected one of {', '.join(table)}")
    return table[asked]


async def _models(service: Service, name: str) -> list[ModelEntry]:
    """An index as a model, and by role where that makes a difference; nothing where the index is gone."""
    try:
        spec = await service.spec(name)
    except (StoreError, UnknownIndexError):
        return []
    roles = () if spec.query_prefix == spec.passage_prefix else (":query", ":document")
    return [_model(f"{name}{role}") for role in ("", *roles)]


def _model(name: str) -> ModelEntry:
    return ModelEntry(id=name, object="model", created=0, owned_by="semsearch")


def openai_shape(missing: str) -> Shape:
    """How OpenAI's clients read errors.

    Args:
        missing: The code of what does not exist.
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
"""HTTP status to OpenAI's type of error, where it is a special one."""

CODES = {"unauthorized": "invalid_api_key", "overloaded": "rate_limit_exceeded"}
"""Our code to OpenAI's, where theirs has another name."""
