"""Descriptions of the networks that runtimes execute: a checkpoint, and what follows its backbone.

A description is cheap. Only when a runtime loads the module are the weights read and torch imported; the compiled
runtime does so only if it has no graph for these `parts` yet. Importing this module does neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from semsearch.encoder.checkpoints.record import Checkpoint, Head

if TYPE_CHECKING:
    from semsearch.encoder.runtimes.torch_model import PairModel, PooledModel

CLASSIFIER = "classifier"


@dataclass(frozen=True, slots=True)
class PooledNetwork:
    """A backbone with one or more heads that share a forward pass, for an encoder.

    Attributes:
        max_tokens: Length of the longest text that it will be given; None for the checkpoint's own limit.
    """

    checkpoint: Checkpoint
    heads: tuple[Head, ...]
    max_tokens: int | None = None

    @property
    def parts(self) -> list[list[str]]:
        """Everything that a converted graph depends on, as JSON values."""
        return [[pooler.name, self.checkpoint.weights_hash(dense)] for pooler, dense in self.heads]

    def load(self, precision: str) -> PooledModel:
        """Load the module.

        Raises:
            ModelError: If weights are missing or damaged.
            UsageError: If the process was forked from one in which torch runs.
        """
        from semsearch.encoder.runtimes.torch_model import DTYPES, PooledModel

        return PooledModel(self.checkpoint, self.heads, DTYPES[precision])


@dataclass(frozen=True, slots=True)
class PairNetwork:
    """A backbone with the checkpoint's own classification head, for a cross-encoder.

    Attributes:
        types: Whether the checkpoint's tokenizer passes segment ids, which tell the texts of a pair apart.
        max_tokens: Length of the longest pair that it will be given; None for the checkpoint's own limit.
    """

    checkpoint: Checkpoint
    types: bool = True
    max_tokens: int | None = None

    @property
    def parts(self) -> list[list[str]]:
        """Everything that a converted graph depends on, as JSON values."""
        return [[CLASSIFIER, "with types" if self.types else "without types", self.checkpoint.weights_hash(())]]

    def load(self, precision: str) -> PairModel:
        """Load the module; raises as `PooledNetwork.load` does."""
        from semsearch.encoder.runtimes.torch_model import DTYPES, PairModel

        return PairModel(self.checkpoint, self.types, DTYPES[precision])


Network: TypeAlias = PooledNetwork | PairNetwork
