"""LangChain integration: a retriever, a vector store, embeddings and a reranker. Requires the extra `langchain`.

    from semsearch import Index
    from semsearch.integrations.langchain import SemsearchRetriever

    retriever = SemsearchRetriever(index=Index.open("indexes/notes"), k=4)
    retriever.invoke("why do my plants look thirsty")

`SemsearchRetriever` searches any existing index, however it was built, and returns passages. `SemsearchVectorStore`
stores LangChain's own documents and returns them whole, with their metadata. A `filter` has the same form as `where` in
`Index.search`.
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

    The metadata of a passage are those of its document plus `doc_id`, `title`, `start` and `end` (character offsets),
    `score` and `confidence`.

    Attributes:
        index: The index to search.
        k: Number of passages to retrieve, at least 1; `invoke(query, k=...)` takes precedence.
        where: A filter; see `Index.search`.
        mode: `dense`, `keyword` or `hybrid`; None for the index's default.
        unit: `passage`, or `document` for the best passage of each document.
        min_confidence: Leave out hits with a lower confidence, from 0 to 1; None to keep all.
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
    """A vector store backed by an index: each LangChain document is a document of the index with the same id.

    Long documents are cut into passages for encoding only; a document is found by its best passage and returned whole.
    """

    def __init__(self, index: Index, *, mode: str = "dense") -> None:
        """Create a vector store on an index.

        Args:
            index: The index, opened with `create=True` if it does not exist yet.
            mode: Search mode: `dense` (by vectors only), `hybrid` or `keyword`.
        """
        self.index, self._mode = index, mode
        self._given: Embeddings | None = None
        self._folder: TemporaryDirectory[str] | None = None

    @classmethod
    def open(cls, location: str | Path, embedding: Embeddings | None = None, *, mode: str = "dense") -> Self:
        """Open an index for LangChain's documents, or a location for a new one.

        Args:
            location: The folder of the index, or the URL of a database.
            embedding: Embeddings that compute the vectors; None for semsearch's own encoder. The index records their
                class, the name of the model and the number of dimensions, and rejects any other.
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
        """Make a vector store from texts.

        Args:
            texts: Texts to add.
            embedding: See `open`.
            metadatas: Metadata of each text.
            ids: Id of each text.
            location: The folder of the index, or the URL of a database; None for a temporary folder, which is deleted
                with the store.
            mode: See `__init__`.
        """
        folder = TemporaryDirectory(prefix="semsearch-", ignore_cleanup_errors=True) if location is None else None
        store = cls.open(folder.name if folder else str(location), embedding, mode=mode)
        store._folder = folder
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @property
    def embeddings(self) -> Embeddings:
        """The embeddings that compute the vectors."""
        return self._given or SemsearchEmbeddings(self.index.encoder)

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        batch_size: int | None = None,
    ) -> list[str]:
        """Add texts, replacing those with the same ids; unchanged texts are not encoded again.

        Args:
            texts: Texts to add.
            metadatas: Metadata of each text, as JSON values.
            ids: Id of each text; a new id is generated for every text if this is None, or for each text whose id is.
            batch_size: Ignored; LangChain's indexing API passes it, but the index chooses its own batches.

        Returns:
            The ids, in the order of the texts.

        Raises:
            ValueError: If the number of metadatas or ids differs from the number of texts.
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
        """Delete documents by id, or all documents if `ids` is None; unknown ids are ignored."""
        doomed = self.index.select() if ids is None else list(ids)
        if doomed and len(self.index):
            self.index.delete(doomed)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return documents by id, in the given order; unknown ids are left out."""
        return [_document(stored) for stored in self.index.documents(list(dict.fromkeys(ids))).values()]

    def similarity_search(self, query: str, k: int = 4, filter: Any = None) -> list[Document]:
        """Return the k documents that are most similar to a query, best first.

        Args:
            query: A question or a few words.
            k: Number of documents, at least 1.
            filter: Filter that documents must match; see `where` of `Index.search`.
        """
        return [document for document, _ in self.similarity_search_with_score(query, k, filter)]

    def similarity_search_with_score(self, query: str, k: int = 4, filter: Any = None) -> list[tuple[Document, float]]:
        """Return documents as `similarity_search` does, each with its score; see `Hit.score`."""
        return [(_document(stored), hit.score) for hit, stored in self._found(query, k, filter)]

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, filter: Any = None
    ) -> list[tuple[Document, float]]:
        """Return documents with their confidence, which is from 0 to 1 in every mode."""
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
            query: A question or a few words.
            k: Number of documents.
            fetch_k: Number of documents to choose from; their best passages are encoded again.
            lambda_mult: From 0 (maximum diversity) to 1 (relevance only).
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
    """LangChain embeddings computed by an encoder of semsearch, which are unit vectors if it ranks by cosine."""

    def __init__(self, encoder: TextEncoder) -> None:
        """Wrap an encoder, such as `Index.encoder` or `Encoder.load()`."""
        self.encoder = encoder

    @classmethod
    def load(cls, model: str | Path | None = None, pooler: str = "auto") -> Self:
        """Load an encoder; the arguments are those of `Encoder.load`."""
        return cls(Encoder.load(model, pooler))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Encode passages."""
        vectors: list[list[float]] = self.encoder.encode_documents(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Encode a query."""
        vector: list[float] = self.encoder.encode_queries([text])[0].tolist()
        return vector


class Scorer(Protocol):
    """An object that scores texts for a query, such as a reranker of semsearch."""

    def scores(self, query: str, passages: Sequence[str], /) -> Sequence[float]:
        """Return a score for each text, in the given order; higher is better."""
        ...


class SemsearchReranker(BaseDocumentCompressor):
    """Reranks documents from any retriever, best first, and adds their scores to the metadata as `relevance_score`.

    Attributes:
        reranker: A `Scorer` for the documents, such as `Index.reranker(...)`.
        top_n: Number of documents to keep; None for all.
    """

    reranker: Any
    top_n: int | None = 3

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return copies of the best documents, best first, with ties in the given order.

        Args:
            documents: Documents from any retriever.
            query: The query that they were retrieved for.
            callbacks: Ignored; part of LangChain's interface.
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
    """Wrap LangChain embeddings as an encoder for an index.

    Args:
        embedding: The embeddings.
        name: Name that the index records for them; None for their class and the name of their model.
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
