"""Turning texts into token ids: the checkpoint's tokenizer, truncation, and batches of texts of similar length.

This module knows nothing about weights or poolers, and imports neither torch nor (usually) transformers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from semsearch import interrupts
from semsearch.encoder.checkpoints.json_files import read_json
from semsearch.encoder.checkpoints.record import Checkpoint
from semsearch.encoder.normalizers import check_normalizer
from semsearch.encoder.tokenizer_files import read_tokenizer
from semsearch.errors import ModelError, UsageError
from semsearch.files import hash_file
from semsearch.forks import encode_batch, panics_as_errors, runs_here
from semsearch.messages import first_line

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TokenIds: TypeAlias = list[int]

T = TypeVar("T")

Inputs: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Inputs of a network: ids and mask, int64 `[n, longest]`, and a third input that depends on the network."""

TOKENIZED_AT_ONCE = 4_096
"""Number of texts whose ids are in memory at a time; also the window in which texts are sorted by length."""

RARE = "a \ue000 \U000f1234"
"""A text with characters of the private use areas, which hardly any vocabulary has."""

ENCODINGS_AT_ONCE = 512
"""Number of texts whose encodings, a few hundred bytes per token, are in memory at a time."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts that go through the backbone together.

    Attributes:
        rows: Positions of the texts in the input, int64 `[n]`.
        ids: Token ids with special tokens, truncated, one list per text.
        skip: Number of leading tokens that take no part in pooling: those of a prefix that is not pooled.
    """

    rows: NDArray[np.int64]
    ids: list[TokenIds]
    skip: int

    def inputs(self) -> Inputs:
        """Return ids and mask, int64 `[n, longest]`, and `skip`, int64 `[]`."""
        return *padded(self.ids), np.asarray(self.skip)

    def part(self, rows: slice) -> Self:
        """Return a batch of some of the texts."""
        return replace(self, rows=self.rows[rows], ids=self.ids[rows])


@dataclass(frozen=True, slots=True)
class PairBatch(Batch):
    """Pairs of texts that go through the backbone together, each pair as one sequence.

    Attributes:
        types: Segment of each token in `ids`, as numbered by the checkpoint's tokenizer.
    """

    types: list[TokenIds]

    def inputs(self) -> Inputs:
        """Return ids, mask and types, int64 `[n, longest]`."""
        return *padded(self.ids), padded(self.types)[0]

    def part(self, rows: slice) -> Self:
        """Return a batch of some of the pairs."""
        return replace(self, rows=self.rows[rows], ids=self.ids[rows], types=self.types[rows])


