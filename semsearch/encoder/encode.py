"""The encoder: texts in, vectors out, with everything that decides a vector written down in its `spec`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from semsearch.encoder.pooling import Pooler, parse_pooler
from semsearch.encoder.pretrained import Checkpoint, Dense, open_checkpoint
from semsearch.encoder.tokens import Batcher, TokenIds, check_max_tokens, check_prefix, load_tokenizer
from semsearch.errors import UsageError
from semsearch.records import EncoderSpec, Vectors
from semsearch.transforms import parse_transform, unit_rows

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Progress: TypeAlias = Callable[[int], None]
"""Called with the number of texts just done."""

Runtime: TypeAlias = Callable[[Sequence[TokenIds], int], Sequence[Vectors]]
"""(token ids of a batch, leading tokens left out of pooling) to pooled vectors, float32 `[n, dim]` for each pooler."""


class PoolingWarning(UserWarning):
    """A pooler that the checkpoint does not declare."""


class TextEncoder(Protocol):
    """What ingest and search need of an encoder; `Encoder` and `HashEncoder` are two."""

    @property
    def spec(self) -> EncoderSpec:
        """Everything that decides a vector."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, without truncation or padding."""
        ...

    def encode_queries(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Float32 `[n, dim]`."""
        ...

    def encode_passages(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Float32 `[n, dim]`."""
        ...


@dataclass(frozen=True)
class Encoder:
    """A BERT-like backbone with a pooler; make one with `Encoder.load`.

    Vectors depend on the text alone: in float32 on the CPU a text encoded alone and in a batch differ by less than
    1e-5 in any component.
    """

    spec: EncoderSpec
    tokenizer: Tokenizer
    _runtime: Runtime
    _batcher: Batcher

    @classmethod
    def load(
        cls,
        model: str | None = None,
        pooler: str = "auto",
        *,
        simcse_names: bool = False,
        max_tokens: int | None = None,
        dim: int | None = None,
        transform: str = "",
        normalise: bool = True,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
        precision: str = "auto",
        device: str = "auto",
    ) -> Encoder:
        """Load a checkpoint.

        Args:
            model: A local directory or a Hugging Face name; None for all-MiniLM-L6-v2.
            pooler: A name as `semsearch poolers` lists them, or `auto` for what the checkpoint declares.
            simcse_names: Read `pooler` as SimCSE does, whose `cls` is our `pooler-output`.
            max_tokens: Cut inputs to this many tokens, special tokens included; None for the checkpoint's own.
            dim: Keep the first `dim` components and rescale (Matryoshka, Kusupati et al. 2022).
            transform: `centre`, `whiten[:k]` or `all-but-the-top[:k]`, which the index fits on its corpus;
                vectors then come out as they were pooled, for the transform to work on. Or `truncate:dim`.
            normalise: Rescale vectors to unit length.
            query_prefix: Put in front of queries; None for what the checkpoint declares.
            passage_prefix: Put in front of passages, likewise.
            precision: `auto`, `float32`, `bfloat16` or `float16`.
            device: `auto`, `cpu`, `cuda`, `mps`.

        Raises:
            ModelError: The checkpoint cannot be found or lacks what the pooler needs.
            UsageError: An unknown pooler, transform or device, or a size that does not fit.
        """
        checkpoint = open_checkpoint(model)
        chosen, dense = _choose_pooler(checkpoint, pooler, simcse_names)
        layers = chosen.resolve_layers(checkpoint.n_layers)
        full = dense[-1].out_features if dense else checkpoint.hidden_size * chosen.width
        dim, transform = _check_dim(full, dim, transform)
        max_tokens = check_max_tokens(checkpoint, max_tokens)
        tokenizer, tokenizer_hash = load_tokenizer(checkpoint)
        query_prefix = checkpoint.query_prefix if query_prefix is None else query_prefix
        passage_prefix = checkpoint.passage_prefix if passage_prefix is None else passage_prefix
        for prefix in (query_prefix, passage_prefix):
            check_prefix(tokenizer, prefix, max_tokens)

        from semsearch.encoder.torch_runtime import TorchRuntime

        runtime = TorchRuntime(checkpoint, [(chosen, dense)], device=device, precision=precision)
        return cls(
            spec=EncoderSpec(
                model=checkpoint.name,
                weights=checkpoint.weights_hash(dense),
                tokenizer=tokenizer_hash,
                pooler=chosen.name,
                layers=layers,
                max_tokens=max_tokens,
                dim=dim,
                query_prefix=query_prefix,
                passage_prefix=passage_prefix,
                normalise=normalise and not transform,
                transform=transform,
                precision=runtime.precision,
            ),
            tokenizer=tokenizer,
            _runtime=runtime,
            _batcher=Batcher.of(tokenizer, max_tokens, checkpoint.pools_prefix, runtime.device),
        )

    def encode_queries(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode queries, with the query prefix in front: float32 `[n, dim]` in the order given, also for n = 0."""
        return self._encode(texts, self.spec.query_prefix, progress)

    def encode_passages(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode passages, with the passage prefix in front: float32 `[n, dim]` in the order given, also for n = 0."""
        return self._encode(texts, self.spec.passage_prefix, progress)

    def _encode(self, texts: Sequence[str], prefix: str, progress: Progress | None) -> Vectors:
        vectors = np.empty((len(texts), self.spec.dim), dtype=np.float32)
        for batch in self._batcher(texts, prefix):
            (pooled,) = self._runtime(batch.ids, batch.skip)
            vectors[batch.rows] = pooled[:, : self.spec.dim]
            if progress:
                progress(len(batch.rows))
        return unit_rows(vectors) if self.spec.normalise else vectors


def _choose_pooler(checkpoint: Checkpoint, name: str, simcse_names: bool) -> tuple[Pooler, tuple[Dense, ...]]:
    """The pooler, and the linear layers behind it: those belong to the declared pooler only."""
    declared = checkpoint.pooler
    if name == "auto" and simcse_names:
        raise UsageError("--simcse-names says how to read --pooler; name one")
    if name != "auto":
        chosen = parse_pooler(name, simcse_names=simcse_names)
        if declared not in (None, chosen.name):
            left = "; its Dense layers are left out" if checkpoint.dense else ""
            _warn(f"{checkpoint.name} was trained with pooler {declared!r}, and {chosen.name!r} was asked for{left}")
        return chosen, checkpoint.dense_behind(chosen.name)
    if declared is None:
        _warn(f"{checkpoint.name} declares no pooler; taking 'mean'. Compare poolers, and name one with --pooler")
    return parse_pooler(declared or "mean"), checkpoint.dense


def _warn(message: str) -> None:
    warnings.warn(message, PoolingWarning, stacklevel=4)


def _check_dim(full: int, dim: int | None, transform: str) -> tuple[int, str]:
    """Resolve `dim` and `transform` to the length of a pooled vector and the transform to be fitted."""
    kind, _, size = transform.partition(":")
    if kind == "truncate" and size.isdecimal():
        if dim not in (None, int(size)):
            raise UsageError(f"dim is {dim} and transform {transform!r}; give one of them")
        dim, transform = int(size), ""
    if dim is not None and not 1 <= dim <= full:
        raise UsageError(f"dim is {dim}; this encoder gives vectors of {full}, so expected 1 to {full}")
    if transform:
        parse_transform(transform, dim or full)
    return dim or full, transform
