"""The OpenAPI document: what every operation may answer, and how keys are sent."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from semsearch.server.models import Refusal

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "The request makes no sense; the message says why."},
    401: {"model": Refusal, "description": "No key, or a wrong one."},
    403: {"model": Refusal, "description": "The key does not allow it, or the origin is not allowed."},
    404: {"model": Refusal, "description": "No such index or document."},
    409: {"model": Refusal, "description": "Another process writes, or the index belongs to another encoder."},
    413: {"model": Refusal, "description": "Over a limit of this server."},
    429: {"model": Refusal, "description": "Too much is waiting; Retry-After says when to try again."},
    503: {"model": Refusal, "description": "The model is not loaded yet, or cannot be."},
    504: {"model": Refusal, "description": "No answer within the time limit."},
    507: {"model": Refusal, "description": "The disk is full."},
}
"""What the server's own operations may answer instead; errors that only a fault can cause (500) are not among them."""


def refusals(model: type[BaseModel], *more: int) -> dict[int | str, dict[str, Any]]:
    """The same for a foreign contract, whose errors have another shape, and perhaps more statuses."""
    told: dict[int | str, dict[str, Any]] = {
        status: {"description": "The request makes no sense here."} for status in more
    }
    return {status: {**answer, "model": model} for status, answer in (REFUSALS | told).items()}


def describe(app: FastAPI, *, keys: bool) -> None:
    """Have the application describe itself, once it is asked.

    Args:
        app: With all its routes.
        keys: Whether it needs one.
    """

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            document = get_openapi(title=app.title, version=app.version, routes=app.routes, description=ABOUT)
            without_422(document)
            _errors_as_json(document)
            if keys:
                document.setdefault("components", {})["securitySchemes"] = {
                    "key": {"type": "http", "scheme": "bearer"},
                }
                document["security"] = [{"key": []}]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation does it


ABOUT = "Semantic search over your own documents, and the retrieval backend of chatbots."


def without_422(document: dict[str, Any]) -> dict[str, Any]:
    """Take out what FastAPI says of malformed requests, which are 400 here."""
    for operations in document["paths"].values():
        for operation in operations.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    schemas = document.get("components", {}).get("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return document


def _errors_as_json(document: dict[str, Any]) -> None:
    """Say of operations that answer with a page that their errors are JSON all the same."""
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if not status.startswith("2") and "text/html" in answer.get("content", {}):
                    answer["content"] = {"application/json": answer["content"]["text/html"]}
