"""Ingestion: encode the passages of new and changed documents and commit them to an index in batches."""

from __future__ import annotations

import logging
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import chain, islice
from random import Random
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from semsearch.background import is_stale, measure_background
from semsearch.checks import IDS, check_types
from semsearch.corpus.chunking import BLOCK_CHARS, Chunker, Chunking
from semsearch.corpus.readers import Record
from semsearch.corpus.roots import Coverage
from semsearch.encoder.encoder import TextEncoder
from semsearch.encoder.languages import UNKNOWN, UnknownLanguageWarning, has_vocabulary, knows_any, unknown_shares
from semsearch.engines.base import EncodedDocument, Engine, Tick, Work, Workers
from semsearch.engines.local import LocalEngine, chunker_of
from semsearch.errors import LockedError, MismatchError, ModelError, RecordError, SourceError, UsageError
from semsearch.layout import NO_LAYOUT
from semsearch.loss import measure_loss
from semsearch.stores.base import Entry, Plan, Store, StoreWriter
from semsearch.types import COSINE, Document, Passage, Quantization, Storage

log = logging.getLogger(__name__)

BATCH_DOCUMENTS = 4_096
BATCH_CHARS = 300_000
"""A batch is committed when it has this many documents or characters. This bounds the memory in use and the work that a
crash can lose, some seconds of encoding on two cores. Smaller batches would be slower, because texts are sorted by
length within a batch."""

REPORTED = 20
"""Maximum number of bad records, empty documents and so on that a report lists; all of them are counted."""


CHECKED = 50
"""Maximum number of documents of a batch whose language is checked, so that the check costs next to nothing."""

TOLERATED = 0.1
"""Share of documents in a language that the encoder does not know up to which there is no warning."""


@dataclass(slots=True, repr=False)
class IngestResult:
    """Progress and outcome of adding a corpus to an index.

    Attributes:
        documents: Number of documents processed so far, except bad ones.
        encoded: Number of documents whose text was new or changed, and was encoded.
        taken: Number of these whose vectors were given instead; see `Index.add`.
        described: Number of documents of which only the metadata was updated.
        unchanged: Number of documents that needed no update.
        deleted: Number of documents deleted from the index.
        passages: Number of passages encoded in this run.
        truncated: Number of encoded passages that were truncated.
        tokens: Number of tokens in the encoded passages, before truncation.
        tokens_lost: Number of tokens lost by truncation.
        bad: Number of records and files that were skipped; `errors` lists the first of them.
        textless: Number of PDFs found in folders that were skipped because they have no text, such as logos and scans;
            they do not count as bad. `textless_files` lists the first of them.
        vanished: Number of documents of the given files and folders that no longer exist; `vanished_ids` lists the
            first of them.
        not_deleted: Number of documents that `delete_missing` kept because it could not tell whether they are gone.
        in_flight: Number of documents encoded since the last commit, estimated from the tokens of their passages.
        passages_in_flight: Number of passages encoded since the last commit.
        bytes_read: Number of bytes read from files so far, compressed as they are there.
        share_done: Share of the documents read so far that is processed, by their length, from 0 to 1.
        empty: Number of documents without text and title, which are stored but cannot be found; `empty_ids` lists the
            first of them.
        unknown: Number of documents that have no token the encoder knows, for example only symbols. Dense search cannot
            find them, and keyword search only if they contain words; `unknown_ids` lists the first of them.
        checked: Number of encoded documents whose language was checked, at most 50 of each batch.
        unknown_language: Number of these in a language that the encoder does not know, so that their vectors say
            little; see `semsearch.encoder.languages`. `unknown_language_ids` lists the first of them.
        shards: Number of files with encoded documents that the index was written from, if a cluster encoded them.
        shards_found: Number of these files that an earlier run had made, so that their documents were not encoded
            again.
        quantization: Accuracy and speed of the 8-bit encoder, if one was calibrated in this run.
        storage: The precision of stored vectors, and what it costs.
    """

    documents: int = 0
    encoded: int = 0
    taken: int = 0
    described: int = 0
    unchanged: int = 0
    deleted: int = 0
    passages: int = 0
    truncated: int = 0
    tokens: int = 0
    tokens_lost: int = 0
    bad: int = 0
    textless: int = 0
    textless_files: list[str] = field(default_factory=list)
    vanished: int = 0
    not_deleted: int = 0
    in_flight: float = 0.0
    passages_in_flight: int = 0
    bytes_read: int = 0
    share_done: float = 0.0
    empty: int = 0
    empty_ids: list[str] = field(default_factory=list)
    vanished_ids: list[str] = field(default_factory=list)
    unknown: int = 0
    unknown_ids: list[str] = field(default_factory=list)
    checked: int = 0
    unknown_language: int = 0
    unknown_language_ids: list[str] = field(default_factory=list)
    errors: list[RecordError] = field(default_factory=list)
    shards: int = 0
    shards_found: int = 0
    quantization: Quantization | None = None
    storage: Storage = field(default_factory=Storage)

    def __repr__(self) -> str:
        """Return the fields that are not zero or empty, on one line."""
        told = {one.name: getattr(self, one.name) for one in fields(self)}
        told["storage"] = self.storage if self.storage.measured else None
        return f"IngestResult({', '.join(f'{name}={value!r}' for name, value in told.items() if value)})"

    def count_bad(self, error: RecordError) -> None:
        """Count a skipped record, and keep the error if it is among the first ones."""
        if error.textless and error.found:
            self.textless += 1
            self.textless_files += [error.source][: REPORTED - len(self.textless_files)]
            return
        self.bad += 1
        if len(self.errors) < REPORTED:
            self.errors.append(error)


