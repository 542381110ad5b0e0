"""What a checkpoint is for: vectors of texts, or scores of pairs; other kinds of models are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from semsearch.encoder.checkpoints.json_files import read_setting
from semsearch.errors import ModelError

VECTORS, PAIRS = "feature-extraction", "sequence-classification"
"""Tasks, by their names in transformers: to encode texts, and to score pairs of them."""

ENCODER, CROSS_ENCODER = "SentenceTransformer", "CrossEncoder"
"""`model_type` in config_sentence_transformers.json."""

OTHERS = {
    "SparseEncoder": "a sparse encoder (SPLADE), which gives weights of words",
    "MultiVectorEncoder": "a multi-vector model (ColBERT), which gives a vector for each token",
}

CLASSIFIER = "ForSequenceClassification"
"""Suffix of the names of such architectures in transformers."""


def check_kind(declared: dict[str, Any], file: Path, name: str) -> None:
    """Raise ModelError if config_sentence_transformers.json declares another kind of model than an encoder of vectors.

    Args:
        declared: Content of the file.
        file: The file, for messages.
        name: Name of the model.
    """
    kind = read_setting(declared, "model_type", str, ENCODER, file)
    if kind == CROSS_ENCODER:
        raise ModelError(f"model {name!r} is a cross-encoder, {_elsewhere(name)}")
    if kind != ENCODER:
        what = OTHERS.get(kind, f"of the type {kind!r:.40}")
        raise ModelError(f"model {name!r} is {what}; semsearch needs one vector per text, as a {ENCODER} gives")


def check_architecture(config: dict[str, Any], file: Path, name: str) -> None:
    """Raise ModelError if config.json declares a classifier; only for a checkpoint without modules.json."""
    for architecture in read_setting(config, "architectures", list, [], file):
        if str(architecture).endswith(CLASSIFIER):
            raise ModelError(f"model {name!r} is a classifier ({architecture!s:.60}), {_elsewhere(name)}")


def _elsewhere(name: str) -> str:
    return f"which scores texts but gives no vectors; pass it as `rerank` 'cross-encoder:{name}'"
