"""The index: add documents to it and search it, always with the one encoder that it was built with.

    with Index.open("indexes/birds", create=True) as index:
        index.add([{"_id": "1", "text": "The heron waits in the reeds.", "year": 2021}])
        for hit in index.search("a patient bird", k=3, where="year >= 2020"):
            print(hit)

Every use of an index goes through this module: the Python interface, the command line, the servers and the
integrations.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from semsearch.checks import FLAG, FUNCTION, IDS, NAMES, WHOLE, Check, check_types
from semsearch.confidence import DEFAULT, Background, background_of
from semsearch.corpus.chunking import Chunking
from semsearch.corpus.sources import ReadOptions
from semsearch.errors import DamagedError, UsageError
from semsearch.forks import ForkLock
from semsearch.index_encoder import IndexEncoder
from semsearch.paths import as_path, real_place
from semsearch.stores.base import Store, StoredDocument, refuse_other_precision
from semsearch.stores.local.store import LocalStore
from semsearch.stores.open import Location, open_store
from semsearch.types import STORE_PRECISIONS, EncoderSettings, EncoderSpec, Hit, Storage
from semsearch.vector_options import changed_options

if TYPE_CHECKING:
    from semsearch.arrays import Vector, Vectors
    from semsearch.context import Context
    from semsearch.copying import CopyResult
    from semsearch.corpus.readers import Corpus
    from semsearch.corpus_map import MapPoint
    from semsearch.encoder.encoder import TextEncoder
    from semsearch.engines.base import Engine
    from semsearch.exchange import ExportResult
    from semsearch.explain.records import Explanation
    from semsearch.filters.read import Where
    from semsearch.filters.syntax import Filter
    from semsearch.ingest import IngestResult, Watch
    from semsearch.reencode import ReencodeResult
    from semsearch.rerank import Reranker
    from semsearch.stores.local.care.rebuild import RebuildResult
    from semsearch.stores.local.vectors.tuning import Tuned
    from semsearch.tool import Tool
    from semsearch.verify import VerifyResult

log = logging.getLogger(__name__)

SOME_FILES = 20
"""Number of files from a missing root that are compared with a new folder, to detect a moved root."""


class Index:
    """A searchable index of documents, tied to the one encoder that all of its vectors come from.

    Open one with `Index.open`, and close it with `close` or by using it as a context manager.

    An index is safe to share between threads: searches take turns accessing the store, the encoder is loaded only once,
    and additions run one at a time. A search sees everything that was committed before it began.
    """

    def __init__(
        self,
        store: Store,
        *,
        create: bool = False,
        encoder: TextEncoder | None = None,
        settings: EncoderSettings | None = None,
        chunking: Chunking | None = None,
        store_precision: str | None = None,
    ) -> None:
        """Open the index in a store; most callers should use `Index.open` instead.

        Args:
            store: The store that holds the index.
            create: Allow the first call to `add` to create the index if there is none.
            encoder: An encoder that is already loaded; None to load the encoder of the index.
            settings: Encoder settings, which override those of the index or its checkpoint.
            chunking: How to cut documents into passages; None for the index's own, or the default for a new index.
            store_precision: Precision of stored vectors; see `open`.

        Raises:
            NoIndexError: If there is no index and `create` is False.
            MismatchError: If the index was built with an encoder other than the requested one, or stores its vectors in
                another precision.
        """
        given = {"create": create, "chunking": chunking, "encoder": encoder, "store_precision": store_precision}
        check_types(given, EXPECTED, OPTIONAL)
        if not create and not store.exists():
            _ = store.spec  # raises an error that says what is there instead
        if store_precision and store.exists() and len(store.passages_from(0.0, 1)):
            refuse_other_precision(store.location, store.storage.store_precision, store_precision)
        self._store, self._chunking, self._adding = store, chunking, ForkLock()
        self._store_precision = store_precision
        self._settings = settings or EncoderSettings()
        self._encoder = IndexEncoder(store, self._settings, encoder)
        self._reranking = ForkLock()
        self._rerankers: dict[str, Reranker] = {}

    @classmethod
    def open(
        cls,
        location: Location,
        *,
        create: bool = False,
        model: str | Path | None = None,
        pooler: str | None = None,
        simcse_names: bool = False,
        similarity: str | None = None,
        max_tokens: int | None = None,
        dim: int | None = None,
        transform: str | None = None,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
        precision: str | None = None,
        device: str = "auto",
        runtime: str = "auto",
        chunking: Chunking | None = None,
        store_precision: str | None = None,
        encoder: TextEncoder | None = None,
    ) -> Self:
        """Open an index, or with `create=True` a location where the first call to `add` will create one.

        Encoder settings that are left out default to those of the index or, for a new index, to those that the
        checkpoint declares. The encoder itself is loaded when it is first needed.

        Args:
            location: The folder of the index, the URL of a PostgreSQL database, or a store.
            create: Allow the first call to `add` to create the index if there is none.
            model: A local directory or a Hugging Face name; for an existing index, the new path of a checkpoint that
                has moved.
            pooler: Name of the pooler; see `Encoder.load`.
            simcse_names: Interpret `pooler` as SimCSE does; see `Encoder.load`.
            similarity: Function that ranks passages; see `Encoder.load`.
            max_tokens: Maximum number of tokens of an input; see `Encoder.load`.
            dim: Number of leading dimensions to keep; see `Encoder.load`.
            transform: Transform to fit on the corpus; see `Encoder.load`.
            query_prefix: Text to prepend to queries; see `Encoder.load`.
            passage_prefix: Text to prepend to passages; see `Encoder.load`.
            precision: Numeric precision of the encoder, see `Encoder.load`; for a new index also `int8`, calibrated on
                the first corpus that is added.
            device: Device to run on; see `Encoder.load`.
            runtime: Runtime to use; see `Encoder.load`.
            chunking: How to cut documents into passages; None for the index's own, or the default for a new index.
            store_precision: Precision in which vectors are stored, and searched: `float32`, `float16` at half the
                size, or `int8` at a quarter, with a small loss that is measured; None for the index's own, or `float32`
                for a new index. It is fixed once there are vectors; `reencode` can change it.
            encoder: An encoder that is already loaded; cannot be combined with the encoder settings above.

        Raises:
            NoIndexError: If there is no index and `create` is False, or if the folder contains something else.
            SchemaError: If the index was written by a newer version of semsearch.
            MismatchError: If the index was built with an encoder other than the requested one, or stores its vectors in
                another precision.
            UsageError: If an argument has the wrong type, or `encoder` is combined with encoder settings.
        """
        settings = EncoderSettings(
            model=model,
            pooler=pooler,
            simcse_names=simcse_names,
            similarity=similarity,
            max_tokens=max_tokens,
            dim=dim,
            transform=transform,
            query_prefix=query_prefix,
            passage_prefix=passage_prefix,
            precision=precision,
            device=device,
            runtime=runtime,
        )
        _refuse_both(encoder, settings)
        store = open_store(location)
        try:
            return cls(
                store,
                create=create,
                encoder=encoder,
                settings=settings,
                chunking=chunking,
                store_precision=store_precision,
            )
        except BaseException:
            if store is not location:
                store.close()
            raise

    @staticmethod
    def exists(location: Location) -> bool:
        """Return whether there is an index at a location."""
        with _opened(location) as store:
            return store.exists()

    def add(
        self,
        corpus: Corpus,
        *,
        options: ReadOptions | None = None,
        skip_bad: bool = False,
        strict: bool = False,
        replace: bool = False,
        delete_missing: bool = False,
        only: Iterable[str | Path] | None = None,
        refit: bool = False,
        vector_index: str | None = None,
        memory: int | str | None = None,
        target_recall: float | None = None,
        vectors: str | Path | None = None,
        engine: Engine | None = None,
        watch: Watch | None = None,
    ) -> IngestResult:
        """Add documents, replacing those with the same ids; documents whose text is unchanged are not encoded again.

        Each batch is committed when it is complete, so after an interruption the same call resumes from the last
        committed batch.

        Args:
            corpus: Paths of files and folders, patterns such as `data/**/*.jsonl`, URLs that pyarrow opens, such as
                `s3://bucket/folder`, documents, or mappings with `_id`, `text`, optionally `title`, and any
                other fields, which become metadata. Dates, UUIDs, paths, enumerations, NumPy values, sets and decimals
                are converted to text, numbers or lists; a record with values that JSON cannot represent, such as NaN
                or bytes, is bad.
            options: How to read files, and the names of the id, text and title fields.
            skip_bad: Count bad records instead of stopping at the first. A bad file that was found in a folder is
                always skipped and counted, unless `strict` is set.
            strict: Stop at any bad record or file.
            replace: Let a document from a file replace one with the same id that was added from another file; by
                default this is a bad record. Documents from memory always replace.
            delete_missing: Delete documents that are no longer in the corpus: those of the given files and folders
                or, for documents from memory, all others in the index. Documents that may still exist are kept.
            only: Files and folders in those of `corpus`, or former ones, that may have changed; all others are neither
                read nor missing. None for all.
            refit: Fit the encoder's transform again.
            vector_index: `auto` to choose by the number of vectors and `memory`, or a vector index in FAISS's notation,
                such as `HNSW32,SQ8`, or `Flat` for exact search; None to leave it as it is, for a new index `auto`.
            memory: Bytes, or a size such as `2GB`, that `auto` may use for the vector index, while it is built and
                while it is searched; None to leave it as it is, for a new index 2 GiB.
            target_recall: Share of the ten nearest vectors that a search should find; None to leave it as it is, for a
                new index 0.98.
            vectors: A `.npy` file with the vectors of all passages of an exported corpus, see `export`, which are taken
                instead of encoding the texts. Vectors in the lines of an exported file are always taken, but not those
                of documents from memory. They must come from the encoder of the index.
            engine: What encodes the documents, such as a `semsearch.engines.ray.RayEngine`; None for this process.
            watch: Progress callback that receives the result so far, called from the thread that encodes.

        Returns:
            Counts of what was added, updated, skipped and deleted.

        Raises:
            RecordError: If there is a bad record; everything before it was committed.
            SourceError: If a file cannot be read, or the corpus contains no documents.
            UsageError: If `vectors` do not belong to the corpus, or cannot be used, or if a vector is beyond the range
                of the precision in which the index stores them.
            MismatchError: If the index was built with another encoder or other chunking settings, or given vectors come
                from another encoder.
            LockedError: If another process is writing to the index.
            NoIndexError: If the location contains something other than an index.
            DiskFullError: If the disk is full; committed batches are kept.
            ClusterError: If the cluster of the engine cannot be reached, or its workers cannot encode.
        """
        from semsearch.corpus.readers import Coverage, as_records, has_moved
        from semsearch.exchange import rows_for, with_vectors
        from semsearch.ingest import ingest

        flags = {"skip_bad": skip_bad, "strict": strict, "replace": replace, "delete_missing": delete_missing}
        given: dict[str, object] = {"options": options, "watch": watch, "refit": refit, "engine": engine, **flags}
        check_types(given, EXPECTED, OPTIONAL)
        changes = changed_options(vector_index, memory, target_recall)
        reading = options or ReadOptions()
        with self._adding:
            started = time.perf_counter()
            coverage = Coverage(
                self._store.roots if self._store.exists() else (),
                lambda root, folder: has_moved(folder, self._store.files_of(root.name, SOME_FILES), reading),
                None if only is None else [real_place(as_path(path, "only")) for path in only],
            )
            records = as_records(corpus, reading, coverage)
            encoder, records, quantization = self._encoder.for_corpus(records, self.chunking)
            rows = None if vectors is None else rows_for(as_path(vectors, "vectors"), corpus, reading, encoder.spec)
            records = with_vectors(records, encoder.spec, rows)
            result = ingest(
                self._store,
                records,
                encoder,
                chunking=self.chunking,
                coverage=coverage,
                origin=origin_of(corpus),
                **flags,
                refit=refit,
                vectors=changes,
                store_precision=self._store_precision,
                engine=engine,
                watch=watch,
            )
            result.quantization = quantization
        log.info("%s: %s in %.1f s", self.location, result, time.perf_counter() - started)
        return result

    def delete(self, doc_ids: Sequence[str]) -> list[str]:
        """Delete documents by id.

        If the index shrinks considerably, its encoder is loaded to measure again the scores of unrelated pairs, which
        confidence is based on.

        Args:
            doc_ids: Ids of the documents; unknown ids are ignored.

        Returns:
            The ids of the documents that existed and were deleted.

        Raises:
            NoIndexError: If there is no index.
            LockedError: If another process is writing to the index.
        """
        from semsearch.ingest import delete_documents

        with self._adding:
            there = delete_documents(self._store, doc_ids, lambda: self.encoder)
        log.info("%s: %d documents deleted", self.location, len(there))
        return there

    def compact(
        self,
        *,
        vector_index: str | None = None,
        memory: int | str | None = None,
        target_recall: float | None = None,
        secure: bool = False,
    ) -> bool:
        """Merge everything that is searched into the form that is fastest, and return unused space to the file system.

        Adding documents merges only in proportion to what it adds; this takes as long as it takes. Searches go on
        meanwhile.

        Args:
            vector_index: See `add`.
            memory: See `add`.
            target_recall: See `add`.
            secure: Also remove every trace of deleted texts and vectors from the files of the index, and the draft of
                an interrupted reencoding. Backups, and blocks that the file system has freed, are not touched.

        Returns:
            Whether the form in which data is searched has changed.

        Raises:
            UsageError: If an argument is invalid, or `memory` is too little; the message says how much is needed.
            LockedError: If another process is writing to the index, or keeps reading an old state.
            DiskFullError: If there is not enough space; the message says how much it takes.
            NoIndexError: If there is no index.
        """
        check_types({"secure": secure}, EXPECTED)
        vectors, store = changed_options(vector_index, memory, target_recall), self._store
        with self._adding, store.write(store.spec, store.chunking, store.origin, vectors=vectors) as writer:
            return writer.compact(secure=secure)

    def tune(self, vector_indexes: Sequence[str] = (), *, target_recall: float | None = None) -> Iterator[Tuned]:
        """Measure recall, latency and memory of vector indexes over the vectors of the index, one after another.

        They are built in temporary files; the index stays as it is.

        Args:
            vector_indexes: Vector indexes in FAISS's notation; empty for exact search and those that `auto` chooses
                from.
            target_recall: Recall to reach; None for that of the index.

        Raises:
            UsageError: If an argument is invalid, or the store has no vector indexes.
            StoreError: If the index has too few vectors.
        """
        check_types({"vector_indexes": vector_indexes}, {"vector_indexes": NAMES})
        target = changed_options(target_recall=target_recall).get("target_recall")
        if not isinstance(self._store, LocalStore):
            raise UsageError(f"`tune` needs an index in a folder; {self.location!r} is another kind of store")
        yield from self._store.tune(vector_indexes, target)

    def reencode(
        self,
        *,
        model: str | Path | None = None,
        pooler: str | None = None,
        simcse_names: bool = False,
        similarity: str | None = None,
        max_tokens: int | None = None,
        dim: int | None = None,
        transform: str | None = None,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
        precision: str | None = None,
        device: str = "auto",
        runtime: str = "auto",
        chunking: Chunking | None = None,
        store_precision: str | None = None,
        encoder: TextEncoder | None = None,
        watch: Watch | None = None,
    ) -> ReencodeResult:
        """Move the index to another encoder, or to other settings of its own, from its stored texts.

        Documents keep their ids, texts, metadata and origins; passages, vectors, the fitted transform and the scores of
        unrelated pairs are made anew. Meanwhile the index answers searches as before and cannot be written. The new
        passages replace the old ones in one commit, and searches use the new encoder from then on, also in other
        processes. After an interruption the index is unchanged, and the same call resumes.

        Args:
            model: A local directory or a Hugging Face name; None for the model of the index. If a model is given,
                settings that are left out are those that its checkpoint declares, otherwise those of the index.
            pooler: Name of the pooler; see `Encoder.load`.
            simcse_names: Interpret `pooler` as SimCSE does; see `Encoder.load`.
            similarity: Function that ranks passages; see `Encoder.load`.
            max_tokens: Maximum number of tokens of an input; see `Encoder.load`.
            dim: Number of leading dimensions to keep; see `Encoder.load`. Without it, another pooler of the same model
                keeps all dimensions.
            transform: Transform to fit on the corpus, or an empty string for none; see `Encoder.load`.
            query_prefix: Text to prepend to queries; see `Encoder.load`.
            passage_prefix: Text to prepend to passages; see `Encoder.load`.
            precision: Numeric precision, see `Encoder.load`; also `int8`, calibrated on the stored texts.
            device: Device to run on; see `Encoder.load`.
            runtime: Runtime to use; see `Encoder.load`.
            chunking: How to cut documents into passages; None for the index's own.
            store_precision: Precision in which vectors are stored, see `open`; None for that of the index.
            encoder: An encoder that is already loaded; cannot be combined with the encoder settings above.
            watch: Progress callback that receives the result so far, called from the thread that encodes.

        Returns:
            Both encoders and counts; `moved` is False if the index already had this encoder, this chunking and this
            precision of stored vectors.

        Raises:
            UsageError: If an argument is invalid or does not fit the encoder.
            ModelError: If the checkpoint cannot be loaded.
            RecordError: If a document is longer than the encoder's limit, and the chunking rejects such documents.
            LockedError: If another process is writing to the index.
            NoIndexError: If there is no index.
            DamagedError: If a stored text is damaged.
            DiskFullError: If the disk is full; the message says how much space the move takes.
        """
        from semsearch.reencode import reencode

        given = {"chunking": chunking, "encoder": encoder, "watch": watch, "store_precision": store_precision}
        check_types(given, EXPECTED, OPTIONAL)
        settings = EncoderSettings(
            model=model,
            pooler=pooler,
            simcse_names=simcse_names,
            similarity=similarity,
            max_tokens=max_tokens,
            dim=dim,
            transform=transform,
            query_prefix=query_prefix,
            passage_prefix=passage_prefix,
            precision=precision,
            device=device,
            runtime=runtime,
        )
        _refuse_both(encoder, settings)
        where = EncoderSettings(device=device, runtime=runtime)

        def expect(new: TextEncoder) -> None:
            is_given = encoder is not None
            # an 8-bit model may have been loaded from the draft, which is deleted
            self._encoder.expect(new.spec, new if is_given or not new.artifacts else None, where, given=is_given)

        with self._adding:
            started = time.perf_counter()
            cut = chunking or _stored_chunking(self._store)
            result = reencode(
                self._store,
                settings,
                cut,
                store_precision=store_precision,
                encoder=encoder,
                expect=expect,
                watch=watch,
            )
            self._settings, self._chunking, self._store_precision = where, None, None
        log.info("%s: %s in %.1f s", self.location, result, time.perf_counter() - started)
        return result

    @staticmethod
    def verify(
        location: Location,
        *,
        sample: int = 100,
        model: str | Path | None = None,
        device: str = "auto",
        runtime: str = "auto",
        encoder: TextEncoder | None = None,
        watch: Callable[[str], None] | None = None,
    ) -> VerifyResult:
        """Read everything in an index, and report what is not as it was written.

        Checks SQLite's file, the checksum of every row, that documents, passages, vectors and words belong together,
        every byte of the segments, and the 8-bit model. Some passages are encoded again and compared with their
        vectors. Nothing is changed, one committed state is read, and a writer may be at work.

        Args:
            location: The folder of the index.
            sample: Number of passages to encode again; 0 for none.
            model: New path of the checkpoint, if it has moved.
            device: Device to encode on; see `Encoder.load`.
            runtime: Runtime to use; see `Encoder.load`.
            encoder: The encoder of the index, if it is already loaded.
            watch: Progress callback that receives the name of each part before it is checked.

        Returns:
            The problems, each with the part of the index and whether `rebuild` repairs it; true if there are none. If
            the checkpoint is not available, a note says so.

        Raises:
            NoIndexError: If there is no index.
            SchemaError: If the index was written by a newer version of semsearch, or by an older one; see `migrate`.
            UsageError: If an argument is invalid, or the index is not in a folder.
        """
        from semsearch.verify import verify

        check_types({"sample": sample, "encoder": encoder, "watch": watch}, EXPECTED, OPTIONAL)
        if sample < 0:
            raise UsageError(f"`sample` must be at least 0, got {sample}")
        settings = EncoderSettings(model=model, device=device, runtime=runtime)
        _refuse_both(encoder, settings)
        with _opened(location) as store:
            folder = _local(store, "verify")
            return verify(folder, lambda: IndexEncoder(folder, settings, encoder).get(), sample, watch)

    def rebuild(self) -> RebuildResult:
        """Make everything anew that follows from documents, passages and vectors: words, fields and segments.

        Also repairs what is damaged of that, and recovers damaged vectors from segments. The scores of unrelated pairs
        are measured again if they are missing, which loads the encoder. Texts are never encoded again.

        Returns:
            What was made anew; false if some documents are damaged and have to be indexed again, which it lists.

        Raises:
            DamagedError: If settings are damaged that follow from nothing else.
            LockedError: If another process is writing to the index.
            DiskFullError: If the disk is full; the index stays usable, and the same call starts over.
            UsageError: If the index is not in a folder.
        """
        from semsearch.rebuild import rebuild

        with self._adding:
            return rebuild(_local(self._store, "rebuild"), lambda: self.encoder)

    def export(
        self, path: str | Path, *, vectors: str | Path | None = None, watch: Watch | None = None
    ) -> ExportResult:
        """Write the documents of the index to a JSONL file, in the order in which they were first added.

        Each line has `_id`, `title`, `text` and `metadata`. With vectors, it also has the spans of the passages in the
        text, and the fingerprint of the encoder, so that `add` can take the vectors instead of encoding.

        Args:
            path: The file; it appears once it is complete.
            vectors: `base64` to put float32 vectors into the lines, or the name of a `.npy` file to write them to, as
                `[passages, dim]` in the order of the lines; None for none. They are those of the encoder, before a
                transform.
            watch: Progress callback that receives the number of documents so far.

        Returns:
            The numbers of documents and passages.

        Raises:
            UsageError: If `vectors` is something else.
            SourceError: If a file cannot be written.
            DamagedError: If a document or a vector is damaged.
        """
        from semsearch.exchange import export

        check_types({"watch": watch}, EXPECTED, OPTIONAL)
        target = as_path(path, "path")
        return export(self._store, target, vectors if vectors is None else os.fspath(vectors), watch)

    def backup(self, target: str | Path, *, watch: Callable[[str], None] | None = None) -> None:
        """Copy the index as it is now to a new folder, while others may search it or write to it.

        The copy is an index of its own. It appears once it is complete, on disk and found to be intact.

        Args:
            target: The new folder.
            watch: Progress callback that receives the name of each part before it is copied or checked.

        Raises:
            UsageError: If the target exists, or the index is not in a folder.
            DamagedError: If the index is damaged; the message says what to do.
            SourceError: If the target cannot be written.
            DiskFullError: If there is not enough space; the message says how much it takes.
        """
        check_types({"watch": watch}, EXPECTED, OPTIONAL)
        _local(self._store, "backup").backup(as_path(target, "target"), watch)

    @staticmethod
    def restore(
        backup: str | Path,
        location: str | Path,
        *,
        replace: bool = False,
        watch: Callable[[str], None] | None = None,
    ) -> None:
        """Copy a backup to a location, after checking that the copy is complete and intact.

        An index that is replaced stays whole until then, whatever happens meanwhile.

        Args:
            backup: Folder of the backup.
            location: Folder of the index.
            replace: Replace an index that is there; open readers see the restored one from their next search on.
            watch: Progress callback, as for `backup`.

        Raises:
            NoIndexError: If there is no backup, or the location contains something other than an index.
            UsageError: If there is an index at the location, unless `replace`.
            DamagedError: If the backup is damaged.
            LockedError: If another process is writing to the index that is to be replaced.
            SourceError: If the location cannot be written.
            DiskFullError: If there is not enough space; the message says how much it takes.
        """
        check_types({"replace": replace, "watch": watch}, EXPECTED, OPTIONAL)
        with LocalStore(as_path(location, "location")) as store:
            store.restore(as_path(backup, "backup"), replace=replace, watch=watch)

    @staticmethod
    def migrate(location: Location) -> tuple[int, int]:
        """Bring an index of an older version up to date, as opening it would, and write its segments anew.

        Args:
            location: The folder of the index, the URL of a PostgreSQL database, or a store.

        Returns:
            The versions of the schema before and after; equal if there was nothing to do.

        Raises:
            NoIndexError: If there is no index.
            SchemaError: If the index was written by a newer version of semsearch, or cannot be written.
            LockedError: If another process is writing to the index.
        """
        with _opened(location) as store:
            return store.migrate()

    @staticmethod
    def copy(
        location: Location,
        target: Location,
        *,
        store_precision: str | None = None,
        watch: Callable[[int], None] | None = None,
    ) -> CopyResult:
        """Copy an index to another store: from a folder to a PostgreSQL database, back, or from folder to folder.

        Nothing is encoded again: vectors are copied as they are stored, with everything else that belongs to the
        encoder. After an interruption, the same call resumes.

        Args:
            location: The index.
            target: A location without an index, or with a part of this one, which an interrupted copy has left.
            store_precision: Precision of stored vectors, see `open`; None for that of the index.
            watch: Progress callback that receives the number of documents of each batch.

        Returns:
            The numbers of documents and passages that were copied.

        Raises:
            NoIndexError: If there is no index, or the target contains something else.
            MismatchError: If the target has an index of another encoder or other chunking settings.
            UsageError: If the target has other documents, or cannot store vectors in the precision.
        """
        from semsearch.copying import copy_index

        check_types({"store_precision": store_precision, "watch": watch}, EXPECTED, OPTIONAL)
        with _opened(location) as source, _opened(target) as copied:
            return copy_index(source, copied, store_precision=store_precision, watch=watch)

    def documents(self, doc_ids: Sequence[str]) -> dict[str, StoredDocument]:
        """Return whole documents by id, in the given order; unknown ids are left out."""
        check_types({"doc_ids": doc_ids}, {"doc_ids": IDS})
        return self._store.documents(doc_ids) if self._store.exists() else {}

    def select(self, where: Where | None = None) -> list[str]:
        """Return the ids of the documents that match a filter, in the order in which they were first added.

        Args:
            where: A filter, as for `search`; None for all documents.

        Raises:
            FilterError: If the filter does not parse or names an unknown field.
        """
        condition = _condition(where)
        return self._store.select(condition) if self._store.exists() else []

    def fields(self) -> list[str]:
        """Return the names of all metadata fields that occur in documents, sorted."""
        return self._store.fields() if self._store.exists() else []

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        mode: str | None = None,
        where: Where | None = None,
        fusion: str = "convex",
        unit: str = "document",
        min_confidence: float | None = None,
        rerank: str | Reranker | None = None,
        rerank_depth: int | None = None,
        group: bool = False,
    ) -> list[Hit]:
        """Return the k best documents for a query, best first.

        Args:
            query: A question or a few words.
            k: Number of hits to return, at least 1.
            mode: `dense` (similarity of vectors), `keyword` (BM25) or `hybrid` (both); None for `default_mode`.
            where: A filter such as `"year >= 2020 and lang = 'en'"` or `{"year": {">=": 2020}, "lang": "en"}`; None to
                search all documents.
            fusion: How `hybrid` combines both scores: `convex` (weighted sum of scaled scores) or `rrf` (reciprocal
                rank fusion).
            unit: Unit of the ranking: `document` (scored by its best passage) or `passage`.
            min_confidence: Drop hits with a lower confidence, possibly all of them; see `Hit.confidence`.
            rerank: Reranker for the best candidates: `late-interaction`, `cross-encoder:MODEL` with a local directory
                or a Hugging Face name, or an object such as `CrossEncoder.load(...)`; None for no reranking.
            rerank_depth: Number of candidates to rerank, at least k. The default is 20 for late interaction and 50 for
                other rerankers, or k if that is larger.
            group: Whether to return documents with nearly the same passage as one hit, the best, whose `similar` names
                the others. More candidates are fetched, so that there are still k hits.

        Raises:
            UsageError: If the query is empty, an argument is out of range or has an unknown value, or `min_confidence`
                is given for an index whose unrelated pairs have not been measured (an index from before November 2026
                to which nothing has been added since).
            FilterError: If the filter does not parse or names an unknown field.
            MismatchError: If the checkpoint is not the one that the index was built with.
            ModelError: If a model cannot be loaded or fails to compute.
        """
        wishes: dict[str, Any] = {"fusion": fusion, "unit": unit, "min_confidence": min_confidence}
        wishes |= {"rerank": rerank, "rerank_depth": rerank_depth, "group": group}
        return self.search_many([query], k, mode=mode, where=where, **wishes)[0]

    def search_vector(
        self,
        vector: Sequence[float] | Vector,
        k: int = 10,
        *,
        where: Where | None = None,
        unit: str = "document",
        min_confidence: float | None = None,
    ) -> list[Hit]:
        """Return the k best documents for a vector of the index's own encoder, without loading the encoder.

        Args:
            vector: Query vector `[dim]`, such as `index.encoder.encode_query(text)`. It is rescaled to unit length if
                the index ranks by cosine.
            k: Number of hits to return, at least 1.
            where: As for `search`.
            unit: As for `search`.
            min_confidence: As for `search`.

        Raises:
            UsageError: If the vector has the wrong number of dimensions, or does not consist of finite numbers.
        """
        from semsearch.search import check_search, check_vector, find

        check_search([], k, "dense", unit=unit, min_confidence=min_confidence)
        condition = _condition(where)
        if not self._store.exists():
            return []
        with self._store.snapshot():
            vectors = check_vector(vector, self._store.spec)
            return find(self._store, [""], vectors, k, where=condition, unit=unit, min_confidence=min_confidence)[0]

    def search_many(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        mode: str | None = None,
        where: Where | None = None,
        fusion: str = "convex",
        unit: str = "document",
        min_confidence: float | None = None,
        rerank: str | Reranker | None = None,
        rerank_depth: int | None = None,
        group: bool = False,
    ) -> list[list[Hit]]:
        """Search for many queries at once, which is faster than one at a time.

        Arguments and errors are those of `search`.

        Returns:
            The hits of each query, in the order of the queries.
        """
        from semsearch.search import check_search, find

        mode = self.default_mode if mode is None else mode
        check_search(queries, k, mode, fusion, unit, min_confidence)
        check_types({"group": group}, EXPECTED)
        wishes: dict[str, Any] = {"fusion": fusion, "unit": unit, "min_confidence": min_confidence}
        if rerank is not None or rerank_depth is not None:
            return self._search_again(queries, k, rerank, rerank_depth, mode=mode, where=where, group=group, **wishes)
        if group:
            return self._search_grouped(queries, k, mode=mode, where=where, **wishes)
        condition = _condition(where)
        if not self._store.exists():
            return [[] for _ in queries]
        with self._asking(queries, mode) as (vectors, unknown):
            self._warn(unknown)
            return find(self._store, queries, vectors, k, mode=mode, where=condition, unknown=unknown, **wishes)

    def knows_language(self, texts: Sequence[str]) -> list[bool]:
        """Return for each text whether the encoder of the index knows its language, as far as its vocabulary tells.

        A hybrid search leans on words where the encoder does not know the language, and a dense search finds little.

        Raises:
            ModelError, MismatchError: As for `encoder`.
        """
        from semsearch.encoder.languages import UNKNOWN, unknown_shares

        return [share < UNKNOWN for share in unknown_shares(self.encoder.tokenizer, texts)]

    def score_pairs(self, queries: Sequence[str], passages: Sequence[str]) -> Vector:
        """Return the similarity of each query and the passage at the same position, which need not be in the index.

        Args:
            queries: Texts of the queries.
            passages: As many texts of passages, each as it would be encoded, with its title if the index includes it.

        Returns:
            The scores, float32 `[n]`, as a dense search of this index computes them.

        Raises:
            UsageError: If there are not as many passages as queries, or one of the texts is not a string.
            MismatchError: If the checkpoint is not the one that the index was built with, or the index was moved to
                another encoder in the meantime.
            NoIndexError: If nothing has been added yet.
        """
        from semsearch.encoder.vectors import check_finite
        from semsearch.similarity import paired_similarities

        if len(queries) != len(passages):
            raise UsageError(
                f"{len(queries)} queries and {len(passages)} passages; expected one passage for each query"
            )
        encoder = self.encoder
        passed = check_finite(encoder.encode_documents(passages), passages, encoder.spec.model)
        with self._asking(queries, "dense") as (asked, _):
            assert asked is not None
            self._encoder.refuse_replaced(encoder)
            fitted, similarity = self._store.fitted(), self._store.similarity
        sides = (asked, passed) if fitted is None else (fitted(asked), fitted(passed))
        return paired_similarities(similarity, *sides)

    def relevance(self, vector: Sequence[float] | Vector, scores: Sequence[float]) -> list[float]:
        """Map similarities of a query with any texts to numbers from 0 to 1, without loading the encoder.

        Args:
            vector: Query vector `[dim]`, as for `search_vector`.
            scores: Similarity of the query's vector with that of each text, as the encoder returns them.

        Returns:
            The confidence in each score, see `Hit.confidence`. If the scores of unrelated pairs have not been measured,
            or if the index transforms its vectors, which changes their similarities: the score on the scale on which
            these are measured, clipped to the range from 0 to 1.

        Raises:
            UsageError: As for `search_vector`.
        """
        from semsearch.confidence import background_of
        from semsearch.search import Scale, check_vector, dense_strength

        with self._store.snapshot():
            spec = self._store.spec
            if spec.transform:
                return [min(1.0, max(0.0, score)) for score in scores]
            references = self._store.reference_scores(check_vector(vector, spec))
            background = background_of(self._store)
        (unrelated,), (perfect,) = (each.tolist() for each in references)
        scale = Scale(unrelated, 1.0, perfect)
        strengths = [dense_strength(spec.similarity, score, scale) for score in scores]
        sure = [background.confidence("dense", strength) if background else None for strength in strengths]
        best = (strength if one is None else one for strength, one in zip(strengths, sure, strict=True))
        return [min(1.0, max(0.0, one)) for one in best]

    def context(
        self,
        question: str,
        budget: int = 1_500,
        *,
        mode: str | None = None,
        where: Where | None = None,
        min_confidence: float | None = DEFAULT,
        neighbors: int = 0,
        diversity: float = 0.3,
        candidates: int = 40,
        rerank: str | Reranker | None = None,
        count: Callable[[str], int] | None = None,
    ) -> Context:
        """Return context for a prompt: the passages that answer a question, numbered, within a token budget.

        Adjacent passages are merged into one excerpt, and a passage that repeats a better one is left out. If no
        passage reaches `min_confidence`, the context is empty (and false), and its text says so.

        Args:
            question: The question, in plain language.
            budget: Maximum number of tokens in the context, at least 100.
            mode: As for `search`.
            where: As for `search`.
            min_confidence: Drop passages with a lower confidence; None to keep all.
            neighbors: Number of passages to include before and after each passage.
            diversity: From 0 (relevance only) to 1 (novelty only): weight of the redundancy of a passage with those
                chosen before it.
            candidates: Number of best passages to choose from.
            rerank: Reranker for the candidates, as for `search`.
            count: Function that counts the tokens of a text as the prompted model does; None for the encoder's own
                tokenizer.

        Raises:
            UsageError: If an argument is out of range, or the budget is too small for any text; see also `search`.
        """
        from semsearch.context import NOTHING, Context, check_context, make_context, rerank_shown
        from semsearch.rerank import check_rerank
        from semsearch.search import check_search, find_shown

        mode = self.default_mode if mode is None else mode
        check_search([question], candidates, mode, min_confidence=min_confidence)
        check_context(budget, neighbors, diversity, count)
        wishes: dict[str, Any] = {"mode": mode, "where": _condition(where), "min_confidence": min_confidence}
        asked = None if rerank is None else check_rerank(rerank, None, candidates)
        if not self._store.exists():
            return Context(question, (), NOTHING, 0)
        counted = count or self._count_tokens
        reranker = None if asked is None else self.reranker(asked)
        with self._asking([question], mode) as (vectors, unknown):
            strange = self._warn(unknown)
            wishes["unknown"] = unknown
            (found,) = find_shown(self._store, [question], vectors, candidates, unit="passage", **wishes)
            if reranker is None:
                context = make_context(self._store, question, found, counted, budget, neighbors, diversity)
                return replace(context, unknown_language=strange)
        # outside the snapshot, so that others can search and write meanwhile
        found = rerank_shown(reranker, question, found, titles=self.chunking.title)
        with self._store.snapshot():
            there = self._store.documents_of([one.passage for one in found])
            found = [one for one in found if one.passage in there]
            context = make_context(self._store, question, found, counted, budget, neighbors, diversity)
            return replace(context, unknown_language=strange)

    @contextmanager
    def _asking(self, queries: Sequence[str], mode: str) -> Iterator[tuple[Vectors | None, list[float]]]:
        """Yield, inside a snapshot of the index, the vectors of queries, and their shares of unknown letters.

        For keyword search, which needs no encoder, there are no vectors, and the shares are 0.
        """
        if mode == "keyword":
            with self._store.snapshot():
                yield None, [0.0] * len(queries)
            return
        from semsearch.encoder.languages import unknown_shares
        from semsearch.encoder.vectors import check_finite

        for again in (True, False):
            encoder = self.encoder
            vectors = check_finite(encoder.encode_queries(queries), queries, encoder.spec.model)
            unknown = unknown_shares(encoder.tokenizer, queries)
            with self._store.snapshot():
                if again and not self._encoder.fits(encoder):  # the index was moved to another encoder in the meantime
                    continue
                self._encoder.refuse_replaced(encoder)
                yield vectors, unknown
                return

    def _warn(self, unknown: Sequence[float]) -> bool:
        """Return whether the encoder does not know the language of a query, and warn in that case.

        Args:
            unknown: Share of unknown letters in each query.
        """
        from semsearch.encoder.languages import UNKNOWN, UnknownLanguageWarning

        doubtful = any(share >= UNKNOWN for share in unknown)
        if doubtful:
            warnings.warn(
                f"the model {self.spec.model!r} does not know the language of the query: a dense search finds little, "
                "and a hybrid one goes by words. For questions in this language, move the index to a multilingual "
                "model with `reencode`",
                UnknownLanguageWarning,
                stacklevel=4,
            )
        return doubtful

    def _count_tokens(self, text: str) -> int:
        """Count the tokens of a text with the encoder's tokenizer, without special tokens."""
        return len(self.encoder.tokenizer.encode(text, add_special_tokens=False).ids)

    def as_tool(
        self,
        name: str | None = None,
        description: str | None = None,
        *,
        k: int = 5,
        mode: str | None = None,
        where: Where | None = None,
        min_confidence: float | None = DEFAULT,
    ) -> Tool:
        """Return a plain search function to use as a tool for agents, DSPy and similar frameworks.

        The function takes `query` and `k`, and returns the passages that answer the query as a list of dicts with `id`,
        `title`, `text`, `start`, `end`, `page`, `url`, `score`, `confidence` and `metadata`. The list is empty if
        nothing relevant is found.

        Args:
            name: Name of the function; None for `search_` followed by the name of the index.
            description: When to use the tool, for the model that chooses among tools; None for a general description.
            k: Default number of passages to return.
            mode: As for `search`.
            where: As for `search`.
            min_confidence: As for `search`.

        Raises:
            UsageError: If the name is not a valid tool name, or an argument is out of range.
        """
        from semsearch.search import check_search
        from semsearch.tool import description_for, make_tool, name_for

        check_search([], k, mode or self.default_mode, min_confidence=min_confidence)
        own = Path(self.location).name
        wishes: dict[str, Any] = {"mode": mode, "where": _condition(where), "min_confidence": min_confidence}
        return make_tool(
            lambda query, k: self.search(query, k, unit="passage", **wishes),
            name_for(own) if name is None else name,
            description_for(own) if description is None else description,
            k,
        )

    def explain(
        self, query: str, hits: Sequence[Hit], *, where: Where | None = None, unit: str = "document"
    ) -> list[Explanation]:
        """Explain why each hit was found: its score, broken down by token and by query term, and a snippet.

        Contributions to a dense score are computed in float32 by the reference implementation, which is loaded on first
        use. They sum to the score up to rounding in the index's precision, which is reported.

        Args:
            query: The query that was searched.
            hits: Hits of that search.
            where: The filter of that search, which the scales of a hybrid score depend on.
            unit: The unit of that search.

        Returns:
            One explanation per hit, in the given order; `semsearch.explain.records` documents its JSON.

        Raises:
            UsageError: If `hits` are not hits, or one of them is no longer in the index or not from this search.
            MismatchError: If the checkpoint is not the one that the index was built with.
        """
        from semsearch.explain.explain import check_hits, explain, gather, needs_encoder
        from semsearch.explain.tokens import Splitter
        from semsearch.search import check_search

        check_search([query], 1, self.default_mode, unit=unit)
        if not check_hits(hits):
            return []
        condition = _condition(where)
        with self._asking([query], "dense" if needs_encoder(hits) else "keyword") as (vectors, (unknown,)):
            vector = None if vectors is None else vectors[0]
            gathered = gather(self._store, query, vector, hits, where=condition, unit=unit, unknown=unknown)
            splitter = None
            if vector is not None:
                splitter = Splitter(self.encoder, self.chunking, vector, self._store.fitted())
        return explain(query, hits, gathered, splitter)

    def facets(self, n: int = 10) -> dict[str, list[tuple[Any, int]]]:
        """Return the n most frequent values of each metadata field, each with its number of documents."""
        check_types({"n": n}, {"n": WHOLE})
        return self._store.facets(n) if self._store.exists() else {}

    def map(self, n: int = 2_000) -> list[MapPoint]:
        """Return at most n documents as points in the plane, close together if their texts are similar."""
        from semsearch.corpus_map import map_documents

        check_types({"n": n}, {"n": WHOLE})
        return map_documents(self._store, n) if self._store.exists() else []

    def _search_again(
        self, queries: Sequence[str], k: int, rerank: str | Reranker | None, depth: int | None, **wishes: Any
    ) -> list[list[Hit]]:
        """Search as `search_many` does, and rerank the hits of the first stage."""
        from semsearch.rerank import check_rerank, depth_for, rerank_hits

        asked = check_rerank(rerank, depth, k)
        if not self._store.exists():
            return [[] for _ in queries]
        reranker = self.reranker(asked)  # before the search, so that a missing model is reported at once
        found = self.search_many(queries, depth_for(reranker, k, depth), **wishes)
        titles = self.chunking.title
        return [rerank_hits(reranker, *each, k, titles=titles) for each in zip(queries, found, strict=True)]

    def _search_grouped(self, queries: Sequence[str], k: int, **wishes: Any) -> list[list[Hit]]:
        """Search as `search_many` does, and group similar hits; where fewer than k remain, search deeper."""
        from semsearch.duplicates import DEEPER, DEEPEST, REPEATS, group_similar

        depth, left = REPEATS * k, list(range(len(queries)))
        grouped: dict[int, list[Hit]] = {}
        while left:
            found = dict(zip(left, self.search_many([queries[at] for at in left], depth, **wishes), strict=True))
            grouped |= {at: group_similar(hits) for at, hits in found.items()}
            left = [at for at in left if len(grouped[at]) < k and len(found[at]) == depth < DEEPEST]
            depth = min(DEEPER * depth, DEEPEST)
        return [grouped[at][:k] for at in range(len(queries))]

    def reranker(self, rerank: str | Reranker) -> Reranker:
        """Return a reranker, whose `scores(query, texts)` scores plain texts; each model is loaded only once.

        Args:
            rerank: As for `search`.

        Raises:
            ModelError: If the checkpoint cannot be loaded, or is not a cross-encoder.
            UsageError: If the name is unknown, or the encoder of the index provides no token vectors.
        """
        from semsearch.rerank import Surroundings, load_reranker

        around = Surroundings(self._encoder.get, self._settings.device, self._settings.runtime)
        with self._reranking:
            return load_reranker(rerank, around, self._rerankers)

    @property
    def location(self) -> str:
        """The location of the index, as messages name it."""
        return self._store.location

    @property
    def default_mode(self) -> str:
        """The default search mode: `hybrid`, or `dense` if the store has no keyword search."""
        return self._store.modes[0]

    @property
    def spec(self) -> EncoderSpec:
        """The encoder that all vectors come from."""
        return self._store.spec

    @property
    def storage(self) -> Storage:
        """The precision of stored vectors, and what it costs."""
        return self._store.storage

    @property
    def chunking(self) -> Chunking:
        """How documents are cut into passages."""
        return self._chunking or (_stored_chunking(self._store) if self._store.exists() else Chunking())

    @property
    def background(self) -> Background | None:
        """Scores of unrelated pairs of a query and a passage in the index; None if not measured yet."""
        return background_of(self._store) if self._store.exists() else None

    @property
    def origin(self) -> str:
        """Where the first corpus came from; an empty string for documents from memory."""
        return self._store.origin

    @property
    def roots(self) -> list[str]:
        """The folders that file names are relative to, as absolute paths."""
        return [root.path for root in self._store.roots]

    @property
    def encoder(self) -> TextEncoder:
        """The encoder, loaded on first use, once for all threads, and checked against the index's fingerprint.

        Raises:
            ModelError: If the checkpoint cannot be loaded.
            MismatchError: If the encoder is not the one that the index was built with.
        """
        return self._encoder.get()

    def status(self) -> dict[str, Any]:
        """Return the contents of the index in numbers and the encoder that it was built with, as JSON values.

        `unknown_language` is the share of the passages in a language that the encoder does not know, estimated when the
        index last grew or shrank considerably.

        Raises:
            NoIndexError: If nothing has been added yet.
        """
        status, background = self._store.status(), self.background
        return {**status, "unknown_language": background and background.unknown_language}

    def close(self) -> None:
        """Close the index; it cannot be used afterwards."""
        self._store.close()

    def __len__(self) -> int:
        return self._store.counts()["documents"] if self._store.exists() else 0

    def __bool__(self) -> bool:
        return True  # an index without documents is still an index

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        if not self._store.exists():
            return f"Index({self.location!r}, nothing added yet)"
        spec = self._store.spec
        return f"Index({self.location!r}, {len(self):,} documents, model={spec.model!r}, pooler={spec.pooler!r})"


