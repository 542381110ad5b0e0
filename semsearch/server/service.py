"""What routers ask: searches, documents and vectors of the served indexes, on behalf of one who may see some of them.

Nothing here knows HTTP. Every method is asynchronous, checks the access first, and raises the errors of
semsearch.errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from semsearch.server.keys import EVERYTHING, READ, WRITE, Access
from semsearch.server.shelf import Shelf

if TYPE_CHECKING:
    from semsearch.arrays import Vectors
    from semsearch.corpus.readers import Corpus
    from semsearch.corpus.sources import ReadOptions
    from semsearch.filters.read import Where
    from semsearch.ingest import IngestResult
    from semsearch.server.settings import Settings
    from semsearch.stores.base import StoredDocument
    from semsearch.types import EncoderSpec, Hit


@dataclass(frozen=True, slots=True)
class Answer:
    """The hits of a search.

    Attributes:
        hits: Best first.
        mode: How they were found: `dense`, `keyword` or `hybrid`.
        warming: Whether the words alone were compared because the model is not loaded yet.
    """

    hits: list[Hit]
    mode: str
    warming: bool = False


@dataclass(frozen=True, slots=True)
class Encoded:
    """Vectors of texts.

    Attributes:
        vectors: float32 `[n, dim]`, in the order of the texts.
        tokens: How many tokens of each text the encoder saw, special tokens and prefix included.
    """

    vectors: Vectors
    tokens: list[int]


@dataclass(frozen=True)
class Service:
    """The served indexes, as one who asks may see them; `for_` gives the same for somebody else."""

    shelf: Shelf
    settings: Settings
    access: Access = EVERYTHING

    def for_(self, access: Access) -> Service:
        """The same indexes, as somebody with this access sees them."""
        return replace(self, access=access)

    @property
    def names(self) -> list[str]:
        """The indexes that may be seen, in the order in which they were given."""
        return self.access.names(self.shelf.names)

    async def search(
        self,
        name: str,
        query: str,
        k: int = 10,
        *,
        mode: str | None = None,
        where: Where | None = None,
        fusion: str = "convex",
        unit: str = "document",
        min_confidence: float | None = None,
    ) -> Answer:
        """Search an index; see `Index.search`. While its model is being loaded, any mode is answered by keyword search.

        Raises:
            UnknownIndexError, ForbiddenError: The index may not be read.
            TooLargeError: The query is too long, or k too large.
            OverloadedError: Too many searches are waiting.
        """
        self._read(name)
        raise NotImplementedError

    async def search_vector(
        self, name: str, vector: Sequence[float], k: int = 10, *, where: Where | None = None, unit: str = "document"
    ) -> Answer:
        """Search an index by a vector of its encoder `[dim]`, by cosine."""
        self._read(name)
        raise NotImplementedError

    async def documents(self, name: str, doc_ids: Sequence[str]) -> dict[str, StoredDocument]:
        """Whole documents by their ids, in the order given; ids that are not there are left out."""
        self._read(name)
        raise NotImplementedError

    async def add(self, name: str, corpus: Corpus, *, options: ReadOptions | None = None) -> IngestResult:
        """Add documents, in place of those with their ids; what was added when this returns survives any crash."""
        self._write(name)
        raise NotImplementedError

    async def delete(self, name: str, doc_ids: Sequence[str]) -> list[str]:
        """Delete documents; returns the ids that were there."""
        self._write(name)
        raise NotImplementedError

    async def encode(self, name: str, texts: Sequence[str], role: str = "query") -> Encoded:
        """Encode texts as the index does, as a `query` or a `document`; waits until the model is loaded.

        Raises:
            TooLargeError: More texts than the server takes at once.
            OverloadedError: Too many texts are waiting.
            NotReadyError: The model is still being loaded when the time is up.
            ModelError: It cannot be loaded.
        """
        self._read(name)
        raise NotImplementedError

    async def spec(self, name: str) -> EncoderSpec:
        """The encoder of an index, without loading it: its model's name, dimension, maximal length and so on."""
        self._read(name)
        raise NotImplementedError

    async def status(self, name: str) -> Mapping[str, Any]:
        """See `Index.status`."""
        self._read(name)
        raise NotImplementedError

    def _read(self, name: str) -> None:
        self.access.require(READ, name, self.shelf.names)

    def _write(self, name: str) -> None:
        self.access.require(WRITE, name, self.shelf.names)
