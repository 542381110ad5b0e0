"""An encoder for an index whose texts go through a queue."""

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
    """An encoder for an index whose texts go through a queue; waits for their vectors in the calling thread."""

    queue: EncodingQueue

    @property
    def spec(self) -> EncoderSpec:
        """As the encoder's."""
        return self.queue.encoder.spec

    @property
    def tokenizer(self) -> Tokenizer:
        """As the encoder's."""
        return self.queue.encoder.tokenizer

    @property
    def artifacts(self) -> Mapping[str, Path]:
        """As the encoder's."""
        return self.queue.encoder.artifacts

    def quantize(self, texts: Sequence[str]) -> TextEncoder:
        """As the encoder's; not through the queue."""
        return self.queue.encoder.quantize(texts)

    def encode_query_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """As the encoder's; not through the queue."""
        return self._reader.encode_query_tokens(texts)

    def encode_document_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """As the encoder's; not through the queue."""
        return self._reader.encode_document_tokens(texts)

    @property
    def _reader(self) -> Encoder:
        """The encoder as one that gives the vectors of tokens; raises UsageError where it gives none."""
        encoder = self.queue.encoder
        if not isinstance(encoder, Encoder):
            raise UsageError(f"the model {self.spec.model!r} gives no vectors of tokens; search without `rerank`")
        return encoder

    def split_documents(self, texts: Sequence[str]) -> list[TokenParts]:
        """As the encoder's; not through the queue, and one at a time."""
        with self.queue.splitting:
            return self.queue.encoder.split_documents(texts)

    def encode_queries(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode queries, a few of them ahead of bulk: float32 `[n, dim]`."""
        return self._encode(texts, "query", lane_of(len(texts)), progress)

    def encode_documents(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode passages when no query waits: float32 `[n, dim]`; waits for room in the queue."""
        return self._encode(texts, "document", BULK, progress)

    def _encode(self, texts: Sequence[str], role: str, lane: int, progress: Progress | None) -> Vectors:
        lengths = self.queue.lengths(texts, role)
        vectors = self.queue.submit(texts, role, lengths, lane=lane, wait=lane == BULK).result()
        if progress:
            progress(len(texts))
        return vectors