EXPECTED: Mapping[str, Check] = {
    **dict.fromkeys(("create", "skip_bad", "strict", "replace", "delete_missing", "refit", "secure", "group"), FLAG),
    "sample": WHOLE,
    "watch": FUNCTION,
    "options": (lambda value: isinstance(value, ReadOptions), "a semsearch.ReadOptions"),
    "chunking": (lambda value: isinstance(value, Chunking), "a semsearch.Chunking"),
    "encoder": (lambda value: callable(getattr(value, "encode_documents", None)), "an encoder, such as Encoder.load()"),
    "engine": (
        lambda value: callable(getattr(value, "start", None)),
        "an engine, such as semsearch.engines.ray.RayEngine(workers=4)",
    ),
    "store_precision": (lambda value: value in list(STORE_PRECISIONS), ", ".join(STORE_PRECISIONS)),
}
"""Expected types of arguments."""

OPTIONAL = ("chunking", "encoder", "engine", "options", "store_precision", "watch")
"""Arguments that may be None."""


def _refuse_both(encoder: TextEncoder | None, settings: EncoderSettings) -> None:
    """Check that an encoder that is already loaded is not combined with settings to load one."""
    if encoder is not None and settings != EncoderSettings():
        named = ", ".join(f"`{one.name}`" for one in fields(settings) if getattr(settings, one.name) != one.default)
        raise UsageError(f"`encoder` cannot be combined with {named}; pass one or the other")


