"""The OpenAPI document: the possible responses of every operation, and how keys are sent."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from semsearch.server.models import Refusal

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "The request is invalid; the message says why."},
    401: {"model": Refusal, "description": "The key is missing or invalid."},
    403: {"model": Refusal, "description": "The key does not permit this operation, or the origin is not allowed."},
    404: {"model": Refusal, "description": "Unknown index or document."},
    409: {"model": Refusal, "description": "Another process is writing, or the index was built with another encoder."},
    413: {"model": Refusal, "description": "The request exceeds a limit of this server."},
    429: {"model": Refusal, "description": "Too many requests are waiting; Retry-After says when to try again."},
    503: {"model": Refusal, "description": "The model is not loaded yet, or cannot be loaded."},
    504: {"model": Refusal, "description": "No answer within the time limit."},
    507: {"model": Refusal, "description": "The disk is full."},
}
"""Error responses of the server's own operations; errors that only a fault can cause (500) are not listed."""


def refusals(model: type[BaseModel], *more: int) -> dict[int | str, dict[str, Any]]:
    """Return the error responses of a foreign contract, with its own body and possibly more statuses."""
    told: dict[int | str, dict[str, Any]] = {status: {"description": "The request is invalid."} for status in more}
    return {status: {**answer, "model": model} for status, answer in (REFUSALS | told).items()}


def describe(app: FastAPI, *, keys: bool) -> None:
    """Make the application build its OpenAPI document when it is first requested.

    Args:
        app: The application, with all its routes.
        keys: Whether the server requires a key.
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

    app.openapi = openapi  # type: ignore[method-assign]  # as in FastAPI's documentation


ABOUT = "Semantic search over your own documents, and a retrieval backend for chatbots."


def without_422(document: dict[str, Any]) -> dict[str, Any]:
    """Remove FastAPI's 422 responses from an OpenAPI document, and return it; malformed requests get 400 here."""
    for operations in document["paths"].values():
        for operation in operations.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    schemas = document.get("components", {}).get("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return document


def _errors_as_json(document: dict[str, Any]) -> None:
    """Declare the errors of operations that return an HTML page as JSON, which they are."""
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if not status.startswith("2") and "text/html" in answer.get("content", {}):
                    answer["content"] = {"application/json": answer["content"]["text/html"]}
