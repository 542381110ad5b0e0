"""What operations depend on: the service as whoever asks may see it."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from semsearch.server.service import Service


async def service_of(request: Request) -> Service:
    """The service, as the key of the request allows to see it; `gate.py` has compared it.

    It is asynchronous because FastAPI would call it in a thread otherwise, which takes longer than it does.
    """
    service: Service = request.app.state.service
    return service.for_(request.state.access)


Asked: TypeAlias = Annotated[Service, Depends(service_of)]
"""Annotation of the parameter of an operation: `service: Asked`."""
