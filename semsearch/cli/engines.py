"""The engine that the options of a command ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semsearch.cli.options import EngineName
from semsearch.errors import UsageError

if TYPE_CHECKING:
    from semsearch.engines.ray import RayEngine


def engine_of(
    name: EngineName,
    address: str | None,
    workers: int | None,
    gpus_per_worker: float | None,
    shards: str | None,
    *,
    device: str,
    watched: bool,
) -> RayEngine | None:
    """Return the engine that encodes, or None for this process.

    Raises:
        UsageError: If an option is invalid, or belongs to another engine.
    """
    given = {"address": address, "workers": workers, "gpus_per_worker": gpus_per_worker, "shards": shards}
    asked = {option: value for option, value in given.items() if value is not None}
    if name != EngineName.ray:
        if asked:
            raise UsageError(f"`{next(iter(asked))}` requires `engine` ray")
        return None
    if watched:
        raise UsageError("`watched` and `engine` ray are mutually exclusive; index on the cluster first, then watch")
    if device not in ("auto", "cpu"):
        raise UsageError("`device` belongs to this machine; choose the GPUs of the cluster with `gpus_per_worker`")
    from semsearch.engines.ray import RayEngine

    return RayEngine(
        workers=1 if workers is None else workers,
        address=address,
        gpus_per_worker=gpus_per_worker or 0.0,
        shards=shards,
    )
