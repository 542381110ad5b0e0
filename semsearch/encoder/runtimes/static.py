"""The runtime of tables of static token vectors, in NumPy: the mean of the rows of a text's tokens.

The rows gathered for a batch fit in a processor's cache. The sum over a text's tokens is taken in the order of the
text, so a vector does not depend on the texts that are encoded with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Vector, Vectors
from semsearch.encoder.checkpoints.record import LINEAR, Checkpoint, Dense
from semsearch.encoder.pooling import TOKENS, Pooler
from semsearch.encoder.runtimes.networks import PooledNetwork
from semsearch.encoder.tensor_files import read_tensors
from semsearch.encoder.tokenization import Batch, Batching, TokenIds
from semsearch.errors import ModelError, UnsupportedError

WINDOW = 2_048
"""Number of tokens in a batch, padding included: 2 MiB of vectors of length 256. Larger batches are slower."""

TOKENS_AT_ONCE = 256
"""Number of tokens of a text that are summed at a time: a longer sum of float32 numbers loses precision."""

ACTIVATIONS: dict[str, Callable[[Vectors], Vectors]] = {
    LINEAR: lambda rows: rows,
    "Tanh": np.tanh,
    "ReLU": lambda rows: np.maximum(rows, 0),
}
"""Activations of a Dense module, by their names in torch.nn."""

Affine: TypeAlias = tuple[Vectors, Vector, str]
"""Weight `[out, in]`, bias `[out]` and activation of a Dense module."""


class StaticRuntime:
    """A table with the linear layers of one or more heads, on the CPU in float32."""

    name = "static"
    device = "cpu"
    precision = "float32"
    batching = Batching(WINDOW)
    artifacts: Mapping[str, Path] = MappingProxyType({})

    def __init__(self, network: PooledNetwork) -> None:
        """Read the table.

        Raises:
            UnsupportedError: If the activation of a Dense module is not supported.
            ModelError: If the table or a Dense module is damaged.
        """
        checkpoint = network.checkpoint
        self._model, self._table = checkpoint.name, _with_padding(checkpoint)
        self._heads = [(pooler == TOKENS, _load_dense(dense)) for pooler, dense in network.heads]

    def quantize(self, batches: Iterable[Batch]) -> NoReturn:
        """Raise UnsupportedError; see `Runtime`."""
        raise UnsupportedError(
            f"precision 'int8' is for transformers, but {self._model!r} is a table of static token vectors; omit "
            "`precision`"
        )

    def __call__(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[Vectors]]]:
        """Yield each batch with float32 `[n, dim]` for each head, not rescaled; zeros for a text without tokens.

        A head that keeps tokens returns `[n, longest, dim]`.

        Raises:
            ModelError: If a token has no vector.
        """
        for batch in batches:
            ids, lengths = self._padded(batch.ids)
            yield batch, [self._rows(ids) if keeps else dense(self._mean(ids, lengths)) for keeps, dense in self._heads]

    def _padded(self, ids: Sequence[TokenIds]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return ids, `[n, longest]`, padded with the id of the row of zeros, and the number of tokens of each text."""
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        padded = np.full((len(ids), lengths.max()), len(self._table) - 1)
        flat = np.fromiter(chain.from_iterable(ids), np.int64, lengths.sum())
        if flat.max(initial=0) >= len(self._table) - 1:
            raise ModelError(f"model {self._model!r} has no vector for token {flat.max()}, which its tokenizer gives")
        padded[np.arange(padded.shape[1]) < lengths[:, None]] = flat
        return padded, lengths

    def _rows(self, ids: NDArray[np.int64]) -> Vectors:
        """Return the vector of each token, `[n, longest, dim]`, zeros at padding."""
        rows: Vectors = self._table.take(ids, axis=0)
        return rows

    def _mean(self, ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> Vectors:
        """Return the mean of each text's rows, `[n, dim]`."""
        sums = np.zeros((len(ids), self._table.shape[1]), np.float32)
        for start in range(0, ids.shape[1], TOKENS_AT_ONCE):
            sums += self._table.take(ids[:, start : start + TOKENS_AT_ONCE].T, axis=0).sum(0)
        sums /= np.maximum(lengths, 1)[:, None]
        return sums


class StaticSplit:
    """A table with one head, for the contributions of tokens; see `TorchSplit`."""

    def __init__(self, checkpoint: Checkpoint, pooler: Pooler) -> None:
        """Read the table.

        Raises:
            UnsupportedError: If the vector is not a sum over tokens.
            ModelError: If the table is missing or damaged.
        """
        _, dense = checkpoint.affine_head(pooler)
        self._table, self._dense = _with_padding(checkpoint), _load_dense(dense)

    def __call__(self, ids: Sequence[int], skip: int) -> tuple[Vectors, Vector]:
        """Return each token's contribution, float32 `[tokens, dim]`, and the part that comes from no token, `[dim]`."""
        parts = self._table[np.asarray(ids, np.int64)] / np.float32(max(1, len(ids)))
        offset = self._dense(np.zeros((1, self._table.shape[1]), np.float32))  # an affine function at 0 is its offset
        return self._dense(parts) - offset, offset[0]


def _with_padding(checkpoint: Checkpoint) -> Vectors:
    """Return the table of a checkpoint with a row of zeros at the end."""
    assert checkpoint.table
    return np.pad(checkpoint.table.read(checkpoint.name), ((0, 1), (0, 0)))


def _load_dense(layers: Sequence[Dense]) -> Callable[[Vectors], Vectors]:
    """Return a function that applies linear layers with their activations."""
    loaded = [_load_layer(layer) for layer in layers]

    def apply(rows: Vectors) -> Vectors:
        for weight, bias, activation in loaded:
            rows = ACTIVATIONS[activation](rows @ weight.T + bias)
        return rows

    return apply


def _load_layer(layer: Dense) -> Affine:
    where = layer.weights.parent
    if layer.activation not in ACTIVATIONS:
        raise UnsupportedError(
            f"Dense module in {where}: activation {layer.activation!r} is not supported after a table of static token "
            f"vectors; supported: {', '.join(ACTIVATIONS)}"
        )
    tensors: dict[str, NDArray[Any]] = read_tensors(layer.weights, str(where))
    weight = tensors.get("linear.weight")
    if weight is None or weight.shape != (layer.out_features, layer.in_features):
        raise ModelError(f"Dense module in {where}: no linear.weight of the shape that its config.json declares")
    bias = tensors.get("linear.bias", np.zeros(layer.out_features))
    return weight.astype(np.float32), bias.astype(np.float32), layer.activation
