"""Runtimes: what carries token ids through a backbone and its poolers.

`torch` is the reference and the way to an accelerator; `openvino` is the compiled one for CPUs. A new runtime is one
function in `RUNTIMES`. A runtime knows nothing of text: prefixes, truncation and the order of the texts are the
business of who calls it. No library is imported before a runtime that needs it is made.
"""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from semsearch.arrays import Vectors
from semsearch.encoder.checkpoint import Checkpoint, Head
from semsearch.encoder.tokenization import Batch
from semsearch.errors import UnsupportedError, UsageError

RUNTIME_VARIABLE = "SEMSEARCH_RUNTIME"
"""Environment variable with the runtime that `auto` is to be."""

PRECISIONS = ("auto", "float32", "bfloat16", "float16")

INT8 = "int8"
"""What a user asks for; 8-bit models are calibrated on a corpus."""

QUANTIZED = f"{INT8}:"
"""What the precision of such a model begins with; the sha256 of the model follows."""

DRIVERS = ("libcuda.so.1", "nvcuda.dll", "libamdhip64.so")
"""Libraries without which torch finds no GPU, outside macOS."""


class Runtime(Protocol):
    """Batches of token ids in, pooled vectors out."""

    @property
    def device(self) -> str:
        """Where it runs."""
        ...

    @property
    def precision(self) -> str:
        """Its class of arithmetic, as `EncoderSpec` has it."""
        ...

    @property
    def batch_tokens(self) -> int:
        """Tokens, padding included, that it wants in a batch."""
        ...

    def __call__(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[Vectors]]]:
        """Yields each batch, or its parts, in any order, with float32 `[n, dim]` for each head, not rescaled."""
        ...


class FallbackWarning(UserWarning):
    """The compiled runtime could not be used, and torch does its work."""


def _torch(
    checkpoint: Checkpoint, heads: Sequence[Head], device: str, precision: str, kept: Path | None = None
) -> Runtime:
    if precision not in PRECISIONS:
        raise UnsupportedError(f"an index in {precision[:16]} needs the runtime openvino on the CPU")
    if "," in device or device.endswith(":*"):
        from semsearch.encoder.runtimes.torch_workers import TorchWorkers

        return TorchWorkers(checkpoint, heads, devices=device, precision=precision)
    from semsearch.encoder.runtimes.torch import TorchRuntime

    return TorchRuntime(checkpoint, heads, device=device, precision=precision)


def _openvino(
    checkpoint: Checkpoint, heads: Sequence[Head], device: str, precision: str, kept: Path | None = None
) -> Runtime:
    if device != "cpu":
        raise UnsupportedError(f"runtime 'openvino' runs on the CPU, and device {device!r} was asked for")
    from semsearch.encoder.runtimes.openvino import OpenVinoRuntime
    from semsearch.encoder.runtimes.openvino_graph import openvino

    try:
        openvino()
    except ImportError:
        raise UnsupportedError("runtime 'openvino' is not installed; pip install openvino") from None
    return OpenVinoRuntime.load(checkpoint, heads, precision, kept)


RUNTIMES: dict[str, Callable[..., Runtime]] = {"openvino": _openvino, "torch": _torch}


def load_runtime(
    checkpoint: Checkpoint,
    heads: Sequence[Head],
    *,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    kept: Path | None = None,
) -> Runtime:
    """Make a runtime.

    Args:
        checkpoint: With the backbone.
        heads: Poolers and what stands behind them, all over one forward pass.
        runtime: `openvino`, `torch`, or `auto`: $SEMSEARCH_RUNTIME, else openvino on a CPU where it works, else torch.
        device: `auto`, or as torch names them; `cuda:0,cuda:1` or `cuda:*` for a process on each of several.
        precision: `auto`, `float32`, `bfloat16` or `float16`; or what the spec of an index with an 8-bit model says.
        kept: Folder of the index, which keeps that model.

    Raises:
        UsageError: An unknown runtime, device or precision.
        UnsupportedError: The runtime that was named cannot do what is asked.
        ModelError: The checkpoint cannot be loaded.
    """
    if runtime == "auto":
        runtime = os.environ.get(RUNTIME_VARIABLE) or "auto"
    if runtime not in ("auto", *RUNTIMES):
        raise UsageError(f"unknown runtime {runtime!r}; known: auto, {', '.join(RUNTIMES)}")
    if precision not in PRECISIONS and not precision.startswith(QUANTIZED):
        raise UsageError(
            f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}, and int8 where a corpus is indexed"
        )
    if device == "auto" and (runtime == "openvino" or not _gpu_driver()):
        device = "cpu"
    if device == "auto":
        from semsearch.encoder.runtimes.torch import choose_device

        device = choose_device(device)
    if runtime == "auto" and device == "cpu":
        try:
            return RUNTIMES["openvino"](checkpoint, heads, device, precision, kept)
        except UnsupportedError as error:
            if precision not in PRECISIONS:
                raise
            warnings.warn(f"{error}; torch takes over, which is slower", FallbackWarning, stacklevel=4)
    return RUNTIMES["torch" if runtime == "auto" else runtime](checkpoint, heads, device, precision, kept)


def import_ahead(runtime: str, device: str) -> None:
    """Import the library that a runtime will need, while files are hashed on another core."""
    if runtime in ("auto", "openvino") and device in ("auto", "cpu") and RUNTIME_VARIABLE not in os.environ:
        from semsearch.encoder.runtimes.openvino_graph import core

        with suppress(ImportError):  # who needs it says so
            core()


def _gpu_driver() -> bool:
    """Whether there may be a GPU; without a driver torch need not be asked, whose import takes over a second."""
    if sys.platform == "darwin":
        return True
    for name in DRIVERS:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False
