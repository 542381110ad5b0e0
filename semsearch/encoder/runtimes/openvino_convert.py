"""Conversion of a network from torch to an openvino.Model by tracing, and verification that both agree.

One verification batch holds a long text and short ones, because padding far behind a text has its own pitfalls; see
`torch_masks`.
"""

from __future__ import annotations

import logging
import re
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from semsearch import interrupts
from semsearch.encoder.quiet import quiet_transformers
from semsearch.encoder.runtimes.networks import Network
from semsearch.encoder.runtimes.openvino_library import converter, core
from semsearch.encoder.runtimes.probes import plan_probe, probe_length
from semsearch.errors import UnsupportedError

if TYPE_CHECKING:
    from semsearch.encoder.runtimes.torch_model import PairModel, PooledModel

TOLERANCE = 1e-3
"""Largest allowed difference between the outputs of a graph and of torch, in units of the largest component."""

TRACERS = re.compile(r"(torch|transformers|openvino)\b")
"""Modules whose warnings during a conversion concern only their own internals."""

SOURCE_LINE = re.compile(r"^Exception from \S+:\d+:?$|^Check .* failed at \S+:\d+:?$|failed at \S+\.[ch]pp:\d+")
"""Lines of OpenVINO's messages that name a place in its source."""

MISSING_RULE = "No conversion rule found"
"""Part of the line that lists operations which OpenVINO does not have."""

log = logging.getLogger(__name__)


class UnfaithfulError(UnsupportedError):
    """A converted model gives different vectors than torch, or may; converting it again would not help.

    Attributes:
        reason: End of the message, after the model's name.
    """

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(f"model {model!r} {reason}")
        self.reason = reason


def convert(network: Network) -> tuple[Any, int | None]:
    """Trace a network into an openvino.Model with dynamic shapes, and compare the two on texts of other shapes.

    Returns:
        The model, and the length of the longest text for which it is verified; None if there is no limit.

    Raises:
        UnfaithfulError: If the converted network gives different numbers.
        UnsupportedError: If the network cannot be converted.
        ModelError: If the checkpoint cannot be loaded.
    """
    import torch

    from semsearch.encoder.runtimes.torch_masks import attending
    from semsearch.encoder.runtimes.torch_model import count_parameters

    started = time.perf_counter()
    model, checkpoint = network.load("float32"), network.checkpoint
    model.refuse_reading_padding(checkpoint.name)
    longest, reach = plan_probe(model.backbone.config, checkpoint.position_limit, count_parameters(model))
    example = tuple(torch.from_numpy(np.asarray(array)) for array in _probe(model, [9, 6], third=0))
    try:
        with torch.inference_mode(), quiet_transformers(), without_tracer_warnings(), attending(model.backbone):
            converted = converter()(model, example_input=example)
        compiled = core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        probes = [([3, 31, 17], 0), ([25], 2), ([longest, 3, longest // 2], 0)]
        distance = np.max([_distance(model, compiled, lengths, third) for lengths, third in probes])
    except Exception as error:  # the tracer runs the model's own code, which may raise anything
        interrupts.reraise(error)
        raise UnsupportedError(f"model {checkpoint.name!r} does not convert to OpenVINO ({reason_of(error)})") from None
    if not distance <= TOLERANCE:  # a NaN is not
        far = f"differ by {distance:.1g} of the largest component" if np.isfinite(distance) else "are not finite"
        raise UnfaithfulError(checkpoint.name, f"converted to OpenVINO gives different vectors than torch (they {far})")
    log.info("converted %s to OpenVINO in %.1f s", checkpoint.name, time.perf_counter() - started)
    return converted, reach


def reason_of(error: Exception) -> str:
    """Return the line of a message that says what is wrong, not where in OpenVINO's source it was noticed."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not SOURCE_LINE.search(line)] or [type(error).__name__]
    return f"{next((line for line in telling if MISSING_RULE in line), telling[0]):.200}"


@contextmanager
def without_tracer_warnings() -> Iterator[None]:
    """Ignore the tracing libraries' warnings about values that do not depend on the shape, and no others.

    `warnings.catch_warnings` would silence every thread, and discard filters that other threads set meanwhile.
    """
    from torch.jit._trace import TracerWarning  # torch.jit has it too, but does not export it

    filters: list[Any] = warnings.filters  # type: ignore[assignment]  # a list, despite its declared type
    ours = [("ignore", None, TracerWarning, None, 0), ("ignore", None, Warning, TRACERS, 0)]
    filters[:0] = ours
    try:
        yield
    finally:
        for entry in ours:
            with suppress(ValueError):
                filters.remove(entry)


def _probe(model: PooledModel | PairModel, lengths: Sequence[int], third: int) -> tuple[Any, Any, Any]:
    """Return random token ids, their mask, and the third input; see `PooledModel.third` and `PairModel.third`."""
    config = model.backbone.config
    longest = probe_length(config, max(lengths))
    mask = (np.arange(longest) < np.asarray(lengths)[:, None]).astype(np.int64)
    ids = np.random.default_rng(0).integers(4, config.vocab_size, mask.shape)
    return np.where(mask, ids, getattr(config, "pad_token_id", 0) or 0), mask, model.third(mask, third)


def _distance(model: PooledModel | PairModel, compiled: Any, lengths: Sequence[int], third: int) -> float:
    """Return the largest difference between the outputs, in units of torch's largest component; NaN if one is NaN."""
    import torch

    arrays = _probe(model, lengths, third)
    with torch.inference_mode():
        expected = [vectors.numpy() for vectors in model(*map(torch.from_numpy, arrays))]
    actual = list(compiled(arrays).values())
    distances = [
        np.abs(ours - theirs).max() / np.abs(theirs).max() for ours, theirs in zip(actual, expected, strict=True)
    ]
    return float(np.max(distances))  # NaN if one of them is NaN
