"""What a forward pass leaves behind for a batch of texts, and what poolers ask of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class TokenStates:
    """What a forward pass leaves behind for a batch of texts, padded left or right.

    Attributes:
        last: `h_L`, `[batch, tokens, hidden]`.
        mask: 1 at real tokens, 0 at padding, `[batch, tokens]`.
        layers: `h_0 … h_L`, each as `last`; empty where no pooler asked for them.
        pooler_output: BERT's own head over [CLS], `[batch, hidden]`; None where the checkpoint has none.
        skipped: Leading real tokens that the mask leaves out (a prefix that is not pooled).
    """

    last: Tensor
    mask: Tensor
    layers: tuple[Tensor, ...] = ()
    pooler_output: Tensor | None = None
    skipped: int | Tensor = 0


def first_real(mask: Tensor) -> Tensor:
    """Index of each row's first real token, `[batch]`."""
    return mask.long().argmax(dim=1)


def last_real(mask: Tensor) -> Tensor:
    """Index of each row's last real token, `[batch]`."""
    return mask.shape[1] - 1 - mask.long().flip(1).argmax(dim=1)


def pick(states: Tensor, index: Tensor) -> Tensor:
    """Each row's token at `index`: `[batch, tokens, hidden]` to `[batch, hidden]`."""
    return states.gather(1, index[:, None, None].expand(-1, 1, states.shape[-1])).squeeze(1)


def count_real(states: TokenStates) -> Tensor:
    """Number of real tokens, `[batch, 1]`; not 0, for a text without any."""
    return total(states, states.mask)


def positions(states: TokenStates) -> Tensor:
    """1, 2, … at real tokens, skipped ones counted, and 0 at padding, `[batch, tokens]`."""
    return (states.mask.long().cumsum(1) + states.skipped) * states.mask.long()


def total(states: TokenStates, weights: Tensor) -> Tensor:
    """Sum of weights, `[batch, 1]`; not 0, for a text without any."""
    return weights.sum(1, keepdim=True).to(states.last.dtype).clamp(min=1e-9)


def weighted(states: Tensor, weights: Tensor) -> Tensor:
    """Each token times its weight, `[batch, tokens, hidden]`; zeros at weight 0, so that not even an inf leaks in."""
    weights = weights.to(states.dtype).unsqueeze(-1)  # [batch, tokens, 1]
    return states.masked_fill(weights == 0, 0) * weights


def weighted_sum(states: Tensor, weights: Tensor) -> Tensor:
    """Sum over tokens, each times its weight."""
    return weighted(states, weights).sum(1)
