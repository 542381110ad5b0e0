"""The registry of poolers: each turns the hidden states of a batch into one vector a text.

A pooler is a function `TokenStates -> [batch, dim]`. To add one, write the function and one line in `POOLERS`;
the tests iterate the table. Notation as in the formulas: `h_l` are the hidden states of layer l, `h_0` the
embedding output, `h_L` the last layer, `m` the attention mask ([CLS] and [SEP] included).

This module knows nothing of checkpoints or tokenizers, and importing it does not import torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from semsearch.errors import ModelError, UsageError

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


Pool: TypeAlias = "Callable[[TokenStates], Tensor]"


@dataclass(frozen=True, slots=True)
class Pooler:
    """A pooler and what it needs.

    Attributes:
        name: Canonical, as stored with an index.
        pool: The function.
        formula: What it computes, in words.
        layers: Layers it reads; negative counts from the last.
        known_as: What other tools call it.
        width: Length of its vector in units of the hidden size.
        needs_head: Whether it reads BERT's own `pooler_output`.
    """

    name: str
    pool: Pool
    formula: str
    layers: tuple[int, ...] = (-1,)
    known_as: str = ""
    width: int = 1
    needs_head: bool = False

    def resolve_layers(self, n_layers: int) -> tuple[int, ...]:
        """Layer numbers from 0 (embedding output) to `n_layers`, ascending.

        Raises:
            ModelError: The backbone has no such layer.
        """
        for layer in self.layers:
            if not -n_layers - 1 <= layer <= n_layers:
                raise ModelError(
                    f"pooler {self.name!r} reads layer {layer}, but this model has layers 0 to {n_layers} "
                    f"(or -{n_layers + 1} to -1)"
                )
        return tuple(sorted({layer % (n_layers + 1) for layer in self.layers}))


def _first_real(mask: Tensor) -> Tensor:
    """Index of each row's first real token, `[batch]`."""
    return mask.long().argmax(dim=1)


def _last_real(mask: Tensor) -> Tensor:
    """Index of each row's last real token, `[batch]`."""
    return mask.shape[1] - 1 - mask.long().flip(1).argmax(dim=1)


def _pick(states: Tensor, index: Tensor) -> Tensor:
    """Each row's token at `index`: `[batch, tokens, hidden]` to `[batch, hidden]`."""
    return states.gather(1, index[:, None, None].expand(-1, 1, states.shape[-1])).squeeze(1)


def _weighted_sum(states: Tensor, weights: Tensor) -> Tensor:
    """Sum over tokens; padding has weight 0 and is zeroed first, so that not even an inf leaks in."""
    weights = weights.to(states.dtype).unsqueeze(-1)  # [batch, tokens, 1]
    return (states.masked_fill(weights == 0, 0) * weights).sum(1)


def pool_cls(states: TokenStates) -> Tensor:
    """`h_L` at the first real token."""
    return _pick(states.last, _first_real(states.mask))


def pool_head(states: TokenStates) -> Tensor:
    """BERT's own head, `tanh(W h_L[CLS] + b)`."""
    if states.pooler_output is None:
        raise ModelError("pooler 'pooler-output' needs the checkpoint's own head, which this model does not have")
    return states.pooler_output


def pool_mean(states: TokenStates) -> Tensor:
    """`sum(h_L m) / max(sum m, 1e-9)`."""
    count = states.mask.sum(1, keepdim=True).to(states.last.dtype)
    return _weighted_sum(states.last, states.mask) / count.clamp(min=1e-9)


def pool_max(states: TokenStates) -> Tensor:
    """Elementwise maximum over real tokens."""
    return states.last.masked_fill(states.mask.unsqueeze(-1) == 0, -float("inf")).amax(1)


def pool_mean_sqrt_len(states: TokenStates) -> Tensor:
    """`sum(h_L m) / sqrt(sum m)`."""
    count = states.mask.sum(1, keepdim=True).to(states.last.dtype)
    return _weighted_sum(states.last, states.mask) / count.clamp(min=1e-9).sqrt()


def pool_weighted_mean(states: TokenStates) -> Tensor:
    """Mean with weights 1, 2, … by position among the real tokens, skipped ones counted (SGPT, Muennighoff 2022)."""
    position = (states.mask.long().cumsum(1) + states.skipped) * states.mask.long()
    total = position.sum(1, keepdim=True).to(states.last.dtype)
    return _weighted_sum(states.last, position) / total.clamp(min=1e-9)


def pool_last(states: TokenStates) -> Tensor:
    """`h_L` at the last real token."""
    return _pick(states.last, _last_real(states.mask))


def mean_of_layers(*layers: int) -> Pool:
    """A pooler that averages these layers, then the tokens."""

    def pool(states: TokenStates) -> Tensor:
        total = sum((states.layers[layer] for layer in layers[1:]), start=states.layers[layers[0]])
        return pool_mean(replace(states, last=total / len(layers)))

    return pool


