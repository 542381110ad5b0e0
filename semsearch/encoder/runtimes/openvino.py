"""The openvino runtime: a compiled graph on the CPU, in bfloat16 if the CPU supports it.

Several batches are computed at once by a few threads each, because that keeps the cores busier than all of them working
on one batch; the next texts are tokenized meanwhile. A single batch, such as a query, gets all cores.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np

from semsearch.arrays import Vectors
from semsearch.encoder.runtimes.base import QUANTIZED, Runtime
from semsearch.encoder.runtimes.networks import Network
from semsearch.encoder.runtimes.openvino_graph import BIN, SUMS, XML, Compiled, Graph, StoredGraph, graph_of
from semsearch.encoder.runtimes.openvino_library import core, let_fork
from semsearch.encoder.tokenization import Batch, Batching
from semsearch.errors import ModelError, UnsupportedError
from semsearch.files import is_regular
from semsearch.forks import refuse_fork

HINTS = {"float32": "f32", "bfloat16": "bf16"}
"""Our names of precisions, mapped to OpenVINO's."""

ONE, MANY = "LATENCY", "THROUGHPUT"
"""OpenVINO's performance hints: all cores work on one batch, or a few on each of several."""

PER_STREAM = 2
"""Batches in flight per stream: one being computed, and the next one ready."""


class OpenVinoRuntime:
    """A network as one compiled graph."""

    name = "openvino"
    device = "cpu"
    batching = Batching(1_024, overhead=48)
    """Measured in bench/batch_tokens.py."""

    def __init__(self, graph: Graph, precision: str, artifacts: Mapping[str, Path] | None = None) -> None:
        """Compile a graph.

        Args:
            graph: Graph of a network.
            precision: `auto`, `float32`, `bfloat16`; or that of a quantized graph, see `quantized`.
            artifacts: Folders that an index must keep a copy of; see `Runtime`.

        Raises:
            UnsupportedError: If OpenVINO does not support the precision.
            UsageError: If the process was forked from one in which OpenVINO runs.
        """
        self.artifacts: Mapping[str, Path] = artifacts or {}
        self.precision, hint = choose_precision(precision)
        self._graph, self._hint = graph, hint
        self._compiled = {ONE: let_fork(graph.compile(hint, ONE))}
        self._used = False

    @classmethod
    def load(cls, network: Network, precision: str) -> Self:
        """Load the graph from the cache or convert it; a quantized graph is loaded from its index.

        Raises:
            UnsupportedError: If the graph cannot be converted, a quantized one is missing, or OpenVINO does not support
                the precision.
            ModelError: If the checkpoint cannot be loaded.
            UsageError: If the process was forked from one in which OpenVINO runs.
        """
        if precision.startswith(QUANTIZED):
            return cls._open_quantized(network.checkpoint.artifacts or Path(), precision)
        choose_precision(precision)  # fails before seconds are spent on a conversion
        runtime = cls(graph_of(network), precision)
        return runtime if runtime._graph.is_intact() else cls(graph_of(network, anew=True), precision)

    @classmethod
    def _open_quantized(cls, index: Path, precision: str) -> Self:
        folder = index / artifact_name(precision)
        graph = StoredGraph.open(folder) if _is_plain(folder) else None
        if graph is None or not graph.is_intact() or quantized(graph) != precision:
            raise UnsupportedError(
                f"the 8-bit model of the index in {str(folder)!r} is missing or damaged; restore it, or rebuild the "
                "index"
            )
        return cls(graph, precision, {folder.name: folder})

    def quantize(self, batches: Iterable[Batch]) -> Runtime:
        """Return a runtime for an 8-bit version of the same model; see `Runtime`."""
        from semsearch.encoder.runtimes.int8 import quantize

        graph = quantize(self._graph, batches)
        precision = quantized(graph)
        return OpenVinoRuntime(graph, precision, {artifact_name(precision): graph.folder})

    def __call__(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[Vectors]]]:
        """Encode batches.

        Yields:
            Each batch in the order given, with float32 `[n, dim]` for each head, not rescaled.

        Raises:
            ModelError: If the graph's files were deleted before it could be compiled for this workload.
            UsageError: If the process was forked from the one that loaded the graph.
        """
        refuse_fork("openvino")
        batches = iter(batches)
        head, aim = self._begun(batches)
        if not head:
            return
        compiled = self._compiled_for(aim)
        streams = int(compiled.get_property("NUM_STREAMS"))
        idle: deque[Any] = deque()
        running: deque[tuple[Any, Batch]] = deque()

        def finish() -> tuple[Batch, list[Vectors]]:
            request, batch = running.popleft()
            request.wait()
            idle.append(request)
            return batch, [np.array(tensor.data) for tensor in request.output_tensors]

        for batch in chain(head, batches):  # no callbacks into Python, as they can deadlock
            if len(running) == PER_STREAM * streams:
                yield finish()
            request = idle.popleft() if idle else compiled.create_infer_request()
            request.start_async(batch.inputs())
            running.append((request, batch))
        while running:
            yield finish()

    def _begun(self, batches: Iterator[Batch]) -> tuple[list[Batch], str]:
        """Return the first batches and what to compile for: MANY costs time and memory, so it needs enough work."""
        head: list[Batch] = []
        n_tokens = 0
        for batch in batches:
            head.append(batch)
            n_tokens += sum(map(len, batch.ids))
            if len(head) > 1 and n_tokens > self.batching.tokens:
                return head, MANY
        return head, ONE

    def _compiled_for(self, aim: str) -> Compiled:
        """Return the graph compiled with this aim, or with the other one if its files have been deleted meanwhile."""
        compiled = self._compiled.get(aim)
        if compiled is None:
            if not self._used:  # as in indexing: the unused graph would hold 130 MB
                self._compiled = {}
            try:
                compiled = let_fork(self._graph.compile(self._hint, aim))
            except RuntimeError as error:
                if not self._compiled:
                    raise ModelError(f"the converted model was deleted while it was in use ({error})") from None
                return self._compiled[ONE if aim == MANY else MANY]
            self._compiled[aim] = compiled
        self._used = True
        return compiled


