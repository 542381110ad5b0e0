"""The modules of sentence-transformers that a checkpoint declares in modules.json: which they are, and their settings.

Both schemas of 1_Pooling/config.json that are in use are read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from semsearch.encoder.checkpoints.json_files import read_json, read_size
from semsearch.encoder.checkpoints.record import Dense
from semsearch.encoder.tensor_files import read_shapes
from semsearch.errors import ModelError

ST_POOLERS = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean-sqrt-len",
    "weightedmean": "weighted-mean",
    "lasttoken": "last",
}
"""Our pooler for each sentence-transformers pooling mode, in the order in which it concatenates them."""

LEGACY_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}

MODULES = ("Transformer", "Pooling", "Dense", "Normalize")
"""The supported sentence-transformers modules, in the only supported order."""

STATIC_MODULES = ("StaticEmbedding", "Dense", "Normalize")
"""The same for a table of static token vectors."""

Modules: TypeAlias = list[tuple[str, Path]]
"""The modules that modules.json declares, in order: the kind of each, such as Pooling, and its folder."""


def read_modules(root: Path, name: str) -> Modules:
    """Return the modules that modules.json declares, in order; none if there is no such file."""
    file = root / "modules.json"
    try:
        modules = [(str(m["type"]).rsplit(".", 1)[-1], root / m["path"]) for m in read_json(file, list) or []]
    except (KeyError, TypeError):
        raise ModelError(f"{file}: expected a list of modules, each with a type and a path") from None
    kinds = [kind for kind, _ in modules]
    supported = STATIC_MODULES if STATIC_MODULES[0] in kinds else MODULES
    if unsupported := sorted(set(kinds) - set(supported)):
        raise ModelError(
            f"model {name!r} declares the modules {', '.join(unsupported)}, which semsearch cannot run; "
            f"supported: {', '.join(supported)}"
        )
    if kinds != sorted(kinds, key=supported.index):
        raise ModelError(
            f"model {name!r} declares its modules in the order {', '.join(kinds)}; supported: {', '.join(supported)}"
        )
    return modules


def declared_pooler(config: dict[str, Any]) -> str | None:
    """Return the pooler that 1_Pooling/config.json declares, as `pooling_mode` (one or several) or the older booleans.

    An unknown mode keeps its name, so that only the pooler `auto` fails on it.
    """
    modes = config.get("pooling_mode") or [mode for key, mode in LEGACY_KEYS.items() if config.get(key)]
    if isinstance(modes, str):
        modes = [modes]
    return "+".join(ST_POOLERS.get(mode, mode) for mode in modes) or None


def read_dense(folder: Path, name: str) -> Dense:
    """Read a declared linear layer."""
    config = read_json(folder / "config.json") or {}
    if config.get("use_residual"):
        raise ModelError(f"model {name!r} has a Dense module with a residual connection, which is not supported")
    if {config.get(f"module_{end}_name") or "sentence_embedding" for end in ("input", "output")} != {
        "sentence_embedding"
    }:
        raise ModelError(f"model {name!r} has a Dense module on token vectors; expected it after the pooler")
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise ModelError(f"model {name!r}: no model.safetensors in {folder}; pickled weights are never loaded")
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1]
    shape = read_shapes(weights, name).get("linear.weight")
    return Dense(weights, shape[-1] if shape else None, read_size(config, ("out_features",), name), activation)
