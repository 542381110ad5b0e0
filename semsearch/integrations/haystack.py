"""Haystack integration: a document store and a retriever. Requires the extra `haystack`.

    from haystack import Pipeline
    from semsearch.integrations.haystack import SemsearchDocumentStore, SemsearchRetriever

    pipeline = Pipeline()
    pipeline.add_component("retriever", SemsearchRetriever(SemsearchDocumentStore("indexes/notes")))
    pipeline.run({"retriever": {"query": "why do my plants look thirsty"}})

The index computes its own vectors from title and content. Embeddings that documents already have are dropped, and so is
binary data; a document without text is rejected. To load a saved pipeline with these components, Haystack must be told
to trust them: `Pipeline.loads(text, allowed_modules=["semsearch.integrations.haystack"])`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from semsearch import Hit, Index
from semsearch import errors as ours
from semsearch.filters.haystack import from_haystack
from semsearch.filters.syntax import Filter
from semsearch.integrations.records import metadata_of, passage_id, search, select, to_document, whole
from semsearch.stores.base import StoredDocument

try:
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.document_stores.errors import DuplicateDocumentError
    from haystack.document_stores.types import DuplicatePolicy, FilterPolicy, apply_filter_policy
    from haystack.errors import FilterError
except ModuleNotFoundError as error:
    raise ImportError(
        f"{__name__} needs haystack-ai, which is not installed ({error}); pip install 'semsearch[haystack]'"
    ) from None


class SemsearchDocumentStore:
    """A document store backed by an index: each Haystack document is a document of the index with the same id.

    Metadata must be JSON values; dates are stored as ISO 8601 text, which filters compare as dates.
    """

    def __init__(self, location: str, model: str | None = None, pooler: str | None = None) -> None:
        """Open an index, or a location where the first documents will create one.

        Args:
            location: The folder of the index, or the URL of a database.
            model: As for `Index.open`.
            pooler: As for `Index.open`.
        """
        self._model, self._pooler = model, pooler
        self.index = Index.open(location, create=True, model=model, pooler=pooler)

    @classmethod
    def of(cls, index: Index) -> Self:
        """Return a store for an index that is already open; `to_dict` stores only the location of the index."""
        store = cls.__new__(cls)
        store._model = store._pooler = None
        store.index = index
        return store

    def to_dict(self) -> dict[str, Any]:
        """Return a dict from which `from_dict` opens the same index."""
        made: dict[str, Any] = default_to_dict(
            self, location=self.index.location, model=self._model, pooler=self._pooler
        )
        return made

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Open the store that `to_dict` describes."""
        made: Self = default_from_dict(cls, data)
        return made

    def count_documents(self) -> int:
        """Return the number of documents."""
        return len(self.index)

    def filter_documents(self, filters: dict[str, Any] | None = None) -> list[Document]:
        """Return the documents that match a filter, oldest first; without a filter, all documents.

        Raises:
            haystack.errors.FilterError: If the filter is invalid.
        """
        return [_document(stored) for stored in self._selected(filters)]

    def write_documents(self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE) -> int:
        """Write documents.

        Args:
            documents: Documents with content, whose metadata are JSON values.
            policy: How to handle a document whose id already exists in the index or occurs twice in `documents`. By
                default, as with FAIL, an error is raised and nothing is written.

        Returns:
            The number of documents written, including those that were already stored unchanged.

        Raises:
            ValueError: If `documents` is not a list of documents, or one of them has no text.
            DuplicateDocumentError: If an id already exists and the policy is NONE or FAIL.
        """
        if not isinstance(documents, list) or not all(isinstance(one, Document) for one in documents):
            raise ValueError(f"the documents are {documents!r:.60}; expected a list of Haystack documents")
        if textless := [one.id for one in documents if one.content is None]:
            raise ValueError(f"document {textless[0]!r:.80} has no content; expected text to index")
        known = set(self.index.documents([one.id for one in documents]))
        written: dict[str, Document] = {}
        for one in documents:
            if not (one.id in known or one.id in written) or policy == DuplicatePolicy.OVERWRITE:
                written[one.id] = one
            elif policy != DuplicatePolicy.SKIP:
                raise DuplicateDocumentError(f"a document with the id {one.id!r:.80} already exists; see `policy`")
        if written:
            self.index.add([to_document(one.id, one.content, one.meta) for one in written.values()])
        return len(documents) if policy == DuplicatePolicy.OVERWRITE else len(written)

    def delete_documents(self, document_ids: list[str]) -> None:
        """Delete documents; unknown ids are ignored."""
        self._delete(document_ids)

    def delete_all_documents(self) -> None:
        """Delete every document."""
        self._delete(self.index.select())

    def delete_by_filter(self, filters: dict[str, Any]) -> int:
        """Delete the documents that match a filter, and return their number."""
        return self._delete(self._ids(filters))

    def update_by_filter(self, filters: dict[str, Any], meta: Mapping[str, Any]) -> int:
        """Set metadata of the documents that match a filter, and return their number; nothing is encoded again."""
        changed = [to_document(one.doc_id, one.text, {**metadata_of(one), **meta}) for one in self._selected(filters)]
        if changed:
            self.index.add(changed)
        return len(changed)

    def count_documents_by_filter(self, filters: dict[str, Any]) -> int:
        """Return the number of documents that match a filter."""
        return len(self._ids(filters))

    def _ids(self, filters: dict[str, Any] | None) -> list[str]:
        with _theirs():
            return select(self.index, _tree(filters))

    def _selected(self, filters: dict[str, Any] | None) -> list[StoredDocument]:
        return list(self.index.documents(self._ids(filters)).values())

    def _delete(self, document_ids: list[str]) -> int:
        return len(self.index.delete(document_ids)) if document_ids and len(self.index) else 0


