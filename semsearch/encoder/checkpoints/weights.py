"""The weight files of a checkpoint: which there are, and whether they can be those of the network that it declares.

The check against config.json reads only names and shapes. It bounds what transformers would otherwise allocate.
"""

from __future__ import annotations

import re
from pathlib import Path

from semsearch.encoder.checkpoints.json_files import read_json, read_setting
from semsearch.encoder.tensor_files import read_shapes
from semsearch.errors import ModelError
from semsearch.messages import listed

ADAPTER = "adapter_config.json"
"""File that declares a PEFT adapter, which changes the weights that it is loaded onto."""

PARTS = "model-*-of-*.safetensors"
"""Pattern of the files that large weights are split into."""

OTHER_WEIGHTS = {
    "a PEFT adapter": ("adapter_model.*",),
    "pickled weights": ("*.bin", "*.pt", "*.pth", "*.ckpt"),
    "ONNX files": ("*.onnx", "onnx/*.onnx"),
    "OpenVINO files": ("openvino_model*.xml", "openvino/*.xml"),
    "GGUF files": ("*.gguf",),
    "TensorFlow weights": ("*.h5", "*.tflite", "saved_model.pb"),
    "Flax weights": ("*.msgpack",),
    "safetensors under other names": ("[!a]*.safetensors",),
}
"""Patterns of weights in other formats."""

LAYER = re.compile(r"\.(\d+)\.")

SHARES_LAYERS = {"albert"}
"""Model types whose layers share their weights."""

WORDS = re.compile(r"(^|\.)(word_embeddings?|embed_tokens|tok_embeddings|tokens_embed|wte|shared)\.weight$")
"""Names of the table of token embeddings, across model families."""


def weight_files(backbone: Path, name: str) -> tuple[Path, ...]:
    """Return the backbone's safetensors files.

    Raises:
        ModelError: If there are none, they belong to an adapter, or their index names files elsewhere.
    """
    files = safetensors_of(backbone)
    if (backbone / ADAPTER).is_file():
        what = f"a PEFT adapter ({ADAPTER}) {'beside its weights' if files else 'and no full weights'}"
        raise ModelError(
            f"model {name!r} has {what}; merge it into its base model with merge_and_unload() of peft, and save that"
        )
    if not files:
        raise ModelError(f"model {name!r}: {other_weights(backbone)}; expected model.safetensors in {backbone}")
    index = backbone / "model.safetensors.index.json"
    parts = read_setting(read_json(index) or {}, "weight_map", dict, {}, index)
    if wrong := sorted({str(part) for part in parts.values()} - {file.name for file in files}):
        raise ModelError(f"{index} names {wrong[0]!r:.80}, which is not a model*.safetensors file beside it")
    return files


def safetensors_of(folder: Path) -> tuple[Path, ...]:
    """Return model.safetensors, or the parts that it is split into; none if a folder has neither."""
    whole = folder / "model.safetensors"
    return (whole,) if whole.is_file() else tuple(sorted(file for file in folder.glob(PARTS) if file.is_file()))


def has_safetensors(folder: Path) -> bool:
    """Return whether a folder has weights as safetensors, or an adapter, which is refused when they are read."""
    return bool(safetensors_of(folder)) or (folder / ADAPTER).is_file()


def other_weights(folder: Path) -> str:
    """Return which weights a folder without safetensors has instead, such as `only ONNX files (model.onnx)`."""
    found = []
    for kind, patterns in OTHER_WEIGHTS.items():
        names = sorted({file.relative_to(folder).as_posix() for pattern in patterns for file in folder.glob(pattern)})
        if names:
            unsafe = ", which are never loaded" if kind == "pickled weights" else ""
            found.append(f"{kind} ({listed(names)}){unsafe}")
    return f"only {'; '.join(found)}" if found else "no weights"


def check_shapes(files: tuple[Path, ...], model_type: object, n_layers: int, hidden_size: int, name: str) -> int | None:
    """Check the declared sizes of a network against the shapes of its weights.

    Returns:
        Number of token embeddings; None if no tensor has a known name.

    Raises:
        ModelError: If the files cannot be read, or cannot be the weights of such a network.
    """
    shapes = {key: shape for file in files for key, shape in read_shapes(file, name).items()}
    numbers = [int(number[:9]) for key in shapes for number in LAYER.findall(key)]
    if numbers and n_layers > max(numbers) + 1 and model_type not in SHARES_LAYERS:
        raise ModelError(
            f"model {name!r}: its config.json declares {n_layers:,} layers, but its weights are those of "
            f"{max(numbers) + 1:,}"
        )
    if not any(hidden_size in shape for shape in shapes.values()):
        raise ModelError(
            f"model {name!r}: its config.json declares hidden states of length {hidden_size:,}, but no tensor of its "
            f"weights has that size ({len(shapes)} tensors)"
        )
    tables = [shape for key, shape in shapes.items() if WORDS.search(key) and len(shape) == 2]
    return tables[0][0] if tables else None
