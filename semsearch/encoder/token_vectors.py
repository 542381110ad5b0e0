"""Texts to one vector a token: what late interaction compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Vectors
from semsearch.encoder.checkpoint import Checkpoint
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
    """The hidden states of a text's tokens, in the order of the text.

    All tokens that take part in pooling are here: special tokens, and those of a prefix unless the checkpoint leaves it
    out of pooling. What lay beyond `max_tokens` is not.

    Attributes:
        vectors: Float32 `[tokens, hidden]`, not rescaled.
        offsets: Characters of the text that each token stands for, int64 `[tokens, 2]`, half open; -1, -1 for special
            tokens and those of the prefix.
    """

    vectors: Vectors
    offsets: NDArray[np.int64]


def offsets_of(spans: Sequence[Span]) -> NDArray[np.int64]:
    """Where tokens stand in their text, as `TokenVectors` has it."""
    places = [(-1, -1) if one.special or one.end <= 0 else (max(one.start, 0), one.end) for one in spans]
    return np.array(places, np.int64).reshape(-1, 2)


class TokenReader:
    """Runs the backbone of an encoder without its pooler, which it loads when first asked for tokens."""

    def __init__(self, checkpoint: Checkpoint, batcher: Batcher, like: Runtime) -> None:
        """Note what to load.

        Args:
            checkpoint: With the backbone.
            batcher: Of the encoder.
            like: The encoder's runtime; on several devices the first is taken, and float where it computes in 8 bits.
        """
        self._checkpoint, self._batcher = checkpoint, batcher
        self._name, self._device = like.name, like.device.partition(",")[0]
        self._precision = "auto" if like.precision.startswith(QUANTIZED) else like.precision
        self._runtime: Runtime | None = None
        self._lock = ForkLock()

    def __call__(self, texts: Sequence[str], prefix: str) -> list[TokenVectors]:
        """Encode texts with the prefix in front; see `Encoder.encode_document_tokens`."""
        texts = check_texts(texts)
        tokenizer, longest = self._batcher.tokenizer, self._batcher.max_tokens
        offsets = [offsets_of(tokenize(tokenizer, prefix, text, longest)[1]) for text in texts]
        found: dict[int, TokenVectors] = {}
        for batch, (states,) in run(self._loaded(), self._batcher, texts, prefix, self._checkpoint.name):
            for row, ids, vectors in zip(batch.rows.tolist(), batch.ids, states, strict=True):
                kept = vectors[batch.skip : len(ids)].copy()  # which lets go of the rest of the batch
                found[row] = TokenVectors(kept, offsets[row][batch.skip :])
        return [found[row] for row in range(len(texts))]

    def _loaded(self) -> Runtime:
        with self._lock:
            if self._runtime is None:
                network = PooledNetwork(self._checkpoint, ((TOKENS, ()),))
                where = {"runtime": self._name, "device": self._device, "precision": self._precision}
                self._runtime = load_runtime(network, **where)
            return self._runtime
