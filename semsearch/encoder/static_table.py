"""A table of static token vectors, which takes the place of a transformer: a text's vector is the mean of its rows.

Two layouts are read: that of sentence-transformers' StaticEmbedding, with one tensor, and that of model2vec (Tulkens
and van Dongen 2024), where tokens may share a row, and each may have a weight. As in sentence-transformers, no special
tokens are added to a text, and an unknown word counts as the tokenizer's unknown token, if it has one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from semsearch.arrays import Vectors
from semsearch.encoder.tensor_files import read_shapes, read_tensors
from semsearch.errors import ModelError

TABLE = "embedding.weight"
"""Name of the table in the layout of sentence-transformers, `[tokens, dim]`."""

SHARED_TABLE, ROW_OF_TOKEN, WEIGHT_OF_TOKEN = "embeddings", "mapping", "weights"
"""Names in the layout of model2vec: `[rows, dim]`, and optionally each token's row and weight, both `[tokens]`."""

NO_LIMIT = 2**20
"""Maximum number of tokens of a text if the tokenizer declares no truncation; a mean has no limit of its own."""


@dataclass(frozen=True, slots=True)
class StaticTable:
    """Where a table is, and its size.

    Attributes:
        weights: Path of its model.safetensors.
        n_tokens: Number of tokens that have a vector.
        dim: Length of a vector.
    """

    weights: Path
    n_tokens: int
    dim: int

    @classmethod
    def find(cls, file: Path, model: str) -> Self:
        """Read the size of the table in a safetensors file.

        Args:
            file: The file.
            model: Name of the model, for messages.

        Raises:
            ModelError: If the file cannot be read, or has no such table.
        """
        shapes = read_shapes(file, model)
        table = shapes.get(TABLE) or shapes.get(SHARED_TABLE)
        if table is None:
            raise ModelError(
                f"model {model!r}: {file} has no table of token vectors ({', '.join(shapes) or 'no tensors'}); "
                f"expected a tensor {TABLE!r} or {SHARED_TABLE!r}"
            )
        per_token = {} if TABLE in shapes else shapes
        n_tokens, *_ = per_token.get(ROW_OF_TOKEN) or table or [0]
        fits = all(per_token.get(name, [n_tokens]) == [n_tokens] for name in (ROW_OF_TOKEN, WEIGHT_OF_TOKEN))
        if len(table) != 2 or 0 in (n_tokens, *table) or not fits:
            found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise ModelError(f"model {model!r}: {file} has tensors of the shapes {found}; expected one row per token")
        return cls(file, n_tokens, table[1])

    def read(self, model: str) -> Vectors:
        """Return the vector of each token, float32 `[n_tokens, dim]`.

        Raises:
            ModelError: If the file cannot be read, or the table is not made of finite numbers.
        """
        tensors = read_tensors(self.weights, model)
        table = tensors[TABLE if TABLE in tensors else SHARED_TABLE]
        if TABLE not in tensors and ROW_OF_TOKEN in tensors:
            rows = tensors[ROW_OF_TOKEN].astype(np.int64)
            if rows.min() < 0 or rows.max() >= len(table):
                raise ModelError(
                    f"model {model!r}: {self.weights} assigns tokens to the rows {rows.min()} to {rows.max()} of a "
                    f"table with {len(table)} rows"
                )
            table = table[rows]
        if TABLE not in tensors and WEIGHT_OF_TOKEN in tensors:
            table = table * tensors[WEIGHT_OF_TOKEN][:, None]
        vectors = np.ascontiguousarray(table, np.float32)
        if not np.isfinite(vectors).all():
            first = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise ModelError(
                f"model {model!r}: the vector of token {first} in {self.weights} is not finite; the table is damaged"
            )
        return vectors
