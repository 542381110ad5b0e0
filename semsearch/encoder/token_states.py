"""The hidden states of a batch of texts, and the operations on them that poolers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class TokenStates:
    """Output of a forward pass over a batch of texts, padded left or right.

    Attributes:
        last: `h_L`, `[batch, tokens, hidden]`.
        mask: 1 at real tokens, 0 at padding, `[batch, tokens]`.
        layers: `h_0 … h_L`, each shaped like `last`; empty if no pooler needs them.
        pooler_output: Output of BERT's own head over [CLS], `[batch, hidden]`; None if the checkpoint has none.
        skipped: Number of leading real tokens that the mask excludes (a prefix that is not pooled).
    """

    last: Tensor
    mask: Tensor
    layers: tuple[Tensor, ...] = ()
    pooler_output: Tensor | None = None
    skipped: int | Tensor = 0


def first_real(mask: Tensor) -> Tensor:
    """Return the index of each row's first real token, `[batch]`."""
    return mask.long().argmax(dim=1)


def last_real(mask: Tensor) -> Tensor:
    """Return the index of each row's last real token, `[batch]`."""
    return mask.shape[1] - 1 - mask.long().flip(1).argmax(dim=1)


def pick(states: Tensor, index: Tensor) -> Tensor:
    """Select each row's token at `index`: `[batch, tokens, hidden]` to `[batch, hidden]`."""
    return states.gather(1, index[:, None, None].expand(-1, 1, states.shape[-1])).squeeze(1)


def count_real(states: TokenStates) -> Tensor:
    """Return the number of real tokens, `[batch, 1]`, clamped above 0 for texts without any."""
    return total(states, states.mask)


def positions(states: TokenStates) -> Tensor:
    """Return positions 1, 2, … of real tokens, skipped ones counted, and 0 at padding, `[batch, tokens]`."""
    return (states.mask.long().cumsum(1) + states.skipped) * states.mask.long()


def total(states: TokenStates, weights: Tensor) -> Tensor:
    """Return the sum of the weights, `[batch, 1]`, clamped above 0 for texts without any."""
    return weights.sum(1, keepdim=True).to(states.last.dtype).clamp(min=1e-9)


def weighted(states: Tensor, weights: Tensor) -> Tensor:
    """Multiply each token by its weight, `[batch, tokens, hidden]`; weight 0 gives 0 even for inf or NaN."""
    weights = weights.to(states.dtype).unsqueeze(-1)  # [batch, tokens, 1]
    return states.masked_fill(weights == 0, 0) * weights


def weighted_sum(states: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sum over tokens, `[batch, hidden]`."""
    return weighted(states, weights).sum(1)