Watch: TypeAlias = Callable[[IngestResult], None]
"""Callback that receives the result so far, after each batch of the encoder and each commit."""


def ingest(
    store: Store,
    records: Iterator[Record],
    encoder: TextEncoder,
    *,
    chunking: Chunking,
    coverage: Coverage | None = None,
    origin: str = "",
    skip_bad: bool = False,
    strict: bool = False,
    replace: bool = False,
    delete_missing: bool = False,
    refit: bool = False,
    vectors: Mapping[str, Any] = MappingProxyType({}),
    store_precision: str | None = None,
    engine: Engine | None = None,
    watch: Watch | None = None,
) -> IngestResult:
    """Bring an index up to date with a corpus, creating the index if necessary.

    Documents whose text is unchanged are not encoded again. Each batch is committed when it is complete, so after an
    interruption the same call resumes from the last committed batch.

    Args:
        store: Store of the index.
        records: Documents, with an error in place of each bad record.
        encoder: The encoder; must be the one that the index was built with.
        chunking: How to cut documents into passages.
        coverage: Files and folders that `records` was given and has read; None for documents from memory only. If it
            restricts the run, there may be no records.
        origin: Where the corpus came from; stored with a new index.
        skip_bad: Count bad records and continue, instead of stopping at the first. Bad files that were found in a
            folder are always skipped, unless `strict` is set.
        strict: Stop at any bad record or file.
        replace: Let a document replace one with the same id from another file.
        delete_missing: Delete documents that are no longer in the corpus; those that may still exist are kept.
        refit: Fit the encoder's transform again.
        vectors: Fields of `VectorOptions` to change.
        store_precision: Precision of stored vectors; see `Store.write`.
        engine: What encodes the documents; None for this process.
        watch: Progress callback, called from the thread that encodes.

    Raises:
        UsageError: If the encoder gives no unit vectors, or the options contradict each other.
        RecordError: If there is a bad record; everything before it was committed.
        SourceError: If the corpus is empty.
        MismatchError, LockedError, NoIndexError, DiskFullError: See `Store.write`.
        SemsearchError: If the engine cannot be started, or cannot encode the documents.
    """
    spec = encoder.spec
    if spec.similarity == COSINE and not spec.normalize and not spec.transform:
        raise UsageError(
            "an index that ranks by cosine needs unit vectors; load the encoder with normalize=True, or with another "
            "`similarity`"
        )
    if refit and not encoder.spec.transform:
        raise UsageError(
            "`refit` needs a transform, but this encoder was loaded without one; choose one with `transform`"
        )
    if strict and skip_bad:
        raise UsageError("`strict` and `skip_bad` are mutually exclusive; choose one")
    chunker = chunker_of(encoder, chunking)
    if coverage is None:
        coverage = Coverage()
        coverage.given.append(None)
    report = IngestResult()
    skipped = partial(_is_skipped, skip_bad=skip_bad, strict=strict)
    if coverage.only is None:
        records = _begun(records, skipped, report)
    writing = store.write(encoder.spec, chunking.to_json(), origin, encoder.artifacts, vectors, store_precision)
    started = (engine or LocalEngine()).start(encoder, chunking, store.location)
    with started as workers, writing as writer, ThreadPoolExecutor(1) as beside:
        if tuple(store.roots) != coverage.known:  # the ids of documents depend on the roots
            raise LockedError(f"another run has added files to {store.location!r} in the meantime; run this one again")
        run = _Run(writer, encoder, chunker, workers, coverage, skipped, replace, watch, report, beside)
        try:
            for record in records:
                run.take(record if chunking.sections else _without_layout(record))
            run.flush()
        except Exception:  # keep what came before the error
            run.flush()
            raise
        finally:
            run.stopped = True
        run.find_missing(delete=delete_missing)
        fitted = writer.fit(again=refit)
        writer.seal(final=True)
        if fitted or is_stale(store):
            writer.keep_background(measure_background(store, encoder).to_json())
    report.shards, report.shards_found = workers.shards
    report.storage = store.storage
    warn_of_language(report, encoder.spec.model)
    return report


