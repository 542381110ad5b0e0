"""LlamaIndex: a retriever and a vector store. Needs the extra `llama-index`.

    from llama_index.core.query_engine import RetrieverQueryEngine
    from semsearch import Index
    from semsearch.integrations.llama_index import SemsearchRetriever

    engine = RetrieverQueryEngine.from_args(SemsearchRetriever(Index.open("indexes/notes")), llm=llm)

`SemsearchRetriever` searches an index that stands, whatever filled it, and returns passages as nodes.
`SemsearchVectorStore` is for LlamaIndex's own nodes, which come back as they were. It makes the vectors itself, of a
node's text, and takes no notice of those that nodes bring along, so an embedding model that costs nothing will do:

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
"""Fields in which LlamaIndex keeps of what a node is a part, and the node itself as JSON."""

OWN = (SOURCE, CONTENT, KIND, "document_id", "doc_id")
"""Every field that it adds."""

MODES: dict[VectorStoreQueryMode, str] = {
    VectorStoreQueryMode.DEFAULT: "dense",
    VectorStoreQueryMode.HYBRID: "hybrid",
    VectorStoreQueryMode.SEMANTIC_HYBRID: "hybrid",
    VectorStoreQueryMode.TEXT_SEARCH: "keyword",
    VectorStoreQueryMode.SPARSE: "keyword",
}
"""LlamaIndex's modes of a query, and ours."""


class SemsearchRetriever(BaseRetriever):
    """Retrieves the passages of an index that answer a question as nodes, best first.

    The metadata of a node is its document's, and `doc_id`, `title` and `confidence`; its source is the document.
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
        """Take an index.

        Args:
            index: What is searched.
            similarity_top_k: How many passages, at least 1.
            filters: Only documents that meet them.
            mode: `dense`, `keyword` or `hybrid`; None for the index's default.
            unit: `passage`, or `document` for the best passage of each document.
            min_confidence: Leave out what is less sure, from 0 to 1; None for nothing.
            callback_manager: LlamaIndex's.
        """
        self._index, self._k, self._where = index, similarity_top_k, _tree(filters)
        self._wishes: dict[str, Any] = {"mode": mode, "unit": unit, "min_confidence": min_confidence}
        super().__init__(callback_manager=callback_manager)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = search(self._index, query_bundle.query_str, self._k, self._where, **self._wishes)
        return [NodeWithScore(node=_passage(hit), score=hit.score) for hit in hits]


class SemsearchVectorStore(BasePydanticVectorStore):
    """A vector store over an index: each node is one of its documents, under the same id.

    A long node is cut into passages for the encoder alone; it is found by its best passage and returned whole.
    """

    stores_text: bool = True
    is_embedding_query: bool = False  # a query comes as text, which the index encodes
    _index: Index = PrivateAttr()

    def __init__(self, index: Index) -> None:
        """Take an index; opened with `create=True` where there is none yet."""
        super().__init__()
        self._index = index

    @classmethod
    def open(cls, location: str | Path, embed_model: BaseEmbedding | None = None) -> Self:
        """Open an index for LlamaIndex's nodes, or a place for a new one.

        Args:
            location: A folder.
            embed_model: Makes the vectors; an index remembers its class, its model's name and the length of a vector,
                and refuses another. None for semsearch's own encoder.
        """
        encoder = None if embed_model is None else encoder_of(embed_model)
        return cls(Index.open(location, create=True, encoder=encoder))

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex knows the class by."""
        return "SemsearchVectorStore"

    @property
    def client(self) -> Index:
        """The index."""
        return self._index

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Add nodes, in place of those with their ids; what is unchanged is not encoded again.

        Args:
            nodes: To be added; metadata are JSON values.
            **kwargs: Passed by LlamaIndex to any store; not used.

        Returns:
            Their ids.
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
            ref_doc_id: Its id.
            **delete_kwargs: Passed by LlamaIndex to any store; not used.
        """
        self._delete(select(self._index, Comparison((SOURCE,), "=", (ref_doc_id,))))

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Delete the nodes that have one of the ids and meet the filters; with neither, none.

        Args:
            node_ids: Ids; None for any.
            filters: None for any.
            **delete_kwargs: Passed by LlamaIndex to any store; not used.
        """
        if node_ids is not None or filters is not None:
            self._delete(self._selected(node_ids, filters))

    def clear(self) -> None:
        """Delete all nodes."""
        self._delete(self._index.select())

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Return the nodes that have one of the ids and meet the filters, oldest first."""
        return [_node(stored) for stored in self._index.documents(self._selected(node_ids, filters)).values()]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Search for nodes.

        Args:
            query: Its text is searched for, not its embedding, in one of the MODES; `similarity_top_k`, `filters`,
                `node_ids` and `doc_ids` are followed.
            **kwargs: Passed by LlamaIndex to any store; not used.

        Raises:
            UsageError: The query has no text, asks for another mode, or weighs the parts of a hybrid search.
        """
        if query.mode not in MODES:
            known = ", ".join(mode.value for mode in MODES)
            raise UsageError(f"query mode {getattr(query.mode, 'value', query.mode)!r}; expected one of {known}")
        if not query.query_str:
            raise UsageError("the query has no text; an index encodes queries itself: set `query_str`")
        if query.alpha is not None:
            raise UsageError("`alpha` is given, but the parts of a hybrid search count the same here; leave it out")
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
    """Return LlamaIndex's embedding model as an encoder for an index.

    Args:
        embed_model: Embeds queries and texts.
        name: What an index knows it by; None for its class and the name of its model.
    """
    known = f"llama-index/{embed_model.class_name()}/{embed_model.model_name}"
    embed: Callable[[list[str]], list[list[float]]] = embed_model.get_text_embedding_batch
    return ForeignEncoder(name or known, lambda texts: [embed_model.get_query_embedding(text) for text in texts], embed)


def _tree(filters: MetadataFilters | None) -> Filter | None:
    return None if filters is None else from_llamaindex(filters.model_dump(mode="json"))


def _one_of(path: tuple[str, ...], values: Sequence[str] | None) -> Filter | None:
    return Comparison(path, "in", tuple(values)) if values else None


def _node(stored: StoredDocument) -> BaseNode:
    """A stored document as the node that it was; one of another origin as a text of its own."""
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
