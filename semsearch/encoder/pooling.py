"""The registry of poolers, which turn the hidden states of a batch into one vector per text.

A pooler is a function `TokenStates -> [batch, dim]`, usually paired with a second function that splits this vector into
the contribution of each token. To add a pooler, write both functions and add an entry to `POOLERS`; the tests iterate
over the table. Notation in the formulas: `h_l` are the hidden states of layer l, `h_0` the embedding output, `h_L` the
last layer, `m` the attention mask ([CLS] and [SEP] included).

This module knows nothing about checkpoints or tokenizers, and importing it does not import torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from semsearch.encoder.splitting import (
    Split,
    split_cls,
    split_last,
    split_max,
    split_mean,
    split_mean_sqrt_len,
    split_weighted_mean,
)
from semsearch.encoder.token_states import (
    TokenStates,
    count_real,
    first_real,
    last_real,
    pick,
    positions,
    total,
    weighted_sum,
)
from semsearch.errors import ModelError, UsageError

if TYPE_CHECKING:
    from torch import Tensor


Pool: TypeAlias = "Callable[[TokenStates], Tensor]"
"""Pools token states into one vector per text, `[batch, dim]`."""


@dataclass(frozen=True, slots=True)
class Pooler:
    """A pooling function and its requirements.

    Attributes:
        name: Canonical name, as stored with an index.
        pool: Function that pools token states into one vector per text.
        formula: Description of what it computes.
        split: Function that returns the contribution of each token; None if the vector is not a sum over tokens.
        layers: Layers that it reads; negative numbers count from the last.
        known_as: Its names in other tools.
        width: Length of its vector in multiples of the hidden size.
        needs_head: Whether it reads BERT's own `pooler_output`.
    """

    name: str
    pool: Pool
    formula: str
    split: Split | None = None
    layers: tuple[int, ...] = (-1,)
    known_as: str = ""
    width: int = 1
    needs_head: bool = False

    def resolve_layers(self, n_layers: int) -> tuple[int, ...]:
        """Return the layers that it reads, ascending, numbered from 0 (embedding output) to `n_layers`.

        Raises:
            ModelError: If the backbone has no such layer.
        """
        for layer in self.layers:
            if not -n_layers - 1 <= layer <= n_layers:
                raise ModelError(
                    f"pooler {self.name!r} reads layer {layer}, but this model has layers 0 to {n_layers} "
                    f"(or -{n_layers + 1} to -1)"
                )
        return tuple(sorted({layer % (n_layers + 1) for layer in self.layers}))


def pool_cls(states: TokenStates) -> Tensor:
    """Return `h_L` at the first real token."""
    return pick(states.last, first_real(states.mask))


def pool_head(states: TokenStates) -> Tensor:
    """Return the output of BERT's own head, `tanh(W h_L[CLS] + b)`."""
    if states.pooler_output is None:
        raise ModelError("pooler 'pooler-output' needs the checkpoint's own head, which this model does not have")
    return states.pooler_output


def pool_mean(states: TokenStates) -> Tensor:
    """Return `sum(h_L m) / max(sum m, 1e-9)`."""
    return weighted_sum(states.last, states.mask) / count_real(states)


def pool_max(states: TokenStates) -> Tensor:
    """Return the elementwise maximum of `h_L` over real tokens."""
    return states.last.masked_fill(states.mask.unsqueeze(-1) == 0, -float("inf")).amax(1)


def pool_mean_sqrt_len(states: TokenStates) -> Tensor:
    """Return `sum(h_L m) / sqrt(sum m)`."""
    return weighted_sum(states.last, states.mask) / count_real(states).sqrt()


def pool_weighted_mean(states: TokenStates) -> Tensor:
    """Return the mean weighted 1, 2, … by position among real tokens, skipped ones counted (SGPT, Muennighoff 2022)."""
    position = positions(states)
    return weighted_sum(states.last, position) / total(states, position)


def pool_last(states: TokenStates) -> Tensor:
    """Return `h_L` at the last real token."""
    return pick(states.last, last_real(states.mask))


def keep_tokens(states: TokenStates) -> Tensor:
    """Return `h_L` at every token, `[batch, tokens, hidden]`, and 0 at padding: not a pooler, but used like one."""
    return states.last.masked_fill(states.mask.unsqueeze(-1) == 0, 0)


TOKENS = Pooler("tokens", keep_tokens, "last layer at every token")
"""Not in `POOLERS`, because it does not yield one vector per text."""


def mean_of_layers(*layers: int) -> tuple[Pool, Split]:
    """Return a pooler that averages these layers, then the tokens, and its split."""

    def averaged(states: TokenStates) -> TokenStates:
        summed = sum((states.layers[layer] for layer in layers[1:]), start=states.layers[layers[0]])
        return replace(states, last=summed / len(layers))

    return (lambda states: pool_mean(averaged(states))), (lambda states: split_mean(averaged(states)))


