"""Training objectives: small functions from the vectors of a batch to its loss, in one table.

An objective sees vectors as the pooler returns them (not normalized), one tensor `[batch, dim]` per text column, and
labels `[batch]` or `[batch, dim]` if it has any. It returns the mean loss of the batch as a scalar. This module knows
nothing about models, data files or optimizers. To add an objective, write the function and an entry in `OBJECTIVES`;
the tests iterate over the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

Vectors: TypeAlias = Sequence[Tensor]
"""One tensor `[batch, dim]` per text column."""

Loss: TypeAlias = Callable[..., Tensor]
"""From vectors, labels (or None) and options to the mean loss of the batch."""

TEMPERATURE = 0.05
"""Default of SimCSE, and the inverse of the usual scale of 20."""

PARTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "u": lambda u, v: u,
    "v": lambda u, v: v,
    "|u-v|": lambda u, v: (u - v).abs(),
    "u*v": lambda u, v: u * v,
}
"""Features of a pair for classification, as compared by Reimers and Gurevych (2019, table 6)."""

DEFAULT_PARTS = ("u", "v", "|u-v|")


def pair_features(u: Tensor, v: Tensor, parts: Sequence[str] = DEFAULT_PARTS) -> Tensor:
    """Return the features of pairs, `[batch, len(parts) * dim]`, in the order of `parts`, which are keys of `PARTS`."""
    return torch.cat([PARTS[part](u, v) for part in parts], dim=1)


def softmax(
    vectors: Vectors, labels: Tensor, *, head: Callable[[Tensor], Tensor], parts: Sequence[str] = DEFAULT_PARTS
) -> Tensor:
    """Classify pairs: cross-entropy of `head([u; v; |u-v|])` (Reimers and Gurevych 2019, section 3).

    Args:
        vectors: Those of u and v.
        labels: Class indices `[batch]`.
        head: Maps features `[batch, len(parts) * dim]` to logits `[batch, classes]`; it is trained too.
        parts: Features of a pair, see `PARTS`.
    """
    u, v = vectors
    return F.cross_entropy(head(pair_features(u, v, parts)), labels)


def classify(vectors: Vectors, labels: Tensor, *, head: Callable[[Tensor], Tensor]) -> Tensor:
    """Classify single texts: cross-entropy of `head(u)`, as BERT does from [CLS] (Devlin et al. 2019, section 4.1).

    Args:
        vectors: Those of the texts.
        labels: Class indices `[batch]`.
        head: Maps vectors `[batch, dim]` to logits `[batch, classes]`; it is trained too.
    """
    (u,) = vectors
    return F.cross_entropy(head(u), labels)


def regression(vectors: Vectors, labels: Tensor) -> Tensor:
    """Mean squared error between the cosine of each pair and its score (Reimers and Gurevych 2019, section 3).

    Args:
        vectors: Those of u and v.
        labels: Scores `[batch]`, on the scale of cosines.
    """
    u, v = vectors
    return F.mse_loss(F.cosine_similarity(u, v), labels)


def triplet(vectors: Vectors, labels: Tensor | None = None, *, margin: float = 1.0) -> Tensor:
    """Mean of max(0, |a - p| - |a - n| + margin), Euclidean (Reimers and Gurevych 2019, section 3, margin 1).

    Args:
        vectors: Those of anchors, positives and negatives.
        labels: None.
        margin: By how much a negative must be farther away than the positive.
    """
    anchor, positive, negative = vectors
    near, far = ((anchor - other).pow(2).sum(1).clamp_min(1e-12).sqrt() for other in (positive, negative))
    return F.relu(near - far + margin).mean()


def in_batch(
    vectors: Vectors,
    labels: Tensor | None = None,
    *,
    temperature: float = TEMPERATURE,
    symmetric: bool = False,
    negative_weight: float = 1.0,
) -> Tensor:
    """Contrast each anchor's positive with all other texts of the batch, by cosines over a temperature.

    This is InfoNCE: SimCSE's loss, without labels if anchor and positive are the same text under two dropout masks
    (Gao, Yao and Chen 2021, equation 1), and with hard negatives (equations 5 and 8); it is also known as multiple
    negatives ranking loss (Henderson et al. 2017).

    Args:
        vectors: Those of anchors and positives, then those of any number of hard negatives of each anchor.
        labels: None.
        temperature: Divides the cosines.
        symmetric: Also contrast each positive's anchor with all other anchors, and return the mean of both losses.
        negative_weight: Weight of an anchor's own hard negatives in the denominator, alpha in SimCSE's equation 8.
    """
    anchors, positives, *negatives = vectors
    n = len(anchors)
    candidates = F.normalize(torch.cat([positives, *negatives]), dim=1)
    logits = F.normalize(anchors, dim=1) @ candidates.T / temperature  # [batch, batch * (1 + negatives)]
    target = torch.arange(n, device=logits.device)
    weighted = logits
    if negative_weight != 1 and negatives:
        own = torch.eye(n, device=logits.device, dtype=logits.dtype).repeat(1, len(negatives))
        shift = torch.log(torch.tensor(negative_weight, device=logits.device, dtype=logits.dtype))
        weighted = torch.cat([logits[:, :n], logits[:, n:] + shift * own], dim=1)
    loss = F.cross_entropy(weighted, target)
    if not symmetric:
        return loss
    return (loss + F.cross_entropy(logits[:, :n].T, target)) / 2


def cosent(vectors: Vectors, labels: Tensor, *, temperature: float = TEMPERATURE) -> Tensor:
    """Rank pairs by score (CoSENT, Su 2022): log(1 + sum of exp((cos_j - cos_i) / temperature)), i scored above j.

    Args:
        vectors: Those of u and v.
        labels: Scores `[batch]`; only their order counts.
        temperature: Divides the differences of cosines.
    """
    u, v = vectors
    cosines = F.cosine_similarity(u, v) / temperature
    differences = cosines[None, :] - cosines[:, None]  # [i, j]: how far j is above i
    wrong = differences[labels[:, None] > labels[None, :]]
    return torch.logsumexp(torch.cat([wrong.new_zeros(1), wrong]), dim=0)


def distill(vectors: Vectors, labels: Tensor) -> Tensor:
    """Mean squared error to a teacher's vectors (Reimers and Gurevych 2020, equation 1).

    Args:
        vectors: Those of one or more texts of each example; all should get the teacher's vector.
        labels: The teacher's vectors `[batch, dim]`.
    """
    return torch.stack([F.mse_loss(each, labels) for each in vectors]).mean()


def distill_margin(vectors: Vectors, labels: Tensor) -> Tensor:
    """Mean squared error to a teacher's margins (Hofstätter et al. 2020): dot(q, p) - dot(q, n).

    Args:
        vectors: Those of queries, positives and negatives.
        labels: How much higher the teacher scores the positive, `[batch]`.
    """
    query, positive, negative = vectors
    return F.mse_loss((query * positive).sum(1) - (query * negative).sum(1), labels)


def matryoshka(loss: Loss, dims: Sequence[int], weights: Sequence[float] | None = None) -> Loss:
    """Return an objective that applies another one to the first d components, for each d (Kusupati et al. 2022).

    Args:
        loss: The objective; truncated vectors are normalized before it sees them.
        dims: Numbers of components.
        weights: Weight of each in the sum; None for 1 each.
    """
    weighted = list(zip(dims, weights or [1.0] * len(dims), strict=True))

    def truncated(vectors: Vectors, labels: Tensor | None = None, **options: object) -> Tensor:
        losses = [w * loss([F.normalize(v[:, :d], dim=1) for v in vectors], labels, **options) for d, w in weighted]
        return torch.stack(losses).sum()

    return truncated


@dataclass(frozen=True, slots=True)
class Objective:
    """An objective and the data that it needs.

    Attributes:
        name: As users give it.
        loss: The function.
        texts: Names of the text columns; more may follow if the last one ends in `*`.
        label: What the label of an example is: `class`, `score`, `margin`, `vector`, or empty for none.
        formula: Description of what it computes.
    """

    name: str
    loss: Loss
    texts: tuple[str, ...]
    label: str
    formula: str


_PAIR = ("sentence1", "sentence2")

OBJECTIVES: dict[str, Objective] = {
    one.name: one
    for one in (
        Objective("softmax", softmax, _PAIR, "class", "cross-entropy of W [u; v; |u-v|]"),
        Objective("regression", regression, _PAIR, "score", "(cos(u, v) - score)^2"),
        Objective("triplet", triplet, ("anchor", "positive", "negative"), "", "max(0, |a-p| - |a-n| + margin)"),
        Objective("simcse-unsup", in_batch, ("sentence",), "", "InfoNCE of two dropout masks of each text"),
        Objective("simcse-sup", in_batch, ("anchor", "positive", "negative*"), "", "InfoNCE with hard negatives"),
        Objective("mnr", in_batch, ("anchor", "positive", "negative*"), "", "InfoNCE of pairs, in-batch negatives"),
        Objective("cosent", cosent, _PAIR, "score", "log(1 + sum exp((cos_j - cos_i) / t)), i scored above j"),
        Objective("distill", distill, ("sentence*",), "vector", "|u - teacher's vector|^2 / dim"),
        Objective(
            "distill-margin", distill_margin, ("query", "positive", "negative"), "margin", "(margin - teacher's)^2"
        ),
        Objective("classify", classify, ("text",), "class", "cross-entropy of W u"),
    )
}
"""Objectives by name."""