POOLERS: dict[str, Pooler] = {
    pooler.name: pooler
    for pooler in (
        Pooler("cls", pool_cls, "last layer at the first real token", known_as="SimCSE cls_before_pooler; st cls"),
        Pooler(
            "pooler-output",
            pool_head,
            "tanh(W h[CLS] + b), the checkpoint's own head",
            known_as="SimCSE cls",
            needs_head=True,
        ),
        Pooler("mean", pool_mean, "mean of the last layer over real tokens", known_as="SimCSE avg; st mean"),
        Pooler("max", pool_max, "elementwise maximum over real tokens", known_as="st max"),
        Pooler(
            "mean-sqrt-len",
            pool_mean_sqrt_len,
            "sum over real tokens / sqrt(their number)",
            known_as="st mean_sqrt_len_tokens",
        ),
        Pooler(
            "weighted-mean",
            pool_weighted_mean,
            "mean with weights 1, 2, … by position among real tokens",
            known_as="st weightedmean",
        ),
        Pooler("last", pool_last, "last layer at the last real token", known_as="st lasttoken"),
        Pooler(
            "first-last",
            mean_of_layers(1, -1),
            "mean over tokens of (h_1 + h_L) / 2",
            layers=(1, -1),
            known_as="SimCSE avg_first_last",
        ),
        Pooler(
            "embedding-last",
            mean_of_layers(0, -1),
            "mean over tokens of (h_0 + h_L) / 2",
            layers=(0, -1),
            known_as="SimCSE avg_first_last before 2022",
        ),
        Pooler(
            "top2",
            mean_of_layers(-1, -2),
            "mean over tokens of (h_L + h_{L-1}) / 2",
            layers=(-2, -1),
            known_as="SimCSE avg_top2",
        ),
    )
}

SIMCSE_NAMES = {
    "cls": "pooler-output",
    "cls_before_pooler": "cls",
    "avg": "mean",
    "avg_top2": "top2",
    "avg_first_last": "first-last",
}


def token_states(layers: tuple[int, ...] = (-1,)) -> Pooler:
    """A head that pools nothing: the mean of these layers at each token, `[batch, tokens, hidden]`, 0 at padding.

    It is in no table, for it gives a text no vector: what asks for tokens names layers, not a pooler.
    """

    def pool(states: TokenStates) -> Tensor:
        read = [states.last if layer == -1 else states.layers[layer] for layer in layers]
        return (sum(read[1:], start=read[0]) / len(read)).masked_fill(states.mask.unsqueeze(-1) == 0, 0)

    return Pooler(f"tokens:{','.join(map(str, layers))}", pool, "every token, as it is", layers=layers)


def parse_pooler(name: str, *, simcse_names: bool = False) -> Pooler:
    """Turn a name into a pooler: a registered one, `layer:N+NAME`, or several joined by `+` (concatenation).

    `layer:N` belongs to the name right after it: `layer:-2+mean+cls` is the mean of the last layer but one,
    followed by the last layer's [CLS].

    Args:
        name: For example `mean`, `layer:3+max`, `cls+mean`.
        simcse_names: Read SimCSE's names instead, whose `cls` is our `pooler-output`.

    Raises:
        UsageError: No such pooler; the message lists the names.
    """
    terms = [term.strip() for term in name.split("+")]
    parts: list[Pooler] = []
    while terms:
        term = terms.pop(0)
        if term.startswith("layer:"):
            if not terms:
                raise UsageError(f"pooler {name!r} names a layer but no pooler for it; write layer:N+NAME")
            parts.append(_on_layer(term, _lookup(terms.pop(0), name, simcse_names), name))
        else:
            parts.append(_lookup(term, name, simcse_names))
    return parts[0] if len(parts) == 1 else _concatenate(parts)


def _lookup(term: str, whole: str, simcse_names: bool) -> Pooler:
    known = SIMCSE_NAMES if simcse_names else {name: name for name in POOLERS}
    if term in known:
        return POOLERS[known[term]]
    close = difflib.get_close_matches(term.lower().replace("_", "-"), known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise UsageError(
        f"unknown pooler {term!r}{'' if term == whole else f' in {whole!r}'}{hint}; known: {', '.join(known)}, "
        "layer:N+NAME, and A+B for a concatenation"
    )


def _on_layer(term: str, pooler: Pooler, whole: str) -> Pooler:
    """The same pooler reading another layer."""
    try:
        layer = int(term.removeprefix("layer:"))
    except ValueError:
        raise UsageError(f"pooler {whole!r}: {term!r} needs a whole number, such as layer:-2") from None
    if pooler.layers != (-1,) or pooler.needs_head:
        raise UsageError(
            f"pooler {whole!r}: {pooler.name!r} has layers of its own; layer:N goes with a single-layer one"
        )
    if layer == -1:
        return pooler  # the last layer, as without `layer:`
    return Pooler(
        name=f"layer:{layer}+{pooler.name}",
        pool=lambda states: pooler.pool(replace(states, last=states.layers[layer])),
        formula=f"{pooler.formula}, on layer {layer}",
        layers=(layer,),
    )


def _concatenate(parts: list[Pooler]) -> Pooler:
    """Several poolers side by side, `[batch, sum of widths * hidden]`."""

    def pool(states: TokenStates) -> Tensor:
        import torch

        return torch.cat([part.pool(states) for part in parts], dim=-1)

    return Pooler(
        name="+".join(part.name for part in parts),
        pool=pool,
        formula=" | ".join(part.formula for part in parts),
        layers=tuple(dict.fromkeys(layer for part in parts for layer in part.layers)),
        width=sum(part.width for part in parts),
        needs_head=any(part.needs_head for part in parts),
    )
