"""Reencoding: moving an index to another encoder, another setting of the same encoder, or another chunking.

The stored texts are encoded into a draft beside the index, which searches keep using, and which then adopts the draft
in one commit. An interrupted run leaves the index as it was and the draft to resume from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from semsearch.corpus.chunking import Chunker, Chunking
from semsearch.encoder.encoder import TextEncoder
from semsearch.encoder.load import FOREIGN, load_encoder
from semsearch.errors import DiskFullError, StoreError, UnsupportedError, UsageError
from semsearch.index_encoder import INT8, refuse_remote
from semsearch.ingest import IngestResult, Watch, calibrate, ingest
from semsearch.stores.base import Store, StoreWriter
from semsearch.types import AUTO, STORE_PRECISIONS, Document, EncoderSettings, EncoderSpec, Quantization, Storage

READ_AT_ONCE = 256
"""Number of documents that are read from the index at a time."""

SPACE = 2
"""Space that a run takes for a while, in sizes of the index, scaled by the dimension of the vectors: for the
draft, and for the write-ahead log of the commit that adopts it."""


@dataclass(frozen=True, slots=True)
class ReencodeResult:
    """Outcome of moving an index to another encoder.

    Attributes:
        moved: Whether anything was done; False if the index had this encoder, this chunking and this precision of
            stored vectors already.
        before: The encoder that the index had.
        after: The encoder that it has now.
        documents: Number of documents in the index.
        passages: Number of passages in the index.
        truncated: Number of passages that were truncated.
        tokens: Number of tokens in all passages, before truncation.
        tokens_lost: Number of tokens lost by truncation.
        encoded: Number of documents encoded in this run; an interrupted run had encoded the others.
        unknown: Number of documents encoded in this run that have no token the new encoder knows, see `IngestResult`;
            `unknown_ids` lists the first of them.
        checked, unknown_language, unknown_language_ids: How well the new encoder knows the languages of the documents
            encoded in this run; see `IngestResult`.
        quantization: Accuracy and speed of the 8-bit encoder, if one was calibrated in this run.
        storage: The precision of stored vectors now, and what it costs.
    """

    moved: bool
    before: EncoderSpec
    after: EncoderSpec
    documents: int
    passages: int
    truncated: int
    tokens: int
    tokens_lost: int
    encoded: int = 0
    unknown: int = 0
    unknown_ids: list[str] = field(default_factory=list)
    checked: int = 0
    unknown_language: int = 0
    unknown_language_ids: list[str] = field(default_factory=list)
    quantization: Quantization | None = None
    storage: Storage = field(default_factory=Storage)


def reencode(
    store: Store,
    settings: EncoderSettings,
    chunking: Chunking,
    *,
    store_precision: str | None = None,
    encoder: TextEncoder | None = None,
    expect: Callable[[TextEncoder], None] = lambda encoder: None,
    watch: Watch | None = None,
) -> ReencodeResult:
    """Encode the stored texts of an index again, and replace its passages and vectors in one commit.

    Documents keep their ids, texts, metadata and origins. Readers see the old index until the commit, and the new one
    from then on. There is no other writer meanwhile.

    Args:
        store: Store of the index.
        settings: Settings of the new encoder, unless `encoder` is given. Without a model, those that are left out are
            the index's own; with one, they are those that the checkpoint declares.
        chunking: How to cut documents into passages.
        store_precision: Precision of stored vectors; None for that of the index.
        encoder: The new encoder, if it is already loaded.
        expect: Called with the new encoder just before the commit.
        watch: Progress callback, as in `ingest`.

    Raises:
        UsageError: If a setting is invalid or does not fit the encoder.
        ModelError: If the checkpoint cannot be loaded.
        RecordError: If a document is too long for a chunking that rejects these.
        LockedError, NoIndexError, DamagedError: See `Store.write`.
        DiskFullError: If the disk is full; the message estimates the space needed.
    """
    before, precision = store.spec, store_precision or store.storage.store_precision
    with store.write(before, store.chunking, store.origin) as writer:
        with closing(writer.draft()) as left:
            encoder, quantization = (encoder, None) if encoder else _load(store, left, settings, chunking)
        after = encoder.spec
        if _has(store, after, chunking, precision):
            writer.discard_draft()
            writer.seal(final=True)  # an interrupted run may have adopted its draft, and no more
            return _result(store, before, after, moved=False)
        with _space_needed(store, after, precision), closing(_draft(writer, after, chunking, precision)) as draft:
            filled = _fill(draft, store, encoder, chunking, precision, watch)
            expect(encoder)
            writer.adopt(draft)
        writer.discard_draft()
        writer.seal(final=True)
    return replace(
        _result(store, before, after, moved=True),
        encoded=filled.encoded,
        unknown=filled.unknown,
        unknown_ids=filled.unknown_ids,
        checked=filled.checked,
        unknown_language=filled.unknown_language,
        unknown_language_ids=filled.unknown_language_ids,
        quantization=quantization,
    )


def _result(store: Store, before: EncoderSpec, after: EncoderSpec, *, moved: bool) -> ReencodeResult:
    n = store.counts()
    return ReencodeResult(
        moved,
        before,
        after,
        n["documents"],
        n["passages"],
        n["truncated"],
        n["tokens"],
        n["tokens_lost"],
        storage=store.storage,
    )


def _load(
    store: Store, left: Store, settings: EncoderSettings, chunking: Chunking
) -> tuple[TextEncoder, Quantization | None]:
    """Load the encoder that settings describe; an 8-bit one is calibrated, unless an interrupted run has done so.

    Args:
        store: Store of the index.
        left: The draft that an interrupted run may have left.
        settings: Requested settings; without a model, those of the index apply.
        chunking: How to cut documents into passages.

    Returns:
        The encoder, and the effect of quantization, if there was a calibration.
    """
    if settings.simcse_names and settings.pooler in (None, AUTO):
        raise UsageError("`simcse_names` requires `pooler`; name one")
    base = None if settings.model else _own_model(store)
    wanted = settings.precision or (INT8 if base and base.precision.startswith(INT8) else None)
    if wanted != INT8:
        return load_encoder(settings, base, store.artifacts), None
    exact = load_encoder(replace(settings, precision="float32"), base, store.artifacts)
    where = EncoderSettings(device=settings.device, runtime=settings.runtime)
    if _is_quantized(store, exact.spec):
        return load_encoder(where, replace(store.spec, model=exact.spec.model), store.artifacts), None
    if _is_quantized(left, exact.spec) and dict(left.chunking) == chunking.to_json():
        with suppress(UnsupportedError):  # its 8-bit model is missing or damaged
            return load_encoder(where, replace(left.spec, model=exact.spec.model), left.artifacts), None
    encoder, _, quantization = calibrate(exact, stored_documents(store), chunking)
    return encoder, quantization


def _own_model(store: Store) -> EncoderSpec:
    """Return the spec of the index, whose model is to be loaded again with other settings."""
    spec = store.spec
    if spec.model.startswith(FOREIGN):
        raise UsageError(
            f"the index {store.location!r} holds vectors of another program's model, "
            f"{spec.model.removeprefix(FOREIGN)!r}; name the model to move to with `model`"
        )
    refuse_remote(spec)
    return spec


def _is_quantized(store: Store, exact: EncoderSpec) -> bool:
    """Return whether a store has the 8-bit form of this encoder."""
    try:
        spec = store.spec
    except StoreError:  # there is nothing, or it is damaged
        return False
    return spec.precision.startswith(INT8) and replace(exact, precision=spec.precision).fingerprint == spec.fingerprint


def _has(store: Store, spec: EncoderSpec, chunking: Chunking, store_precision: str) -> bool:
    """Return whether a store has this encoder, this chunking and this precision of stored vectors."""
    try:
        same = store.spec.fingerprint == spec.fingerprint and dict(store.chunking) == chunking.to_json()
        return same and store.storage.store_precision == store_precision
    except StoreError:
        return False


def _draft(writer: StoreWriter, spec: EncoderSpec, chunking: Chunking, store_precision: str) -> Store:
    """Return the draft with these settings, as an interrupted run has left it, or else an empty one."""
    draft = writer.draft()
    if draft.exists() and not _has(draft, spec, chunking, store_precision):
        draft.close()
        writer.discard_draft()
        draft = writer.draft()
    return draft


def _fill(
    draft: Store, store: Store, encoder: TextEncoder, chunking: Chunking, store_precision: str, watch: Watch | None
) -> IngestResult:
    """Encode into the draft what it lacks of the documents of the index, and delete what the index does not have."""
    if not store.counts()["documents"]:
        Chunker(
            encoder.tokenizer, encoder.spec.max_tokens, encoder.spec.passage_prefix, chunking
        )  # checks that it fits
        settings = encoder.spec, chunking.to_json(), "", encoder.artifacts
        with draft.write(*settings, store_precision=store_precision) as writer:
            writer.delete(draft.select(None))
        return IngestResult()
    refit = bool(encoder.spec.transform)  # an interrupted run may have fitted it on fewer documents
    wishes: dict[str, Any] = {"delete_missing": True, "refit": refit, "watch": watch}
    wishes |= {"store_precision": store_precision}
    return ingest(draft, stored_documents(store), encoder, chunking=chunking, **wishes)


def stored_documents(store: Store) -> Iterator[Document]:
    """Yield the documents of an index in the order in which they were added, without metadata and origins."""
    doc_ids = store.select(None)
    for start in range(0, len(doc_ids), READ_AT_ONCE):
        for one in store.documents(doc_ids[start : start + READ_AT_ONCE]).values():
            yield Document(one.doc_id, one.text, one.title, source=store.location, layout=one.layout)


@contextmanager
def _space_needed(store: Store, spec: EncoderSpec, store_precision: str) -> Iterator[None]:
    """Have the error for a full disk say what became of the index, and how much space to free."""
    try:
        yield
    except DiskFullError as error:
        status: Mapping[str, Any] = store.status()
        before, after = (
            each.dim * STORE_PRECISIONS[precision]
            for each, precision in ((store.spec, store.storage.store_precision), (spec, store_precision))
        )
        mb = SPACE * status.get("bytes", 0) * max(1, after / before) / 1e6
        space = f"about {max(mb, 1):,.0f} MB of free space" if "bytes" in status else "more space"
        raise DiskFullError(
            f"the disk is full; the index {store.location!r} is unchanged; moving it temporarily takes {space} in "
            "total; free some, then run the same command again"
        ) from error
