"""The Dense modules that a checkpoint declares: linear layers after the pooler."""

from __future__ import annotations

import re
from pathlib import Path

from semsearch.encoder.checkpoints.json_files import check_size, read_json, read_setting
from semsearch.encoder.checkpoints.record import Dense
from semsearch.encoder.tensor_files import read_shapes
from semsearch.errors import ModelError

TANH = "torch.nn.modules.activation.Tanh"
"""Activation of a Dense module that declares none."""

OF_TORCH = re.compile(r"torch\.nn\.(?:modules\.(?:\w+\.)?)?([A-Z]\w*)")
"""Paths of the classes that may be activations, with the name of the class."""

VECTOR = "sentence_embedding"
"""Name of the vector of a text among the values that modules pass on."""


def read_dense(folder: Path, name: str) -> Dense:
    """Read a declared linear layer.

    Raises:
        ModelError: If the layer cannot be run as declared, or its weights do not fit its declaration.
    """
    file = folder / "config.json"
    config = read_json(file) or {}
    if config.get("use_residual"):
        raise ModelError(f"model {name!r} has a Dense module with a residual connection, which is not supported")
    source = read_setting(config, "module_input_name", str, VECTOR, file)
    if {source, read_setting(config, "module_output_name", str, source, file)} != {VECTOR}:
        raise ModelError(f"model {name!r} has a Dense module on token vectors; expected it after the pooler")
    path = read_setting(config, "activation_function", str, TANH, file)
    activation = OF_TORCH.fullmatch(path)
    if activation is None:
        raise ModelError(
            f"model {name!r} has a Dense module with the activation {path!r:.80}, which is code outside torch.nn and "
            f"never run; expected a class such as {TANH}"
        )
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise ModelError(f"model {name!r}: no model.safetensors in {folder}; pickled weights are never loaded")
    n_out = check_size(config.get("out_features"), "out_features", str(file))
    shapes = read_shapes(weights, name)
    bias = read_setting(config, "bias", bool, "linear.bias" in shapes, file)
    n_in = _check_shapes(shapes, n_out, config.get("in_features"), bias, file)
    return Dense(weights, n_in, n_out, activation[1])


def _check_shapes(shapes: dict[str, list[int]], n_out: int, n_in: object, bias: bool, file: Path) -> int:
    """Return the length of the layer's input; raise ModelError if the weights do not fit the declaration."""
    weight = shapes.get("linear.weight", [])
    expected = {"linear.weight": [n_out, weight[-1] if n_in is None and weight else n_in]}
    if bias:
        expected["linear.bias"] = [n_out]
    if shapes != expected:
        found, declared = (
            ", ".join(f"{tensor} {shape}" for tensor, shape in sorted(some.items())) for some in (shapes, expected)
        )
        raise ModelError(f"{file} declares {declared}, but the weights beside it are {found or 'none'}")
    return weight[-1]