def warn_of_language(report: IngestResult, model: str) -> None:
    """Warn if the model does not know the language of many of the documents that were encoded."""
    n, checked = report.unknown_language, report.checked
    if n > TOLERATED * checked:
        warnings.warn(
            f"the model {model!r} does not know the language of {n:,} of {checked:,} documents that were checked, such "
            f"as {report.unknown_language_ids[0]!r:.100}: their vectors say little, and a hybrid search for words in "
            "this language goes by words alone. Choose a multilingual `model`, such as multilingual-e5",
            UnknownLanguageWarning,
            stacklevel=4,
        )


def sample_texts(
    records: Iterator[Record], encoder: TextEncoder, chunking: Chunking, n: int
) -> tuple[list[str], Iterator[Record]]:
    """Draw passages, as they will be encoded, from the first documents of a corpus, with a fixed seed.

    Returns:
        At most `n` texts, and all records from the first one on.
    """
    head = list(islice(records, BATCH_DOCUMENTS))
    chunker = chunker_of(encoder, chunking)
    documents = [record for record in head if isinstance(record, Document)]
    drawn = Random(0).sample(documents, min(n, len(documents)))  # before chunking, which is slow
    cut = [passages for passages in chunker.passages(drawn) if not isinstance(passages, RecordError)]
    texts = [passage.encoded_text for passages in cut for passage in passages]
    return Random(0).sample(texts, min(n, len(texts))), chain(head, records)


def calibrate(
    exact: TextEncoder, records: Iterator[Record], chunking: Chunking
) -> tuple[TextEncoder, Iterator[Record], Quantization | None]:
    """Quantize an encoder to 8-bit integers, calibrated on passages of a corpus, and measure the effect.

    Returns:
        The 8-bit encoder, all records from the first one on, and its accuracy and speed relative to `exact`.

    Raises:
        UsageError: If there is no text to calibrate on.
    """
    from semsearch.encoder.runtimes.int8 import SAMPLE, measure_speed

    texts, records = sample_texts(records, exact, chunking, SAMPLE)
    if not texts:
        raise UsageError(
            "`precision` 'int8' is calibrated on the first documents of the corpus, but these have no text; put "
            "documents with text first, or omit `precision`"
        )
    log.info("calibrating 8-bit integers on %d passages of the corpus", len(texts))
    encoder = exact.quantize(texts)
    loss = measure_loss(encoder.encode_documents(texts), exact.encode_documents(texts), exact.spec.similarity)
    speed = measure_speed(encoder.encode_documents, exact.encode_documents, texts)
    return encoder, records, Quantization(loss.mean_cosine, loss.overlap, speed)


