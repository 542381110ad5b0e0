"""Several accelerators: a process on each, which takes the next batch when it is done with one."""

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
from semsearch.encoder.checkpoint import Checkpoint
from semsearch.encoder.runtimes.networks import PooledNetwork
from semsearch.encoder.runtimes.torch import BATCHING, NO_INT8, TorchRuntime, choose_device, choose_precision
from semsearch.encoder.tokenization import Batch
from semsearch.errors import ModelError, UnsupportedError, UsageError
from semsearch.forks import refuse_fork

AHEAD = 2
"""Batches that each process has or is about to get."""


class TorchWorkers:
    """The torch runtime on several devices; a script that uses it needs the `if __name__ == "__main__"` of spawning."""

    name = "torch"
    artifacts: Mapping[str, Path] = MappingProxyType({})

    def __init__(self, network: PooledNetwork, *, devices: str, precision: str) -> None:
        """Start the processes.

        Args:
            network: With registered poolers.
            devices: Joined by commas, or `cuda:*` for every one there is.
            precision: As for `TorchRuntime`.

        Raises:
            UsageError: A device that is not there; or the process was forked from one in which torch runs.
        """
        refuse_fork("torch")  # whatever the devices: the pool has threads of its own
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
        """Encode batches, in the order in which they are done.

        Raises:
            ModelError: A process died, or could not load the model.
            UsageError: The process was forked from the one that started the processes.
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
                f"a process on one of the devices {self.device} ended; see its output above, or try one device alone"
            ) from None


def _names(devices: str) -> list[str]:
    """`cuda:0,cuda:1` as a list; `cuda:*` as all there are."""
    if devices == "cuda:*":
        devices = ",".join(f"cuda:{number}" for number in range(torch.cuda.device_count())) or "cuda:0"
    names = [choose_device(name.strip()) for name in devices.split(",") if name.strip()]
    if not names:
        raise UsageError(f"device {devices!r} names none; write cuda:0,cuda:1 or cuda:*")
    return names


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: it goes to the whole group, and this process ends them in order."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # of this thread; a new process inherits it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


_here: list[TorchRuntime] = []
"""The runtime of a worker's process."""


def _begin(free: Any, checkpoint: Checkpoint, poolers: Sequence[str], precision: str, threads: int) -> None:
    """Take a device and load the model on it."""
    from semsearch.encoder.pooling import parse_pooler

    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    heads = tuple(checkpoint.head(parse_pooler(name)) for name in poolers)
    _here.append(TorchRuntime(PooledNetwork(checkpoint, heads), device=free.get(), precision=precision))


def _encode(batch: Batch) -> list[tuple[Batch, list[Vectors]]]:
    return list(_here[0]([batch]))
