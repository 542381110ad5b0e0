"""The table of runtimes, which run token ids through a network, and the choice among them.

`torch` is the reference, and supports accelerators; `openvino` is the compiled runtime for CPUs; `static` runs tables
of static token vectors, and nothing else. A new runtime is one function in `RUNTIMES`. A runtime knows nothing about
text: its caller handles prefixes, truncation and the order of the texts. A library is imported only when a runtime that
needs it is created.
"""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from semsearch import interrupts
from semsearch.encoder.checkpoints.open import is_table
from semsearch.encoder.checkpoints.record import CheckpointWarning
from semsearch.encoder.runtimes.base import PRECISIONS, QUANTIZED, Runtime
from semsearch.encoder.runtimes.networks import Network, PooledNetwork
from semsearch.errors import UnsupportedError, UsageError

RUNTIME_VARIABLE = "SEMSEARCH_RUNTIME"
"""Environment variable that sets the runtime for `auto`."""

DRIVERS = ("libcuda.so.1", "nvcuda.dll", "libamdhip64.so")
"""Driver libraries; outside macOS, torch finds no GPU without one of them."""

Load: TypeAlias = Callable[[Network, str, str], Runtime]
"""Creates a runtime from a network, a device and a precision; raises UnsupportedError if it cannot."""


class FallbackWarning(UserWarning):
    """Warning that the compiled runtime could not be used, so torch is used instead."""


def _torch(network: Network, device: str, precision: str) -> Runtime:
    if precision not in PRECISIONS:
        raise UnsupportedError(f"an index in {precision.partition(':')[0][:16]} needs the runtime openvino on the CPU")
    if "," in device or device.endswith(":*"):
        if not isinstance(network, PooledNetwork):
            raise UnsupportedError(f"a cross-encoder runs on a single device, but {device!r} was requested")
        from semsearch.encoder.runtimes.torch_workers import TorchWorkers

        return TorchWorkers(network, devices=device, precision=precision)
    from semsearch.encoder.runtimes.torch import TorchRuntime

    return TorchRuntime(network, device=device, precision=precision)


def _openvino(network: Network, device: str, precision: str) -> Runtime:
    if device != "cpu":
        raise UnsupportedError(f"runtime 'openvino' runs only on the CPU, but device {device!r} was requested")
    from semsearch.encoder.runtimes.openvino import OpenVinoRuntime
    from semsearch.encoder.runtimes.openvino_library import openvino

    try:
        openvino()
    except ImportError as error:
        interrupts.reraise(error)
        if isinstance(error, ModuleNotFoundError) and error.name == "openvino":
            raise UnsupportedError("runtime 'openvino' is not installed; pip install openvino") from None
        raise UnsupportedError(f"runtime 'openvino' cannot be imported ({error!s:.200}); reinstall it") from None
    return OpenVinoRuntime.load(network, precision)


def _static(network: Network, device: str, precision: str) -> Runtime:
    if not isinstance(network, PooledNetwork) or not network.checkpoint.table:
        raise UnsupportedError(
            f"runtime 'static' runs tables of static token vectors, but model {network.checkpoint.name!r} is a "
            "transformer; omit `runtime`"
        )
    if device not in ("auto", "cpu"):
        raise UnsupportedError(f"runtime 'static' runs only on the CPU, but device {device!r} was requested")
    if precision not in ("auto", "float32"):
        raise UnsupportedError(f"runtime 'static' computes in float32, but precision {precision!r} was requested")
    from semsearch.encoder.runtimes.static import StaticRuntime

    return StaticRuntime(network)


RUNTIMES: dict[str, Load] = {"openvino": _openvino, "torch": _torch, "static": _static}


def load_runtime(
    network: Network,
    *,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "auto",
) -> Runtime:
    """Create a runtime.

    Args:
        network: Network to run.
        runtime: `openvino`, `torch`, `static`, or `auto`: static for a table of static token vectors, openvino for an
            ONNX export, else $SEMSEARCH_RUNTIME, else openvino on a CPU if it works, else torch.
        device: `auto` or a torch device; `cuda:0,cuda:1` or `cuda:*` for several, with one process each.
        precision: `auto`, `float32`, `bfloat16` or `float16`; or the precision in the spec of an 8-bit index.

    Raises:
        UsageError: If the runtime, device or precision is unknown, or the process was forked from one in which the
            runtime's library runs.
        UnsupportedError: If the requested runtime does not support the device, the precision or the network.
        ModelError: If the checkpoint cannot be loaded.
    """
    loaded = _load(network, runtime, device, precision)
    if own := network.checkpoint.own_code:  # not before loading, which fails if the network exists only as such code
        warnings.warn(
            f"{network.checkpoint.name} has its own code for the network ({own}), which is never run; the class of "
            "transformers takes its place, and may give other vectors than those published",
            CheckpointWarning,
            stacklevel=3,
        )
    return loaded


def _load(network: Network, runtime: str, device: str, precision: str) -> Runtime:
    """Check the requested runtime, device and precision, and create the runtime; see `load_runtime`."""
    if runtime == "auto":
        runtime = _only_runtime(network) or os.environ.get(RUNTIME_VARIABLE) or "auto"
    if runtime not in ("auto", *RUNTIMES):
        raise UsageError(f"unknown runtime {runtime!r}; known: auto, {', '.join(RUNTIMES)}")
    if precision not in PRECISIONS and not precision.startswith(QUANTIZED):
        raise UsageError(
            f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}, and int8 when indexing a corpus"
        )
    if network.checkpoint.table and runtime != "static":
        raise UnsupportedError(
            f"runtime {runtime!r} runs transformers, but model {network.checkpoint.name!r} is a table of static token "
            "vectors; omit `runtime`"
        )
    if device == "auto" and (runtime in ("openvino", "static") or not _gpu_driver()):
        device = "cpu"
    if device == "auto":
        from semsearch.encoder.runtimes.torch import choose_device

        device = choose_device(device)
    if runtime == "auto" and device == "cpu":
        try:
            return RUNTIMES["openvino"](network, device, precision)
        except UnsupportedError as error:
            interrupts.reraise(error)
            if precision not in PRECISIONS:
                raise
            warnings.warn(f"{error}; falling back to torch, which is slower", FallbackWarning, stacklevel=5)
    return RUNTIMES["torch" if runtime == "auto" else runtime](network, device, precision)


def _only_runtime(network: Network) -> str:
    """Return the only runtime that can run a checkpoint, or an empty string."""
    if network.checkpoint.table:
        return "static"
    return "openvino" if network.checkpoint.onnx else ""


def import_ahead(model: str | Path | None, runtime: str, device: str) -> None:
    """Import the library that a runtime will need for a model while files are hashed on another core.

    All of it is imported here: a later import would wait for the tokenizer, which is then being loaded and blocks other
    threads.
    """
    wanted = runtime in ("auto", "openvino") and device in ("auto", "cpu") and RUNTIME_VARIABLE not in os.environ
    if wanted and not is_table(model):
        from semsearch.encoder.runtimes.openvino import choose_precision

        try:
            choose_precision("auto")  # imports openvino and creates its Core
        except (ImportError, UsageError) as error:  # raised again when that runtime is created
            interrupts.reraise(error)


def _gpu_driver() -> bool:
    """Return whether there may be a GPU; without a driver, importing torch to ask (over 1 s) is unnecessary."""
    if sys.platform == "darwin":
        return True
    for name in DRIVERS:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False
