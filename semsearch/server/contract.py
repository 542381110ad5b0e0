"""Definition of a contract: the operations and the error format that one kind of client expects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from fastapi import APIRouter

from semsearch.server.problems import Problem

Shape: TypeAlias = Callable[[Problem, str], tuple[int, Mapping[str, Any]]]
"""Maps a problem and a request id to the status and the JSON body that a contract's clients understand."""


def own_shape(problem: Problem, request_id: str) -> tuple[int, Mapping[str, Any]]:
    """Return the status and a body of the form `{"error": {"code", "message", "request_id"}}`."""
    return problem.status, {"error": {"code": problem.code, "message": problem.message, "request_id": request_id}}


@dataclass(frozen=True, slots=True)
class Contract:
    """Operations and error format that one kind of client expects.

    Attributes:
        name: Name of the group of operations in the OpenAPI document.
        router: The operations, with full paths.
        paths: Prefixes of their paths, for errors outside of any operation, such as an invalid key.
        shape: Error format that the clients understand.
    """

    name: str
    router: APIRouter
    paths: tuple[str, ...]
    shape: Shape = own_shape
