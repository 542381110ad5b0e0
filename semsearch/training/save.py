"""Writing checkpoints that sentence-transformers, transformers and semsearch read alike.

<folder>/  modules.json                      what follows the backbone, in order
           config.json model.safetensors     the backbone
           tokenizer.json ...                the tokenizer, as it was
           sentence_bert_config.json         maximum length, lowercasing
           config_sentence_transformers.json prefixes
           1_Pooling/  2_Dense/  2_Normalize/
           classifier/                       the head of a classifier, which other tools ignore
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from semsearch.encoder.checkpoints.modules import LEGACY_KEYS, ST_POOLERS
from semsearch.encoder.checkpoints.record import OWN_HEAD, Checkpoint
from semsearch.encoder.quiet import quiet_transformers
from semsearch.encoder.tokenizer_files import CONFIG, FILE, OTHERS, VOCABULARIES
from semsearch.training.classifier import HEAD

TOKENIZER_FILES = (FILE, CONFIG, *OTHERS, *VOCABULARIES)

MODULE = "sentence_transformers.models."
"""Prefix of a module's type that every version of sentence-transformers knows."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What a checkpoint declares besides its weights.

    Attributes:
        pooler: Name of the pooler.
        width: Length of a vector as pooled.
        max_tokens: Maximum length of an input.
        query_prefix, passage_prefix: Text in front of queries and passages.
        dense: The linear layers behind the pooler: module, and class name of the activation in torch.nn.
    """

    pooler: str
    width: int
    max_tokens: int
    query_prefix: str
    passage_prefix: str
    dense: Sequence[tuple[nn.Linear, str]] = ()


def save_encoder(folder: Path, backbone: Any, source: Checkpoint, declared: Declared) -> None:
    """Write an encoder into a new folder.

    A pooler that sentence-transformers does not have is declared by its name here, which that library rejects instead
    of pooling in another way.

    Args:
        folder: An empty folder.
        backbone: The transformer, perhaps with LoRA adapters, which are merged into it.
        source: Checkpoint that training started from, whose tokenizer is kept.
        declared: What to declare.

    Raises:
        OSError: If a file cannot be written.
    """
    save_backbone(folder, backbone, drop=() if source.has_head else (OWN_HEAD,))
    copy_tokenizer(source.backbone, folder)
    modules = [("Transformer", ""), ("Pooling", "1_Pooling")]
    for number, (linear, activation) in enumerate(declared.dense, 2):
        place = f"{number}_Dense"
        modules.append(("Dense", place))
        config = {
            "in_features": linear.in_features,
            "out_features": linear.out_features,
            "bias": linear.bias is not None,
        }
        activation_function = f"torch.nn.modules.{'linear' if activation == 'Identity' else 'activation'}.{activation}"
        write_json(folder / place / "config.json", {**config, "activation_function": activation_function})
        tensors = {f"linear.{name}": tensor.detach().cpu().contiguous() for name, tensor in linear.named_parameters()}
        save_file(tensors, folder / place / "model.safetensors", {"format": "pt"})
    normalize = f"{len(modules)}_Normalize"
    modules.append(("Normalize", normalize))
    (folder / normalize).mkdir()
    listed = [
        {"idx": number, "name": str(number), "path": path, "type": MODULE + kind}
        for number, (kind, path) in enumerate(modules)
    ]
    write_json(folder / "1_Pooling" / "config.json", _pooling(declared, source.pools_prefix))
    write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": declared.max_tokens, "do_lower_case": source.lowercase},
    )
    prompts = {"query": declared.query_prefix, "document": declared.passage_prefix}
    write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )
    write_json(folder / "modules.json", listed)  # last, as it makes the folder a checkpoint


def _pooling(declared: Declared, pools_prefix: bool) -> dict[str, Any]:
    """Return 1_Pooling/config.json in the schema that old and new versions of sentence-transformers read."""
    parts = declared.pooler.split("+")
    common = {"word_embedding_dimension": declared.width // len(parts), "include_prompt": pools_prefix}
    if parts != [pooler for pooler in ST_POOLERS.values() if pooler in parts]:  # not theirs, or in another order
        return {**common, "word_embedding_dimension": declared.width, "pooling_mode": declared.pooler}
    return {**common, **{key: ST_POOLERS[mode] in parts for key, mode in LEGACY_KEYS.items()}}


def save_backbone(folder: Path, backbone: Any, drop: Sequence[str] = ()) -> None:
    """Write config.json and model.safetensors in float32.

    Args:
        folder: Folder to write to.
        backbone: A transformers model, perhaps with LoRA adapters.
        drop: Prefixes of parameters to leave out, such as those of a head that was never trained.
    """
    if hasattr(backbone, "merge_and_unload"):
        backbone = deepcopy(backbone).merge_and_unload()
    weights = {name: tensor for name, tensor in backbone.state_dict().items() if not name.startswith(tuple(drop))}
    with quiet_transformers():
        backbone.save_pretrained(folder, state_dict=weights)


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copy the files of a tokenizer."""
    for file in sorted({file for pattern in TOKENIZER_FILES for file in source.glob(pattern) if file.is_file()}):
        shutil.copyfile(file, folder / file.name)


def save_classifier(folder: Path, head: nn.Linear, classes: Sequence[str]) -> None:
    """Write the head of a classifier over the encoder's pooled vectors, which are not rescaled."""
    write_json(folder / HEAD / "config.json", {"classes": list(classes)})
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.named_parameters()}
    save_file(tensors, folder / HEAD / "model.safetensors")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, and the folder that it is in."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def linear_layers(modules: Iterable[nn.Module]) -> list[tuple[nn.Linear, str]]:
    """Return linear layers, each followed by its activation, with the names of the activations."""
    layers = [*modules]
    return [
        (layer, type(activation).__name__)
        for layer, activation in zip(layers[::2], layers[1::2], strict=True)
        if isinstance(layer, nn.Linear)
    ]
