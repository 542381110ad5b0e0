"""What is served and how well: `/indexes`, `/health`, `/ready`, `/metrics`."""

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
    """Whether the server runs; needs no key and touches no index."""
    return Health(status="ok")


@router.get("/ready", operation_id="ready")
async def ready(service: Asked) -> Readiness:
    """Whether indexes are searched by meaning yet; by words they are searched at once."""
    states = {name: service.state(name)[0] for name in service.names}
    reached = set(states.values())
    status = "failed" if FAILED in reached else "ready" if reached <= {WARM} else "keyword"
    return Readiness.model_validate({"status": status, "indexes": states})


@router.get("/indexes", operation_id="list_indexes")
async def indexes(service: Asked) -> Indexes:
    """The indexes that may be searched, what they hold and which encoder they belong to."""
    return Indexes(indexes=[await _described(service, name) for name in service.names])


async def _described(service: Service, name: str) -> ServedIndex:
    """One index; where it cannot be opened, why."""
    try:
        holds, spec, fields = await service.described(name)
    except SemsearchError as error:
        nothing = dict.fromkeys(("documents", "passages", "model", "pooler", "dim", "max_tokens", "precision"))
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
            "dim": spec.dim,
            "max_tokens": spec.max_tokens,
            "precision": spec.precision,
            "fields": fields,
        }
    )


@router.get("/metrics", operation_id="metrics", response_class=Response)
async def metrics(request: Request, service: Asked) -> Response:
    """Counts and times, for Prometheus."""
    page: bytes = request.app.state.metrics.page()
    return Response(page, media_type=request.app.state.metrics.content_type)
