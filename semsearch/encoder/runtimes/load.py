"""The table of runtimes, which carry token ids through a network, and the choice of one.

`torch` is the reference and the way to an accelerator; `openvino` is the compiled one for CPUs. A new runtime is one
function in `RUNTIMES`. A runtime knows nothing of text: prefixes, truncation and the order of the texts are the
business of its caller. No library is imported before a runtime that needs it is made.
"""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from collections.abc import Callable
from typing import TypeAlias

from semsearch import interrupts
from semsearch.encoder.runtimes.base import PRECISIONS, QUANTIZED, Runtime
from semsearch.encoder.runtimes.networks import Network, PooledNetwork
from semsearch.errors import UnsupportedError, UsageError

RUNTIME_VARIABLE = "SEMSEARCH_RUNTIME"
"""Environment variable with the runtime that `auto` stands for."""

DRIVERS = ("libcuda.so.1", "nvcuda.dll", "libamdhip64.so")
"""Libraries without which torch finds no GPU, outside macOS."""

Load: TypeAlias = Callable[[Network, str, str], Runtime]
"""Makes a runtime of a network on a device in a precision; raises UnsupportedError where it cannot."""


class FallbackWarning(UserWarning):
    """The compiled runtime could not be used, and torch does its work."""


def _torch(network: Network, device: str, precision: str) -> Runtime:
    if precision not in PRECISIONS:
        raise UnsupportedError(f"an index in {precision[:16]} needs the runtime openvino on the CPU")
    if "," in device or device.endswith(":*"):
        if not isinstance(network, PooledNetwork):
            raise UnsupportedError(f"a cross-encoder runs on one device, and {device!r} was asked for")
        from semsearch.encoder.runtimes.torch_workers import TorchWorkers

        return TorchWorkers(network, devices=device, precision=precision)
    from semsearch.encoder.runtimes.torch import TorchRuntime

    return TorchRuntime(network, device=device, precision=precision)


def _openvino(network: Network, device: str, precision: str) -> Runtime:
    if device != "cpu":
        raise UnsupportedError(f"runtime 'openvino' runs on the CPU, and device {device!r} was asked for")
    from semsearch.encoder.runtimes.openvino import OpenVinoRuntime
    from semsearch.encoder.runtimes.openvino_library import openvino

    try:
        openvino()
    except ImportError as error:
        interrupts.reraise(error)
        if isinstance(error, ModuleNotFoundError) and error.name == "openvino":
            raise UnsupportedError("runtime 'openvino' is not installed; pip install openvino") from None
        raise UnsupportedError(f"runtime 'openvino' cannot be imported ({error!s:.200}); install it again") from None
    return OpenVinoRuntime.load(network, precision)


RUNTIMES: dict[str, Load] = {"openvino": _openvino, "torch": _torch}


def load_runtime(
    network: Network,
    *,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "auto",
) -> Runtime:
    """Make a runtime.

    Args:
        network: What batches are carried through.
        runtime: `openvino`, `torch`, or `auto`: $SEMSEARCH_RUNTIME, else openvino on a CPU where it works, else torch.
        device: `auto`, or as torch names them; `cuda:0,cuda:1` or `cuda:*` for a process on each of several.
        precision: `auto`, `float32`, `bfloat16` or `float16`; or what the spec of an index with an 8-bit model says.

    Raises:
        UsageError: An unknown runtime, device or precision; or the process was forked from one in which the runtime's
            library runs.
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
            return RUNTIMES["openvino"](network, device, precision)
        except UnsupportedError as error:
            interrupts.reraise(error)
            if precision not in PRECISIONS:
                raise
            warnings.warn(f"{error}; torch takes over, which is slower", FallbackWarning, stacklevel=4)
    return RUNTIMES["torch" if runtime == "auto" else runtime](network, device, precision)


def import_ahead(runtime: str, device: str) -> None:
    """Import what a runtime will need, while files are hashed on another core.

    All of it: what is imported later waits for the tokenizer, which is loaded meanwhile and lets nothing else run.
    """
    if runtime in ("auto", "openvino") and device in ("auto", "cpu") and RUNTIME_VARIABLE not in os.environ:
        from semsearch.encoder.runtimes.openvino import choose_precision

        try:
            choose_precision("auto")  # which imports openvino, and makes its Core
        except (ImportError, UsageError) as error:  # the runtime meets the same, if it is the one to be made
            interrupts.reraise(error)


def _gpu_driver() -> bool:
    """Say whether there may be a GPU; without a driver torch need not be asked, whose import takes over a second."""
    if sys.platform == "darwin":
        return True
    for name in DRIVERS:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False
