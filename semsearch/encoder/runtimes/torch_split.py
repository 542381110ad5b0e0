"""The reference model once more, for the few texts of which it is asked what each token contributes to the vector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from semsearch.arrays import Vector, Vectors
from semsearch.encoder.checkpoint import Checkpoint
from semsearch.encoder.pooling import Pooler
from semsearch.encoder.runtimes.torch_model import PooledModel, refuse_fork_of_torch
from semsearch.errors import UnsupportedError

LINEAR = "Identity"
"""The activation with which a Dense module is affine."""


class TorchSplit:
    """A backbone with one pooler, in float32 on the CPU."""

    def __init__(self, checkpoint: Checkpoint, pooler: Pooler) -> None:
        """Load the weights.

        Raises:
            UnsupportedError: The vector is no sum over tokens.
            ModelError: Weights are missing, or damaged.
            UsageError: The process was forked from one in which torch runs.
        """
        _, dense = head = checkpoint.head(pooler)
        split = pooler.split
        if split is None:
            raise UnsupportedError(
                f"pooler {pooler.name!r} cannot be split exactly: its vector is no sum over tokens ({pooler.formula})"
            )
        if activation := next((one.activation for one in dense if one.activation != LINEAR), None):
            raise UnsupportedError(
                f"the vectors of {checkpoint.name!r} cannot be split exactly: a Dense module with {activation} follows "
                "the pooler"
            )
        self._split = split
        self._model = PooledModel(checkpoint, [head])

    @torch.inference_mode()
    def __call__(self, ids: Sequence[int], skip: int) -> tuple[Vectors, Vector]:
        """Return what each token contributes, float32 `[tokens, dim]`, and what none of them does, `[dim]`.

        Raises:
            UsageError: The process was forked from one in which torch runs.
        """
        refuse_fork_of_torch("cpu")
        model = self._model
        row = torch.tensor([list(ids)])
        mask = torch.ones_like(row)
        output = model.backbone(input_ids=row, attention_mask=mask, output_hidden_states=model.all_layers)
        (parts,) = self._split(model.states(output, mask, torch.tensor(skip)))
        bias = model.dense[0](torch.zeros(parts.shape[1]))  # an affine function at 0 is its offset
        return np.asarray((model.dense[0](parts) - bias).numpy()), np.asarray(bias.numpy())
