"""Status of the server and its indexes: `/indexes`, `/health`, `/ready`, `/metrics`."""

from __future__ import annotations

from pathlib import PurePath

from fastapi import APIRouter, Request, Response

from semsearch.errors import SemsearchError
from semsearch.server.access import Asked
from semsearch.server.models import Health, Indexes, Readiness, ServedIndex
from semsearch.server.schema import REFUSALS
from semsearch.server.service import Service
from semsearch.server.shelf import FAILED, WARM

router = APIRouter(responses=REFUSALS)


@router.head("/health", include_in_schema=False)
@router.get("/health", operation_id="health")
async def health() -> Health:
    """Report that the server is running; needs no key and touches no index."""
    return Health(status="ok")


@router.get("/ready", operation_id="ready")
async def ready(service: Asked) -> Readiness:
    """Report whether the indexes can be searched by meaning yet; keyword search works immediately."""
    states = {name: service.state(name)[0] for name in service.names}
    reached = set(states.values())
    status = "failed" if FAILED in reached else "ready" if reached <= {WARM} else "keyword"
    return Readiness.model_validate({"status": status, "indexes": states})


@router.get("/indexes", operation_id="list_indexes")
async def indexes(service: Asked) -> Indexes:
    """List the indexes that may be searched, with their size and encoder."""
    return Indexes(indexes=[await _described(service, name) for name in service.names])


async def _described(service: Service, name: str) -> ServedIndex:
    """Describe an index; if it cannot be opened, give the reason."""
    try:
        holds, spec, fields = await service.described(name)
    except SemsearchError as error:
        nothing = dict.fromkeys(
            ("documents", "passages", "model", "pooler", "similarity", "dim", "max_tokens", "precision")
        )
        return ServedIndex.model_validate(
            {"name": name, "state": FAILED, "reason": type(error).__name__, "fields": [], **nothing}
        )
    state, reason = service.state(name)
    return ServedIndex.model_validate(
        {
            "name": name,
            "state": state,
            "reason": reason,
            "documents": holds["documents"],
            "passages": holds["passages"],
            "model": PurePath(spec.model).name if PurePath(spec.model).is_absolute() else spec.model,
            "pooler": spec.pooler,
            "similarity": spec.similarity,
            "dim": spec.dim,
            "max_tokens": spec.max_tokens,
            "precision": spec.precision,
            "fields": fields,
        }
    )


@router.get("/metrics", operation_id="metrics", response_class=Response)
async def metrics(request: Request, service: Asked) -> Response:
    """Return counts and durations for Prometheus."""
    page: bytes = request.app.state.metrics.page()
    return Response(page, media_type=request.app.state.metrics.content_type)
