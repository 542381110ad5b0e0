"""Comparison of a batch of documents with what an index has of them, to decide what has to be done with each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from semsearch.errors import RecordError
from semsearch.stores.base import Plan
from semsearch.types import Document, Origin, Root

Stored: TypeAlias = tuple[str, str, str | None, str | None]
"""Content hash, metadata, root and file of a document."""


def plan_of(
    documents: Sequence[Document], stored: Mapping[str, Stored], roots: Mapping[str, Root], *, replace: bool
) -> Plan:
    """Sort documents by the work that they require; content is compared by its hash.

    Args:
        documents: The documents.
        stored: What the index has, by id.
        roots: Its root folders, by name.
        replace: See `StoreWriter.plan`.
    """
    plan = Plan([], [], 0)
    for document in documents:
        content, metadata, root, file = stored.get(document.doc_id, ("", "", None, None))
        moved = (root, file) != key_of(document)
        changed = content != document.content_hash or metadata != document.metadata_json
        # A document whose file is None comes from an index of an earlier version of semsearch.
        if moved and changed and document.origin and file is not None and not replace:
            plan.refused.append(_taken(document, origin_of(roots, root, file)))
        elif content != document.content_hash:
            plan.encode.append(document)
        elif metadata != document.metadata_json:
            plan.describe.append(document)
        elif moved and (file is None or file):  # a document from memory keeps that origin
            plan.moved.append((document, origin_of(roots, root, file)))
    done = len(plan.encode) + len(plan.describe) + len(plan.refused)
    return dataclasses.replace(plan, unchanged=len(documents) - done)


def key_of(document: Document) -> tuple[str | None, str]:
    """Return the root and file of a document, as they are stored."""
    return (document.origin or Origin()).key


def origin_of(roots: Mapping[str, Root], root: str | None, file: str | None) -> Origin | None:
    """Return an origin from its stored root and file; None for a document from memory, or if it is unknown."""
    if file is None or (root is None and not file):
        return None
    return Origin(None if root is None else roots.get(root), file)


def _taken(document: Document, other: Origin | None) -> RecordError:
    error = RecordError(
        document.source,
        None,
        f"the id {document.doc_id!r} belongs to a document from {str(other or Origin())!r}; give one of them another "
        "id, or pass `replace` to replace that document with this one",
    )
    error.origin = document.origin
    return error