def _condition(where: Where | None) -> Filter | None:
    """Parse a filter into its syntax tree; the parser is imported only if there is a filter."""
    if where is None:
        return None
    from semsearch.filters.read import read_filter

    return read_filter(where)


def _local(store: Store, operation: str) -> LocalStore:
    """Return a store that is a folder.

    Raises:
        UsageError: If it is another kind of store.
    """
    if not isinstance(store, LocalStore):
        raise UsageError(f"{store.location!r} is not a folder on this machine, so semsearch cannot {operation} it")
    return store


@contextmanager
def _opened(location: Location) -> Iterator[Store]:
    """Open the store at a location, and close it afterwards unless it was given."""
    store = open_store(location)
    try:
        yield store
    finally:
        if store is not location:
            store.close()


def _stored_chunking(store: Store) -> Chunking:
    """Return the chunking settings stored in an index.

    Raises:
        DamagedError: If they are invalid.
    """
    try:
        return Chunking.from_json(store.chunking)
    except (TypeError, UsageError):
        raise DamagedError(
            f"the index {store.location!r} is damaged: its 'chunking' setting is invalid; delete its folder and build "
            "it again"
        ) from None


def origin_of(corpus: Corpus) -> str:
    """Return where a corpus comes from, as stored with a new index; an empty string for documents from memory."""
    first = corpus[0] if isinstance(corpus, Sequence) and corpus and not isinstance(corpus, str) else corpus
    if not isinstance(first, str | os.PathLike):
        return ""
    from semsearch.corpus.given import place_of

    return place_of(str(first))
