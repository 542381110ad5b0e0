"""The torch runtime on several accelerators, with one process each that takes the next batch when it is idle."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from types import MappingProxyType
from typing import Any, NoReturn

import torch

from semsearch.arrays import Vectors
from semsearch.encoder.checkpoints.record import Checkpoint
from semsearch.encoder.runtimes.networks import PooledNetwork
from semsearch.encoder.runtimes.torch import BATCHING, NO_INT8, TorchRuntime, choose_device, choose_precision
from semsearch.encoder.tokenization import Batch
from semsearch.errors import ModelError, UnsupportedError, UsageError
from semsearch.forks import refuse_fork

AHEAD = 2
"""Number of batches per process that are running or queued."""


class TorchWorkers:
    """The torch runtime on several devices; it spawns processes, so a script needs `if __name__ == "__main__"`."""

    name = "torch"
    artifacts: Mapping[str, Path] = MappingProxyType({})

    def __init__(self, network: PooledNetwork, *, devices: str, precision: str) -> None:
        """Start the processes.

        Args:
            network: Network with registered poolers.
            devices: Devices joined by commas, or `cuda:*` for all GPUs.
            precision: As for `TorchRuntime`.

        Raises:
            UsageError: If a device is not available, or the process was forked from one in which torch runs.
        """
        refuse_fork("torch")  # for every device, as the pool has threads of its own
        names = _names(devices)
        self.device = ",".join(names)
        self.precision = choose_precision(precision, names[0])
        self.batching = BATCHING["cpu" if names[0] == "cpu" else "accelerator"]
        self._n_workers = len(names)
        context = multiprocessing.get_context("spawn")
        free: Any = context.SimpleQueue()
        for name in names:
            free.put(name)
        poolers = [pooler.name for pooler, _ in network.heads]
        arguments = (free, network.checkpoint, poolers, self.precision, max(1, torch.get_num_threads() // len(names)))
        self._pool = ProcessPoolExecutor(len(names), context, _begin, arguments)

    def quantize(self, batches: Iterable[Batch]) -> NoReturn:
        """Raise UnsupportedError; see `Runtime`."""
        raise UnsupportedError(NO_INT8)

    def __call__(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[Vectors]]]:
        """Encode batches, yielding them in the order of completion.

        Raises:
            ModelError: If a process died or could not load the model.
            UsageError: If the process was forked from the one that started the processes.
        """
        refuse_fork("torch")
        waiting: set[Future[list[tuple[Batch, list[Vectors]]]]] = set()
        try:
            for batch in batches:
                with _without_interrupts():
                    waiting.add(self._pool.submit(_encode, batch))
                if len(waiting) >= AHEAD * self._n_workers:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield from future.result()
            for future in waiting:
                yield from future.result()
        except BrokenProcessPool:
            raise ModelError(
                f"a process on one of the devices {self.device} exited; see its output above, or try a single device"
            ) from None


def _names(devices: str) -> list[str]:
    """Return the devices in `cuda:0,cuda:1` as a list, or all GPUs for `cuda:*`."""
    if devices == "cuda:*":
        devices = ",".join(f"cuda:{number}" for number in range(torch.cuda.device_count())) or "cuda:0"
    names = [choose_device(name.strip()) for name in devices.split(",") if name.strip()]
    if not names:
        raise UsageError(f"`device` {devices!r} names no device; expected one like cuda:0,cuda:1 or cuda:*")
    return names


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, which signals the whole process group; this process shuts them down."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # per thread, and inherited by new processes
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Exit when the parent process has ended, for whatever reason."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


_here: list[TorchRuntime] = []
"""The runtime of this worker process."""


def _begin(free: Any, checkpoint: Checkpoint, poolers: Sequence[str], precision: str, threads: int) -> None:
    """Take a free device and load the model on it."""
    from semsearch.encoder.pooling import parse_pooler

    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    heads = tuple(checkpoint.head(parse_pooler(name)) for name in poolers)
    _here.append(TorchRuntime(PooledNetwork(checkpoint, heads), device=free.get(), precision=precision))


def _encode(batch: Batch) -> list[tuple[Batch, list[Vectors]]]:
    return list(_here[0]([batch]))
