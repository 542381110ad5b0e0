"""An encoder as a differentiable module: token ids to vectors, computed as `Encoder` computes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from semsearch.encoder.checkpoints.record import Checkpoint, Head
from semsearch.encoder.runtimes.networks import PooledNetwork
from semsearch.encoder.runtimes.torch_model import DTYPES
from semsearch.encoder.tokenization import Batching, TokenIds, length_sorted_batches, padded

BATCHING = {"cpu": Batching(1 << 62, 128), "accelerator": Batching(1 << 62)}
"""How a batch of examples is split to save padding; measured in bench/training.py."""


class Siamese(nn.Module):
    """A backbone with a pooler, the linear layers behind it, and perhaps an additional layer."""

    def __init__(self, checkpoint: Checkpoint, head: Head, *, device: str, precision: str, mlp: bool) -> None:
        """Load the weights in float32.

        Args:
            checkpoint: Checkpoint to start from.
            head: Pooler and the linear layers behind it.
            device: Device to train on.
            precision: Precision of the backbone's matrix products; weights, pooling and loss are in float32.
            mlp: Whether to add tanh(W x + b) with new weights.

        Raises:
            ModelError: If weights are missing or damaged.
        """
        super().__init__()
        self.pooled = PooledNetwork(checkpoint, (head,)).load("float32")
        pooler, dense = head
        self.dim = dense[-1].out_features if dense else checkpoint.hidden_size * pooler.width
        self.mlp = nn.Sequential(nn.Linear(self.dim, self.dim), nn.Tanh()) if mlp else nn.Sequential()
        self.device, self.precision = device, precision
        self.batching = BATCHING["cpu" if device == "cpu" else "accelerator"]
        self.to(device)

    def forward(self, rows: Sequence[TokenIds], skip: int = 0) -> Tensor:
        """Return what the objective sees: the vectors of texts after the additional layer, as for `encode`."""
        vectors: Tensor = self.mlp(self.encode(rows, skip))
        return vectors

    def encode(self, rows: Sequence[TokenIds], skip: int = 0) -> Tensor:
        """Encode texts.

        Args:
            rows: Token ids of each text, with special tokens.
            skip: Number of leading tokens that take no part in pooling.

        Returns:
            float32 `[n, dim]`, in the given order, not rescaled.
        """
        vectors, order = list[Tensor](), list[int]()
        with autocast(self.device, self.precision):  # one for all, because it converts the weights once
            for some in length_sorted_batches([len(row) for row in rows], self.batching):
                ids, mask = (torch.from_numpy(each).to(self.device) for each in padded([rows[row] for row in some]))
                vectors.append(self.pooled(ids, mask, torch.tensor(skip, device=self.device))[0])
                order += some
        place = torch.empty(len(order), dtype=torch.int64)
        place[order] = torch.arange(len(order))
        return torch.cat(vectors)[place.to(self.device)]


@contextmanager
def autocast(device: str, precision: str) -> Iterator[None]:
    """Compute matrix products in a precision."""
    dtype = DTYPES[precision]
    with torch.autocast(device.partition(":")[0], dtype, enabled=dtype != torch.float32):
        yield
