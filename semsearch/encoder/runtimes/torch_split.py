"""Token contributions to a vector, computed with the torch reference model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from semsearch.arrays import Vector, Vectors
from semsearch.encoder.checkpoints.record import Checkpoint
from semsearch.encoder.pooling import Pooler
from semsearch.encoder.runtimes.torch_model import PooledModel, refuse_fork_of_torch


class TorchSplit:
    """A backbone with one pooler, in float32 on the CPU."""

    def __init__(self, checkpoint: Checkpoint, pooler: Pooler) -> None:
        """Load the weights.

        Raises:
            UnsupportedError: If the vector is not a sum over tokens.
            ModelError: If weights are missing or damaged.
            UsageError: If the process was forked from one in which torch runs.
        """
        head = checkpoint.affine_head(pooler)
        assert pooler.split
        self._split = pooler.split
        self._model = PooledModel(checkpoint, [head])

    @torch.inference_mode()
    def __call__(self, ids: Sequence[int], skip: int) -> tuple[Vectors, Vector]:
        """Return each token's contribution, float32 `[tokens, dim]`, and the offset that comes from no token, `[dim]`.

        Raises:
            UsageError: If the process was forked from one in which torch runs.
        """
        refuse_fork_of_torch("cpu")
        model = self._model
        row = torch.tensor([list(ids)])
        mask = torch.ones_like(row)
        output = model.backbone(input_ids=row, attention_mask=mask, output_hidden_states=model.all_layers)
        (parts,) = self._split(model.states(output, mask, torch.tensor(skip)))
        bias = model.dense[0](torch.zeros(parts.shape[1]))  # an affine function at 0 is its offset
        return np.asarray((model.dense[0](parts) - bias).numpy()), np.asarray(bias.numpy())
