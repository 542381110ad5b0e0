"""Attention masks for a conversion, under which padding attends to itself.

A padded position can be so far behind its text that no token lies within its window. For a position that attends to
nothing, OpenVINO computes NaN, which spreads to the text in the next layer, where torch computes 0. Attention to itself
changes nothing for the text, whose tokens attend to themselves anyway, and never to padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch

NAME = "semsearch_converted"
"""Name of these masks, and of the attention that uses them, in transformers' registries."""

LIKE = "sdpa"
"""The attention whose masks are replaced; others add a large negative number, which gives no NaN."""


@contextmanager
def attending(backbone: Any) -> Iterator[None]:
    """Make a backbone use these masks meanwhile, if it uses those of scaled dot-product attention."""
    if backbone.config._attn_implementation != LIKE:
        yield
        return
    transformers: Any = import_module("transformers")
    attention: Any = import_module("transformers.modeling_utils").ALL_ATTENTION_FUNCTIONS
    transformers.AttentionInterface.register(NAME, attention[LIKE])
    transformers.AttentionMaskInterface.register(NAME, _mask)
    backbone.set_attn_implementation(NAME)
    try:
        yield
    finally:
        backbone.set_attn_implementation(LIKE)


def _mask(*sizes: Any, **settings: Any) -> torch.Tensor:
    """Return a mask `[n, 1, tokens, tokens]`, True where a position attends, without shortcuts that tracing forbids."""
    masking: Any = import_module("transformers.masking_utils")
    plain = {"use_vmap": False, "allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    mask: torch.Tensor = masking.sdpa_mask(*sizes, **settings | plain)
    place = torch.arange(mask.shape[-1], device=mask.device)
    return mask | (place[:, None] == place)
