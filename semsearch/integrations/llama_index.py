"""LlamaIndex integration: a retriever and a vector store. Requires the extra `llama-index`.

    from llama_index.core.query_engine import RetrieverQueryEngine
    from semsearch import Index
    from semsearch.integrations.llama_index import SemsearchRetriever

    engine = RetrieverQueryEngine.from_args(SemsearchRetriever(Index.open("indexes/notes")), llm=llm)

`SemsearchRetriever` searches any existing index, however it was built, and returns passages as nodes.
`SemsearchVectorStore` stores LlamaIndex's own nodes and returns them unchanged. It computes vectors from the text of
the nodes and ignores the embeddings that they carry, so a mock embedding model is sufficient:

    store = SemsearchVectorStore.open("indexes/nodes")
    index = VectorStoreIndex.from_vector_store(store, embed_model=MockEmbedding(embed_dim=1))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from semsearch import Hit, Index, TextEncoder
from semsearch.encoder.foreign import ForeignEncoder
from semsearch.errors import UsageError
from semsearch.filters.frameworks import NOTHING, all_of
from semsearch.filters.llamaindex import from_llamaindex
from semsearch.filters.syntax import Comparison, Filter
from semsearch.integrations.records import metadata_of, passage_id, search, select, to_document, whole
from semsearch.stores.base import StoredDocument

try:
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.schema import (
        BaseNode,
        MetadataMode,
        NodeRelationship,
        NodeWithScore,
        QueryBundle,
        RelatedNodeInfo,
        TextNode,
    )
    from llama_index.core.vector_stores.types import (
        BasePydanticVectorStore,
        MetadataFilters,
        VectorStoreQuery,
        VectorStoreQueryMode,
        VectorStoreQueryResult,
    )
    from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict
except ModuleNotFoundError as error:
    raise ImportError(
        f"{__name__} needs llama-index-core, which is not installed ({error}); pip install 'semsearch[llama-index]'"
    ) from None

SOURCE, CONTENT, KIND = "ref_doc_id", "_node_content", "_node_type"
"""Metadata fields in which LlamaIndex stores the source document of a node, the node as JSON, and its class."""

OWN = (SOURCE, CONTENT, KIND, "document_id", "doc_id")
"""All metadata fields that LlamaIndex adds."""

MODES: dict[VectorStoreQueryMode, str] = {
    VectorStoreQueryMode.DEFAULT: "dense",
    VectorStoreQueryMode.HYBRID: "hybrid",
    VectorStoreQueryMode.SEMANTIC_HYBRID: "hybrid",
    VectorStoreQueryMode.TEXT_SEARCH: "keyword",
    VectorStoreQueryMode.SPARSE: "keyword",
}
"""LlamaIndex's query modes and the corresponding search modes."""


