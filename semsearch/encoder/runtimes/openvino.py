"""The openvino runtime: a compiled graph on the CPU, in bfloat16 where the CPU has that.

Several batches are computed at once, each by few threads, for that keeps the cores busier than all of them on one; the
next texts are tokenized meanwhile. A single batch, such as a query, gets all cores.
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
"""Our names of precisions to OpenVINO's."""

ONE, MANY = "LATENCY", "THROUGHPUT"
"""OpenVINO's names of what a graph is compiled for: all cores on one batch, or some on each of several."""

PER_STREAM = 2
"""Batches in flight for each stream: one is computed, the next is ready."""


class OpenVinoRuntime:
    """A network as one compiled graph."""

    name = "openvino"
    device = "cpu"
    batching = Batching(1_024, overhead=48)
    """Measured in bench/batch_tokens.py."""

    def __init__(self, graph: Graph, precision: str, artifacts: Mapping[str, Path] | None = None) -> None:
        """Compile a graph.

        Args:
            graph: Of a network.
            precision: `auto`, `float32`, `bfloat16`; or that of a quantized graph, see `quantized`.
            artifacts: What an index must keep of it; see `Runtime`.

        Raises:
            UnsupportedError: The precision is not OpenVINO's.
            UsageError: The process was forked from one in which OpenVINO runs.
        """
        self.artifacts: Mapping[str, Path] = artifacts or {}
        self.precision, hint = choose_precision(precision)
        self._graph, self._hint = graph, hint
        self._compiled = {ONE: let_fork(graph.compile(hint, ONE))}
        self._used = False

    @classmethod
    def load(cls, network: Network, precision: str) -> Self:
        """Load the graph from the cache, or convert it; a quantized one from the index that keeps it.

        Raises:
            UnsupportedError: It does not convert, is not there, or the precision is not OpenVINO's.
            ModelError: The checkpoint cannot be loaded.
            UsageError: The process was forked from one in which OpenVINO runs.
        """
        if precision.startswith(QUANTIZED):
            return cls._open_quantized(network.checkpoint.artifacts or Path(), precision)
        choose_precision(precision)  # before seconds are spent on a conversion
        runtime = cls(graph_of(network), precision)
        return runtime if runtime._graph.is_intact() else cls(graph_of(network, anew=True), precision)

    @classmethod
    def _open_quantized(cls, index: Path, precision: str) -> Self:
        folder = index / artifact_name(precision)
        graph = StoredGraph.open(folder) if _is_plain(folder) else None
        if graph is None or not graph.is_intact() or quantized(graph) != precision:
            raise UnsupportedError(
                f"the 8-bit model that belongs to the index is not in {str(folder)!r}, or damaged; bring it back, or "
                "build the index again"
            )
        return cls(graph, precision, {folder.name: folder})

    def quantize(self, batches: Iterable[Batch]) -> Runtime:
        """Return a runtime of the same model in 8-bit integers; see `Runtime`."""
        from semsearch.encoder.runtimes.int8 import quantize

        graph = quantize(self._graph, batches)
        precision = quantized(graph)
        return OpenVinoRuntime(graph, precision, {artifact_name(precision): graph.folder})

    def __call__(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[Vectors]]]:
        """Encode batches.

        Yields:
            Each batch in the order given, with float32 `[n, dim]` for each head, not rescaled.

        Raises:
            ModelError: The graph's files were deleted before it was compiled for so many texts.
            UsageError: The process was forked from the one that loaded the graph.
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

        for batch in chain(head, batches):  # without callbacks into Python, which can wait for one another for ever
            if len(running) == PER_STREAM * streams:
                yield finish()
            request = idle.popleft() if idle else compiled.create_infer_request()
            request.start_async(batch.inputs())
            running.append((request, batch))
        while running:
            yield finish()

    def _begun(self, batches: Iterator[Batch]) -> tuple[list[Batch], str]:
        """The first batches, and what to compile for: MANY costs time and memory, and pays where much is to be done."""
        head: list[Batch] = []
        n_tokens = 0
        for batch in batches:
            head.append(batch)
            n_tokens += sum(map(len, batch.ids))
            if len(head) > 1 and n_tokens > self.batching.tokens:
                return head, MANY
        return head, ONE

    def _compiled_for(self, aim: str) -> Compiled:
        """The graph compiled with this aim, else with the other where its files were deleted after that was used."""
        compiled = self._compiled.get(aim)
        if compiled is None:
            if not self._used:  # as when a corpus is indexed: nobody asks for one, and it takes 130 MB
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
    """Say whether a folder of an index holds the files of a graph themselves, and nothing that leads elsewhere."""
    files = [folder / name for name in (XML, BIN, SUMS)]
    return not folder.is_symlink() and all(map(is_regular, files)) and files[-1].stat().st_size < MAX_SUMS


MAX_SUMS = 10_000
"""Bytes of a file with checksums."""


def quantized(graph: StoredGraph) -> str:
    """Return the precision of a quantized graph, which tells it from others: `int8:` and its sha256."""
    return f"{QUANTIZED}{graph.sha256}"


def artifact_name(precision: str) -> str:
    """Return the name, in an index's folder, of the quantized graph that belongs to the index."""
    return f"encoder-{precision.removeprefix(QUANTIZED)[:12]}"


def choose_precision(precision: str) -> tuple[str, str]:
    """Resolve `auto` to bfloat16 where the CPU has it, else float32; the second is OpenVINO's name of what is computed.

    Where the CPU has no bfloat16, vectors of that class are computed in float32: they are within its rounding.
    """
    native = "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision.startswith(QUANTIZED):
        return precision, HINTS["bfloat16" if native else "float32"]  # of what is not quantized
    if precision == "auto":
        precision = "bfloat16" if native else "float32"
    if precision not in HINTS:
        raise UnsupportedError(f"runtime 'openvino' computes in {' or '.join(HINTS)}, and {precision!r} was asked for")
    if precision == "bfloat16" and not native:
        warnings.warn("this CPU has no bfloat16, so float32 is computed, which is finer and slower", stacklevel=6)
        return precision, HINTS["float32"]
    return precision, HINTS[precision]
