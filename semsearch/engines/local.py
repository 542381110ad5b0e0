"""The local engine, which is the default: it encodes on this machine, in the process that writes the index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

import numpy as np

from semsearch.corpus.chunking import Chunker, Chunking
from semsearch.encoder.encoder import TextEncoder
from semsearch.encoder.vectors import check_finite
from semsearch.engines.base import EncodedDocument, Tick, Workers
from semsearch.errors import RecordError
from semsearch.types import Document, Passage


def chunker_of(encoder: TextEncoder, chunking: Chunking) -> Chunker:
    """Return what cuts documents into passages for an encoder.

    Raises:
        UsageError: If the passage length does not fit the encoder.
    """
    return Chunker(encoder.tokenizer, encoder.spec.max_tokens, encoder.spec.passage_prefix, chunking)


class LocalEngine:
    """Encodes in the calling process."""

    @contextmanager
    def start(self, encoder: TextEncoder, chunking: Chunking, location: str) -> Iterator[Workers]:
        """See `Engine.start`."""
        yield LocalWorkers(encoder, chunker_of(encoder, chunking))


@dataclass(frozen=True, slots=True)
class LocalWorkers:
    """Cuts a batch when it begins, and encodes it when it is to be finished, which may be in another thread."""

    encoder: TextEncoder
    chunker: Chunker
    ahead: ClassVar[int] = 0
    shards: ClassVar[tuple[int, int]] = (0, 0)

    def begin(self, documents: Sequence[Document]) -> LocalWork:
        """See `Workers.begin`."""
        return LocalWork(self.encoder, self.chunker.passages(documents))


@dataclass(frozen=True, slots=True)
class LocalWork:
    """Documents that are cut into passages, but not encoded yet."""

    encoder: TextEncoder
    cut: Sequence[tuple[Passage, ...] | RecordError]

    def finish(self, tick: Tick) -> list[EncodedDocument | RecordError]:
        """See `Work.finish`."""
        good = [passages for passages in self.cut if not isinstance(passages, RecordError)]
        passages = [passage for each in good for passage in each]
        texts = [passage.encoded_text for passage in passages]
        vectors = self.encoder.encode_documents(texts, _Counter(passages, tick).add)
        check_finite(vectors, texts, self.encoder.spec.model)  # for any encoder, because stored vectors are permanent
        ends = np.cumsum([len(each) for each in good], dtype=int)
        parts = iter(np.split(vectors, ends[:-1]))
        return [each if isinstance(each, RecordError) else EncodedDocument(each, next(parts)) for each in self.cut]

    def discard(self) -> None:
        """See `Work.discard`; nothing is stored."""


class _Counter:
    """Counts encoded passages, and how much of the work they are."""

    def __init__(self, passages: Sequence[Passage], tick: Tick) -> None:
        tokens = sorted((one.n_tokens - one.n_lost for one in passages), reverse=True)  # as an encoder takes them
        self._done, self._n, self._tick = list(accumulate(tokens, initial=0)), 0, tick

    def add(self, texts: int) -> None:
        """Count texts that have just been encoded."""
        self._n += texts
        self._tick(texts, self._done[min(self._n, len(self._done) - 1)] / max(self._done[-1], 1))