def padded(rows: Sequence[TokenIds]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ids and mask, int64 `[n, longest]`, padded on the right so that no position embedding shifts.

    There is at least one column, as networks fail on none.
    """
    ids = np.zeros((len(rows), max(1, *map(len, rows))), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return ids, mask


@dataclass(frozen=True)
class Batcher:
    """Tokenizes texts, truncates them to `max_tokens`, and groups them by length to suit a runtime."""

    tokenizer: Tokenizer
    max_tokens: int
    pools_prefix: bool
    batching: Batching
    truncates_left: bool = False

    def __call__(self, texts: Sequence[str], prefix: str) -> Iterator[Batch]:
        """Yield batches that hold each text once, with the prefix in front."""
        skip = self.skipped(prefix)

        def tokenize(start: int) -> list[TokenIds]:
            return self.tokenize([prefix + text for text in texts[start : start + TOKENIZED_AT_ONCE]])

        with ThreadPoolExecutor(1) as ahead:  # tokenizes the next window while this one is encoded
            ids = tokenize(0)
            for start in range(0, len(texts), TOKENIZED_AT_ONCE):
                behind = start + TOKENIZED_AT_ONCE
                coming = ahead.submit(tokenize, behind) if behind < len(texts) else None
                yield from self.group(ids, start, skip)
                ids = coming.result() if coming else []

    def group(self, ids: Sequence[TokenIds], start: int = 0, skip: int = 0) -> Iterator[Batch]:
        """Yield batches of texts that are tokenized already, with row numbers from `start` on."""
        for rows in length_sorted_batches([len(tokens) for tokens in ids], self.batching):
            yield Batch(start + np.asarray(rows), [ids[row] for row in rows], skip)

    def tokenize(self, texts: Sequence[str]) -> list[TokenIds]:
        """Return ids with special tokens, truncated to `max_tokens` but with the special tokens around a text kept."""
        cut = self.cut
        return [
            cut(encoding.ids)
            for start in range(0, len(texts), ENCODINGS_AT_ONCE)
            for encoding in encode_batch(self.tokenizer, texts[start : start + ENCODINGS_AT_ONCE])
        ]

    @property
    def cut(self) -> Cut:
        """How a text that is too long is truncated."""
        return Cut.of(self.tokenizer, self.max_tokens, self.truncates_left)

    def skipped(self, prefix: str) -> int:
        """Return how many leading tokens are not pooled: opening special tokens and the prefix's tokens, or none."""
        if self.pools_prefix or not prefix:
            return 0
        return len(self.tokenize([prefix])[0]) - closing_tokens(self.tokenizer)


@dataclass(frozen=True, slots=True)
class Batching:
    """How texts are grouped into batches.

    Attributes:
        tokens: Maximum number of tokens in a batch, padding included.
        overhead: Fixed cost of a batch, in tokens: a batch is split if that saves more padding than this.
    """

    tokens: int
    overhead: float = math.inf


def length_sorted_batches(lengths: Sequence[int], batching: Batching) -> Iterator[list[int]]:
    """Yield the row numbers of batches of texts of similar length, with `rows * longest` within the token limit.

    The longest texts come first, so that a batch that does not fit in memory fails right away.
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
    """Split a batch, longest first, in two if that saves more tokens than the overhead, then split each part again."""
    longest = lengths[batch[0]]
    saved, cut = max(((longest - lengths[row]) * (len(batch) - place), place) for place, row in enumerate(batch))
    if saved <= overhead:
        yield batch
    else:
        yield from _with_less_padding(batch[:cut], lengths, overhead)
        yield from _with_less_padding(batch[cut:], lengths, overhead)


@dataclass(frozen=True, slots=True)
class Cut:
    """Truncates the tokens of a text, or anything that runs along them, but keeps the special tokens around the text.

    Attributes:
        max_tokens: Maximum number of tokens, special tokens included.
        start: Position of the first token that is cut.
    """

    max_tokens: int
    start: int

    @classmethod
    def of(cls, tokenizer: Tokenizer, max_tokens: int, left: bool) -> Self:
        """Return the cut that drops the end of a text, or with `left` its beginning."""
        return cls(max_tokens, opening_tokens(tokenizer) if left else max_tokens - closing_tokens(tokenizer))

    def __call__(self, tokens: list[T]) -> list[T]:
        """Return at most `max_tokens` tokens."""
        excess = len(tokens) - self.max_tokens
        return tokens if excess <= 0 else tokens[: self.start] + tokens[self.start + excess :]


def opening_tokens(tokenizer: Tokenizer) -> int:
    """Return how many special tokens precede a text: 1 for BERT's [CLS]."""
    mask = tokenizer.encode("a").special_tokens_mask
    return next((i for i, special in enumerate(mask) if not special), 0)


def closing_tokens(tokenizer: Tokenizer) -> int:
    """Return how many special tokens follow a text: 1 for BERT's [SEP]."""
    mask = tokenizer.encode("a").special_tokens_mask
    return len(mask) - 1 - max((i for i, special in enumerate(mask) if not special), default=-1)


def check_max_tokens(checkpoint: Checkpoint, max_tokens: int | None) -> int:
    """Return `max_tokens` or the checkpoint's own limit; raise UsageError if the value is out of range."""
    limit = checkpoint.position_limit
    if max_tokens is None:
        return checkpoint.max_tokens
    if max_tokens < 8 or (limit and max_tokens > limit):
        most = f" and at most {limit}" if limit else ""
        raise UsageError(f"`max_tokens` must be at least 8{most} for this model, got {max_tokens}")
    return max_tokens


def check_prefix(tokenizer: Tokenizer, prefix: str, max_tokens: int) -> None:
    """Raise UsageError if a prefix leaves no room for a text."""
    length = len(tokenizer.encode(prefix).ids)
    if length >= max_tokens and not prefix:
        raise UsageError(
            f"the maximum length of {max_tokens} tokens leaves no room for a text beside {length} special tokens; "
            "raise `max_tokens`"
        )
    if length >= max_tokens:
        raise UsageError(
            f"the prefix {prefix[:40]!r} takes {length} of {max_tokens} tokens, which leaves no room for a text; "
            "shorten it, or raise `max_tokens`"
        )


def load_tokenizer(checkpoint: Checkpoint) -> tuple[Tokenizer, str]:
    """Return the fast tokenizer, without truncation or padding, and the sha256 of its definition.

    For a table of static token vectors, it adds no special tokens.

    Raises:
        ModelError: If there is no usable tokenizer, it has more tokens than the model, or it does not fit the model
            otherwise.
    """
    from tokenizers import normalizers

    runs_here("tokenizers")
    if checkpoint.table:
        tokenizer, digest = _table_tokenizer(checkpoint)
    else:
        tokenizer, digest = read_tokenizer(checkpoint.backbone, checkpoint.name, checkpoint.n_tokens)
    _check_encoding(tokenizer, checkpoint.name)
    _check_template(tokenizer, checkpoint)
    if checkpoint.lowercase:
        own = [tokenizer.normalizer] if tokenizer.normalizer else []
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, digest


def _table_tokenizer(checkpoint: Checkpoint) -> tuple[Tokenizer, str]:
    """Return the tokenizer of a table of static token vectors as sentence-transformers reads it, and its sha256."""
    from tokenizers import Tokenizer

    assert checkpoint.table
    file = checkpoint.backbone / "tokenizer.json"
    check_normalizer(read_json(file) or {}, checkpoint.name)
    try:
        with panics_as_errors():
            tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises nothing narrower
        interrupts.reraise(error)
        reason = first_line(error) if file.is_file() else "no tokenizer.json"
        raise ModelError(
            f"model {checkpoint.name!r}: no usable tokenizer in {checkpoint.backbone} ({reason:.200}); put the "
            "checkpoint's tokenizer.json there"
        ) from None
    tokenizer.post_processor = None
    n_tokens = tokenizer.get_vocab_size()
    if n_tokens > checkpoint.table.n_tokens:
        raise ModelError(
            f"model {checkpoint.name!r}: its tokenizer has {n_tokens:,} tokens, but its table has vectors for only "
            f"{checkpoint.table.n_tokens:,}; use the tokenizer that belongs to it"
        )
    return tokenizer, hash_file(file)


def _check_encoding(tokenizer: Tokenizer, name: str) -> None:
    """Raise ModelError for a tokenizer that fails on texts of characters that it does not know."""
    try:
        with panics_as_errors():
            tokenizer.encode(RARE)
    except Exception as error:  # tokenizers raises nothing narrower
        interrupts.reraise(error)
        raise ModelError(
            f"model {name!r}: its tokenizer fails on text that it does not know ({first_line(error):.200}); give it an "
            "unknown token, or use the tokenizer.json that belongs to the model"
        ) from None


def _check_template(tokenizer: Tokenizer, checkpoint: Checkpoint) -> None:
    """Raise ModelError for a tokenizer whose output would be used otherwise than sentence-transformers uses it."""
    if tokenizer.truncation and tokenizer.truncation["direction"] == "left" and not checkpoint.truncates_left:
        raise ModelError(
            f"model {checkpoint.name!r}: its tokenizer.json truncates texts on the left; set truncation_side to 'left' "
            "or 'right' in its tokenizer_config.json"
        )
    if any(tokenizer.encode("a").type_ids):
        raise ModelError(
            f"model {checkpoint.name!r}: its tokenizer puts parts of a text into another segment than the first, which "
            "semsearch does not support"
        )