def delete_documents(store: Store, doc_ids: Sequence[str], encoder: Callable[[], TextEncoder]) -> list[str]:
    """Delete documents from an index, and measure unrelated pairs again if it has shrunk considerably.

    Args:
        store: Store of the index.
        doc_ids: Ids of the documents; unknown ids are ignored.
        encoder: Returns the encoder of the index; called only if needed.

    Returns:
        The ids of the documents that existed and were deleted.

    Raises:
        NoIndexError: If there is no index.
        LockedError: If another process is writing to the index.
    """
    check_types({"doc_ids": doc_ids}, {"doc_ids": IDS})
    with store.write(store.spec, store.chunking, store.origin) as writer:
        there = writer.delete(doc_ids)
        writer.seal(final=True)
        if there and is_stale(store):
            try:
                writer.keep_background(measure_background(store, encoder()).to_json())
            except (ModelError, MismatchError) as error:  # the documents stay deleted
                log.warning("confidence is still based on what the index held before the deletion: %s", error)
    return there


def _without_layout(record: Record) -> Record:
    """Return a document as an index stores it that knows no sections, so that its content hash is the one there."""
    return replace(record, layout=NO_LAYOUT) if isinstance(record, Document) and record.layout else record


def _is_skipped(error: RecordError, *, skip_bad: bool, strict: bool) -> bool:
    """Return whether a run continues after a bad record; by default it does for a file found in a folder."""
    return skip_bad or (error.found and not strict)


def _begun(records: Iterator[Record], skipped: Callable[[RecordError], bool], report: IngestResult) -> Iterator[Record]:
    """Return the records from the first document on; raise if there is none, so that no empty index is created."""
    for record in records:
        if isinstance(record, Document):
            return chain([record], records)
        if not skipped(record):
            raise record
        report.count_bad(record)
    bad = f", {report.bad} bad records; the first is {report.errors[0]}" if report.bad else ""
    textless = f", {report.textless} PDFs without text (logos or scans)" if report.textless else ""
    raise SourceError(f"the corpus is empty: no usable document{bad}{textless}")