def _is_plain(folder: Path) -> bool:
    """Return whether a folder of an index holds a graph as regular files, without links to elsewhere."""
    files = [folder / name for name in (XML, BIN, SUMS)]
    return not folder.is_symlink() and all(map(is_regular, files)) and files[-1].stat().st_size < MAX_SUMS


MAX_SUMS = 10_000
"""Size limit of a file with checksums, in bytes."""


def quantized(graph: StoredGraph) -> str:
    """Return the precision of a quantized graph, which identifies it: `int8:` and its sha256."""
    return f"{QUANTIZED}{graph.sha256}"


def artifact_name(precision: str) -> str:
    """Return the name of the folder, inside an index folder, that holds its quantized graph."""
    return f"encoder-{precision.removeprefix(QUANTIZED)[:12]}"


def choose_precision(precision: str) -> tuple[str, str]:
    """Return the precision, with `auto` resolved, and OpenVINO's name for the precision of the computation.

    `auto` is bfloat16 if the CPU supports it, else float32. On a CPU without bfloat16, bfloat16 vectors are computed in
    float32: they differ by no more than the rounding of bfloat16.
    """
    native = "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision.startswith(QUANTIZED):
        return precision, HINTS["bfloat16" if native else "float32"]  # for the operations that are not quantized
    if precision == "auto":
        precision = "bfloat16" if native else "float32"
    if precision not in HINTS:
        raise UnsupportedError(f"runtime 'openvino' computes in {' or '.join(HINTS)}, but {precision!r} was requested")
    if precision == "bfloat16" and not native:
        warnings.warn("this CPU does not support bfloat16; computing in float32, which is slower", stacklevel=6)
        return precision, HINTS["float32"]
    return precision, HINTS[precision]
