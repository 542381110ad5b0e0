"""The openvino runtime: a compiled graph on the CPU, in bfloat16 where the CPU has that.

Several batches are computed at once, each by few threads, for that keeps the cores busier than all of them on one; the
next texts are tokenized meanwhile. A single batch, such as a query, gets all cores.
"""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, Self

import numpy as np

from semsearch.arrays import Vectors
from semsearch.encoder.cache import cache_folder
from semsearch.encoder.checkpoint import Checkpoint, Head
from semsearch.encoder.runtimes.load import QUANTIZED
from semsearch.encoder.runtimes.openvino_graph import BIN, XML, Compiled, Graph, core, graph_of, openvino
from semsearch.encoder.tokenization import Batch
from semsearch.errors import ModelError, UnsupportedError

HINTS = {"float32": "f32", "bfloat16": "bf16"}
"""Our names of precisions to OpenVINO's."""

ONE, MANY = "LATENCY", "THROUGHPUT"
"""OpenVINO's names of what a graph is compiled for: all cores on one batch, or some on each of several."""

PER_STREAM = 2
"""Batches in flight for each stream: one is computed, the next is ready."""


class OpenVinoRuntime:
    """A backbone and one head or more as one compiled graph."""

    device = "cpu"
    batch_tokens = 1_024
    """Measured in bench/batch_tokens.py."""

    def __init__(self, graph: Graph | Any, precision: str) -> None:
        """Compile a graph.

        Args:
            graph: On disk, or an openvino.Model.
            precision: `auto`, `float32`, `bfloat16`; or what a quantized graph is called, see `quantized`.

        Raises:
            UnsupportedError: The precision is not OpenVINO's.
        """
        self.graph = graph
        self.precision, hint = choose_precision(precision)
        self._hint = hint
        self._compiled = {ONE: compile_graph(graph, hint, ONE)}
        self._used = False

    @classmethod
    def load(cls, checkpoint: Checkpoint, heads: Sequence[Head], precision: str, kept: Path | None) -> Self:
        """Load the graph from the cache, or convert it; a quantized one from the index's folder `kept`.

        Raises:
            UnsupportedError: It does not convert, is not there, or the precision is not OpenVINO's.
            ModelError: The checkpoint cannot be loaded.
        """
        if not precision.startswith(QUANTIZED):
            choose_precision(precision)  # before seconds are spent on a conversion
            runtime = cls(graph_of(checkpoint, heads), precision)
            if isinstance(runtime.graph, Graph) and not runtime.graph.is_intact():
                shutil.rmtree(runtime.graph.folder, ignore_errors=True)
                runtime = cls(graph_of(checkpoint, heads), precision)
            return runtime
        folder = kept_folder(kept or Path(), precision)
        graph = Graph.open(folder)
        if graph is None or not graph.is_intact() or quantized(graph) != precision:
            raise UnsupportedError(
                f"the 8-bit model that belongs to the index is not in {str(folder)!r}, or damaged; bring it back, or "
                "build the index again"
            )
        return cls(graph, precision)

    def artifacts(self) -> dict[str, Path]:
        """The quantized graph's folder under the name by which an index keeps it."""
        return {kept_folder(Path(), self.precision).name: self.graph.folder}

    def __call__(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[Vectors]]]:
        """Encode batches.

        Yields:
            Each batch in the order given, with float32 `[n, dim]` for each head, not rescaled.
        """
        batches = iter(batches)
        head = list(islice(batches, 2))
        if not head:
            return
        compiled = self._compiled_for(ONE if len(head) < 2 else MANY)
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
            request.start_async((*batch.padded(), np.asarray(batch.skip)))
            running.append((request, batch))
        while running:
            yield finish()

    def _compiled_for(self, aim: str) -> Compiled:
        """The graph compiled with this aim, else with the other where its files were deleted after that was used."""
        compiled = self._compiled.get(aim)
        if compiled is None:
            if not self._used:  # as when a corpus is indexed: nobody asks for one, and it takes 130 MB
                self._compiled = {}
            try:
                compiled = compile_graph(self.graph, self._hint, aim)
            except RuntimeError as error:
                if not self._compiled:
                    raise ModelError(f"the converted model was deleted while it was in use ({error})") from None
                return self._compiled[ONE if aim == MANY else MANY]
            self._compiled[aim] = compiled
        self._used = True
        return compiled


def quantized(graph: Graph) -> str:
    """The precision of a quantized graph, which tells it from others: `int8:` and its sha256."""
    return f"{QUANTIZED}{graph.sha256}"


def kept_folder(index: Path, precision: str) -> Path:
    """Where an index keeps the quantized graph that belongs to it."""
    return index / f"encoder-{precision.removeprefix(QUANTIZED)[:12]}"


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


def compile_graph(graph: Graph | Any, precision: str, aim: str) -> Compiled:
    """Compile a graph for this CPU, or load what was compiled before.

    Args:
        graph: On disk, or an openvino.Model.
        precision: By OpenVINO's name.
        aim: `ONE` or `MANY`.
    """
    settings = {"PERFORMANCE_HINT": aim, "INFERENCE_PRECISION_HINT": precision}
    if not isinstance(graph, Graph):
        return core().compile_model(graph, "CPU", settings)
    settings["CACHE_MODE"] = "OPTIMIZE_SIZE"  # without the weights, which graph.bin has
    cpu = [core().get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
    key = hashlib.sha256(repr([graph.sha256, openvino().__version__, cpu, settings]).encode()).hexdigest()[:32]
    path = cache_folder() / "graphs" / "compiled" / f"{key}.blob"
    if blob := _read(path):
        with suppress(RuntimeError):  # of another OpenVINO
            return core().import_model(blob, "CPU", {**settings, "WEIGHTS_PATH": str(graph.folder / BIN)})
    compiled = core().compile_model(graph.folder / XML, "CPU", settings)
    with suppress(OSError, RuntimeError):  # without it, the next start compiles again
        _write(path, compiled.export_model())
    return compiled


def _read(path: Path) -> bytes | None:
    """A blob that is what its checksum says."""
    with suppress(OSError):
        data = path.read_bytes()
        if hashlib.sha256(data[32:]).digest() == data[:32]:
            return data[32:]
    return None


def _write(path: Path, blob: Any) -> None:
    data = bytes(blob.getbuffer() if hasattr(blob, "getbuffer") else blob)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{id(data)}.tmp")
    temporary.write_bytes(hashlib.sha256(data).digest() + data)
    temporary.replace(path)