FIRST_LAST, EMBEDDING_LAST, TOP2 = mean_of_layers(1, -1), mean_of_layers(0, -1), mean_of_layers(-1, -2)

POOLERS: dict[str, Pooler] = {
    pooler.name: pooler
    for pooler in (
        Pooler(
            "cls",
            pool_cls,
            "last layer at the first real token",
            split_cls,
            known_as="SimCSE cls_before_pooler; st cls",
        ),
        Pooler(
            "pooler-output",
            pool_head,
            "tanh(W h[CLS] + b), the checkpoint's own head",
            known_as="SimCSE cls",
            needs_head=True,
        ),
        Pooler(
            "mean", pool_mean, "mean of the last layer over real tokens", split_mean, known_as="SimCSE avg; st mean"
        ),
        Pooler("max", pool_max, "elementwise maximum over real tokens", split_max, known_as="st max"),
        Pooler(
            "mean-sqrt-len",
            pool_mean_sqrt_len,
            "sum over real tokens / sqrt(their number)",
            split_mean_sqrt_len,
            known_as="st mean_sqrt_len_tokens",
        ),
        Pooler(
            "weighted-mean",
            pool_weighted_mean,
            "mean with weights 1, 2, … by position among real tokens",
            split_weighted_mean,
            known_as="st weightedmean",
        ),
        Pooler("last", pool_last, "last layer at the last real token", split_last, known_as="st lasttoken"),
        Pooler(
            "first-last",
            FIRST_LAST[0],
            "mean over tokens of (h_1 + h_L) / 2",
            FIRST_LAST[1],
            layers=(1, -1),
            known_as="SimCSE avg_first_last",
        ),
        Pooler(
            "embedding-last",
            EMBEDDING_LAST[0],
            "mean over tokens of (h_0 + h_L) / 2",
            EMBEDDING_LAST[1],
            layers=(0, -1),
            known_as="SimCSE avg_first_last before 2022",
        ),
        Pooler(
            "top2",
            TOP2[0],
            "mean over tokens of (h_L + h_{L-1}) / 2",
            TOP2[1],
            layers=(-2, -1),
            known_as="SimCSE avg_top2",
        ),
    )
}
"""Registered poolers by name."""

SIMCSE_NAMES = {
    "cls": "pooler-output",
    "cls_before_pooler": "cls",
    "avg": "mean",
    "avg_top2": "top2",
    "avg_first_last": "first-last",
}


def parse_pooler(name: str, *, simcse_names: bool = False) -> Pooler:
    """Return the pooler of this name: a registered one, `layer:N+NAME`, or several joined by `+` (concatenation).

    `layer:N` applies only to the name right after it: `layer:-2+mean+cls` is the mean of the second-to-last layer,
    concatenated with the last layer's [CLS].

    Args:
        name: Name of the pooler, such as `mean`, `layer:3+max` or `cls+mean`.
        simcse_names: Read `name` as SimCSE's names; SimCSE's `cls` is our `pooler-output`.

    Raises:
        UsageError: If there is no such pooler; the message lists the known names.
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
    """Return the same pooler, reading another layer."""
    try:
        layer = int(term.removeprefix("layer:"))
    except ValueError:
        raise UsageError(f"pooler {whole!r}: {term!r} needs a whole number, such as layer:-2") from None
    if pooler.layers != (-1,) or pooler.needs_head:
        raise UsageError(
            f"pooler {whole!r}: {pooler.name!r} has fixed layers; layer:N works only with single-layer poolers"
        )
    if layer == -1:
        return pooler  # the last layer, as without `layer:`
    split = pooler.split

    def moved(states: TokenStates) -> TokenStates:
        return replace(states, last=states.layers[layer])

    return Pooler(
        name=f"layer:{layer}+{pooler.name}",
        pool=lambda states: pooler.pool(moved(states)),
        formula=f"{pooler.formula}, on layer {layer}",
        split=None if split is None else lambda states: split(moved(states)),
        layers=(layer,),
    )


def _concatenate(parts: list[Pooler]) -> Pooler:
    """Return a pooler that concatenates these poolers' vectors: `[batch, sum of widths * hidden]`."""

    def pool(states: TokenStates) -> Tensor:
        import torch

        return torch.cat([part.pool(states) for part in parts], dim=-1)

    splits = [part.split for part in parts if part.split]

    def split(states: TokenStates) -> Tensor:
        import torch

        return torch.cat([one(states) for one in splits], dim=-1)

    return Pooler(
        name="+".join(part.name for part in parts),
        pool=pool,
        formula=" | ".join(part.formula for part in parts),
        split=split if len(splits) == len(parts) else None,
        layers=tuple(dict.fromkeys(layer for part in parts for layer in part.layers)),
        width=sum(part.width for part in parts),
        needs_head=any(part.needs_head for part in parts),
    )
