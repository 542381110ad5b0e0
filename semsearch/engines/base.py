"""The protocol of an engine, which cuts documents into passages and encodes them batch by batch.

An engine knows nothing about indexes: it receives the documents that need encoding and returns passages and vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from semsearch.types import Document, Passage

if TYPE_CHECKING:
    from semsearch.arrays import Vectors
    from semsearch.corpus.chunking import Chunking
    from semsearch.encoder.encoder import TextEncoder
    from semsearch.errors import RecordError

Tick: TypeAlias = Callable[[int, float], None]
"""Callback that receives the number of passages just encoded, and the share of the batch that is done, from 0 to 1.

It raises an error to abort the work."""


@dataclass(frozen=True, slots=True)
class EncodedDocument:
    """The passages of a document with their vectors, float32 `[passages, dim]`."""

    passages: tuple[Passage, ...]
    vectors: Vectors


class Work(Protocol):
    """A batch of documents that is being encoded."""

    def finish(self, tick: Tick) -> list[EncodedDocument | RecordError]:
        """Wait until the batch is encoded.

        Args:
            tick: Progress callback, called from this thread.

        Returns:
            For each document, its passages and vectors, or an error if its length is not allowed.

        Raises:
            ModelError: If the texts cannot be encoded.
        """
        ...

    def discard(self) -> None:
        """Delete what the engine has stored of the batch, once an index holds it."""
        ...


class Workers(Protocol):
    """An engine that is running for one encoder and one chunking."""

    @property
    def ahead(self) -> int:
        """Number of batches to begin before the oldest of them is finished; 0 if there is no use in any."""
        ...

    @property
    def shards(self) -> tuple[int, int]:
        """Number of files with encoded batches that were used, and how many of these an earlier run had made."""
        ...

    def begin(self, documents: Sequence[Document]) -> Work:
        """Begin to encode a batch of documents."""
        ...


class Engine(Protocol):
    """A way to encode documents, with its settings."""

    def start(self, encoder: TextEncoder, chunking: Chunking, location: str) -> AbstractContextManager[Workers]:
        """Start the engine, and stop it at the end of the context.

        Args:
            encoder: The encoder of the index.
            chunking: How to cut documents into passages.
            location: Location of the index, which files may be put beside.

        Raises:
            UsageError: If the engine cannot run this encoder, or the passage length does not fit the encoder.
            SemsearchError: If the engine cannot be started.
        """
        ...
