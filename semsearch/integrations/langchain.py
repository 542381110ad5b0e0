"""LangChain: a retriever, a vector store, embeddings and a reranker. Needs the extra `langchain`.

    from semsearch import Index
    from semsearch.integrations.langchain import SemsearchRetriever

    retriever = SemsearchRetriever(index=Index.open("indexes/notes"), k=4)
    retriever.invoke("why do my plants look thirsty")

`SemsearchRetriever` searches an index that stands, whatever filled it, and returns passages. `SemsearchVectorStore` is
for LangChain's own documents: what is added comes back whole, with the metadata it had. A `filter` is what
`Index.search` takes as `where`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, Self
from uuid import uuid4

import numpy as np

from semsearch import Encoder, Hit, Index, TextEncoder
from semsearch.encoder.foreign import ForeignEncoder
from semsearch.integrations.records import metadata_of, passage_id, to_document, whole
from semsearch.stores.base import StoredDocument

try:
    from langchain_core.callbacks import CallbackManagerForRetrieverRun, Callbacks
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables.config import run_in_executor
    from langchain_core.vectorstores import VectorStore
    from langchain_core.vectorstores.utils import maximal_marginal_relevance
except ModuleNotFoundError as error:
    raise ImportError(
        f"{__name__} needs langchain-core, which is not installed ({error}); pip install 'semsearch[langchain]'"
    ) from None


class SemsearchRetriever(BaseRetriever):
    """Retrieves the passages of an index that answer a question, best first.

    The metadata of a passage is its document's, and `doc_id`, `title`, `start`, `end` (character offsets), `score` and
    `confidence`.

    Attributes:
        index: What is searched.
        k: How many passages, at least 1; `invoke(query, k=...)` takes precedence.
        where: A filter, see `Index.search`.
        mode: `dense`, `keyword` or `hybrid`; None for the index's default.
        unit: `passage`, or `document` for the best passage of each document.
        min_confidence: Leave out what is less sure, from 0 to 1; None for nothing.
    """

    index: Index
    k: int = 4
    where: Any = None
    mode: str | None = None
    unit: str = "passage"
    min_confidence: float | None = None

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        hits = self.index.search(
            query,
            self.k if k is None else k,
            mode=self.mode,
            where=self.where,
            unit=self.unit,
            min_confidence=self.min_confidence,
        )
        return [_passage(hit) for hit in hits]


class SemsearchVectorStore(VectorStore):
    """A vector store over an index: each of LangChain's documents is one of the index's, under the same id.

    A long document is cut into passages for the encoder alone; it is found by its best passage and returned whole.
    """

    def __init__(self, index: Index, *, mode: str = "dense") -> None:
        """Take an index, which may be one to be made.

        Args:
            index: Opened with `create=True` where there is none yet.
            mode: How it is searched: `dense` (by the vectors alone), `hybrid` or `keyword`.
        """
        self.index, self._mode = index, mode
        self._given: Embeddings | None = None
        self._folder: TemporaryDirectory[str] | None = None

    @classmethod
    def open(cls, location: str | Path, embedding: Embeddings | None = None, *, mode: str = "dense") -> Self:
        """Open an index for LangChain's documents, or a place for a new one.

        Args:
            location: A folder.
            embedding: Makes the vectors; an index remembers its class, its model's name and the length of a vector, and
                refuses another. None for semsearch's own encoder.
            mode: See `__init__`.
        """
        encoder = None if embedding is None else encoder_of(embedding)
        store = cls(Index.open(location, create=True, encoder=encoder), mode=mode)
        store._given = embedding
        return store

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        location: str | Path | None = None,
        mode: str = "dense",
    ) -> Self:
        """Make a vector store of texts.

        Args:
            texts: To be added.
            embedding: See `open`.
            metadatas: One for each text.
            ids: One for each text.
            location: A folder; None for a temporary one, which goes with the store.
            mode: See `__init__`.
        """
        folder = TemporaryDirectory(prefix="semsearch-", ignore_cleanup_errors=True) if location is None else None
        store = cls.open(folder.name if folder else str(location), embedding, mode=mode)
        store._folder = folder
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @property
    def embeddings(self) -> Embeddings:
        """What makes the vectors."""
        return self._given or SemsearchEmbeddings(self.index.encoder)

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        batch_size: int | None = None,
    ) -> list[str]:
        """Add texts, in place of those with their ids; what is unchanged is not embedded again.

        Args:
            texts: To be added.
            metadatas: One for each text; JSON values.
            ids: One for each text; None, as the whole or for a text, for a new one.
            batch_size: Given by LangChain's indexing; batches are made by what they hold, so it is not used.

        Returns:
            The ids, in the order of the texts.

        Raises:
            ValueError: There are more or fewer metadatas or ids than texts.
        """
        listed = list(texts)
        for name, given in (("metadatas", metadatas), ("ids", ids)):
            if given and len(given) != len(listed):
                raise ValueError(f"{len(given)} {name} for {len(listed)} texts; expected one for each")
        named = [one or str(uuid4()) for one in ids or [""] * len(listed)]
        described = metadatas or [{}] * len(listed)
        documents = {
            doc_id: to_document(doc_id, text, metadata or {})
            for doc_id, text, metadata in zip(named, listed, described, strict=True)
        }
        if documents:
            self.index.add(list(documents.values()))
        return named

    def delete(self, ids: list[str] | None = None) -> bool:
        """Delete documents, or all for None; ids that are not there are no error."""
        doomed = self.index.select() if ids is None else list(ids)
        if doomed and len(self.index):
            self.index.delete(doomed)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return documents by their ids, in this order; ids that are not there are left out."""
        return [_document(stored) for stored in self.index.documents(list(dict.fromkeys(ids))).values()]

    def similarity_search(self, query: str, k: int = 4, filter: Any = None) -> list[Document]:
        """Return the k documents that are most similar to a query, best first.

        Args:
            query: In plain words.
            k: How many, at least 1.
            filter: Only documents that meet it, see `where` of `Index.search`.
        """
        return [document for document, _ in self.similarity_search_with_score(query, k, filter)]

    def similarity_search_with_score(self, query: str, k: int = 4, filter: Any = None) -> list[tuple[Document, float]]:
        """Return documents as `similarity_search` does, each with its score: a cosine in `dense`, higher is better."""
        return [(_document(stored), hit.score) for hit, stored in self._found(query, k, filter)]

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, filter: Any = None
    ) -> list[tuple[Document, float]]:
        """Return documents with the confidence in them, which is from 0 to 1 whatever the mode."""
        return [(_document(stored), hit.confidence or 0.0) for hit, stored in self._found(query, k, filter)]

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, filter: Any = None
    ) -> list[tuple[Document, float]]:
        found: list[tuple[Document, float]] = await run_in_executor(
            None, self._similarity_search_with_relevance_scores, query, k, filter
        )
        return found

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, filter: Any = None
    ) -> list[Document]:
        """Return k documents that answer a query and differ from one another.

        Args:
            query: In plain words.
            k: How many.
            fetch_k: Documents that they are chosen from; their best passages are encoded once more.
            lambda_mult: 1 for the best alone, 0 for the most different.
            filter: See `similarity_search`.
        """
        found = self._found(query, max(k, fetch_k), filter)
        if not found:
            return []
        encoder = self.index.encoder
        vectors = encoder.encode_documents([hit.text for hit, _ in found])
        chosen = maximal_marginal_relevance(np.ravel(encoder.encode_queries([query])), list(vectors), lambda_mult, k)
        return [_document(found[place][1]) for place in chosen]

    def _found(self, query: str, k: int, where: Any) -> list[tuple[Hit, StoredDocument]]:
        return whole(self.index, self.index.search(query, k, mode=self._mode, where=where))


