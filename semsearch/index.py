"""The front door: an index that is added to, searched, and knows the one encoder that it belongs to.

    with Index.open("indexes/birds", create=True) as index:
        index.add([{"_id": "1", "text": "The heron waits in the reeds.", "year": 2021}])
        for hit in index.search("a patient bird", k=3, where="year >= 2020"):
            print(hit)

Everything that people and programs do with an index goes through here: the command line, and servers and integrations
to come.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeGuard

from semsearch.checks import FLAG, FUNCTION, IDS, WHOLE, Check, check_types
from semsearch.confidence import DEFAULT, Background, background_of
from semsearch.corpus.chunking import Chunking
from semsearch.corpus.sources import ReadOptions
from semsearch.errors import DamagedError, UsageError
from semsearch.forks import ForkLock
from semsearch.index_encoder import IndexEncoder
from semsearch.paths import as_path
from semsearch.stores.base import Store, StoredDocument
from semsearch.stores.local.store import LocalStore
from semsearch.types import EncoderSettings, EncoderSpec, Hit

if TYPE_CHECKING:
    from semsearch.arrays import Vector, Vectors
    from semsearch.context import Context
    from semsearch.corpus.readers import Corpus
    from semsearch.corpus_map import MapPoint
    from semsearch.encoder.encoder import TextEncoder
    from semsearch.explain.records import Explanation
    from semsearch.filters.read import Where
    from semsearch.filters.syntax import Filter
    from semsearch.ingest import IngestResult, Watch
    from semsearch.rerank import Reranker
    from semsearch.tool import Tool

log = logging.getLogger(__name__)

SOME_FILES = 20
"""Files of a folder that is gone, which are looked for in a new one."""


class Index:
    """An index: what it holds, the one encoder that it belongs to, and everything that is done with them.

    Threads may share one: searches take turns at the store, the encoder is loaded once, and additions wait for one
    another. A search sees what was committed before it began.
    """

    def __init__(
        self,
        store: Store,
        *,
        create: bool = False,
        encoder: TextEncoder | None = None,
        settings: EncoderSettings | None = None,
        chunking: Chunking | None = None,
    ) -> None:
        """Take a store; most callers want `open`.

        Args:
            store: Where the index is kept.
            create: Whether the first documents may make an index where there is none.
            encoder: Loaded already; None for the one of the index.
            settings: What is asked of the encoder, over what the index has or its checkpoint declares.
            chunking: How documents are cut; None for the index's own, or the default where it is new.

        Raises:
            NoIndexError: There is no index, and `create` does not allow one to be made.
            MismatchError: The index belongs to another encoder than what is asked for.
        """
        check_types({"create": create, "chunking": chunking, "encoder": encoder}, EXPECTED, ("chunking", "encoder"))
        if not create and not store.exists():
            _ = store.spec  # raises, and says what is there instead
        self._store, self._chunking, self._adding = store, chunking, ForkLock()
        self._settings = settings or EncoderSettings()
        self._encoder = IndexEncoder(store, self._settings, encoder)
        self._reranking = ForkLock()
        self._rerankers: dict[str, Reranker] = {}

    @classmethod
    def open(
        cls,
        location: str | Path | Store,
        *,
        create: bool = False,
        model: str | Path | None = None,
        pooler: str | None = None,
        simcse_names: bool = False,
        max_tokens: int | None = None,
        dim: int | None = None,
        transform: str | None = None,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
        precision: str | None = None,
        device: str = "auto",
        runtime: str = "auto",
        chunking: Chunking | None = None,
        encoder: TextEncoder | None = None,
    ) -> Self:
        """Open an index, or, with `create`, a place where the first documents will make one.

        What is left out is what the index has; for a new index, what the checkpoint declares.

        Args:
            location: A folder, or a store.
            create: Whether the first documents may make an index where there is none.
            model: A local directory or a Hugging Face name; for an existing index, where its checkpoint is now.
            pooler: As for `Encoder.load`.
            simcse_names: Read `pooler` as SimCSE does.
            max_tokens: As for `Encoder.load`.
            dim: As for `Encoder.load`.
            transform: As for `Encoder.load`.
            query_prefix: As for `Encoder.load`.
            passage_prefix: As for `Encoder.load`.
            precision: As for `Encoder.load`; for a new index also `int8`, calibrated on the first corpus.
            device: As for `Encoder.load`.
            runtime: As for `Encoder.load`.
            chunking: How documents are cut.
            encoder: Loaded already, in place of all that.

        Raises:
            NoIndexError: There is no index, and `create` does not allow one to be made; or something else is there.
            SchemaError: The index was written by a newer semsearch.
            MismatchError: The index belongs to another encoder than what is asked for.
        """
        settings = EncoderSettings(
            model=model,
            pooler=pooler,
            simcse_names=simcse_names,
            max_tokens=max_tokens,
            dim=dim,
            transform=transform,
            query_prefix=query_prefix,
            passage_prefix=passage_prefix,
            precision=precision,
            device=device,
            runtime=runtime,
        )
        if encoder is not None and settings != EncoderSettings():
            named = ", ".join(f"`{one.name}`" for one in fields(settings) if getattr(settings, one.name) != one.default)
            raise UsageError(f"`encoder` was given, and {named} too; give one or the other")
        store = _store(location)
        try:
            return cls(store, create=create, encoder=encoder, settings=settings, chunking=chunking)
        except BaseException:
            if store is not location:
                store.close()
            raise

    @staticmethod
    def exists(location: str | Path | Store) -> bool:
        """Whether there is an index."""
        return _store(location).exists()

    def add(
        self,
        corpus: Corpus,
        *,
        options: ReadOptions | None = None,
        skip_bad: bool = False,
        strict: bool = False,
        replace: bool = False,
        delete_missing: bool = False,
        refit: bool = False,
        watch: Watch | None = None,
    ) -> IngestResult:
        """Add documents, in place of those with their ids; text that is unchanged is not encoded again.

        Batches are committed as they go, so after any end the same call resumes from the last one.

        Args:
            corpus: Paths of files and folders, documents, or mappings with `_id`, `text`, perhaps `title`, and fields
                of their own. Dates, UUIDs, paths, enumerations, NumPy's values, sets and decimals become text, numbers
                or lists; what JSON cannot hold, such as NaN or bytes, makes a bad record.
            options: How files are read, and the names of fields.
            skip_bad: Count bad records instead of stopping at the first. A bad file that was found in a folder is
                always skipped and counted, unless `strict`.
            strict: Stop at any bad record or file.
            replace: Let a document take the place of one with the same id that the index has from another file; by
                default that is a bad record. A document from memory always does.
            delete_missing: Delete documents that are no longer in the corpus: in the files and folders given, or, for
                documents from memory, anywhere. A document is kept if it cannot be told that it is gone.
            refit: Fit the encoder's transform again.
            watch: Told the progress, from the thread that encodes.

        Raises:
            RecordError: A bad record, after everything before it was committed.
            SourceError: A file that cannot be read, or a corpus without documents.
            MismatchError, LockedError, NoIndexError, DiskFullError: See `Store.write`.
        """
        from semsearch.corpus.readers import Coverage, as_records, has_moved
        from semsearch.ingest import ingest

        flags = {"skip_bad": skip_bad, "strict": strict, "replace": replace, "delete_missing": delete_missing}
        check_types({"options": options, "watch": watch, "refit": refit, **flags}, EXPECTED, ("options", "watch"))
        reading = options or ReadOptions()
        with self._adding:
            started = time.perf_counter()
            coverage = Coverage(
                self._store.roots if self._store.exists() else (),
                lambda root, folder: has_moved(folder, self._store.files_of(root.name, SOME_FILES), reading),
            )
            records = as_records(corpus, reading, coverage)
            encoder, records, quantization = self._encoder.for_corpus(records, self.chunking)
            result = ingest(
                self._store,
                records,
                encoder,
                chunking=self.chunking,
                coverage=coverage,
                origin=origin_of(corpus),
                **flags,
                refit=refit,
                watch=watch,
            )
            result.quantization = quantization
        log.info("%s: %s in %.1f s", self.location, result, time.perf_counter() - started)
        return result

    def delete(self, doc_ids: Sequence[str]) -> list[str]:
        """Delete documents; where that leaves few, the encoder is loaded to measure again what confidence is told by.

        Returns:
            The ids that were there.

        Raises:
            NoIndexError, LockedError: The index cannot be written.
        """
        from semsearch.ingest import delete_documents

        with self._adding:
            there = delete_documents(self._store, doc_ids, lambda: self.encoder)
        log.info("%s: %d documents deleted", self.location, len(there))
        return there

    def documents(self, doc_ids: Sequence[str]) -> dict[str, StoredDocument]:
        """Whole documents by their ids, in the order given; ids that are not there are left out."""
        check_types({"doc_ids": doc_ids}, {"doc_ids": IDS})
        return self._store.documents(doc_ids) if self._store.exists() else {}

    def select(self, where: Where | None = None) -> list[str]:
        """The ids of the documents that meet a filter, all without one, in the order in which they were first added.

        Raises:
            FilterError: A filter that does not parse or names an unknown field.
        """
        condition = _condition(where)
        return self._store.select(condition) if self._store.exists() else []

    def fields(self) -> list[str]:
        """The names of the metadata fields that documents have, sorted."""
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
    ) -> list[Hit]:
        """The k best documents for a question, best first.

        Args:
            query: In plain words.
            k: How many documents, at least 1.
            mode: `dense` (cosine), `keyword` (BM25) or `hybrid` (both); None for `default_mode`.
            where: A filter such as `"year >= 2020 and lang = 'en'"` or `{"year": {">=": 2020}, "lang": "en"}`.
            fusion: How `hybrid` mixes: `convex` (scaled scores) or `rrf` (ranks).
            unit: What is ranked: a `document` by its best passage, or each `passage` by itself.
            min_confidence: Leave out hits with a lower confidence, which may be all; see `Hit.confidence`.
            rerank: What scores the best candidates again: `late-interaction`, `cross-encoder:MODEL` with a local
                directory or a Hugging Face name, or a reranker such as `CrossEncoder.load(...)`.
            rerank_depth: How many candidates, at least k; None for 20 with late interaction and 50 with others, or k
                where that is more.

        Raises:
            UsageError: An empty query, k below 1, an unknown mode or reranker, a depth below k; a least confidence in
                an index of before November 2026 to which nothing was added since.
            FilterError: A filter that does not parse or names an unknown field.
            MismatchError: The checkpoint is not the one that the index was built with.
            ModelError: A model cannot be loaded, or cannot compute.
        """
        wishes: dict[str, Any] = {"fusion": fusion, "unit": unit, "min_confidence": min_confidence}
        wishes |= {"rerank": rerank, "rerank_depth": rerank_depth}
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
        """The k best documents for a vector of the index's own encoder, by cosine; no encoder is loaded for it.

        Args:
            vector: `[dim]`, such as `index.encoder.encode_query(text)`; of any length where the encoder's have 1.
            k: How many documents, at least 1.
            where: As for `search`.
            unit: As for `search`.
            min_confidence: As for `search`.

        Raises:
            UsageError: The vector has another dimension, or is not finite numbers.
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
    ) -> list[list[Hit]]:
        """As `search`, for many questions at once: the hits of each, in the order given."""
        from semsearch.search import check_search, find

        mode = self.default_mode if mode is None else mode
        check_search(queries, k, mode, fusion, unit, min_confidence)
        if rerank is not None or rerank_depth is not None:
            first = {"mode": mode, "where": where, "fusion": fusion, "unit": unit, "min_confidence": min_confidence}
            return self._search_again(queries, k, rerank, rerank_depth, **first)
        wishes: dict[str, Any] = {"fusion": fusion, "unit": unit, "min_confidence": min_confidence}
        condition = _condition(where)
        if not self._store.exists():
            return [[] for _ in queries]
        with self._asking(queries, mode) as vectors:
            return find(self._store, queries, vectors, k, mode=mode, where=condition, **wishes)

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
        """What to put into a prompt about a question: the passages that answer it, numbered, within a budget of tokens.

        Passages that touch become one excerpt, and one that repeats a better one is left out. Without a passage that is
        sure enough the context is empty, which is false, and its text says so.

        Args:
            question: In plain words.
            budget: Tokens that the block may have, at least 100.
            mode: As for `search`.
            where: As for `search`.
            min_confidence: Leave out passages with a lower confidence; None for none.
            neighbors: Passages before and behind each that are shown with it.
            diversity: From 0 (best first) to 1: what a passage repeats of others counts this much against it.
            candidates: How many of the best passages are chosen from.
            rerank: What scores these again; as for `search`.
            count: Counts the tokens of a text as the model that is prompted does; None for the encoder's own tokenizer.

        Raises:
            UsageError: Arguments out of range; see `search` for more.
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
        with self._asking([question], mode) as vectors:
            (found,) = find_shown(self._store, [question], vectors, candidates, unit="passage", **wishes)
            if reranker is None:
                return make_context(self._store, question, found, counted, budget, neighbors, diversity)
        found = rerank_shown(reranker, question, found, titles=self.chunking.title)  # while others may search and write
        with self._store.snapshot():
            there = self._store.documents_of([one.passage for one in found])
            found = [one for one in found if one.passage in there]
            return make_context(self._store, question, found, counted, budget, neighbors, diversity)

    @contextmanager
    def _asking(self, queries: Sequence[str], mode: str) -> Iterator[Vectors | None]:
        """The vectors of queries, None for keyword search, and one state of the index while they are asked."""
        if mode == "keyword":
            with self._store.snapshot():
                yield None
            return
        from semsearch.encoder.vectors import check_finite

        encoder = self.encoder
        vectors = check_finite(encoder.encode_queries(queries), queries, encoder.spec.model)
        with self._store.snapshot():
            self._encoder.refuse_replaced(encoder)
            yield vectors

    def _count_tokens(self, text: str) -> int:
        """Tokens of a text by the encoder's tokenizer, without special ones."""
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
        """A plain function for agents, DSPy and the like, which searches for the passages that answer a question.

        It takes `query` and `k`, and returns a list of dicts with `id`, `title`, `text`, `start`, `end`, `page`, `url`,
        `score`, `confidence` and `metadata`; an empty one where nothing is relevant.

        Args:
            name: Of the function; None for `search_` and the name of the index.
            description: When it is of use, for a model that chooses among tools; None for a general one.
            k: How many passages it returns unless it is asked otherwise.
            mode: As for `search`.
            where: As for `search`.
            min_confidence: As for `search`.

        Raises:
            UsageError: The name is not possible, or an argument is out of range.
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
        """Why each of these hits was found: its score, token by token and term by term, and a snippet.

        Contributions to a cosine are computed by the reference in float32, which is loaded when it is first needed.
        They sum to the cosine but for the rounding of the index's precision, which is stated.

        Args:
            query: As it was searched.
            hits: What was found.
            where: The filter of the search, on which the scales of a hybrid score depend.
            unit: The unit of the search.

        Returns:
            An explanation of each hit, in the order given; `semsearch.explain.records` says what its JSON holds.

        Raises:
            UsageError: A hit is gone from the index, or does not belong to the search; hits that are none.
            MismatchError: The checkpoint is not the one that the index was built with.
        """
        from semsearch.explain.explain import check_hits, explain, gather, needs_encoder
        from semsearch.explain.tokens import Splitter
        from semsearch.search import check_search

        check_search([query], 1, self.default_mode, unit=unit)
        if not check_hits(hits):
            return []
        condition = _condition(where)
        with self._asking([query], "dense" if needs_encoder(hits) else "keyword") as vectors:
            vector = None if vectors is None else vectors[0]
            gathered = gather(self._store, query, vector, hits, where=condition, unit=unit)
            splitter = None
            if vector is not None:
                splitter = Splitter(self.encoder, self.chunking, vector, self._store.fitted())
        return explain(query, hits, gathered, splitter)

    def facets(self, n: int = 10) -> dict[str, list[tuple[Any, int]]]:
        """The n most frequent values of each metadata field, with how many documents have them."""
        check_types({"n": n}, {"n": WHOLE})
        return self._store.facets(n) if self._store.exists() else {}

    def map(self, n: int = 2_000) -> list[MapPoint]:
        """At most n documents as points in the plane, near one another where their texts are alike."""
        from semsearch.corpus_map import map_documents

        check_types({"n": n}, {"n": WHOLE})
        return map_documents(self._store, n) if self._store.exists() else []

    def _search_again(
        self, queries: Sequence[str], k: int, rerank: str | Reranker | None, depth: int | None, **wishes: Any
    ) -> list[list[Hit]]:
        """As `search_many`, with a second stage over the hits of the first one."""
        from semsearch.rerank import check_rerank, depth_for, rerank_hits

        asked = check_rerank(rerank, depth, k)
        if not self._store.exists():
            return [[] for _ in queries]
        reranker = self.reranker(asked)  # before the search, so that a missing model is told at once
        found = self.search_many(queries, depth_for(reranker, k, depth), **wishes)
        titles = self.chunking.title
        return [rerank_hits(reranker, *each, k, titles=titles) for each in zip(queries, found, strict=True)]

    def reranker(self, rerank: str | Reranker) -> Reranker:
        """What scores plain texts for a query, `reranker.scores(query, texts)`; a model of its own is loaded once.

        Args:
            rerank: As for `search`.

        Raises:
            ModelError: The checkpoint cannot be loaded, or is no cross-encoder.
            UsageError: An unknown name; or the encoder of the index gives no tokens.
        """
        from semsearch.rerank import Surroundings, load_reranker

        around = Surroundings(self._encoder.get, self._settings.device, self._settings.runtime)
        with self._reranking:
            return load_reranker(rerank, around, self._rerankers)

    @property
    def location(self) -> str:
        """Where the index is, as messages name it."""
        return self._store.location

    @property
    def default_mode(self) -> str:
        """How a search is answered that names no mode: `hybrid`, or `dense` where the store has no keyword search."""
        return self._store.modes[0]

    @property
    def spec(self) -> EncoderSpec:
        """The encoder that all vectors come from."""
        return self._store.spec

    @property
    def chunking(self) -> Chunking:
        """How documents are cut."""
        return self._chunking or (_stored_chunking(self._store) if self._store.exists() else Chunking())

    @property
    def background(self) -> Background | None:
        """How unrelated pairs score in the index; None where it was not measured yet."""
        return background_of(self._store) if self._store.exists() else None

    @property
    def origin(self) -> str:
        """Where the first corpus came from; empty for documents from memory."""
        return self._store.origin

    @property
    def roots(self) -> list[str]:
        """The folders by which files are named, as absolute paths."""
        return [root.path for root in self._store.roots]

    @property
    def encoder(self) -> TextEncoder:
        """The encoder, loaded when it is first needed, once for all threads, and compared with the fingerprint.

        Raises:
            ModelError: The checkpoint cannot be loaded.
            MismatchError: It is not the one that the index was built with.
        """
        return self._encoder.get()

    def status(self) -> dict[str, Any]:
        """What the index holds and which encoder it belongs to, as JSON values.

        Raises:
            NoIndexError: Nothing was added yet.
        """
        return self._store.status()

    def close(self) -> None:
        """Close the index; it is then of no more use."""
        self._store.close()

    def __len__(self) -> int:
        return self._store.counts()["documents"] if self._store.exists() else 0

    def __bool__(self) -> bool:
        return True  # an index without documents is one

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
    **dict.fromkeys(("create", "skip_bad", "strict", "replace", "delete_missing", "refit"), FLAG),
    "watch": FUNCTION,
    "options": (lambda value: isinstance(value, ReadOptions), "a semsearch.ReadOptions"),
    "chunking": (lambda value: isinstance(value, Chunking), "a semsearch.Chunking"),
    "encoder": (lambda value: callable(getattr(value, "encode_documents", None)), "an encoder, such as Encoder.load()"),
}
"""What fits an argument."""


def _condition(where: Where | None) -> Filter | None:
    """A filter as its syntax tree; without one, what reads filters need not be imported."""
    if where is None:
        return None
    from semsearch.filters.read import read_filter

    return read_filter(where)


def _store(location: str | Path | Store) -> Store:
    """A store as it is, or that of a folder."""
    return location if _is_store(location) else LocalStore(as_path(location, "location"))


def _stored_chunking(store: Store) -> Chunking:
    """How documents of an index are cut, as it says itself; raises DamagedError where that makes no sense."""
    try:
        return Chunking(**store.chunking)
    except (TypeError, UsageError):
        raise DamagedError(
            f"the index {store.location!r} is damaged: its setting 'chunking' makes no sense; delete its folder and "
            "build it again"
        ) from None


def _is_store(location: object) -> TypeGuard[Store]:
    return callable(getattr(type(location), "search_vectors", None))


def origin_of(corpus: Corpus) -> str:
    """Where a corpus lies, as a new index remembers it; nothing for documents from memory."""
    first = corpus[0] if isinstance(corpus, Sequence) and corpus and not isinstance(corpus, str) else corpus
    if not isinstance(first, str | os.PathLike):
        return ""
    return "<stdin>" if str(first) == "-" else str(Path(first).resolve())
