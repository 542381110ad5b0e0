"""What a runtime carries batches through, as a recipe: which checkpoint, and what stands behind its backbone.

A recipe is cheap. Weights are read, and torch is imported, when a runtime asks for the module; the compiled runtime
asks only where it has no graph of these `parts` yet. Importing this module imports neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from semsearch.encoder.checkpoint import Checkpoint, Head

if TYPE_CHECKING:
    from semsearch.encoder.runtimes.torch_model import PairModel, PooledModel

CLASSIFIER = "classifier"


@dataclass(frozen=True, slots=True)
class PooledNetwork:
    """A backbone and one head or more over one forward pass: what an encoder runs."""

    checkpoint: Checkpoint
    heads: tuple[Head, ...]

    @property
    def parts(self) -> list[list[str]]:
        """What a converted graph depends on, as JSON values."""
        return [[pooler.name, self.checkpoint.weights_hash(dense)] for pooler, dense in self.heads]

    def load(self, precision: str) -> PooledModel:
        """Load the module.

        Raises:
            ModelError: Weights are missing, or damaged.
            UsageError: The process was forked from one in which torch runs.
        """
        from semsearch.encoder.runtimes.torch_model import DTYPES, PooledModel

        return PooledModel(self.checkpoint, self.heads, DTYPES[precision])


@dataclass(frozen=True, slots=True)
class PairNetwork:
    """A backbone and the checkpoint's own classification head: what a cross-encoder runs.

    Attributes:
        types: Whether the checkpoint's tokenizer tells the model which of a pair's texts a token belongs to.
    """

    checkpoint: Checkpoint
    types: bool = True

    @property
    def parts(self) -> list[list[str]]:
        """What a converted graph depends on, as JSON values."""
        return [[CLASSIFIER, "with types" if self.types else "without types", self.checkpoint.weights_hash(())]]

    def load(self, precision: str) -> PairModel:
        """Load the module; raises as `PooledNetwork.load` does."""
        from semsearch.encoder.runtimes.torch_model import DTYPES, PairModel

        return PairModel(self.checkpoint, self.types, DTYPES[precision])


Network: TypeAlias = PooledNetwork | PairNetwork
