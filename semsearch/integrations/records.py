"""Lossless conversion between documents of a framework and documents of an index, shared by all integrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from semsearch import Document, Hit, Index
from semsearch.filters.frameworks import EVERYTHING, NOTHING, SHADOWED, TAKEN, settle
from semsearch.filters.syntax import Filter
from semsearch.stores.base import StoredDocument


def to_document(doc_id: str, text: str, metadata: Mapping[str, Any]) -> Document:
    """Make a document from a framework's text and metadata.

    A string in the field `title` becomes the document's title. Other fields whose names are reserved are stored in a
    nested object.
    """
    title = metadata.get("title")
    title = title if isinstance(title, str) else ""
    own = {name: value for name, value in metadata.items() if name not in TAKEN}
    shadowed = {name: metadata[name] for name in TAKEN if name in metadata and not (name == "title" and title)}
    return Document(doc_id, text, title, own | ({SHADOWED: shadowed} if shadowed else {}))


def metadata_of(found: Hit | StoredDocument) -> dict[str, Any]:
    """Return the metadata as the framework gave it, including the title, if any."""
    own = dict(found.metadata)
    shadowed = own.pop(SHADOWED) if isinstance(own.get(SHADOWED), Mapping) else {}
    return {**own, **shadowed, **({"title": found.title} if found.title else {})}


def passage_id(hit: Hit) -> str:
    """Return an id for a passage that includes its position in the document."""
    return f"{hit.doc_id}#chars={hit.start}-{hit.end}"


def select(index: Index, where: Filter | None) -> list[str]:
    """Return the ids of the documents that match a framework's filter, oldest first; it may name unknown fields."""
    settled = EVERYTHING if where is None else settle(where, index.fields())
    return [] if settled == NOTHING else index.select(None if settled == EVERYTHING else settled)


def search(
    index: Index,
    query: str,
    k: int,
    where: Filter | None = None,
    mode: str | None = None,
    unit: str = "document",
    min_confidence: float | None = None,
) -> list[Hit]:
    """Search as `Index.search` does, with a framework's filter, which may name unknown fields."""
    settled = EVERYTHING if where is None else settle(where, index.fields())
    if settled == NOTHING:
        return []
    found = None if settled == EVERYTHING else settled
    return index.search(query, k, mode=mode, where=found, unit=unit, min_confidence=min_confidence)


def whole(index: Index, hits: Sequence[Hit]) -> list[tuple[Hit, StoredDocument]]:
    """Return each hit with its whole document; hits whose document has been deleted meanwhile are left out."""
    documents = index.documents([hit.doc_id for hit in hits])
    return [(hit, documents[hit.doc_id]) for hit in hits if hit.doc_id in documents]
