"""An encoder for an index that submits its texts to a queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semsearch.arrays import Vectors
from semsearch.encoder.encoder import Encoder, Progress, TextEncoder
from semsearch.encoder.token_parts import TokenParts
from semsearch.encoder.token_vectors import TokenVectors
from semsearch.errors import UsageError
from semsearch.server.batching import BULK, EncodingQueue, lane_of
from semsearch.types import EncoderSpec

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class QueuedEncoder:
    """An encoder for an index that submits texts to a queue and waits for their vectors in the calling thread."""

    queue: EncodingQueue

    @property
    def spec(self) -> EncoderSpec:
        """Everything that determines a vector, as in the queue's encoder."""
        return self.queue.encoder.spec

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the queue's encoder."""
        return self.queue.encoder.tokenizer

    @property
    def artifacts(self) -> Mapping[str, Path]:
        """The artifacts of the queue's encoder."""
        return self.queue.encoder.artifacts

    def quantize(self, texts: Sequence[str]) -> TextEncoder:
        """Return an 8-bit version of the queue's encoder, bypassing the queue."""
        return self.queue.encoder.quantize(texts)

    def encode_query_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the token vectors of queries, bypassing the queue."""
        return self._reader.encode_query_tokens(texts)

    def encode_document_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the token vectors of passages, bypassing the queue."""
        return self._reader.encode_document_tokens(texts)

    @property
    def _reader(self) -> Encoder:
        """The queue's encoder, typed as one that returns token vectors; raises UsageError if it cannot."""
        encoder = self.queue.encoder
        if not isinstance(encoder, Encoder):
            raise UsageError(f"the model {self.spec.model!r} has no token vectors; search without `rerank`")
        return encoder

    def split_documents(self, texts: Sequence[str]) -> list[TokenParts]:
        """Split vectors into the contributions of tokens, bypassing the queue, one call at a time."""
        with self.queue.splitting:
            return self.queue.encoder.split_documents(texts)

    def encode_queries(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode queries as float32 `[n, dim]`; a few queries go ahead of bulk requests."""
        return self._encode(texts, "query", lane_of(len(texts)), progress)

    def encode_documents(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode passages as float32 `[n, dim]` in the bulk lane, waiting while the queue is full."""
        return self._encode(texts, "document", BULK, progress)

    def _encode(self, texts: Sequence[str], role: str, lane: int, progress: Progress | None) -> Vectors:
        lengths = self.queue.lengths(texts, role)
        vectors = self.queue.submit(texts, role, lengths, lane=lane, wait=lane == BULK).result()
        if progress:
            progress(len(texts))
        return vectors
