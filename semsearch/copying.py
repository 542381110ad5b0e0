"""Copying of an index from one store to another: nothing is encoded again, and an interrupted copy resumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from semsearch.errors import UsageError
from semsearch.stores.base import Entry, Store, refuse_other_chunking, refuse_other_encoder
from semsearch.stores.local.folder import encoder_folder

AT_ONCE = 256
"""Number of documents that are in memory, and committed, at a time."""

OTHER = (
    "Choose another target: an index is only copied to one that does not exist, or that an interrupted copy has left"
)

Watch: TypeAlias = Callable[[int], None]
"""Receives the number of documents so far."""


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What a copy has done.

    Attributes:
        documents: Number of documents that were copied.
        passages: Number of their passages.
        unchanged: Number of documents that the target had already, from a copy that was interrupted.
    """

    documents: int
    passages: int
    unchanged: int


def copy_index(
    source: Store, target: Store, *, store_precision: str | None = None, watch: Watch | None = None
) -> CopyResult:
    """Copy documents, passages and vectors as they were committed, with the transform and all else of the encoder.

    Args:
        source: The index.
        target: A store without an index, or with a part of this one.
        store_precision: Precision of stored vectors; None for that of the source.
        watch: Progress callback.

    Raises:
        MismatchError: If the target has an index of another encoder or other chunking settings.
        UsageError: If both are the same, the target has other documents, or cannot store vectors in the precision.
    """
    if source.location == target.location:
        raise UsageError(f"the index {source.location!r} cannot be copied to itself; choose another target")
    spec, chunking = source.spec, source.chunking
    if target.exists():
        refuse_other_encoder(target.location, target.spec, spec, OTHER)
        refuse_other_chunking(target.location, target.chunking, chunking)
    name, artifacts = encoder_folder(spec.precision), source.artifacts
    folders = {name: artifacts / name} if name and artifacts else {}
    precision = store_precision or source.storage.store_precision
    n_passages = n_documents = 0
    with source.snapshot(), target.write(spec, chunking, source.origin, folders, {}, precision) as writer:
        doc_ids = source.select(None)
        _refuse_others(target, doc_ids)
        writer.remember(source.roots)
        for batch in _batches(source, doc_ids):
            plan = writer.plan([entry.document for entry in batch], replace=True)
            missing = {document.doc_id for document in plan.encode}
            entries = [entry for entry in batch if entry.document.doc_id in missing]
            writer.commit(entries, plan.describe)
            writer.seal(final=False)
            n_documents += len(entries)
            n_passages += sum(len(entry.passages) for entry in entries)
            if watch:
                watch(len(batch))
        if transform := source.fitted() if spec.transform else None:
            writer.keep_transform(transform)
        if precision == source.storage.store_precision and source.storage.measured:
            writer.keep_loss(source.storage)  # the copied vectors are rounded already, and would seem to lose nothing
        if background := source.background:
            writer.keep_background(background)
        writer.seal(final=True)
    return CopyResult(n_documents, n_passages, len(doc_ids) - n_documents)


def _refuse_others(target: Store, doc_ids: Sequence[str]) -> None:
    """Check that a target has no documents but those of the source."""
    others = set(target.select(None)).difference(doc_ids)
    if others:
        raise UsageError(
            f"{target.location!r} has {len(others):,} documents that are not in the source, such as {min(others)!r}. "
            f"{OTHER}"
        )


def _batches(source: Store, doc_ids: Sequence[str]) -> Iterator[list[Entry]]:
    for start in range(0, len(doc_ids), AT_ONCE):
        yield source.entries(doc_ids[start : start + AT_ONCE])
