"""What a training loop trains: a module, and the gradient of its loss on some of the examples.

The loop knows nothing about texts or models. A task knows its examples and its module, and nothing about optimizers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semsearch.encoder.tokenization import TokenIds, length_sorted_batches, padded
from semsearch.training.objectives import Loss, matryoshka
from semsearch.training.recipe import Recipe
from semsearch.training.siamese import BATCHING, Siamese, autocast

IGNORED = -100
"""Label of a token that takes no part in the masked-language-model loss, as in transformers."""


class Task(Protocol):
    """A module with its examples."""

    @property
    def module(self) -> nn.Module:
        """Everything that is trained."""
        ...

    def accumulate(self, rows: Sequence[int], share: float) -> float:
        """Add the gradient of `share` times the mean loss of these examples, and return that product."""
        ...


@dataclass(frozen=True, slots=True)
class Column:
    """A column of texts as token ids.

    Attributes:
        ids: Token ids of each text, with special tokens.
        skip: Number of leading tokens that take no part in pooling.
    """

    ids: Sequence[TokenIds]
    skip: int = 0


class VectorTask:
    """An objective over the vectors of texts."""

    def __init__(
        self,
        recipe: Recipe,
        siamese: Siamese,
        columns: Sequence[Column],
        labels: NDArray[Any] | None,
        loss: Loss,
        n_classes: int = 0,
        masked: MaskedModel | None = None,
    ) -> None:
        """Create a task.

        Args:
            recipe: The recipe.
            siamese: The encoder.
            columns: Columns of texts.
            labels: Labels, `[n]` or `[n, dim]`.
            loss: The objective.
            n_classes: Number of classes, for objectives with a head.
            masked: The head for an auxiliary masked-language-model loss.
        """
        self.siamese, self._columns, self._recipe, self._masked = siamese, columns, recipe, masked
        self._labels = None if labels is None else torch.from_numpy(labels).to(siamese.device)
        if self._labels is not None and self._labels.is_floating_point():
            self._labels = self._labels.float()
        self.module = nn.ModuleDict({"siamese": siamese})
        options = recipe.options
        if n_classes:
            width = siamese.dim * len(recipe.parts if recipe.objective == "softmax" else ("u",))
            self.head = nn.Linear(width, n_classes).to(siamese.device)
            self.module["head"] = options["head"] = self.head
        if masked:
            self.module["masked"] = masked.head
        dims = dict.fromkeys((*recipe.matryoshka, siamese.dim))
        bounded = matryoshka(loss, [*dims]) if recipe.matryoshka else loss
        self._loss = partial(bounded, **options)

    def accumulate(self, rows: Sequence[int], share: float) -> float:
        """Add a gradient; see `Task`."""
        labels = None if self._labels is None else self._labels[torch.as_tensor(rows, device=self._labels.device)]
        if self._recipe.cache_gradients:
            return self._accumulate_cached(rows, labels, share, self._recipe.cache_gradients)
        loss = self._loss(self._vectors(rows), labels)
        if self._masked:
            loss = loss + self._recipe.mlm_weight * self._masked.loss([self._columns[0].ids[row] for row in rows])
        loss = share * loss
        torch.autograd.backward(loss)
        return loss.item()

    def _vectors(self, rows: Sequence[int]) -> list[Tensor]:
        """Encode these examples, `[rows, dim]` for each column; columns that skip as many tokens go together."""
        found: dict[int, Tensor] = {}
        for skip in {column.skip for column in self._columns}:
            places = [place for place, column in enumerate(self._columns) if column.skip == skip]
            ids = [self._columns[place].ids[row] for place in places for row in rows]
            found |= zip(places, torch.split(self.siamese(ids, skip), len(rows)), strict=True)
        return [found[place] for place in range(len(self._columns))]

    def _accumulate_cached(self, rows: Sequence[int], labels: Tensor | None, share: float, at_once: int) -> float:
        """Add a gradient without keeping the graphs of all texts in memory (Gao et al. 2021, GradCache).

        First all texts are encoded without a graph; then the gradient of the loss with respect to their vectors is
        computed; then some texts at a time are encoded again, with the same dropout, and passed their part of it.
        """
        chunks = [
            ([column.ids[row] for row in rows[start : start + at_once]], column.skip)
            for column in self._columns
            for start in range(0, len(rows), at_once)
        ]
        states = list[list[Tensor]]()
        parts = list[Tensor]()
        with torch.no_grad():
            for ids, skip in chunks:
                states.append(_random_state(self.siamese.device))
                parts.append(self.siamese(ids, skip))
        leaf = torch.cat(parts).requires_grad_()
        loss = share * self._loss(torch.split(leaf, len(rows)), labels)
        torch.autograd.backward(loss)
        assert leaf.grad is not None
        gradients = torch.split(leaf.grad, [len(part) for part in parts])
        after = _random_state(self.siamese.device)
        for (ids, skip), state, gradient in zip(chunks, states, gradients, strict=True):
            _set_random_state(self.siamese.device, state)
            torch.autograd.backward(self.siamese(ids, skip), gradient)
        _set_random_state(self.siamese.device, after)
        return loss.item()


def _random_state(device: str) -> list[Tensor]:
    """Return the state of random numbers on the CPU, and on the device if it draws its own."""
    states = [torch.get_rng_state()]
    if device.startswith("cuda"):
        states.append(torch.cuda.get_rng_state(device))
    elif device.startswith("mps"):
        states.append(torch.mps.get_rng_state())
    return states


def _set_random_state(device: str, states: Sequence[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if device.startswith("cuda"):
        torch.cuda.set_rng_state(states[1], device)
    elif device.startswith("mps"):
        torch.mps.set_rng_state(states[1])


class MaskedModel:
    """A backbone with a head that predicts masked tokens (Devlin et al. 2019, section 3.1)."""

    def __init__(
        self, whole: Any, special: frozenset[int], mask: int, *, share: float, device: str, precision: str
    ) -> None:
        """Create a masked language model.

        Args:
            whole: A transformers model for masked language modeling.
            special: Ids of special tokens, which are never masked.
            mask: Id of the mask token.
            share: Share of the other tokens to predict.
            device: Device to run on.
            precision: Precision of matrix products.
        """
        self.whole, self._mask, self._share = whole.to(device), mask, share
        self._special = torch.tensor(sorted(special))
        self._device, self._precision = device, precision
        self._batching = BATCHING["cpu" if device == "cpu" else "accelerator"]
        self.backbone = getattr(whole, whole.base_model_prefix)
        own = {name: module for name, module in whole.named_children() if name != whole.base_model_prefix}
        self.head = nn.ModuleDict(own)
        first = next(iter(own.values()))
        self._from_states = first if type(first).__name__.endswith(("MLMHead", "LMHead")) else None

    def loss(self, rows: Sequence[TokenIds]) -> Tensor:
        """Mask tokens at random, and return the mean cross-entropy of predicting them.

        Args:
            rows: Token ids of each text.
        """
        losses, n = list[Tensor](), 0
        with autocast(self._device, self._precision):
            for some in length_sorted_batches([len(row) for row in rows], self._batching):
                ids, mask = map(torch.from_numpy, padded([rows[row] for row in some]))
                shown, labels = self.masked(ids, mask)
                chosen = labels != IGNORED
                if chosen.any():
                    logits = self._logits(shown.to(self._device), mask.to(self._device), chosen.to(self._device))
                    wanted = labels[chosen].to(self._device)
                    losses.append(nn.functional.cross_entropy(logits.float(), wanted, reduction="sum"))
                    n += int(chosen.sum())
        return torch.stack(losses).sum() / n if n else torch.zeros((), device=self._device, requires_grad=True)

    def masked(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Choose tokens: 80% of them become [MASK], 10% another token, and 10% stay as they are.

        Args:
            ids: Token ids, int64 `[n, tokens]`.
            mask: int64 `[n, tokens]`, 1 at real tokens.

        Returns:
            The ids to show, and the ids to predict where a token was chosen, `IGNORED` elsewhere.
        """
        can = mask.bool() & ~torch.isin(ids, self._special)
        chosen = (torch.rand(ids.shape) < self._share) & can
        fate = torch.rand(ids.shape)
        other = torch.randint(self.whole.config.vocab_size, ids.shape)
        shown = torch.where(chosen & (fate < 0.8), torch.full_like(ids, self._mask), ids)
        shown = torch.where(chosen & (fate >= 0.9), other, shown)
        return shown, torch.where(chosen, ids, torch.full_like(ids, IGNORED))

    def _logits(self, ids: Tensor, mask: Tensor, chosen: Tensor) -> Tensor:
        """Return logits of the chosen tokens, `[chosen, vocabulary]`; the others are not computed where possible."""
        if self._from_states is None:
            every: Tensor = self.whole(input_ids=ids, attention_mask=mask).logits
            return every[chosen]
        states = self.backbone(input_ids=ids, attention_mask=mask).last_hidden_state
        found: Tensor = self._from_states(states[chosen])
        return found


class MaskedTask:
    """Masked language modeling of plain texts."""

    def __init__(self, model: MaskedModel, ids: Sequence[TokenIds]) -> None:
        """Create a task from the token ids of the texts."""
        self.model, self._ids = model, ids
        self.module: nn.Module = model.whole

    def accumulate(self, rows: Sequence[int], share: float) -> float:
        """Add a gradient; see `Task`."""
        loss = share * self.model.loss([self._ids[row] for row in rows])
        torch.autograd.backward(loss)
        return loss.item()
