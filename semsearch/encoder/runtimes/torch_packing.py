"""Packing texts of different lengths into one row without padding, for attention that knows where each text ends.

Padding costs as much compute as text. On a GPU, variable-length flash attention (Dao et al. 2022) makes it unnecessary:
`[n, longest]` becomes `[1, tokens]`, and each token attends only within its own text.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, Self

import torch

from semsearch.encoder.runtimes.probes import plan_probe
from semsearch.encoder.runtimes.torch_model import PooledModel, count_parameters

NAME = "semsearch_packed"
"""Name of the attention function in transformers' registry."""

CLOSE = {torch.float32: 1e-4, torch.bfloat16: 0.02, torch.float16: 0.005}
"""Largest allowed difference between padded and packed probes, in units of the largest component: rounding error."""


@dataclass(frozen=True, slots=True)
class Packer:
    """Runs a backbone on packed rows.

    Attributes:
        first_position: Position of a text's first token: 0, or 2 if the table starts after the padding index.
        device: Device that the backbone is on.
    """

    first_position: int
    device: str

    @classmethod
    def where_it_works(cls, model: PooledModel, first_position: int, device: str) -> Self | None:
        """Return a packer and replace the backbone's attention, or return None if device or backbone do not allow it.

        A probe detects a backbone that handles positions or neighboring tokens in its own way; its attention is left
        unchanged.
        """
        if not device.startswith("cuda") or next(model.backbone.parameters()).dtype == torch.float32:
            return None
        return cls.proven(model, first_position, device)

    @classmethod
    def proven(cls, model: PooledModel, first_position: int, device: str) -> Self | None:
        """Return a packer if packed and padded probes agree, else None."""
        config = model.backbone.config
        packer, before = cls(first_position, device), config._attn_implementation
        positions = getattr(config, "max_position_embeddings", None)
        longest, reach = plan_probe(config, positions and positions - first_position, count_parameters(model))
        if reach is not None:
            return None
        ids = 5 + torch.arange(3 * longest, device=device).reshape(3, longest) % (config.vocab_size - 5)
        mask = (torch.arange(longest, device=device) < torch.tensor([[longest], [3], [6]], device=device)).long()
        with torch.inference_mode():
            padded = model.backbone(input_ids=ids, attention_mask=mask).last_hidden_state * mask.unsqueeze(-1)
            try:
                _register()
                model.backbone.set_attn_implementation(NAME)
                packed = packer(model, ids, mask).last_hidden_state
            except (AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
                packed = torch.full_like(padded, torch.inf)
        if (packed - padded).abs().max() <= CLOSE[padded.dtype] * padded.abs().max():
            return packer
        model.backbone.set_attn_implementation(before)
        return None

    def __call__(self, model: PooledModel, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        """Return the backbone's output for a right-padded batch, as if it had run with padding; zeros at the padding.

        Args:
            model: Model that contains the backbone.
            ids: int64 `[n, tokens]`.
            mask: int64 `[n, tokens]`, 1 at real tokens.
        """
        real = mask.bool()
        lengths = mask.sum(1)
        ends = torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)
        positions = (mask.cumsum(1) - 1 + self.first_position)[real]
        output = model.backbone(
            input_ids=ids[real].unsqueeze(0),
            position_ids=positions.unsqueeze(0),
            output_hidden_states=model.all_layers,
            ends=ends,
            longest=ids.shape[1],
        )

        def unpack(states: torch.Tensor) -> torch.Tensor:
            padded = states.new_zeros(*ids.shape, states.shape[-1])
            padded[real] = states[0]
            return padded

        head = getattr(model.backbone, "pooler", None)
        last = unpack(output.last_hidden_state)
        return SimpleNamespace(
            last_hidden_state=last,
            hidden_states=tuple(map(unpack, output.hidden_states)) if model.all_layers else None,
            pooler_output=head(last) if head is not None else None,
        )


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **packing: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each text of a packed row: from `[1, heads, tokens, d]` each to `[1, tokens, heads, d]`."""
    query, key, value = (states[0].transpose(0, 1) for states in (query, key, value))  # [tokens, heads, d]
    ends, longest = packing["ends"], packing["longest"]
    if query.is_cuda:
        varlen = import_module("torch.nn.attention.varlen")
        return varlen.varlen_attn(query, key, value, ends, ends, longest, longest, scale=scaling).unsqueeze(0), None
    bounds = ends.tolist()
    texts = []
    for start, end in pairwise(bounds):
        q, k, v = (states[start:end].transpose(0, 1) for states in (query, key, value))
        texts.append(torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scaling).transpose(0, 1))
    return torch.cat(texts).unsqueeze(0), None


def _register() -> None:
    """Register the attention with transformers, together with a mask function that returns no mask."""
    transformers: Any = import_module("transformers")
    transformers.AttentionInterface.register(NAME, _attend)
    transformers.AttentionMaskInterface.register(NAME, lambda *_, **__: None)
