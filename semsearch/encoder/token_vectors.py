"""Encoding texts as one vector per token, for late interaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Vectors
from semsearch.encoder.checkpoints.record import Checkpoint
from semsearch.encoder.pooling import TOKENS
from semsearch.encoder.runtimes.base import QUANTIZED, Runtime
from semsearch.encoder.runtimes.load import load_runtime
from semsearch.encoder.runtimes.networks import PooledNetwork
from semsearch.encoder.texts import check_texts
from semsearch.encoder.token_parts import Span, tokenize
from semsearch.encoder.tokenization import Batcher
from semsearch.encoder.vectors import run
from semsearch.forks import ForkLock


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """Hidden states of a text's tokens, in text order.

    They include every token that takes part in pooling: special tokens, and those of a prefix unless the checkpoint
    excludes it from pooling. Tokens beyond `max_tokens` are not included.

    Attributes:
        vectors: Hidden states, float32 `[tokens, hidden]`, not rescaled.
        offsets: Character range of each token in the text, int64 `[tokens, 2]`, half open; -1, -1 for special tokens
            and tokens of the prefix.
    """

    vectors: Vectors
    offsets: NDArray[np.int64]


def offsets_of(spans: Sequence[Span]) -> NDArray[np.int64]:
    """Return the character offsets of tokens, as `TokenVectors` defines them."""
    places = [(-1, -1) if one.special or one.end <= 0 else (max(one.start, 0), one.end) for one in spans]
    return np.array(places, np.int64).reshape(-1, 2)


class TokenReader:
    """Runs the backbone of an encoder without its pooler; the backbone is loaded on first use."""

    def __init__(self, checkpoint: Checkpoint, batcher: Batcher, like: Runtime) -> None:
        """Store what to load later.

        Args:
            checkpoint: Checkpoint that holds the backbone.
            batcher: Batcher of the encoder.
            like: Runtime of the encoder. Of several devices, the first is used; of an 8-bit model, the float version.
        """
        self._checkpoint, self._batcher = checkpoint, batcher
        self._name, self._device = like.name, like.device.partition(",")[0]
        self._precision = "auto" if like.precision.startswith(QUANTIZED) else like.precision
        self._runtime: Runtime | None = None
        self._lock = ForkLock()

    def __call__(self, texts: Sequence[str], prefix: str) -> list[TokenVectors]:
        """Encode texts with the prefix in front; see `Encoder.encode_document_tokens`."""
        texts = check_texts(texts)
        tokenizer, cut = self._batcher.tokenizer, self._batcher.cut
        offsets = [offsets_of(tokenize(tokenizer, prefix, text, cut)[1]) for text in texts]
        found: dict[int, TokenVectors] = {}
        for batch, (states,) in run(self._loaded(), self._batcher, texts, prefix, self._checkpoint.name):
            for row, ids, vectors in zip(batch.rows.tolist(), batch.ids, states, strict=True):
                kept = vectors[batch.skip : len(ids)].copy()  # a copy, so that the rest of the batch can be freed
                found[row] = TokenVectors(kept, offsets[row][batch.skip :])
        return [found[row] for row in range(len(texts))]

    def _loaded(self) -> Runtime:
        with self._lock:
            if self._runtime is None:
                network = PooledNetwork(self._checkpoint, ((TOKENS, ()),), self._batcher.max_tokens)
                where = {"runtime": self._name, "device": self._device, "precision": self._precision}
                self._runtime = load_runtime(network, **where)
            return self._runtime
