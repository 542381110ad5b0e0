"""Opening a checkpoint: reading what it declares about its backbone, its pooler and its prefixes.

A checkpoint has a transformer or, in its place, a table of static token vectors. Weights are loaded from safetensors
or, if there are none, from an ONNX export, never from pickles, and no code of a checkpoint is ever run. This module
imports neither torch nor transformers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from semsearch.encoder.checkpoints.dense import read_dense
from semsearch.encoder.checkpoints.json_files import MOST_LAYERS, check_size, read_json, read_setting, read_size
from semsearch.encoder.checkpoints.kinds import VECTORS, check_architecture, check_kind
from semsearch.encoder.checkpoints.locate import canonical_name, locate, model_name
from semsearch.encoder.checkpoints.modules import STATIC_MODULES, Modules, declared_pooler, read_modules
from semsearch.encoder.checkpoints.onnx import export_files, find_export
from semsearch.encoder.checkpoints.prompts import read_prompts
from semsearch.encoder.checkpoints.record import HEAD_POOLER, STATIC_POOLER, Checkpoint
from semsearch.encoder.checkpoints.settings import LEFT, read_settings
from semsearch.encoder.checkpoints.weights import check_shapes, has_safetensors, weight_files
from semsearch.encoder.static_table import NO_LIMIT, StaticTable
from semsearch.errors import ModelError

DECLARED = "config_sentence_transformers.json"
"""File in which sentence-transformers declares prompts and a similarity function."""

MODEL2VEC = "model2vec"
"""`model_type` in config.json of a table that model2vec wrote."""

LAYER_KEYS = ("num_hidden_layers", "n_layers", "num_layers", "n_layer")
"""Keys of config.json that hold the number of layers, across model families."""

HIDDEN_KEYS = ("hidden_size", "dim", "d_model", "n_embd")
"""Keys of config.json that hold the length of a hidden state, across model families."""

HEAD_COUNT_KEYS = ("num_attention_heads", "n_heads", "num_heads", "n_head", "num_key_value_heads")
"""Keys of config.json that hold numbers of attention heads, across model families."""

MOST_POSITIONS = 2**30
"""Bound on a declared number of positions; models with rotary embeddings declare a million."""

OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl"}
"""Model types whose position table starts after the padding index, so that its first two rows hold no token."""

ENCODER_HALVES = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
"""The class in transformers that loads only the encoder of an encoder-decoder model, by model type."""


def open_checkpoint(model: str | Path | None, artifacts: Path | None = None, task: str = VECTORS) -> Checkpoint:
    """Find a checkpoint and read what it declares.

    Args:
        model: Local directory or Hugging Face name; None for the default, all-MiniLM-L6-v2, which is installed with
            semsearch.
        artifacts: Folder of the index that stores files of its encoder; see `Checkpoint`.
        task: What the checkpoint is used for; see `kinds`.

    Raises:
        ModelError: If the model is not found or is not a checkpoint, has only pickled weights, has an unsupported
            architecture, module or setting, or is not a model for this task.
        UsageError: If the model is neither a string nor a path.
    """
    name = model_name(model)
    root = locate(name)
    file = root / DECLARED
    declared = read_json(file) or {}
    if task == VECTORS:
        check_kind(declared, file, name)
    modules = read_modules(root, name)
    prompts = read_prompts(declared, file)
    truncated = declared.get("truncate_dim")
    return replace(
        _table(root, modules, name) if _is_table(root, modules) else _transformer(root, modules, name, task),
        dense=tuple(read_dense(folder, name) for kind, folder in modules if kind == "Dense"),
        dim=None if truncated is None else check_size(truncated, "truncate_dim", str(file)),
        query_prefix=prompts.query,
        passage_prefix=prompts.passage,
        other_prompts=prompts.others,
        similarity=read_setting(declared, "similarity_fn_name", str, None, file),
        normalizes="Normalize" in dict(modules),
        artifacts=artifacts,
    )


def is_table(model: str | Path | None) -> bool:
    """Return whether a local checkpoint declares a table of static token vectors, judging by its small files."""
    root = Path(model_name(model))
    try:
        return root.is_dir() and _is_table(root, read_modules(root, str(root)))
    except ModelError:  # raised again when it is opened
        return False


def _transformer(root: Path, modules: Modules, name: str, task: str) -> Checkpoint:
    """Read what a checkpoint with a transformer declares about it and its pooler."""
    backbone = dict(modules).get("Transformer", root)
    file = backbone / "config.json"
    config = read_json(file)
    if config is None:
        raise ModelError(f"model {name!r}: no config.json in {backbone}; expected a Hugging Face checkpoint")
    kind = read_setting(config, "model_type", str, None, file)
    loader = ENCODER_HALVES.get(kind or "", "AutoModel")
    if config.get("is_encoder_decoder") and loader == "AutoModel":
        raise ModelError(
            f"model {name!r} is an encoder-decoder model of type {kind!r:.60}; semsearch runs "
            f"encoders, and the encoder half of {', '.join(ENCODER_HALVES)}"
        )
    if task == VECTORS and not modules:
        check_architecture(config, file, name)
    settings = read_settings(backbone, config, name, task)
    pooler, pools_prefix = _pooler(root, modules, name, settings.own_head)
    for key in HEAD_COUNT_KEYS:
        if config.get(key) is not None:
            check_size(config[key], key, str(file))
    first_position = 2 if kind in OFFSET_POSITIONS else 0
    limit = _position_limit(config, file, first_position)
    n_layers = read_size(config, LAYER_KEYS, name, MOST_LAYERS)
    hidden_size = read_size(config, HIDDEN_KEYS, name)
    export = None if has_safetensors(backbone) else find_export(backbone, name)
    if export:  # the shapes of its tensors are not read here
        files = export_files(export, name)
        declared = config.get("vocab_size")
        n_tokens = None if declared is None else check_size(declared, "vocab_size", str(file))
    else:
        files = weight_files(backbone, name)
        n_tokens = check_shapes(files, kind, n_layers, hidden_size, name)
    return Checkpoint(
        name=canonical_name(name),
        backbone=backbone,
        n_layers=n_layers,
        hidden_size=hidden_size,
        pooler=pooler,
        pools_prefix=pools_prefix,
        max_tokens=min((bound for bound in (settings.max_tokens, limit) if bound), default=512),
        position_limit=limit,
        first_position=first_position,
        own_code=_own_code(config),
        loader=loader,
        lowercase=settings.lowercase,
        truncates_left=settings.truncation_side == LEFT,
        n_tokens=n_tokens,
        weight_files=files,
        onnx=export,
    )


def _own_code(config: dict[str, Any]) -> str:
    """Return the class of the checkpoint's own code for its network, without the address of a repository."""
    classes = config.get("auto_map")
    if not isinstance(classes, dict):
        return ""
    return next(
        (str(classes[auto]).split("--")[-1][:80] for auto in ("AutoModel", "AutoConfig") if auto in classes), ""
    )