class SemsearchRetriever(BaseRetriever):
    """Retrieves the passages of an index that answer a question, as nodes, best first.

    The metadata of a node are those of its document plus `doc_id`, `title` and `confidence`; its source node is the
    document.
    """

    def __init__(
        self,
        index: Index,
        similarity_top_k: int = 4,
        *,
        filters: MetadataFilters | None = None,
        mode: str | None = None,
        unit: str = "passage",
        min_confidence: float | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        """Create a retriever for an index.

        Args:
            index: The index to search.
            similarity_top_k: Number of passages to retrieve, at least 1.
            filters: Filters that documents must match.
            mode: `dense`, `keyword` or `hybrid`; None for the index's default.
            unit: `passage`, or `document` for the best passage of each document.
            min_confidence: Leave out hits with a lower confidence, from 0 to 1; None to keep all.
            callback_manager: LlamaIndex's callback manager.
        """
        self._index, self._k, self._where = index, similarity_top_k, _tree(filters)
        self._wishes: dict[str, Any] = {"mode": mode, "unit": unit, "min_confidence": min_confidence}
        super().__init__(callback_manager=callback_manager)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = search(self._index, query_bundle.query_str, self._k, self._where, **self._wishes)
        return [NodeWithScore(node=_passage(hit), score=hit.score) for hit in hits]


class SemsearchVectorStore(BasePydanticVectorStore):
    """A vector store backed by an index: each node is a document of the index with the same id.

    Long nodes are cut into passages for encoding only; a node is found by its best passage and returned whole.
    """

    stores_text: bool = True
    is_embedding_query: bool = False  # queries arrive as text, which the index encodes
    _index: Index = PrivateAttr()

    def __init__(self, index: Index) -> None:
        """Create a vector store on an index, which must be opened with `create=True` if it does not exist yet."""
        super().__init__()
        self._index = index

    @classmethod
    def open(cls, location: str | Path, embed_model: BaseEmbedding | None = None) -> Self:
        """Open an index for LlamaIndex's nodes, or a location for a new one.

        Args:
            location: The folder of the index, or the URL of a database.
            embed_model: Model that computes the vectors; None for semsearch's own encoder. The index records its class,
                the name of its model and the number of dimensions, and rejects any other.
        """
        encoder = None if embed_model is None else encoder_of(embed_model)
        return cls(Index.open(location, create=True, encoder=encoder))

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows this class."""
        return "SemsearchVectorStore"

    @property
    def client(self) -> Index:
        """The underlying index."""
        return self._index

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Add nodes, replacing those with the same ids; unchanged nodes are not encoded again.

        Args:
            nodes: Nodes to add; their metadata must be JSON values.
            **kwargs: Ignored; LlamaIndex passes them to every store.

        Returns:
            The ids of the nodes.
        """
        documents = {
            node.node_id: to_document(
                node.node_id,
                node.get_content(MetadataMode.NONE),
                node_to_metadata_dict(node, remove_text=True, flat_metadata=False),
            )
            for node in nodes
        }
        if documents:
            self._index.add(list(documents.values()))
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of a source document.

        Args:
            ref_doc_id: Id of the source document.
            **delete_kwargs: Ignored; LlamaIndex passes them to every store.
        """
        self._delete(select(self._index, Comparison((SOURCE,), "=", (ref_doc_id,))))

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Delete the nodes that have one of the ids and match the filters; without ids and filters, delete nothing.

        Args:
            node_ids: Ids of nodes; None for any id.
            filters: Filters that nodes must match; None for no filter.
            **delete_kwargs: Ignored; LlamaIndex passes them to every store.
        """
        if node_ids is not None or filters is not None:
            self._delete(self._selected(node_ids, filters))

    def clear(self) -> None:
        """Delete all nodes."""
        self._delete(self._index.select())

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Return the nodes that have one of the ids and match the filters, oldest first."""
        return [_node(stored) for stored in self._index.documents(self._selected(node_ids, filters)).values()]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Search for nodes.

        Args:
            query: The query. Its text is searched, not its embedding, in one of the MODES. `similarity_top_k`,
                `hybrid_top_k`, `filters`, `node_ids` and `doc_ids` are respected.
            **kwargs: Ignored; LlamaIndex passes them to every store.

        Raises:
            UsageError: If the query has no text, has an unsupported mode, or sets `alpha`.
        """
        if query.mode not in MODES:
            known = ", ".join(mode.value for mode in MODES)
            raise UsageError(f"query mode {getattr(query.mode, 'value', query.mode)!r}; expected one of {known}")
        if not query.query_str:
            raise UsageError("the query has no text; the index encodes queries itself, so set `query_str`")
        if query.alpha is not None:
            raise UsageError("`alpha` is not supported: hybrid search weights both scores equally; leave it out")
        parts = [_tree(query.filters), _one_of(("doc_id",), query.node_ids), _one_of((SOURCE,), query.doc_ids)]
        where = all_of([part for part in parts if part is not None])
        k = query.hybrid_top_k if MODES[query.mode] == "hybrid" and query.hybrid_top_k else query.similarity_top_k
        hits = whole(self._index, search(self._index, query.query_str, k, where, MODES[query.mode]))
        return VectorStoreQueryResult(
            nodes=[_node(stored) for _, stored in hits],
            similarities=[hit.score for hit, _ in hits],
            ids=[hit.doc_id for hit, _ in hits],
        )

    def _selected(self, node_ids: list[str] | None, filters: MetadataFilters | None) -> list[str]:
        named = NOTHING if node_ids is not None and not node_ids else _one_of(("doc_id",), node_ids)
        return select(self._index, all_of([part for part in (named, _tree(filters)) if part is not None]))

    def _delete(self, node_ids: list[str]) -> None:
        if node_ids:
            self._index.delete(node_ids)


def encoder_of(embed_model: BaseEmbedding, name: str | None = None) -> TextEncoder:
    """Wrap a LlamaIndex embedding model as an encoder for an index.

    Args:
        embed_model: The embedding model.
        name: Name that the index records for it; None for its class and the name of its model.
    """
    known = f"llama-index/{embed_model.class_name()}/{embed_model.model_name}"
    embed: Callable[[list[str]], list[list[float]]] = embed_model.get_text_embedding_batch
    return ForeignEncoder(name or known, lambda texts: [embed_model.get_query_embedding(text) for text in texts], embed)


def _tree(filters: MetadataFilters | None) -> Filter | None:
    return None if filters is None else from_llamaindex(filters.model_dump(mode="json"))


def _one_of(path: tuple[str, ...], values: Sequence[str] | None) -> Filter | None:
    return Comparison(path, "in", tuple(values)) if values else None


def _node(stored: StoredDocument) -> BaseNode:
    """Restore the node that a document was made from; a document from elsewhere becomes a new text node."""
    metadata = metadata_of(stored)
    if CONTENT in metadata:
        return metadata_dict_to_node(metadata, text=stored.text)
    return TextNode(id_=stored.doc_id, text=stored.text, metadata=metadata)


def _passage(hit: Hit) -> TextNode:
    metadata = metadata_of(hit)
    if CONTENT in metadata:
        metadata = {name: value for name, value in metadata.items() if name not in OWN}
    own = {"doc_id": hit.doc_id, "title": hit.title, "confidence": hit.confidence}
    return TextNode(
        id_=passage_id(hit),
        text=hit.text,
        metadata={**metadata, **own},
        start_char_idx=hit.start,
        end_char_idx=hit.end,
        excluded_embed_metadata_keys=list(own),
        excluded_llm_metadata_keys=["confidence"],
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=hit.doc_id)},
    )
