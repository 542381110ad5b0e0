"""The ingest verb: documents in, passages encoded, batches committed; what is unchanged is left alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import chain, islice
from random import Random
from typing import TypeAlias

import numpy as np

from semsearch.background import is_stale, measure_background
from semsearch.checks import IDS, check_types
from semsearch.corpus.chunking import Chunker, Chunking
from semsearch.corpus.readers import Record
from semsearch.corpus.roots import Coverage
from semsearch.encoder.encoder import Progress, TextEncoder
from semsearch.encoder.vectors import check_finite
from semsearch.errors import LockedError, MismatchError, ModelError, RecordError, SourceError, UsageError
from semsearch.stores.base import Entry, Plan, Store, StoreWriter
from semsearch.types import Document, Passage, Quantization

log = logging.getLogger(__name__)

BATCH_DOCUMENTS = 4_096
BATCH_CHARS = 300_000
"""A batch is committed at this many documents or characters: what lies in memory, and what a crash can cost, some
seconds of encoding on two cores. Texts are sorted by length within a batch, so small ones would cost speed."""

REPORTED = 20
"""Bad records and empty documents that a report names; all are counted."""


@dataclass(slots=True, repr=False)
class IngestResult:
    """What an ingest has done so far.

    Attributes:
        documents: Met in the corpus.
        encoded, described, unchanged, deleted: Documents by what was done: new text encoded, metadata alone updated,
            nothing, taken out.
        passages: Encoded in this run.
        truncated, tokens, tokens_lost: Passages cut off, and tokens of all encoded passages and of what was cut.
        empty: Documents without text or title: stored, but nothing finds them; `empty_ids` holds the first.
        unknown: Documents of which the encoder knows no token, such as symbols alone: dense search cannot find them,
            and keyword search only where they have words; `unknown_ids` holds the first.
        bad: Records and files that were skipped; `errors` holds the first of them.
        in_flight: Documents encoded since the last commit, by their share of passages.
        quantization: What 8-bit integers cost, where an encoder was calibrated for this.
        vanished: Documents of the files and folders given that are no longer there; `vanished_ids` holds the first.
        not_deleted: Documents that `delete_missing` left alone, because it could not be told whether they are gone.
    """

    documents: int = 0
    encoded: int = 0
    described: int = 0
    unchanged: int = 0
    deleted: int = 0
    passages: int = 0
    truncated: int = 0
    tokens: int = 0
    tokens_lost: int = 0
    bad: int = 0
    vanished: int = 0
    not_deleted: int = 0
    in_flight: float = 0.0
    empty: int = 0
    empty_ids: list[str] = field(default_factory=list)
    vanished_ids: list[str] = field(default_factory=list)
    unknown: int = 0
    unknown_ids: list[str] = field(default_factory=list)
    errors: list[RecordError] = field(default_factory=list)
    quantization: Quantization | None = None

    def __repr__(self) -> str:
        """What is not zero or empty, on one line."""
        told = {one.name: getattr(self, one.name) for one in fields(self)}
        return f"IngestResult({', '.join(f'{name}={value!r}' for name, value in told.items() if value)})"

    def count_bad(self, error: RecordError) -> None:
        """Count a record that is skipped; the first of them are kept."""
        self.bad += 1
        if len(self.errors) < REPORTED:
            self.errors.append(error)


Watch: TypeAlias = Callable[[IngestResult], None]
"""Called with the report so far, after each batch of the encoder and each commit."""


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
    watch: Watch | None = None,
) -> IngestResult:
    """Bring an index up to date with a corpus; make it where there is none.

    Documents whose text is unchanged are not encoded again. Batches are committed as they go, so after any end the
    same call goes on from there.

    Args:
        store: Where the index is kept.
        records: Documents, and errors in the place of bad ones.
        encoder: Must be the one that the index was built with.
        chunking: How to cut documents.
        coverage: What `records` was given and has read; None for documents from memory alone.
        origin: Where the corpus came from; a new index keeps it.
        skip_bad: Count bad records and go on, instead of stopping at the first. Files found in a folder are always
            skipped if they are bad, unless `strict`.
        strict: Stop at any bad record or file.
        replace: Let a document take the place of one with the same id from another file.
        delete_missing: Take out documents that the corpus no longer has, unless it cannot be told.
        refit: Fit the encoder's transform again.
        watch: Told the progress, from the thread that encodes.

    Raises:
        RecordError: A bad record, after everything before it was committed.
        SourceError: The corpus is empty.
        MismatchError, LockedError, NoIndexError, DiskFullError: See `Store.write`.
    """
    if not encoder.spec.normalize and not encoder.spec.transform:
        raise UsageError(
            "an index needs unit vectors because its scores are cosines; load the encoder with normalize=True"
        )
    if refit and not encoder.spec.transform:
        raise UsageError(
            "`refit` needs a transform, and this encoder was loaded without one; choose one with `transform`"
        )
    if strict and skip_bad:
        raise UsageError("`strict` and `skip_bad` exclude each other; choose one")
    chunker = Chunker(encoder.tokenizer, encoder.spec.max_tokens, encoder.spec.passage_prefix, chunking)
    if coverage is None:
        coverage = Coverage()
        coverage.given.append(None)
    report = IngestResult()
    skipped = partial(_is_skipped, skip_bad=skip_bad, strict=strict)
    records = _begun(records, skipped, report)
    writing = store.write(encoder.spec, chunking.to_json(), origin, encoder.artifacts)
    with writing as writer, ThreadPoolExecutor(1) as beside:
        if tuple(store.roots) != coverage.known:  # by which the ids were made
            raise LockedError(f"another run has added files to {store.location!r} meanwhile; run this one again")
        run = _Run(writer, encoder, chunker, coverage, skipped, replace, watch, report, beside)
        try:
            for record in records:
                run.take(record)
            run.flush()
        except Exception:  # what came before it is kept
            run.flush()
            raise
        finally:
            run.stopped = True
        run.find_missing(delete=delete_missing)
        fitted = writer.fit(again=refit)
        writer.seal(final=True)
        if fitted or is_stale(store):
            writer.keep_background(measure_background(store, encoder).to_json())
    return report


def sample_texts(
    records: Iterator[Record], encoder: TextEncoder, chunking: Chunking, n: int
) -> tuple[list[str], Iterator[Record]]:
    """Texts as the encoder will see them: some passages of a corpus's first documents, drawn with a fixed seed.

    Returns:
        At most `n` texts, and the records from the first one on.
    """
    head = list(islice(records, BATCH_DOCUMENTS))
    chunker = Chunker(encoder.tokenizer, encoder.spec.max_tokens, encoder.spec.passage_prefix, chunking)
    documents = [record for record in head if isinstance(record, Document)]
    drawn = Random(0).sample(documents, min(n, len(documents)))  # before they are cut, which takes a while
    cut = [passages for passages in chunker.passages(drawn) if not isinstance(passages, RecordError)]
    texts = [passage.encoded_text for passages in cut for passage in passages]
    return Random(0).sample(texts, min(n, len(texts))), chain(head, records)


def calibrate(
    exact: TextEncoder, records: Iterator[Record], chunking: Chunking
) -> tuple[TextEncoder, Iterator[Record], Quantization | None]:
    """An encoder in 8-bit integers, calibrated on some passages of a corpus, and what that costs.

    Returns:
        The encoder, the records from the first one on, and the cost.

    Raises:
        UsageError: There is no text to calibrate on.
    """
    from semsearch.encoder.runtimes.int8 import SAMPLE, measure_loss, measure_speed

    texts, records = sample_texts(records, exact, chunking, SAMPLE)
    if not texts:
        raise UsageError(
            "`precision` 'int8' is calibrated on the corpus, whose first documents have no text; put some that have "
            "first, or leave `precision` out"
        )
    log.info("calibrating 8-bit integers on %d passages of the corpus", len(texts))
    encoder = exact.quantize(texts)
    loss = measure_loss(encoder.encode_documents(texts), exact.encode_documents(texts))
    speed = measure_speed(encoder.encode_documents, exact.encode_documents, texts)
    return encoder, records, Quantization(loss.mean_cosine, loss.overlap, speed)


def delete_documents(store: Store, doc_ids: Sequence[str], encoder: Callable[[], TextEncoder]) -> list[str]:
    """Take documents out of an index, and measure it again where it shrinks much.

    Args:
        store: Where the index is kept.
        doc_ids: Those that are not there do not matter.
        encoder: Gives the encoder of the index where it is needed.

    Returns:
        The ids that were there.

    Raises:
        NoIndexError, LockedError: The index cannot be written.
    """
    check_types({"doc_ids": doc_ids}, {"doc_ids": IDS})
    with store.write(store.spec, store.chunking, store.origin) as writer:
        there = writer.delete(doc_ids)
        writer.seal(final=True)
        if there and is_stale(store):
            try:
                writer.keep_background(measure_background(store, encoder()).to_json())
            except (ModelError, MismatchError) as error:  # what is deleted stays so
                log.warning("confidence is still told by what the index held before the deletion: %s", error)
    return there


def _is_skipped(error: RecordError, *, skip_bad: bool, strict: bool) -> bool:
    """Whether a run goes on after a bad record: one bad file in a folder does not end it."""
    return skip_bad or (error.found and not strict)


def _begun(records: Iterator[Record], skipped: Callable[[RecordError], bool], report: IngestResult) -> Iterator[Record]:
    """The same records from the first document on: where there is none, no index is made."""
    for record in records:
        if isinstance(record, Document):
            return chain([record], records)
        if not skipped(record):
            raise record
        report.count_bad(record)
    bad = f", {report.bad} bad records; the first is {report.errors[0]}" if report.bad else ""
    raise SourceError(f"the corpus is empty: no usable document{bad}")


class _Stopped(Exception):
    """Ends the encoding of a batch after Ctrl-C."""


@dataclass(slots=True)
class _Run:
    """One pass over a corpus: collects a batch, which is encoded and committed while the next is collected."""

    writer: StoreWriter
    encoder: TextEncoder
    chunker: Chunker
    coverage: Coverage
    skipped: Callable[[RecordError], bool]
    replace: bool
    watch: Watch | None
    report: IngestResult
    beside: ThreadPoolExecutor
    batch: list[Document] = field(default_factory=list)
    chars: int = 0
    at_work: Future[None] | None = None
    stopped: bool = False

    def take(self, record: Record) -> None:
        """Add a record to the batch; start on the batch when it is full."""
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
        if len(self.batch) >= BATCH_DOCUMENTS or self.chars >= BATCH_CHARS:
            self._start()

    def flush(self) -> None:
        """Encode and commit all that was taken."""
        self._start()
        self._wait()

    def _start(self) -> None:
        """Encode and commit the batch beside what follows, after the one before."""
        batch, self.batch, self.chars = self.batch, [], 0
        if not batch:
            return
        plan = self.writer.plan(batch, replace=self.replace)
        cut = self.chunker.passages(plan.encode)
        good = [
            (document, passages)
            for document, passages in zip(plan.encode, cut, strict=True)
            if not isinstance(passages, RecordError)
        ]
        self._wait()
        self.at_work = self.beside.submit(self._commit, plan, good)
        for problem in (*plan.refused, *cut):
            if isinstance(problem, RecordError):
                self._refuse(problem)

    def _wait(self) -> None:
        """Until the batch at work is committed; raises what it met."""
        at_work, self.at_work = self.at_work, None
        try:
            while at_work and not at_work.done():
                wait([at_work], timeout=0.2)  # without a timeout, Windows takes no Ctrl-C meanwhile
            if at_work:
                at_work.result()
        except BaseException:
            self.batch = []  # nothing is committed behind what was not
            raise

    def _commit(self, plan: Plan, good: list[tuple[Document, tuple[Passage, ...]]]) -> None:
        """Encode what is new and commit it with the rest of its batch."""
        texts = [passage.encoded_text for _, passages in good for passage in passages]
        vectors = self.encoder.encode_documents(texts, self._tick(len(good) / max(len(texts), 1)))
        check_finite(vectors, texts, self.encoder.spec.model)  # whoever's encoder it is: what is stored stays
        ends = np.cumsum([len(passages) for _, passages in good], dtype=int)
        parts = np.split(vectors, ends[:-1]) if good else []
        unknown = [document.doc_id for document, passages in good if passages and not self.chunker.knows(passages)]
        self._remember_roots()
        moved = [document for document, former in plan.moved if former is None or self.coverage.is_gone(former)]
        if good or plan.describe or moved:
            entries = [
                # else a text of unknown tokens alone is near to every other, such as nonsense
                Entry(*each, np.zeros_like(part) if each[0].doc_id in unknown else part)
                for each, part in zip(good, parts, strict=True)
            ]
            self.writer.commit(entries, [*plan.describe, *moved])
        self._count(plan, good, unknown)
        self.report.in_flight = 0.0
        self.writer.seal(final=False)
        if self.watch:
            self.watch(self.report)

    def _remember_roots(self) -> None:
        """Store new roots and moved ones, before documents that are named by them."""
        roots = tuple(self.coverage.roots)
        if roots != self.coverage.known:
            self.writer.remember(roots)
            self.coverage.known = roots

    def find_missing(self, *, delete: bool) -> None:
        """Count or delete what is no longer where it came from.

        A document is left alone that may still be somewhere the run could not look. Files elsewhere than in the paths
        given are not missing, unless the run was given documents from memory: these are the whole corpus.
        """
        given = self.coverage.given
        if None in given and not delete:
            return
        scopes = [None] if None in given else [one for origin in given if origin for one in self.coverage.below(origin)]
        unseen = {doc_id: origin for scope in scopes for doc_id, origin in self.writer.unseen(scope)}
        gone = [doc_id for doc_id, origin in unseen.items() if self.coverage.lacks(origin)]
        if delete:
            self.report.not_deleted = len(unseen) - len(gone)
            self.report.deleted = len(self.writer.delete(gone)) if gone else 0
        else:
            self.report.vanished, self.report.vanished_ids = len(gone), gone[:REPORTED]

    def _tick(self, documents_per_text: float) -> Progress:
        """Tells the watch while the encoder works, and the encoder when to stop."""

        def tick(texts: int) -> None:
            if self.stopped:
                raise _Stopped
            self.report.in_flight += texts * documents_per_text
            if self.watch:
                self.watch(self.report)

        return tick

    def _count(self, plan: Plan, good: list[tuple[Document, tuple[Passage, ...]]], unknown: list[str]) -> None:
        report, passages = self.report, [passage for _, passages in good for passage in passages]
        report.documents += len(good) + len(plan.describe) + plan.unchanged
        report.encoded += len(good)
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

    def _refuse(self, error: RecordError) -> None:
        """Count a bad record, or stop at it with everything before it committed."""
        if not self.skipped(error):
            self.flush()
            raise error
        self.report.count_bad(error)
