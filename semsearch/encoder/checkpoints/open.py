"""Opening a checkpoint: reading what it declares about its backbone, its pooler and its prefixes.

A checkpoint has a transformer or, in its place, a table of static token vectors. Weights are loaded from safetensors
only, never from pickles, and no code of a checkpoint is ever run. This module imports neither torch nor transformers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from semsearch.encoder.checkpoints.json_files import read_json, read_size
from semsearch.encoder.checkpoints.locate import canonical_name, locate, model_name
from semsearch.encoder.checkpoints.modules import STATIC_MODULES, Modules, declared_pooler, read_dense, read_modules
from semsearch.encoder.checkpoints.onnx import export_files, find_export
from semsearch.encoder.checkpoints.record import STATIC_POOLER, Checkpoint
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

OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl"}
"""Model types whose position table starts after the padding index, so that its first two rows hold no token."""

ENCODER_HALVES = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
"""The class in transformers that loads only the encoder of an encoder-decoder model, by model type."""


def open_checkpoint(model: str | Path | None, artifacts: Path | None = None) -> Checkpoint:
    """Find a checkpoint and read what it declares.

    Args:
        model: Local directory or Hugging Face name; None for the default, all-MiniLM-L6-v2, which is installed with
            semsearch.
        artifacts: Folder of the index that stores files of its encoder; see `Checkpoint`.

    Raises:
        ModelError: If the model is not found or is not a checkpoint, has only pickled weights, or has an unsupported
            architecture or module.
        UsageError: If the model is neither a string nor a path.
    """
    name = model_name(model)
    root = locate(name)
    modules = read_modules(root, name)
    declared = read_json(root / DECLARED) or {}
    query_prefix, passage_prefix = _prompts(declared)
    return replace(
        _table(root, modules, name) if _is_table(root, modules) else _transformer(root, modules, name),
        dense=tuple(read_dense(folder, name) for kind, folder in modules if kind == "Dense"),
        query_prefix=query_prefix,
        passage_prefix=passage_prefix,
        similarity=_similarity(declared, root),
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


def _transformer(root: Path, modules: Modules, name: str) -> Checkpoint:
    """Read what a checkpoint with a transformer declares about it and its pooler."""
    folders = dict(modules)
    backbone = folders.get("Transformer", root)
    pooling = read_json(folders.get("Pooling", root / "1_Pooling") / "config.json")
    config = read_json(backbone / "config.json")
    if config is None:
        raise ModelError(f"model {name!r}: no config.json in {backbone}; expected a Hugging Face checkpoint")
    loader = ENCODER_HALVES.get(str(config.get("model_type")), "AutoModel")
    if config.get("is_encoder_decoder") and loader == "AutoModel":
        raise ModelError(
            f"model {name!r} is an encoder-decoder model of type {config.get('model_type')!r}; semsearch runs "
            f"encoders, and the encoder half of {', '.join(ENCODER_HALVES)}"
        )
    settings = read_json(backbone / "sentence_bert_config.json") or {}
    export = None if has_safetensors(backbone) else find_export(backbone, name)
    first_position = 2 if config.get("model_type") in OFFSET_POSITIONS else 0
    positions = config.get("max_position_embeddings")
    limit = int(positions) - first_position if positions else None
    return Checkpoint(
        name=canonical_name(name),
        backbone=backbone,
        n_layers=read_size(config, LAYER_KEYS, name),
        hidden_size=read_size(config, HIDDEN_KEYS, name),
        pooler=declared_pooler(pooling) if pooling else None,
        pools_prefix=bool((pooling or {}).get("include_prompt", True)),
        max_tokens=_max_tokens(settings, read_json(backbone / "tokenizer_config.json") or {}, limit),
        position_limit=limit,
        first_position=first_position,
        loader=loader,
        lowercase=bool(settings.get("do_lower_case", False)),
        weight_files=export_files(export, name) if export else _weight_files(backbone, name),
        onnx=export,
    )


def _is_table(root: Path, modules: Modules) -> bool:
    """Return whether a checkpoint declares a table of static token vectors."""
    if modules:
        return modules[0][0] == STATIC_MODULES[0]
    return (read_json(root / "config.json") or {}).get("model_type") == MODEL2VEC


def _table(root: Path, modules: Modules, name: str) -> Checkpoint:
    """Read what a checkpoint with a table of static token vectors declares about it."""
    folder = dict(modules).get(STATIC_MODULES[0], root)
    weights = _weight_files(folder, name)[:1]
    table = StaticTable.find(weights[0], name)
    return Checkpoint(
        name=canonical_name(name),
        backbone=folder,
        n_layers=0,
        hidden_size=table.dim,
        pooler=STATIC_POOLER,
        max_tokens=_truncation(folder, name) or NO_LIMIT,
        weight_files=weights,
        table=table,
    )


def _truncation(folder: Path, name: str) -> int | None:
    """Return the number of tokens to which tokenizer.json truncates texts, which sentence-transformers heeds here."""
    declared = (read_json(folder / "tokenizer.json") or {}).get("truncation")
    if not isinstance(declared, dict):  # none; the tokenizer itself is checked when it is loaded
        return None
    if declared.get("direction", "Right") != "Right":
        raise ModelError(f"model {name!r}: its tokenizer truncates texts on the left; semsearch truncates on the right")
    return declared.get("max_length")


def _similarity(config: dict[str, Any], root: Path) -> str | None:
    """Return the name of the declared similarity function; None if none is declared."""
    name = config.get("similarity_fn_name")
    if isinstance(name, str | None):
        return name
    raise ModelError(
        f"{root / DECLARED}: similarity_fn_name is {name!r:.40}; expected the name of a similarity function, such as "
        "cosine"
    )


def _prompts(config: dict[str, Any]) -> tuple[str, str]:
    """Return the declared prefixes (query, passage): the prompt named after the role, or the default prompt."""
    prompts = config.get("prompts") or {}
    default = prompts.get(config.get("default_prompt_name") or "", "")
    passage = next((prompts[key] for key in ("document", "passage", "corpus") if prompts.get(key)), default)
    return prompts.get("query") or default, passage


def _max_tokens(settings: dict[str, Any], tokenizer: dict[str, Any], limit: int | None) -> int:
    """Return the length declared by sentence-transformers, else by the tokenizer, at most the position table's."""
    declared = settings.get("max_seq_length") or tokenizer.get("model_max_length")
    bounds = [int(bound) for bound in (declared, limit) if bound and bound < 10**6]
    return min(bounds, default=512)


def has_safetensors(backbone: Path) -> bool:
    """Return whether a folder has weights as safetensors."""
    return any(backbone.glob("model*.safetensors"))


def _weight_files(backbone: Path, name: str) -> tuple[Path, ...]:
    """Return the backbone's safetensors files."""
    files = tuple(sorted(backbone.glob("model*.safetensors")))
    if files:
        return files
    pickled = sorted(file.name for file in backbone.glob("*.bin"))
    found = f"only pickled weights ({', '.join(pickled)}), which are never loaded" if pickled else "no weights"
    raise ModelError(f"model {name!r}: {found}; expected model.safetensors in {backbone}")
