"""The encoder: texts in, vectors out, with everything that decides a vector written down in its `spec`."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from semsearch.encoder.pooling import Pooler, parse_pooler
from semsearch.encoder.pretrained import Checkpoint, Dense, hash_file, open_checkpoint
from semsearch.errors import ModelError, UsageError
from semsearch.records import EncoderSpec, Vectors
from semsearch.transforms import parse_transform, unit_rows

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BATCH_TOKENS = {"cpu": 2_048, "accelerator": 65_536}
"""Tokens, padding included, that go through the backbone at once; measured in bench/batch_tokens.py."""

TOKENIZED_AT_ONCE = 4_096
"""Texts whose ids are held in memory at a time; also the window in which texts are sorted by length."""

ENCODINGS_AT_ONCE = 512
"""Texts whose encodings, some hundred bytes a token, are held in memory at a time."""

VOCABULARIES = ("vocab.*", "*.model")
"""Files that a tokenizer can be made from where there is no tokenizer.json."""

Progress: TypeAlias = Callable[[int], None]
"""Called with the number of texts just done."""

Runtime: TypeAlias = Callable[[Sequence[list[int]], int], Vectors]
"""(token ids of a batch, leading tokens left out of pooling) to pooled vectors, float32 `[n, dim]`."""


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
    _batch_tokens: int
    _pools_prefix: bool

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
        max_tokens = _check_max_tokens(checkpoint, max_tokens)
        tokenizer, tokenizer_hash = _load_tokenizer(checkpoint)
        query_prefix = checkpoint.query_prefix if query_prefix is None else query_prefix
        passage_prefix = checkpoint.passage_prefix if passage_prefix is None else passage_prefix
        for prefix in (query_prefix, passage_prefix):
            _check_prefix(tokenizer, prefix, max_tokens)

        from semsearch.encoder.torch_runtime import TorchRuntime

        runtime = TorchRuntime(checkpoint, chosen, dense, device=device, precision=precision)
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
            _batch_tokens=BATCH_TOKENS["cpu" if runtime.device == "cpu" else "accelerator"],
            _pools_prefix=checkpoint.pools_prefix,
        )

    def encode_queries(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode queries, with the query prefix in front: float32 `[n, dim]` in the order given, also for n = 0."""
        return self._encode(texts, self.spec.query_prefix, progress)

    def encode_passages(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode passages, with the passage prefix in front: float32 `[n, dim]` in the order given, also for n = 0."""
        return self._encode(texts, self.spec.passage_prefix, progress)

    def _encode(self, texts: Sequence[str], prefix: str, progress: Progress | None) -> Vectors:
        vectors = np.empty((len(texts), self.spec.dim), dtype=np.float32)
        skip = 0 if self._pools_prefix or not prefix else self._prefix_length(prefix)
        for start in range(0, len(texts), TOKENIZED_AT_ONCE):
            window = [prefix + text for text in texts[start : start + TOKENIZED_AT_ONCE]]
            ids = self._tokenize(window)
            for rows in length_sorted_batches([len(tokens) for tokens in ids], self._batch_tokens):
                pooled = self._runtime([ids[row] for row in rows], skip)
                vectors[start + np.asarray(rows)] = pooled[:, : self.spec.dim]
                if progress:
                    progress(len(rows))
        return unit_rows(vectors) if self.spec.normalise else vectors

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        """Ids with special tokens, cut to `max_tokens` in front of the closing special tokens."""
        closing = _closing_tokens(self.tokenizer)
        keep = self.spec.max_tokens - closing
        return [
            ids if len(ids) <= self.spec.max_tokens else ids[:keep] + ids[len(ids) - closing :]
            for start in range(0, len(texts), ENCODINGS_AT_ONCE)
            for ids in (e.ids for e in self.tokenizer.encode_batch_fast(texts[start : start + ENCODINGS_AT_ONCE]))
        ]

    def _prefix_length(self, prefix: str) -> int:
        """Tokens of the prefix, with the opening special tokens."""
        return len(self._tokenize([prefix])[0]) - _closing_tokens(self.tokenizer)


def length_sorted_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Group texts of like length, longest first, so that `rows * longest` stays within `budget` tokens.

    The longest come first, so that a batch too large for the memory fails at once. Yields row numbers.
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _closing_tokens(tokenizer: Tokenizer) -> int:
    """How many special tokens stand behind a text: 1 for BERT's [SEP]."""
    mask = tokenizer.encode("a").special_tokens_mask
    return len(mask) - 1 - max(i for i, special in enumerate(mask) if not special)


def _choose_pooler(checkpoint: Checkpoint, name: str, simcse_names: bool) -> tuple[Pooler, tuple[Dense, ...]]:
    """The pooler, and the linear layers behind it: those belong to the declared pooler only."""
    declared = checkpoint.pooler
    if name == "auto" and simcse_names:
        raise UsageError("--simcse-names says how to read --pooler; name one")
    if name != "auto":
        chosen = parse_pooler(name, simcse_names=simcse_names)
        if declared is None or chosen.name == declared:
            return chosen, checkpoint.dense
        left_out = "; its Dense layers are left out" if checkpoint.dense else ""
        _warn(f"{checkpoint.name} was trained with pooler {declared!r}, and {chosen.name!r} was asked for{left_out}")
        return chosen, ()
    if declared is None:
        _warn(f"{checkpoint.name} declares no pooler; taking 'mean'. Compare poolers, and name one with --pooler")
    return parse_pooler(declared or "mean"), checkpoint.dense


def _warn(message: str) -> None:
    warnings.warn(message, PoolingWarning, stacklevel=4)


def _check_max_tokens(checkpoint: Checkpoint, max_tokens: int | None) -> int:
    limit = checkpoint.position_limit
    if max_tokens is None:
        return checkpoint.max_tokens
    if max_tokens < 8 or (limit and max_tokens > limit):
        raise UsageError(f"max tokens is {max_tokens}; this model takes 8 to {limit or 'any number'}")
    return max_tokens


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


def _check_prefix(tokenizer: Tokenizer, prefix: str, max_tokens: int) -> None:
    length = len(tokenizer.encode(prefix).ids)
    if length >= max_tokens:
        raise UsageError(
            f"the prefix {prefix[:40]!r} takes {length} of {max_tokens} tokens, so nothing of a text would be seen; "
            "shorten it, or raise max tokens"
        )


def _load_tokenizer(checkpoint: Checkpoint) -> tuple[Tokenizer, str]:
    """The fast tokenizer without truncation or padding, and the sha256 of its definition."""
    from tokenizers import Tokenizer, normalizers

    file = checkpoint.backbone / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(file)) if file.is_file() else _convert_tokenizer(checkpoint.backbone)
    except Exception as error:  # tokenizers raises nothing narrower
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"model {checkpoint.name!r}: no usable tokenizer in {checkpoint.backbone} ({reason}); "
            "put the checkpoint's tokenizer.json there"
        ) from None
    digest = hash_file(file) if file.is_file() else hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
    if checkpoint.lowercase:
        own = [tokenizer.normalizer] if tokenizer.normalizer else []
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, digest


def _convert_tokenizer(folder: Path) -> Tokenizer:
    """A fast tokenizer from the vocabulary of a checkpoint that is older than tokenizer.json."""
    import transformers
    from tokenizers import Tokenizer

    if not any(file for pattern in VOCABULARIES for file in folder.glob(pattern)):
        raise FileNotFoundError("neither tokenizer.json nor a vocabulary")  # transformers would make up a tiny one
    slow = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return Tokenizer.from_str(slow.backend_tokenizer.to_str())
