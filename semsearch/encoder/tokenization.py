"""Texts to token ids: the checkpoint's tokenizer, truncation, and batches of texts of like length.

This module knows nothing of weights or poolers, and imports neither torch nor (as a rule) transformers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semsearch import interrupts
from semsearch.encoder.checkpoint import Checkpoint
from semsearch.errors import ModelError, UsageError
from semsearch.files import hash_file
from semsearch.forks import encode_batch, runs_here

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TokenIds: TypeAlias = list[int]

Inputs: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""What a network takes: ids and mask, int64 `[n, longest]`, and a third input that depends on the network."""

TOKENIZED_AT_ONCE = 4_096
"""Texts whose ids are held in memory at a time; also the window in which texts are sorted by length."""

ENCODINGS_AT_ONCE = 512
"""Texts whose encodings, some hundred bytes a token, are held in memory at a time."""

VOCABULARIES = ("vocab.*", "*.model")
"""Files that a tokenizer can be made from where there is no tokenizer.json."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts that go through the backbone together.

    Attributes:
        rows: Their places among the texts, int64 `[n]`.
        ids: Token ids with special tokens, cut to length, one list a text.
        skip: Leading tokens that take no part in pooling: those of a prefix that is not pooled.
    """

    rows: NDArray[np.int64]
    ids: list[TokenIds]
    skip: int

    def inputs(self) -> Inputs:
        """Ids and mask, int64 `[n, longest]`, and `skip`, int64 `[]`."""
        return *padded(self.ids), np.asarray(self.skip)

    def part(self, rows: slice) -> Self:
        """Some of the texts."""
        return replace(self, rows=self.rows[rows], ids=self.ids[rows])


@dataclass(frozen=True, slots=True)
class PairBatch(Batch):
    """Pairs of texts that go through the backbone together, each pair as one sequence.

    Attributes:
        types: For each token of `ids` the segment that it belongs to, as the checkpoint's tokenizer numbers them.
    """

    types: list[TokenIds]

    def inputs(self) -> Inputs:
        """Ids, mask and types, int64 `[n, longest]`."""
        return *padded(self.ids), padded(self.types)[0]

    def part(self, rows: slice) -> Self:
        """Some of the pairs."""
        return replace(self, rows=self.rows[rows], ids=self.ids[rows], types=self.types[rows])


def padded(rows: Sequence[TokenIds]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids and mask, int64 `[n, longest]`; padding on the right, where it moves no position embedding."""
    ids = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return ids, mask


@dataclass(frozen=True)
class Batcher:
    """Tokenizes texts, cuts them to `max_tokens`, and groups them by length as a runtime wants it."""

    tokenizer: Tokenizer
    max_tokens: int
    pools_prefix: bool
    batching: Batching

    def __call__(self, texts: Sequence[str], prefix: str) -> Iterator[Batch]:
        """Yields batches that hold each text once, with the prefix in front."""
        skip = self.skipped(prefix)

        def tokenize(start: int) -> list[TokenIds]:
            return self._tokenize([prefix + text for text in texts[start : start + TOKENIZED_AT_ONCE]])

        with ThreadPoolExecutor(1) as ahead:  # the next window's ids are made while this one's are encoded
            ids = tokenize(0)
            for start in range(0, len(texts), TOKENIZED_AT_ONCE):
                behind = start + TOKENIZED_AT_ONCE
                coming = ahead.submit(tokenize, behind) if behind < len(texts) else None
                for rows in length_sorted_batches([len(tokens) for tokens in ids], self.batching):
                    yield Batch(start + np.asarray(rows), [ids[row] for row in rows], skip)
                ids = coming.result() if coming else []

    def _tokenize(self, texts: list[str]) -> list[TokenIds]:
        """Ids with special tokens, cut to `max_tokens` in front of the closing special tokens."""
        closing = closing_tokens(self.tokenizer)
        keep = self.max_tokens - closing
        return [
            ids if len(ids) <= self.max_tokens else ids[:keep] + ids[len(ids) - closing :]
            for start in range(0, len(texts), ENCODINGS_AT_ONCE)
            for ids in (e.ids for e in encode_batch(self.tokenizer, texts[start : start + ENCODINGS_AT_ONCE]))
        ]

    def skipped(self, prefix: str) -> int:
        """Leading tokens that take no part in pooling: the opening special tokens and those of the prefix, or none."""
        if self.pools_prefix or not prefix:
            return 0
        return len(self._tokenize([prefix])[0]) - closing_tokens(self.tokenizer)


@dataclass(frozen=True, slots=True)
class Batching:
    """How texts are put into batches.

    Attributes:
        tokens: Of a batch at most, padding included.
        overhead: What a batch costs by itself, in tokens: where another one saves more padding than that, it is made.
    """

    tokens: int
    overhead: float = math.inf


def length_sorted_batches(lengths: Sequence[int], batching: Batching) -> Iterator[list[int]]:
    """Group texts of like length, longest first, so that `rows * longest` stays within the tokens of a batch.

    The longest come first, so that a batch too large for the memory fails at once. Yields row numbers.
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > batching.tokens:
            yield from _with_less_padding(batch, lengths, batching.overhead)
            batch = []
        batch.append(row)
    if batch:
        yield from _with_less_padding(batch, lengths, batching.overhead)


def _with_less_padding(batch: list[int], lengths: Sequence[int], overhead: float) -> Iterator[list[int]]:
    """Cut a batch, longest first, in two where that saves more tokens than the overhead; then each part likewise."""
    longest = lengths[batch[0]]
    saved, cut = max(((longest - lengths[row]) * (len(batch) - place), place) for place, row in enumerate(batch))
    if saved <= overhead:
        yield batch
    else:
        yield from _with_less_padding(batch[:cut], lengths, overhead)
        yield from _with_less_padding(batch[cut:], lengths, overhead)


def closing_tokens(tokenizer: Tokenizer) -> int:
    """How many special tokens stand behind a text: 1 for BERT's [SEP]."""
    mask = tokenizer.encode("a").special_tokens_mask
    return len(mask) - 1 - max(i for i, special in enumerate(mask) if not special)


def check_max_tokens(checkpoint: Checkpoint, max_tokens: int | None) -> int:
    """The wish, or what the checkpoint was made for; raises UsageError where the position table is shorter."""
    limit = checkpoint.position_limit
    if max_tokens is None:
        return checkpoint.max_tokens
    if max_tokens < 8 or (limit and max_tokens > limit):
        raise UsageError(f"max tokens is {max_tokens}; this model takes 8 to {limit or 'any number'}")
    return max_tokens


def check_prefix(tokenizer: Tokenizer, prefix: str, max_tokens: int) -> None:
    """Raises UsageError where a prefix leaves nothing of a text to be seen."""
    length = len(tokenizer.encode(prefix).ids)
    if length >= max_tokens:
        raise UsageError(
            f"the prefix {prefix[:40]!r} takes {length} of {max_tokens} tokens, so nothing of a text would be seen; "
            "shorten it, or raise max tokens"
        )


def load_tokenizer(checkpoint: Checkpoint) -> tuple[Tokenizer, str]:
    """The fast tokenizer without truncation or padding, and the sha256 of its definition."""
    from tokenizers import Tokenizer, normalizers

    runs_here("tokenizers")  # from now on
    file = checkpoint.backbone / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(file)) if file.is_file() else _convert_tokenizer(checkpoint.backbone)
    except Exception as error:  # tokenizers raises nothing narrower
        interrupts.reraise(error)
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