class SemsearchEmbeddings(Embeddings):
    """LangChain's embeddings by one of semsearch's encoders: unit vectors."""

    def __init__(self, encoder: TextEncoder) -> None:
        """Take an encoder, such as `Index.encoder` or `Encoder.load()`."""
        self.encoder = encoder

    @classmethod
    def load(cls, model: str | Path | None = None, pooler: str = "auto") -> Self:
        """Load an encoder; arguments as for `Encoder.load`."""
        return cls(Encoder.load(model, pooler))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed passages."""
        vectors: list[list[float]] = self.encoder.encode_documents(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Embed a query."""
        vector: list[float] = self.encoder.encode_queries([text])[0].tolist()
        return vector


class Scorer(Protocol):
    """What scores texts for a query, such as a reranker of semsearch's."""

    def scores(self, query: str, passages: Sequence[str], /) -> Sequence[float]:
        """A score for each text, in the order given; higher is better."""
        ...


class SemsearchReranker(BaseDocumentCompressor):
    """Reranks documents that any retriever found: the best first, each with its score as `relevance_score`.

    Attributes:
        reranker: What scores them.
        top_n: How many are kept; None for all.
    """

    reranker: Any
    top_n: int | None = 3

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return the best documents, best first, equal ones in the order given; these stay as they are.

        Args:
            documents: Of any retriever.
            query: In plain words.
            callbacks: LangChain's; not used.
        """
        if not documents:
            return []
        scorer: Scorer = self.reranker
        scores = [float(score) for score in scorer.scores(query, [document.page_content for document in documents])]
        ranked = sorted(zip(scores, documents, strict=True), key=lambda pair: -pair[0])[: self.top_n]
        return [
            document.model_copy(update={"metadata": {**document.metadata, "relevance_score": score}})
            for score, document in ranked
        ]


def encoder_of(embedding: Embeddings, name: str | None = None) -> TextEncoder:
    """Return LangChain's embeddings as an encoder for an index.

    Args:
        embedding: Embeds queries and documents.
        name: What an index knows it by; None for its class and the name of its model.
    """
    if isinstance(embedding, SemsearchEmbeddings):
        return embedding.encoder
    named = [getattr(embedding, field, None) for field in ("model", "model_name")]
    known = "/".join(["langchain", type(embedding).__name__, *[one for one in named if isinstance(one, str)][:1]])
    return ForeignEncoder(
        name or known, lambda texts: [embedding.embed_query(text) for text in texts], embedding.embed_documents
    )


def _document(stored: StoredDocument) -> Document:
    return Document(id=stored.doc_id, page_content=stored.text, metadata=metadata_of(stored))


def _passage(hit: Hit) -> Document:
    place = {"doc_id": hit.doc_id, "title": hit.title, "start": hit.start, "end": hit.end}
    found = {"score": hit.score, "confidence": hit.confidence}
    return Document(id=passage_id(hit), page_content=hit.text, metadata={**metadata_of(hit), **place, **found})