def _as_given(document: Document, passages: tuple[Passage, ...] | RecordError) -> EncodedDocument | RecordError:
    """Return the given vectors of a document with its passages, or an error if they are vectors of other ones."""
    assert document.given is not None
    if isinstance(passages, RecordError):
        return passages
    if tuple((passage.start, passage.end) for passage in passages) == document.given.spans:
        return EncodedDocument(passages, document.given.vectors)
    return RecordError(
        document.source,
        None,
        f"document {document.doc_id!r} has vectors for {len(document.given.spans)} passages other than the "
        f"{len(passages)} into which this index cuts it; use the chunking options of the index that was exported",
    )


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch of documents whose encoding has begun.

    Attributes:
        plan: The work that the documents require.
        work: The work of the engine: documents without given vectors.
        given: The passages and vectors of the others, or errors in place of those that cannot be used.
        chars: Number of characters of the batch.
    """

    plan: Plan
    work: Work
    given: Sequence[EncodedDocument | RecordError]
    chars: int

    def encoded(self, tick: Tick) -> list[EncodedDocument | RecordError]:
        """Return passages and vectors of each document of the plan that needs them, waiting for the engine."""
        given, worked = iter(self.given), iter(self.work.finish(tick))
        return [next(worked if document.given is None else given) for document in self.plan.encode]


class _Stopped(Exception):
    """Aborts the encoding of a batch after Ctrl-C."""


@dataclass(slots=True)
class _Run:
    """One pass over a corpus; while one batch is encoded and committed, the next ones are collected and begun."""

    writer: StoreWriter
    encoder: TextEncoder
    chunker: Chunker
    workers: Workers
    coverage: Coverage
    skipped: Callable[[RecordError], bool]
    replace: bool
    watch: Watch | None
    report: IngestResult
    beside: ThreadPoolExecutor
    batch: list[Document] = field(default_factory=list)
    begun: deque[_Batch] = field(default_factory=deque)
    chars: int = 0
    chars_taken: int = 0
    chars_done: int = 0
    at_work: Future[list[RecordError]] | None = None
    stopped: bool = False

    def take(self, record: Record) -> None:
        """Add a record to the batch, and start processing the batch when it is full."""
        if self.at_work and self.at_work.done():
            self._wait()
        if isinstance(record, RecordError):
            self._refuse(record)
            return
        if duplicate := self.writer.see(record):
            duplicate.origin = record.origin
            self._refuse(duplicate)
            return
        self.batch.append(record)
        self.chars += record.size
        self.chars_taken += record.size
        if len(self.batch) >= BATCH_DOCUMENTS or self.chars >= BATCH_CHARS:
            self._start()

    def flush(self) -> None:
        """Encode and commit all records taken so far."""
        self._start()
        self._commit_next(0)
        self._wait()

    def _start(self) -> None:
        """Begin to encode the batch, and commit the oldest batches if enough have begun."""
        batch, chars, self.batch, self.chars = self.batch, self.chars, [], 0
        if not batch:
            return
        plan = self.writer.plan(batch, replace=self.replace)
        given = [document for document in plan.encode if document.given is not None]
        taken = list(map(_as_given, given, self.chunker.passages(given)))
        work = self.workers.begin([document for document in plan.encode if document.given is None])
        self.begun.append(_Batch(plan, work, taken, chars))
        self._commit_next(self.workers.ahead)
        for problem in plan.refused:
            self._refuse(problem)

    def _commit_next(self, ahead: int) -> None:
        """Commit the oldest batches, until at most `ahead` are begun beside the one that is being committed."""
        while len(self.begun) > ahead:
            self._wait()
            self.at_work = self.beside.submit(self._commit, self.begun.popleft())

    def _wait(self) -> None:
        """Wait until the batch in progress is committed, and raise its error if it failed."""
        at_work, self.at_work = self.at_work, None
        try:
            while at_work and not at_work.done():
                wait([at_work], timeout=0.2)  # without a timeout, Windows ignores Ctrl-C while waiting
            for problem in at_work.result() if at_work else ():
                if not self.skipped(problem):
                    raise problem
                self.report.count_bad(problem)
        except BaseException:
            self.batch = []  # commit nothing after a batch that failed
            self.begun.clear()
            raise

    def _commit(self, batch: _Batch) -> list[RecordError]:
        """Commit a batch once its new texts are encoded; return the errors of documents that cannot be used."""
        plan, encoded = batch.plan, batch.encoded(self._ticking(batch))
        problems = [each for each in encoded if isinstance(each, RecordError)]
        good = [
            (document, each)
            for document, each in zip(plan.encode, encoded, strict=True)
            if not isinstance(each, RecordError)
        ]
        unknown = [document.doc_id for document, each in good if each.passages and not self._knows_any(each.passages)]
        self._remember_roots()
        moved = [document for document, former in plan.moved if former is None or self.coverage.is_gone(former)]
        if good or plan.describe or moved:
            entries = [
                # zeros, because all texts of only unknown tokens, such as nonsense queries, are close to one another
                Entry(
                    document,
                    each.passages,
                    np.zeros_like(each.vectors) if document.doc_id in unknown else each.vectors,
                )
                for document, each in good
            ]
            self.writer.commit(entries, [*plan.describe, *moved])
        batch.work.discard()
        cut = [(document, each.passages) for document, each in good]
        self._count(plan, cut, unknown)
        if has_vocabulary(self.encoder.tokenizer):
            self._check_language(cut)
        self.report.in_flight, self.report.passages_in_flight = 0.0, 0
        self.writer.seal(final=False)
        self.chars_done += batch.chars
        self._tell(0)
        return problems

    def _tell(self, chars: float) -> None:
        """Report progress, with so many characters encoded since the last commit."""
        if self.watch:
            self.report.bytes_read = self.coverage.bytes_read
            self.report.share_done = min((self.chars_done + chars) / max(self.chars_taken, 1), 1.0)
            self.watch(self.report)

    def _remember_roots(self) -> None:
        """Store new and moved roots, before the documents whose ids depend on them."""
        roots = tuple(self.coverage.roots)
        if roots != self.coverage.known:
            self.writer.remember(roots)
            self.coverage.known = roots

    def find_missing(self, *, delete: bool) -> None:
        """Count or delete documents that no longer exist in the corpus.

        A document that may still exist somewhere the run could not look is kept. Files outside the given paths do not
        count as missing, unless the run was given documents from memory: these are the whole corpus.
        """
        given = self.coverage.scopes()
        if None in given and not delete:
            return
        scopes = [None] if None in given else [one for origin in given if origin for one in self.coverage.below(origin)]
        found = (one for scope in scopes for one in self.writer.unseen(scope))
        unseen = {doc_id: origin for doc_id, origin in found if self.coverage.asks_for(origin)}
        gone = [doc_id for doc_id, origin in unseen.items() if self.coverage.lacks(origin)]
        if delete:
            self.report.not_deleted = len(unseen) - len(gone)
            self.report.deleted = len(self.writer.delete(gone)) if gone else 0
        else:
            self.report.vanished, self.report.vanished_ids = len(gone), gone[:REPORTED]

    def _ticking(self, batch: _Batch) -> Tick:
        """Return a callback for the engine that reports the progress of a batch, and aborts it once the run stopped."""
        n_documents = len(batch.plan.encode) - len(batch.given)

        def tick(passages: int, share: float) -> None:
            if self.stopped:
                raise _Stopped
            self.report.passages_in_flight += passages
            self.report.in_flight = share * n_documents
            self._tell(share * batch.chars)

        return tick

    def _count(self, plan: Plan, good: list[tuple[Document, tuple[Passage, ...]]], unknown: list[str]) -> None:
        report, passages = self.report, [passage for _, passages in good for passage in passages]
        report.documents += len(good) + len(plan.describe) + plan.unchanged
        report.encoded += len(good)
        report.taken += sum(document.given is not None for document, _ in good)
        report.described += len(plan.describe)
        report.unchanged += plan.unchanged
        report.passages += len(passages)
        report.truncated += sum(passage.n_lost > 0 for passage in passages)
        report.tokens += sum(passage.n_tokens for passage in passages)
        report.tokens_lost += sum(passage.n_lost for passage in passages)
        empty = [document.doc_id for document, passages in good if not passages]
        report.empty += len(empty)
        report.empty_ids += empty[: REPORTED - len(report.empty_ids)]
        report.unknown += len(unknown)
        report.unknown_ids += unknown[: REPORTED - len(report.unknown_ids)]

    def _check_language(self, good: Sequence[tuple[Document, tuple[Passage, ...]]]) -> None:
        """Count the documents whose middle passage is in a language that the encoder does not know."""
        written = [(document.doc_id, passages[len(passages) // 2]) for document, passages in good if passages]
        written = written[:: -(-len(written) // CHECKED) or 1]
        shares = unknown_shares(self.encoder.tokenizer, [passage.encoded_text for _, passage in written])
        strange = [doc_id for (doc_id, _), share in zip(written, shares, strict=True) if share >= UNKNOWN]
        report = self.report
        report.checked += len(written)
        report.unknown_language += len(strange)
        report.unknown_language_ids += strange[: REPORTED - len(report.unknown_language_ids)]

    def _knows_any(self, passages: Sequence[Passage]) -> bool:
        return knows_any(self.encoder.tokenizer, (passage.encoded_text[:BLOCK_CHARS] for passage in passages))

    def _refuse(self, error: RecordError) -> None:
        """Count a bad record, or commit everything before it and raise it."""
        if not self.skipped(error):
            self.flush()
            raise error
        self.report.count_bad(error)
