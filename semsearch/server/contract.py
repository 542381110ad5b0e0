"""What a contract is: the operations that one kind of client expects, and how it reads errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from fastapi import APIRouter

from semsearch.server.problems import Problem

Shape: TypeAlias = Callable[[Problem, str], tuple[int, Mapping[str, Any]]]
"""From a problem and the id of the request to the status and the JSON body that a contract's clients understand."""


def own_shape(problem: Problem, request_id: str) -> tuple[int, Mapping[str, Any]]:
    """`{"error": {"code", "message", "request_id"}}`."""
    return problem.status, {"error": {"code": problem.code, "message": problem.message, "request_id": request_id}}


@dataclass(frozen=True, slots=True)
class Contract:
    """What one kind of client expects.

    Attributes:
        name: Of the group of operations in the OpenAPI document.
        router: Its operations, with full paths.
        paths: Beginnings of their paths, for errors outside of any operation, such as a wrong key.
        shape: How its clients read errors.
    """

    name: str
    router: APIRouter
    paths: tuple[str, ...]
    shape: Shape = own_shape
