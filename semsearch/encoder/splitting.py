"""Splits of a pooled vector into token contributions, for each pooler whose vector is a sum over tokens.

A split is a function `TokenStates -> [batch, tokens, dim]`, zero at padding; its sum over tokens is the pooled vector.
`POOLERS` pairs each pooler with its split.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from semsearch.encoder.token_states import (
    TokenStates,
    count_real,
    first_real,
    last_real,
    positions,
    total,
    weighted,
)

if TYPE_CHECKING:
    from torch import Tensor

Split: TypeAlias = "Callable[[TokenStates], Tensor]"
"""Returns the contribution of each token, `[batch, tokens, dim]`."""


def _share_of_one(states: Tensor, index: Tensor) -> Tensor:
    """Keep each row's token at `index`, and set all others to 0."""
    chosen = states.new_zeros(states.shape[:2]).scatter(1, index[:, None], 1)
    return weighted(states, chosen)


def split_cls(states: TokenStates) -> Tensor:
    """Attribute the whole vector to the first real token."""
    return _share_of_one(states.last, first_real(states.mask))


def split_mean(states: TokenStates) -> Tensor:
    """Return `h_L m / sum m`."""
    return weighted(states.last, states.mask) / count_real(states)[..., None]


def split_max(states: TokenStates) -> Tensor:
    """Attribute each component to the token with its maximum, the first one in a tie."""
    real = states.last.masked_fill(states.mask.unsqueeze(-1) == 0, -float("inf"))
    best = real.max(1, keepdim=True)  # values and tokens, each [batch, 1, hidden]
    return real.new_zeros(real.shape).scatter(1, best.indices, best.values)


def split_mean_sqrt_len(states: TokenStates) -> Tensor:
    """Return `h_L m / sqrt(sum m)`."""
    return weighted(states.last, states.mask) / count_real(states).sqrt()[..., None]


def split_weighted_mean(states: TokenStates) -> Tensor:
    """Return `h_L` times the token's position, divided by the sum of positions."""
    position = positions(states)
    return weighted(states.last, position) / total(states, position)[..., None]


def split_last(states: TokenStates) -> Tensor:
    """Attribute the whole vector to the last real token."""
    return _share_of_one(states.last, last_real(states.mask))