def _pooler(root: Path, modules: Modules, name: str, own_head: bool) -> tuple[str | None, bool]:
    """Return the declared pooler, or None, and whether it pools the prefix's tokens."""
    folder = dict(modules).get("Pooling")
    if own_head:
        if folder:
            raise ModelError(f"model {name!r} declares a Pooling module after BERT's own head; expected one of them")
        return HEAD_POOLER, True
    file = (folder or root / "1_Pooling") / "config.json"
    config = read_json(file)
    if config is None:
        if folder:
            raise ModelError(f"model {name!r} declares a Pooling module, but there is no config.json in {folder}")
        return None, True
    return declared_pooler(config, file), read_setting(config, "include_prompt", bool, True, file)


def _position_limit(config: dict[str, Any], file: Path, first_position: int) -> int | None:
    """Return the longest input that the declared position table holds, or None without a limit."""
    declared = config.get("max_position_embeddings")
    if declared in (None, -1):
        return None
    positions = check_size(declared, "max_position_embeddings", str(file), MOST_POSITIONS)
    return check_size(positions - first_position, "the number of positions left", str(file), MOST_POSITIONS)


def _is_table(root: Path, modules: Modules) -> bool:
    """Return whether a checkpoint declares a table of static token vectors."""
    if modules:
        return modules[0][0] == STATIC_MODULES[0]
    return (read_json(root / "config.json") or {}).get("model_type") == MODEL2VEC


def _table(root: Path, modules: Modules, name: str) -> Checkpoint:
    """Read what a checkpoint with a table of static token vectors declares about it."""
    folder = dict(modules).get(STATIC_MODULES[0], root)
    weights = weight_files(folder, name)[:1]
    table = StaticTable.find(weights[0], name)
    max_tokens, truncates_left = _truncation(folder)
    return Checkpoint(
        name=canonical_name(name),
        backbone=folder,
        n_layers=0,
        hidden_size=table.dim,
        pooler=STATIC_POOLER,
        max_tokens=max_tokens or NO_LIMIT,
        truncates_left=truncates_left,
        weight_files=weights,
        table=table,
    )


def _truncation(folder: Path) -> tuple[int | None, bool]:
    """Return the number of tokens to which tokenizer.json truncates texts, and whether it drops their beginnings.

    sentence-transformers heeds it here, and not tokenizer_config.json.
    """
    file = folder / "tokenizer.json"
    declared = (read_json(file) or {}).get("truncation")
    if not isinstance(declared, dict):  # none; the tokenizer itself is checked when it is loaded
        return None, False
    length = check_size(declared.get("max_length"), "max_length", str(file), MOST_POSITIONS)
    return length, declared.get("direction") == "Left"
