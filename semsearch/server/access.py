"""FastAPI dependency of every operation: the service, restricted to what the request's key allows."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from semsearch.server.service import Service


async def service_of(request: Request) -> Service:
    """Return the service, restricted to what the request's key allows; `gate.py` has already checked the key.

    It is async because FastAPI runs synchronous dependencies in a thread, and that would take longer than the call.
    """
    service: Service = request.app.state.service
    return service.for_(request.state.access)


Asked: TypeAlias = Annotated[Service, Depends(service_of)]
"""Annotation for the service parameter of an operation: `service: Asked`."""
