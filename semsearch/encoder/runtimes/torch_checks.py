"""Checks of a transformer that transformers has loaded: that it is the one that the checkpoint declares.

transformers drops what its class does not know, weights and settings alike, and says so in a log at most.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from semsearch.encoder.checkpoints.json_files import read_json
from semsearch.encoder.checkpoints.record import Checkpoint
from semsearch.encoder.tensor_files import read_shapes
from semsearch.errors import ModelError
from semsearch.messages import listed

BUFFERS = re.compile(r"(^|\.)(position_ids|token_type_ids|inv_freq|masked_bias|attn\.bias|relative_position_index)$")
"""Tensors that old versions of transformers saved, although they are computed from the config."""

MISMATCH = "ignore_mismatched_sizes"
"""Part of transformers' message about weights of another shape, which refers to a report in the log."""

ROTARY = re.compile(r"rope_(scaling|parameters|theta|type)|(partial_)?rotary_\w+")
"""Settings of rotary position embeddings (Su et al. 2021)."""

STANDARD = re.compile(r"rope_(scaling|parameters|theta|type)")
"""Those that every class with such embeddings reads."""

ROTATES = re.compile(r"rotary_|RotaryEmbedding|rotate_half")
"""Occurs in the code of a class that has such embeddings."""

RELATIVE = "position_embedding_type"


def check_loaded(checkpoint: Checkpoint, model: Any, unexpected: Iterable[str]) -> None:
    """Check that a transformer has all weights and settings of its checkpoint.

    Args:
        checkpoint: Checkpoint that was loaded.
        model: The transformer.
        unexpected: Names of tensors in the files that the class did not take.

    Raises:
        ModelError: If the class ignores weights or settings that would change vectors, or a weight is not finite.
    """
    config = read_json(checkpoint.backbone / "config.json") or {}
    prefix, parts = (
        f"{model.base_model_prefix}.",
        {name for name, _ in getattr(model, "base_model", model).named_children()},
    )
    dropped = sorted(
        name
        for name in (one.removeprefix(prefix) for one in unexpected)
        if name.split(".")[0] in parts and not BUFFERS.search(name)
    )
    kind = type(model).__name__
    if dropped:
        raise ModelError(
            f"model {checkpoint.name!r} has weights that {kind} of transformers does not use: {listed(dropped)}"
        )
    if unread := _unread(model, config):
        raise ModelError(
            f"model {checkpoint.name!r}: its config.json sets {unread}, which {kind} of transformers does not support"
        )
    damaged = [name for name, weights in model.named_parameters() if not torch.isfinite(weights).all()]
    if damaged:
        raise ModelError(
            f"model {checkpoint.name!r} has weights that are not finite numbers: {listed(damaged)}; the checkpoint is "
            "damaged"
        )


def reason_of(error: Exception, checkpoint: Checkpoint, auto: Any, auto_config: Any) -> str:
    """Return in one line why transformers could not load a checkpoint.

    Args:
        error: The exception that it raised.
        checkpoint: The checkpoint.
        auto: Class of transformers that should have loaded it.
        auto_config: The class AutoConfig of transformers.
    """
    config = read_json(checkpoint.backbone / "config.json") or {}
    lines = str(error).strip().splitlines() or [type(error).__name__]
    kind = str(config.get("model_type"))
    own = checkpoint.own_code
    if own and ("trust_remote_code" in str(error) or "custom code" in str(error)):
        return f"its network, {kind!r:.60}, is code of the checkpoint ({own}), which is never run"
    if "does not recognize this architecture" in lines[0]:
        return f"transformers has no network of the type {kind!r:.60}"
    if MISMATCH in str(error):
        return _misfit(checkpoint, auto, auto_config)
    if isinstance(error, KeyError):
        return f"its config.json names {lines[0]:.80}, which transformers does not know"
    if lines[0].startswith("Validation error") and len(lines) > 1:  # of a setting, with the cause in the next line
        return f"{lines[0].rstrip(':')} of its config.json: {lines[1].strip():.200}"
    return f"{lines[0]:.300}"


def _unread(model: Any, config: Mapping[str, Any]) -> str:
    """Return a setting about positions that the code of a network ignores, with its value, or an empty string."""
    declared = {key: value for key, value in config.items() if _changes_positions(key, value)}
    if not declared:
        return ""
    source = inspect.getsource(sys.modules[type(model).__module__])
    settings = source + inspect.getsource(sys.modules[type(model.config).__module__])
    for key, value in declared.items():
        if key == RELATIVE:
            is_read = key in source or (value == "rotary" and "rotary" in source.lower())
        else:
            is_read = bool(ROTATES.search(source)) if STANDARD.fullmatch(key) else key in settings
        if not is_read:
            return f"{key} to {value!r:.60}"
    return ""


def _changes_positions(key: str, value: Any) -> bool:
    """Return whether a setting asks for other positions than those of a table; a factor of 1 changes nothing."""
    if key == RELATIVE:
        return value not in (None, "absolute")
    return bool(ROTARY.fullmatch(key)) and (value is True or value not in (None, False, 1))


def _misfit(checkpoint: Checkpoint, auto: Any, auto_config: Any) -> str:
    """Return which tensor of the files has another shape than the config gives it; no memory is allocated for it."""
    with torch.device("meta"):
        config = auto_config.from_pretrained(checkpoint.backbone, local_files_only=True, trust_remote_code=False)
        expected = auto.from_config(config, trust_remote_code=False).state_dict()
    for file in checkpoint.weight_files:
        for name, shape in read_shapes(file, checkpoint.name).items():
            fits = [own for own in expected if f".{name}".endswith(f".{own}") or f".{own}".endswith(f".{name}")]
            wanted = [*expected[max(fits, key=len)].shape] if fits else shape
            if wanted != shape:
                return f"{name} in {file.name} has the shape {shape}, but config.json gives it {wanted}"
    return "its weights have other shapes than its config.json gives them"
