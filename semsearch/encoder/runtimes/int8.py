"""8-bit graphs: post-training quantization, calibrated on texts of the corpus to be encoded.

Weights and activations of the matrix products become 8-bit integers, with ranges taken from a sample of texts
(post-training quantization, Jacob et al. 2018; outliers are moved from activations into weights as in SmoothQuant, Xiao
et al. 2023). The loss depends on the model and the texts, so it is measured for each index.
"""

from __future__ import annotations

import atexit
import io
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from semsearch import interrupts
from semsearch.arrays import Vectors
from semsearch.encoder.runtimes.openvino_graph import Graph, StoredGraph
from semsearch.encoder.runtimes.openvino_library import TELEMETRY, hidden
from semsearch.encoder.tokenization import Batch
from semsearch.errors import UnsupportedError

Encode: TypeAlias = Callable[[Sequence[str]], Vectors]

SAMPLE = 300
"""Number of texts to calibrate on; NNCF's default."""

SMOOTHING = 0.8
"""Strength with which outliers are moved from activations into weights (SmoothQuant, Xiao et al. 2023, equation 4).

NNCF's default of 0.95 overfits the calibration texts; docs/explanation/decisions.md explains the choice of this value.
"""

TIMED = 64
"""Number of texts for timing a quantized model."""


def quantize(graph: Graph, batches: Iterable[Batch]) -> StoredGraph:
    """Quantize a graph.

    Args:
        graph: Graph in float32.
        batches: Token ids to calibrate on, one text per batch, so that there is no padding.

    Returns:
        A new graph in a temporary folder, of which an index keeps its own copy.

    Raises:
        UnsupportedError: If NNCF is not installed.
    """
    with _quiet_nncf() as nncf:
        advanced = nncf.quantization.advanced_parameters
        items = [batch.inputs() for batch in batches]
        model = nncf.quantize(
            graph.read(),
            nncf.Dataset(items),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(items),
            advanced_parameters=advanced.AdvancedQuantizationParameters(
                smooth_quant_alphas=advanced.AdvancedSmoothQuantParameters(matmul=SMOOTHING)
            ),
        )
    folder = Path(tempfile.mkdtemp(prefix="semsearch-"))
    atexit.register(_remove, folder, os.getpid())
    return StoredGraph.write(model, folder / "graph")


def _remove(folder: Path, process: int) -> None:
    """Remove a folder when the process that created it exits, but not when a forked child does."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _quiet_nncf() -> Iterator[Any]:
    """Provide NNCF without its telemetry, log and progress bars, and restore its settings afterwards.

    Raises:
        UnsupportedError: If NNCF is not installed.
    """
    logger_class = logging.getLoggerClass()
    try:
        with hidden(TELEMETRY):
            import nncf
            import nncf.quantization.advanced_parameters
    except ImportError as error:
        interrupts.reraise(error)
        raise UnsupportedError("precision 'int8' needs NNCF; pip install 'semsearch[int8]'") from None
    finally:
        logging.setLoggerClass(logger_class)  # NNCF sets its own class globally
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(_MutedThread(sys.stdout)):
            yield nncf
    finally:
        logger.setLevel(level)


class _MutedThread(io.TextIOBase):
    """A stream that drops output from the thread that created it, and passes on that of other threads."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._muted = stream, threading.get_ident()

    def write(self, text: str) -> int:
        return len(text) if threading.get_ident() == self._muted else self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()


def measure_speed(quantized: Encode, exact: Encode, texts: Sequence[str]) -> float:
    """Return how many times faster the first encodes: best of three alternating rounds, after a warm-up round."""
    seconds: dict[Encode, list[float]] = {quantized: [], exact: []}
    for _ in range(4):
        for encode, spent in seconds.items():
            started = time.perf_counter()
            encode(texts[:TIMED])
            spent.append(time.perf_counter() - started)
    return min(seconds[exact][1:]) / min(seconds[quantized][1:])
