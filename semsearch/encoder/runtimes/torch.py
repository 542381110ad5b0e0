"""The torch runtime: the reference on the CPU, and the runtime for accelerators.

On a GPU, the texts of a batch are packed into one row without padding if variable-length attention is available, ids
and vectors are transferred through pinned memory while the next batch is computed, and a batch that does not fit in
memory is halved.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn, TypeAlias

import numpy as np
import torch

from semsearch.arrays import Vectors
from semsearch.encoder.runtimes.networks import Network
from semsearch.encoder.runtimes.torch_model import DTYPES, PooledModel, refuse_fork_of_torch
from semsearch.encoder.runtimes.torch_packing import Packer
from semsearch.encoder.tokenization import Batch, Batching
from semsearch.errors import ModelError, UnsupportedError, UsageError
from semsearch.messages import first_line

BATCHING = {"cpu": Batching(2_048), "accelerator": Batching(65_536)}
"""Measured in bench/batch_tokens.py; padding costs nothing if texts are packed."""

IN_FLIGHT = 2
"""Number of batches queued on an accelerator before waiting for the first."""

NO_INT8 = "precision 'int8' needs the runtime openvino, but this model runs on torch"

log = logging.getLogger(__name__)


Forward: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, ...]]
"""Maps a network's inputs to its outputs."""


def choose_device(device: str) -> str:
    """Resolve `auto` to the available accelerator, or the CPU.

    Raises:
        UsageError: If this machine has no such device.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {device!r} is not usable here ({first_line(error)}); try `device` 'cpu'") from None
    return device


def choose_precision(precision: str, device: str) -> str:
    """Resolve `auto`: float32 on the CPU, bfloat16 (or float16 on older GPUs) elsewhere."""
    if precision == "auto":
        if device == "cpu":
            return "float32"
        return "bfloat16" if not device.startswith("cuda") or torch.cuda.is_bf16_supported() else "float16"
    if precision not in DTYPES:
        raise UsageError(f"unknown precision {precision!r}; known: auto, {', '.join(DTYPES)}")
    return precision


@dataclass(frozen=True, slots=True)
class _Pending:
    """A batch in progress on an accelerator; its vectors are in host memory once `ready` has been recorded."""

    batch: Batch
    pooled: list[torch.Tensor]
    ready: torch.cuda.Event | None

    def wait(self) -> tuple[Batch, list[Vectors]]:
        if self.ready:
            self.ready.synchronize()
        return self.batch, [np.asarray(vectors.numpy(), dtype=np.float32) for vectors in self.pooled]


def _run_packed(
    packer: Packer, model: PooledModel, ids: torch.Tensor, mask: torch.Tensor, skip: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    return model.pool(packer(model, ids, mask), mask, skip)


class TorchRuntime:
    """A network on one device."""

    name = "torch"
    artifacts: Mapping[str, Path] = MappingProxyType({})

    def __init__(self, network: Network, *, device: str, precision: str) -> None:
        """Load the weights.

        Raises:
            ModelError: If weights are missing or damaged, or the backbone reads padding.
            UsageError: If the device or precision is unknown, or the process was forked from one in which torch runs.
        """
        self.device = choose_device(device)
        refuse_fork_of_torch(self.device)
        self.precision = choose_precision(precision, self.device)
        self.batching = BATCHING["cpu" if self.device == "cpu" else "accelerator"]
        model = network.load(self.precision).to(self.device)
        model.refuse_reading_padding(network.checkpoint.name)
        self._forward: Forward = model
        if isinstance(model, PooledModel):
            packer = Packer.where_it_works(model, network.checkpoint.first_position, self.device)
            self._forward = partial(_run_packed, packer, model) if packer else model

    def quantize(self, batches: Iterable[Batch]) -> NoReturn:
        """Raise UnsupportedError; see `Runtime`."""
        raise UnsupportedError(NO_INT8)

    def __call__(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[Vectors]]]:
        """Encode batches.

        Yields:
            Each batch, or parts of it if it did not fit in memory, with float32 `[n, dim]` for each head, not rescaled.

        Raises:
            ModelError: If not even a single text fits in the device's memory.
            UsageError: If the process was forked from one in which torch runs.
        """
        refuse_fork_of_torch(self.device)
        pending: deque[_Pending] = deque()
        for batch in batches:
            for part in self._launch(batch):
                pending.append(part)
                if len(pending) > (0 if self.device == "cpu" else IN_FLIGHT):
                    yield pending.popleft().wait()
        while pending:
            yield pending.popleft().wait()

    def _launch(self, batch: Batch) -> Iterator[_Pending]:
        """Start a batch, or its halves if it does not fit in memory."""
        try:
            yield self._start(batch)
        except torch.OutOfMemoryError:
            if len(batch.ids) == 1:
                raise ModelError(
                    f"device {self.device!r} has too little memory for one text of {len(batch.ids[0])} tokens; "
                    "truncate texts with a lower `max_tokens`, or use `device` 'cpu'"
                ) from None
            if self.device.startswith("cuda"):
                torch.cuda.empty_cache()
            half = len(batch.ids) // 2
            log.info("halving a batch of %d texts, which does not fit in the memory of %s", len(batch.ids), self.device)
            for rows in (slice(None, half), slice(half, None)):
                yield from self._launch(batch.part(rows))

    @torch.inference_mode()
    def _start(self, batch: Batch) -> _Pending:
        ids, mask, third = (self._to_device(torch.from_numpy(array)) for array in batch.inputs())
        return self._fetch(batch, self._forward(ids, mask, third))

    def _to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """Copy a tensor to the device, through pinned memory so that a GPU can compute meanwhile."""
        if self.device.startswith("cuda"):
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _fetch(self, batch: Batch, pooled: Sequence[torch.Tensor]) -> _Pending:
        """Start copying the vectors back to the host, into pinned memory."""
        if not self.device.startswith("cuda"):
            return _Pending(batch, [vectors.cpu() for vectors in pooled], None)
        hosts = [torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True) for vectors in pooled]
        for host, vectors in zip(hosts, pooled, strict=True):
            host.copy_(vectors, non_blocking=True)
        ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
        ready.record(torch.cuda.current_stream(self.device))
        return _Pending(batch, hosts, ready)
