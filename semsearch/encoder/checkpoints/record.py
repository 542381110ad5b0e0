"""A checkpoint on disk and what it declares, as records."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from semsearch.encoder.pooling import Pooler
from semsearch.encoder.static_table import StaticTable
from semsearch.encoder.tensor_files import read_shapes
from semsearch.errors import ModelError, UnsupportedError
from semsearch.files import hash_file

STATIC_POOLER = "mean"
"""The only pooler of a table of static token vectors."""

HEAD_POOLER = "pooler-output"
"""The pooler that takes the vector of BERT's own head."""

LINEAR = "Identity"
"""Name of the activation that leaves a linear layer affine."""

OWN_HEAD = "pooler."
"""Prefix of the parameters of BERT's own head."""

PARAMETERS = ("weight", "bias")


class CheckpointWarning(UserWarning):
    """Warning that something that a checkpoint declares is not applied, or that its name replaces a declaration."""


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear layer after the pooler, as declared in modules.json.

    Attributes:
        weights: Path of its model.safetensors.
        in_features: Length of its input; None if that file does not say.
        out_features: Length of its output.
        activation: Class name in torch.nn, such as Tanh.
    """

    weights: Path
    in_features: int | None
    out_features: int
    activation: str


Head: TypeAlias = tuple[Pooler, tuple[Dense, ...]]
"""A pooler and the linear layers after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint on disk and what it declares.

    Attributes:
        name: The Hugging Face name, or the absolute path of a local directory.
        backbone: Folder with config.json and model.safetensors.
        n_layers, hidden_size: Dimensions of the backbone; a table has 0 layers.
        pooler: Declared pooler by our names; None if the checkpoint declares none.
        pools_prefix: Whether the prefix's tokens take part in pooling.
        dense: Declared linear layers after the pooler.
        max_tokens: Declared maximum length, special tokens included; `position_limit` if none is declared.
        position_limit: Longest input that the position table holds; None if there is no such table.
        first_position: Position of a text's first token: 0, or 2 if the table starts after the padding index.
        lowercase: Whether text is lowercased before tokenization.
        truncates_left: Whether a text that is too long loses its beginning, not its end.
        n_tokens: Number of tokens that have an embedding, if that is known.
        dim: Declared length to which vectors are truncated; None if there is none.
        query_prefix, passage_prefix: Declared prefixes.
        other_prompts: Names of the declared prompts if none of them is for queries or passages.
        own_code: Class of the checkpoint's own code for its network, which is never run; empty if there is none.
        loader: Name of the class in transformers that loads the backbone.
        similarity: Name of the declared similarity function, which may be unknown; None if none is declared.
        normalizes: Whether a Normalize module is declared, so that vectors have unit length.
        weight_files: The backbone's safetensors files, or the files of its ONNX export.
        onnx: ONNX export that takes the place of safetensors; None if there are safetensors.
        table: Table of static token vectors; None if the backbone is a transformer.
        artifacts: Folder of the index that stores files of its encoder that the checkpoint does not contain, such as
            an 8-bit graph; None if there is no such index.
    """

    name: str
    backbone: Path
    n_layers: int
    hidden_size: int
    pooler: str | None
    pools_prefix: bool = True
    dense: tuple[Dense, ...] = ()
    max_tokens: int
    position_limit: int | None = None
    first_position: int = 0
    lowercase: bool = False
    truncates_left: bool = False
    n_tokens: int | None = None
    dim: int | None = None
    query_prefix: str = ""
    passage_prefix: str = ""
    other_prompts: tuple[str, ...] = ()
    own_code: str = ""
    loader: str = "AutoModel"
    similarity: str | None = None
    normalizes: bool = False
    weight_files: tuple[Path, ...] = field(repr=False)
    onnx: Path | None = None
    table: StaticTable | None = None
    artifacts: Path | None = None

    def dense_behind(self, pooler: str) -> tuple[Dense, ...]:
        """Return the declared linear layers, or none if they were declared for a different pooler."""
        return self.dense if self.pooler in (None, pooler) else ()

    def dim_behind(self, pooler: str, full: int) -> int:
        """Return the default length of vectors: the declared one, or the full one for a different pooler."""
        return min(self.dim, full) if self.dim and self.pooler in (None, pooler) else full

    def head(self, pooler: Pooler) -> Head:
        """Return a pooler with the linear layers that follow it.

        Raises:
            ModelError: If the checkpoint lacks what the pooler needs, or its linear layers do not fit the pooler.
        """
        if self.table and pooler.name != STATIC_POOLER:
            raise ModelError(
                f"pooler {pooler.name!r} needs the layers of a transformer, but model {self.name!r} is a table of "
                f"static token vectors, which has none; use pooler {STATIC_POOLER!r}"
            )
        pooler.resolve_layers(self.n_layers)
        if self.onnx and pooler.layers != (-1,):
            raise ModelError(
                f"pooler {pooler.name!r} reads other layers than the last, but {self.onnx.name} of model {self.name!r} "
                "returns only that one; choose another pooler, such as mean or cls"
            )
        if pooler.needs_head and not self.has_head:
            raise ModelError(
                f"pooler {pooler.name!r} needs the checkpoint's own head, but {self.name!r} has no weights for it "
                "(they would be random); choose another pooler, such as mean or cls"
            )
        dense, width = self.dense_behind(pooler.name), self.hidden_size * pooler.width
        for layer in dense:
            if layer.in_features not in (None, width):
                raise ModelError(
                    f"the Dense module in {layer.weights.parent} takes vectors of length {layer.in_features}, but "
                    f"pooler {pooler.name!r} gives {width}; choose the pooler it was trained with"
                )
            width = layer.out_features
        return pooler, dense

    def affine_head(self, pooler: Pooler) -> Head:
        """Return a pooler whose vector is a sum over tokens, with linear layers that keep it one, up to an offset.

        Raises:
            UnsupportedError: If the vector is not a sum over tokens.
            ModelError: As for `head`.
        """
        _, dense = self.head(pooler)
        if self.onnx:
            raise UnsupportedError(
                f"the vectors of {self.name!r} cannot be split: it has only an ONNX export, and torch needs safetensors"
            )
        if pooler.split is None:
            raise UnsupportedError(
                f"pooler {pooler.name!r} cannot be split exactly: its vector is not a sum over tokens "
                f"({pooler.formula})"
            )
        if activation := next((one.activation for one in dense if one.activation != LINEAR), None):
            raise UnsupportedError(
                f"the vectors of {self.name!r} cannot be split exactly: a Dense module with {activation} follows the "
                "pooler"
            )
        return pooler, dense

    @property
    def has_head(self) -> bool:
        """Whether the weight files contain BERT's own head."""
        if self.onnx:
            return False
        names = [name for file in self.weight_files for name in read_shapes(file, self.name)]
        return all(any(re.search(rf"(^|\.){OWN_HEAD}(dense\.)?{part}$", name) for name in names) for part in PARAMETERS)

    def weights_hash(self, dense: tuple[Dense, ...]) -> str:
        """Return the sha256, in hex, of the weights and configs of the backbone and the given linear layers.

        It also covers the other declarations that affect a vector: lowercasing, whether the prefix is pooled, and the
        side on which texts are truncated.
        """
        files = [*self.weight_files, *([] if self.table else [self.backbone / "config.json"])]
        for layer in dense:
            files += [layer.weights, layer.weights.parent / "config.json"]
        declared = f"lowercase {self.lowercase}, pools prefix {self.pools_prefix}"
        if self.truncates_left:
            declared += ", truncates left"
        return hashlib.sha256("".join([*map(hash_file, files), declared]).encode()).hexdigest()