@component
class SemsearchRetriever:
    """Retrieves the documents of a store that answer a question, best first, each with its score.

    Their metadata are those of the stored documents plus `confidence`, from 0 to 1. Passages also have `doc_id`,
    `start` and `end`.
    """

    def __init__(
        self,
        document_store: SemsearchDocumentStore,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        mode: str | None = None,
        unit: str = "document",
        min_confidence: float | None = None,
        filter_policy: FilterPolicy = FilterPolicy.REPLACE,
    ) -> None:
        """Create a retriever for a store.

        Args:
            document_store: The store to search.
            filters: Filters that documents must match.
            top_k: Number of documents to retrieve, at least 1.
            mode: `dense`, `keyword` or `hybrid`; None for the index's default.
            unit: `document` to retrieve whole documents, or `passage` to retrieve passages.
            min_confidence: Leave out hits with a lower confidence, from 0 to 1; None to keep all.
            filter_policy: How to combine `filters` with those passed to `run`: REPLACE or MERGE.
        """
        self.document_store, self.filters, self.top_k = document_store, filters, top_k
        self.mode, self.unit, self.min_confidence = mode, unit, min_confidence
        self.filter_policy = filter_policy if isinstance(filter_policy, FilterPolicy) else FilterPolicy(filter_policy)

    def to_dict(self) -> dict[str, Any]:
        """Return a dict from which `from_dict` makes the same component."""
        made: dict[str, Any] = default_to_dict(
            self,
            document_store=self.document_store.to_dict(),
            filters=self.filters,
            top_k=self.top_k,
            mode=self.mode,
            unit=self.unit,
            min_confidence=self.min_confidence,
            filter_policy=self.filter_policy.value,
        )
        return made

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the component that `to_dict` describes."""
        parameters = dict(data["init_parameters"])
        parameters["document_store"] = SemsearchDocumentStore.from_dict(parameters["document_store"])
        made: Self = default_from_dict(cls, {**data, "init_parameters": parameters})
        return made

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Retrieve documents.

        Args:
            query: A question or a few words.
            filters: Filters that replace or extend the component's own, depending on `filter_policy`.
            top_k: Number of documents; None for the component's own setting.

        Returns:
            A dict with the retrieved `documents`, best first.

        Raises:
            haystack.errors.FilterError: If the filter is invalid.
        """
        index, k = self.document_store.index, self.top_k if top_k is None else top_k
        with _theirs():
            where = _tree(apply_filter_policy(self.filter_policy, self.filters, filters))
            hits = search(index, query, k, where, self.mode, self.unit, self.min_confidence)
        if self.unit == "passage":
            return {"documents": [_passage(hit) for hit in hits]}
        return {"documents": [_document(stored, hit) for hit, stored in whole(index, hits)]}


@contextmanager
def _theirs() -> Iterator[None]:
    """Convert a filter error to Haystack's own error class."""
    try:
        yield
    except ours.FilterError as error:
        raise FilterError(str(error)) from error


def _tree(filters: Mapping[str, Any] | None) -> Filter | None:
    return from_haystack(filters) if filters else None


def _document(stored: StoredDocument, hit: Hit | None = None) -> Document:
    found = {"confidence": hit.confidence} if hit else {}
    return Document(
        id=stored.doc_id, content=stored.text, meta={**metadata_of(stored), **found}, score=hit.score if hit else None
    )


def _passage(hit: Hit) -> Document:
    place = {"doc_id": hit.doc_id, "start": hit.start, "end": hit.end, "confidence": hit.confidence}
    return Document(id=passage_id(hit), content=hit.text, meta={**metadata_of(hit), **place}, score=hit.score)
