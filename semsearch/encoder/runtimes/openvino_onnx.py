"""Checkpoints that exist only as an ONNX export: reading the export, and appending the poolers to it.

There is no reference to compare such a graph with, but a text alone must give the same vector as between others. A
graph that quantizes the activations of a whole batch at once, for example, does not.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from semsearch import interrupts
from semsearch.encoder.runtimes.networks import Network, PooledNetwork
from semsearch.encoder.runtimes.openvino_convert import TOLERANCE, UnfaithfulError, reason_of, without_tracer_warnings
from semsearch.encoder.runtimes.openvino_library import converter, core, openvino
from semsearch.encoder.runtimes.probes import PROBE_TOKENS
from semsearch.encoder.runtimes.torch_model import PooledModel
from semsearch.errors import UnsupportedError

IDS, MASK, TYPES, POSITIONS = "input_ids", "attention_mask", "token_type_ids", "position_ids"

MOST_ID = 100
"""Bound on the token ids of a probe; every vocabulary is larger."""

STATES = ("last_hidden_state", "token_embeddings")
"""Names under which an export returns the last layer's hidden states, `[n, tokens, hidden]`."""


class _GivenStates(torch.nn.Module):
    """Takes the place of a backbone: its input are the hidden states."""

    def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
        return SimpleNamespace(last_hidden_state=input_ids)


def read_export(network: Network) -> Any:
    """Return the openvino.Model of a checkpoint's ONNX export with the network's heads.

    Raises:
        UnsupportedError: If OpenVINO cannot read the export, or its inputs or outputs are not those of an encoder.
        UnfaithfulError: If the vector of a text depends on the texts encoded with it.
    """
    checkpoint = network.checkpoint
    assert checkpoint.onnx
    if not isinstance(network, PooledNetwork):
        raise UnsupportedError(f"model {checkpoint.name!r} has only an ONNX export; a cross-encoder needs safetensors")
    try:
        front_end = openvino().frontend.FrontEndManager().load_by_framework("onnx")  # others log what they cannot read
        export = front_end.convert(front_end.load(checkpoint.onnx))
        states = _states(export, checkpoint.hidden_size)
        model = _with_heads(export, states, network)
        compiled = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        n_tokens = min(PROBE_TOKENS, checkpoint.position_limit or PROBE_TOKENS)
        distance = _dependence(compiled, [n_tokens, 3, n_tokens // 2])
    except UnsupportedError as error:
        raise UnsupportedError(f"model {checkpoint.name!r}: {checkpoint.onnx.name} {error}") from None
    except Exception as error:  # the file may be anything
        interrupts.reraise(error)
        raise UnsupportedError(
            f"model {checkpoint.name!r}: {checkpoint.onnx.name} cannot be run by OpenVINO ({reason_of(error)}); "
            "use a checkpoint with model.safetensors"
        ) from None
    if not distance <= TOLERANCE:  # a NaN is not
        raise UnfaithfulError(
            checkpoint.name,
            f"as exported in {checkpoint.onnx.name} gives a text other vectors alone than between other texts, as "
            "quantized exports do; use an export in float32 or float16, or a checkpoint with model.safetensors",
        )
    return model


def _states(export: Any, hidden_size: int) -> Any:
    """Return the output that holds the hidden states."""
    named = {name: output for output in export.outputs for name in output.get_names()}
    found = next((named[name] for name in STATES if name in named), None)
    if found is None or found.get_partial_shape().rank.get_length() != 3:
        raise UnsupportedError(
            f"has the outputs {', '.join(sorted(named))}; expected the hidden states of all tokens as {STATES[0]!r}"
        )
    width = found.get_partial_shape()[2]
    if width.is_static and width.get_length() != hidden_size:
        raise UnsupportedError(
            f"gives hidden states of length {width.get_length()}, but config.json declares {hidden_size}; they belong "
            "to different models"
        )
    return found


def _with_heads(export: Any, states: Any, network: PooledNetwork) -> Any:
    """Return a graph from ids, mask and skip, as int64, to the output of each head."""
    ov = openvino()
    ops = ov.opset13
    ids, mask = (ops.parameter([-1, -1], np.int64, name) for name in (IDS, MASK))
    shape = ops.shape_of(ids)
    zeros = ops.broadcast(np.int64(0), shape)
    given = {
        IDS: ids,
        MASK: mask,
        TYPES: zeros,
        POSITIONS: ops.subtract(ops.cum_sum(ops.broadcast(np.int64(1), shape), np.int64(1)), np.int64(1)),
    }
    if unknown := {name for one in export.inputs for name in one.get_names()} - given.keys():
        raise UnsupportedError(f"has the inputs {', '.join(sorted(unknown))}, which an encoder does not have")
    for parameter in export.get_parameters():
        (name,) = parameter.output(0).get_names()
        parameter.output(0).replace(ops.convert(given[name], parameter.get_element_type()).output(0))
    heads = _heads(network)
    of_states, of_mask, skip = heads.get_parameters()
    source = states.get_node().input_value(0)  # an output is a Result node; this is what it returns
    of_states.output(0).replace(ops.convert(source, np.float32).output(0))
    of_mask.output(0).replace(mask.output(0))
    return ov.Model(heads.get_results(), [ids, mask, skip])


def _heads(network: PooledNetwork) -> Any:
    """Trace the heads alone into an openvino.Model that takes hidden states in place of token ids."""
    model = PooledModel(network.checkpoint, network.heads, backbone=_GivenStates())
    example = torch.zeros(2, 5, network.checkpoint.hidden_size), torch.ones(2, 5, dtype=torch.int64), torch.tensor(0)
    with torch.inference_mode(), without_tracer_warnings():
        return converter()(model, example_input=example)


def _dependence(compiled: Any, lengths: list[int]) -> float:
    """Return the largest difference between texts alone and together, in units of the largest component."""
    ids = np.random.default_rng(0).integers(4, MOST_ID, (len(lengths), max(lengths)))
    mask = (np.arange(max(lengths)) < np.asarray(lengths)[:, None]).astype(np.int64)
    together = list(compiled((ids * mask, mask, np.asarray(0))).values())
    distances = []
    for row, length in enumerate(lengths):
        one = slice(row, row + 1)
        alone = compiled((ids[one, :length], mask[one, :length], np.asarray(0))).values()
        for whole, part in zip(together, alone, strict=True):
            beside = whole[one, :length] if whole.ndim == 3 else whole[one]  # [1, tokens, hidden] or [1, dim]
            distances.append(np.abs(beside - part).max() / np.abs(part).max())
    return float(np.max(distances))
