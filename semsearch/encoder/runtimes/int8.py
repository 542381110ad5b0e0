"""8-bit graphs: quantized after training, calibrated on texts of the corpus that they will encode.

Weights and activations of the matrix products become 8-bit integers, with ranges taken from a sample of texts
(post-training quantization, Jacob et al. 2018; ranges of activations are evened out against those of weights as in
SmoothQuant, Xiao et al. 2023). What is lost by that depends on the model and the texts, so it is measured on the spot.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from semsearch.arrays import Vectors
from semsearch.encoder.runtimes.openvino_graph import XML, Graph, core
from semsearch.encoder.tokenization import Batch
from semsearch.errors import UnsupportedError

Encode: TypeAlias = Callable[[Sequence[str]], Vectors]

SAMPLE = 300
"""Texts to calibrate on; NNCF's own default."""

SMOOTHING = 0.8
"""How much of the activations' outliers is moved into the weights (SmoothQuant, Xiao et al. 2023, equation 4).

NNCF's own 0.95 fits what it is calibrated on and little else; why this one, stands in CHANGELOG.md.
"""

TIMED = 64
"""Texts that tell how much faster a quantized model is."""

TOP = 10


@dataclass(frozen=True, slots=True)
class Loss:
    """What quantization cost on a sample of texts.

    Attributes:
        mean_cosine: Of each text's vector with its float32 vector.
        overlap: Share of a text's ten nearest other texts that are among its ten nearest in float32.
    """

    mean_cosine: float
    overlap: float


def quantize(graph: Graph | Any, batches: Iterable[Batch]) -> Graph:
    """Quantize a graph.

    Args:
        graph: On disk, or an openvino.Model.
        batches: Token ids to calibrate on, a text each, so that no padding takes part.

    Returns:
        A new graph in a temporary folder; an index keeps a copy of its own.

    Raises:
        UnsupportedError: NNCF is not installed.
    """
    try:
        import nncf
        from nncf.quantization.advanced_parameters import AdvancedSmoothQuantParameters
    except ImportError:
        raise UnsupportedError("precision 'int8' needs NNCF; pip install 'semsearch[int8]'") from None
    model = core().read_model(graph.folder / XML) if isinstance(graph, Graph) else graph
    items = [(*batch.padded(), np.asarray(batch.skip)) for batch in batches]
    nncf.set_log_level(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
        model = nncf.quantize(
            model,
            nncf.Dataset(items),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(items),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                smooth_quant_alphas=AdvancedSmoothQuantParameters(matmul=SMOOTHING)
            ),
        )
    folder = tempfile.mkdtemp(prefix="semsearch-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Graph.write(model, Path(folder) / "graph")


def measure_speed(quantized: Encode, exact: Encode, texts: Sequence[str]) -> float:
    """How many times as fast the first encodes texts as the second: the best of three in turn, after a first one."""
    seconds: dict[Encode, list[float]] = {quantized: [], exact: []}
    for _ in range(4):
        for encode, spent in seconds.items():
            started = time.perf_counter()
            encode(texts[:TIMED])
            spent.append(time.perf_counter() - started)
    return min(seconds[exact][1:]) / min(seconds[quantized][1:])


def measure_loss(quantized: Vectors, exact: Vectors) -> Loss:
    """Compare unit vectors `[n, dim]` of the same texts."""
    n = len(exact)
    neighbors = []
    for vectors in (quantized, exact):
        cosines = vectors @ vectors.T
        np.fill_diagonal(cosines, -np.inf)
        neighbors.append(np.argsort(-cosines, axis=1)[:, : min(TOP, n - 1)])
    shared = [np.isin(ours, theirs).mean() for ours, theirs in zip(*neighbors, strict=True)] if n > 1 else [1.0]
    return Loss(float((quantized * exact).sum(1).mean()), float(np.mean(shared)))
