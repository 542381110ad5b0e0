"""Retrieval evaluation: how well each pooler finds the documents that people judged relevant.

It measures what would be deployed: chunking, search and fusion are the same as those of an index. The corpus is chunked
and encoded once; a single keyword index serves all candidates, which lend it their vectors in turn.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Ids, Vectors
from semsearch.corpus.chunking import Chunker, Chunking
from semsearch.encoder.encoder import Progress
from semsearch.encoder.languages import unknown_shares
from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.evaluation.candidates import (
    Candidate,
    Fits,
    Scored,
    candidates_also,
    candidates_of,
    one_by_one,
    repeats,
)
from semsearch.evaluation.measures import MEASURES, STYLES, PerQuery, check_measures, judged_queries, measure_run
from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.evaluation.retrieval_data import RetrievalTask
from semsearch.evaluation.significance import SEED, Comparison, compare_means
from semsearch.filters.syntax import Filter
from semsearch.search import FUSIONS, MODES, find_run
from semsearch.similarity import Spread, reference_scores, similarities
from semsearch.stores.base import Entry
from semsearch.stores.local.store import LocalStore
from semsearch.stores.local.vectors import segments
from semsearch.types import COSINE, Document, Run

DEPTH = 1_000
"""Number of documents per query, trec_eval's own limit."""

AT_ONCE = 4_096
"""Number of documents to chunk and encode at a time."""


@dataclass(frozen=True, slots=True)
class EncodedCorpus:
    """A corpus cut into passages and encoded with every pooler.

    Attributes:
        documents: The documents, in the order of the corpus.
        owner: Index into `documents` of the document of each passage, `[passages]`.
        texts: Text of each passage as the encoder saw it, `[passages]`.
        vectors: By pooler, float32 `[passages, dim]` as pooled; empty if no candidate needs vectors.
        truncated: Number of passages that were truncated.
    """

    documents: list[Document]
    owner: list[int]
    texts: list[str]
    vectors: Mapping[str, Vectors]
    truncated: int


@dataclass(frozen=True, slots=True)
class RetrievalResult:
    """The runs of all candidates, with their measures.

    Attributes:
        task: The task.
        candidates: The compared candidates.
        style: Conventions of the measures, `trec` or `st`.
        queries: Ids of the queries that count, in the order of `per_query`.
        runs: By candidate label, `{query_id: {doc_id: score}}`.
        per_query: Values by candidate label and measure, `[queries]`.
        search_seconds: Search time by candidate label, for all queries together, without encoding.
        encoding_seconds: Time to encode the passages and the queries, for all poolers together.
        unknown_documents: Number of judged documents that are not in the corpus and therefore are never found.
        own_hits: Number of queries that found the document with their own id and text.
        corpus: The encoded corpus.
        query_vectors: By pooler, float32 `[queries, dim]` as pooled, for all queries of the task.
        counts: Number of texts by the origin of their vectors, as in `MultiPooler.counts`.
        fits: The transforms, fitted on the corpus.
    """

    task: RetrievalTask
    candidates: Sequence[Candidate]
    style: str
    queries: list[str]
    runs: Mapping[str, Run]
    per_query: Mapping[str, PerQuery]
    search_seconds: Mapping[str, float]
    encoding_seconds: tuple[float, float]
    unknown_documents: int
    own_hits: int
    corpus: EncodedCorpus
    query_vectors: Mapping[str, Vectors]
    counts: Mapping[str, int] = field(default_factory=dict)
    fits: Fits | None = None

    def compare(self, seed: int = SEED) -> Comparison:
        """Compare the mean of each measure, with intervals and tests."""
        return compare_means({one.label: self.per_query[one.label] for one in self.candidates}, seed, self.repeats())

    def repeats(self) -> dict[str, str]:
        """Map each candidate that repeats an earlier one to that one, by their labels."""
        return repeats(self.candidates, self.corpus.vectors)


def evaluate_retrieval(
    task: RetrievalTask,
    encoder: MultiPooler,
    *,
    transforms: Sequence[str] = (),
    modes: Sequence[str] = MODES,
    measures: Sequence[str] = MEASURES,
    style: str = "trec",
    fusion: str = "convex",
    chunking: Chunking | None = None,
    depth: int = DEPTH,
    drop_same_id: bool = False,
    progress: Progress | None = None,
    scored: Scored | None = None,
) -> RetrievalResult:
    """Search the corpus of a task with each pooler, with and without each transform, and measure the runs.

    Args:
        task: Task as `load_retrieval` returns it.
        encoder: Encoder with the poolers to compare.
        transforms: Transforms to try on each pooler, as for `study_retrieval`; they are fitted on the corpus, as in an
            index.
        modes: One or more of `dense`, `keyword` and `hybrid`.
        measures: Measures as ir-measures writes them.
        style: `trec` for trec_eval's conventions, `st` for those of sentence-transformers.
        fusion: How `hybrid` fuses both scores, `convex` or `rrf`.
        chunking: How to cut documents into passages; None for the default of an index.
        depth: Number of documents to retrieve per query.
        drop_same_id: Leave out hits with the query's own id, as BEIR does (ArguAna, Quora).
        progress: Called with the number of texts just encoded.
        scored: Called with the number of rows scored so far and the total number of rows.

    Raises:
        UsageError: If a measure, mode, transform, style or fusion is unknown, no measure or mode is given, or `depth`
            is below 1.
        SourceError: If the corpus is empty, or no query counts in this style.
        RecordError: If the corpus contains a bad record that is not to be skipped.
    """
    check_measures(measures)
    _check(modes, style, fusion, depth)
    asked_about = judged_queries(task.qrels, style)
    if not asked_about:
        raise SourceError(f"no query of {task.name} has a relevant document, which style {style!r} requires")
    candidates = candidates_in_modes(candidates_of(encoder, transforms), modes)
    poolers = encoder.names if any(one.pooler for one in candidates) else ()
    with TemporaryDirectory(prefix="semsearch-") as folder:
        counts, started = Counter(encoder.counts), time.perf_counter()
        corpus = encode_for_all(Path(folder), task, encoder, poolers, chunking or Chunking(), progress)
        passages_done = time.perf_counter()
        asked_texts = [query.text for query in task.queries]
        query_vectors = encoder.encode_queries(asked_texts, progress) if poolers else {}
        unknown = unknown_shares(encoder.tokenizer, asked_texts) if poolers else None
        encoding_seconds = passages_done - started, time.perf_counter() - passages_done
        runs, per_query, seconds = _Runs(corpus.documents), {}, {}
        with LocalStore(folder) as words:
            index = _LentVectors(words)
            fits = Fits(corpus.vectors)
            for candidate in one_by_one([*candidates, *(candidates_also(encoder) if poolers else ())], scored):
                asked = None
                if candidate.pooler:
                    finish = fits(candidate)
                    index.lend(finish(corpus.vectors[candidate.pooler]), candidate.similarity)
                    asked = finish(query_vectors[candidate.pooler])
                index.spared_seconds = 0.0
                started = time.perf_counter()
                how: dict[str, Any] = {"mode": candidate.mode, "fusion": fusion, "unknown": unknown}
                found = find_run(index, task.queries, asked, depth + drop_same_id, **how)
                seconds[candidate.label] = time.perf_counter() - started + index.spared_seconds
                found = _without_own(found, depth) if drop_same_id else found
                per_query[candidate.label] = measure_run(task.qrels, found, measures, style)
                runs.keep(candidate.label, found)
    known = {document.doc_id for document in corpus.documents}
    judged = {doc_id for query in task.qrels.values() for doc_id in query}
    return RetrievalResult(
        task,
        candidates,
        style,
        asked_about,
        runs,
        per_query,
        seconds,
        encoding_seconds,
        len(judged - known),
        _own_hits(task, corpus, runs),
        corpus,
        query_vectors,
        encoder.counts - counts,
        fits,
    )


def encode_for_all(
    folder: Path,
    task: RetrievalTask,
    encoder: MultiPooler,
    poolers: Sequence[str],
    chunking: Chunking,
    progress: Progress | None,
) -> EncodedCorpus:
    """Chunk documents as an index does, encode the passages, and build their keyword index in `folder`.

    The rows of the vectors are in the order of the index's passage ids. Without poolers, nothing is encoded.
    """
    documents = task.documents()
    chunker = Chunker(encoder.tokenizer, encoder.spec.max_tokens, encoder.spec.passage_prefix, chunking)
    kept: list[Document] = []
    owner: list[int] = []
    texts: list[str] = []
    parts: list[dict[str, Vectors]] = []
    bad: list[RecordError] = []
    truncated = 0
    spec = replace(encoder.spec, dim=1, transform="")  # its own vectors are placeholders
    with LocalStore(folder).write(spec, chunking.to_json()) as writer:
        while batch := list(islice(documents, AT_ONCE)):
            entries = []
            for document, passages in zip(batch, chunker.passages(batch), strict=True):
                if isinstance(passages, RecordError):
                    bad.append(passages)
                elif duplicate := writer.see(document):
                    bad.append(duplicate)
                else:
                    entries.append(Entry(document, passages, np.zeros((len(passages), 1), np.float32)))
                    owner += [len(kept)] * len(passages)
                    kept.append(document)
                    truncated += sum(passage.n_lost > 0 for passage in passages)
            if bad and not task.skip_bad:
                raise bad[0]
            some = [passage.encoded_text for entry in entries for passage in entry.passages]
            texts += some
            if poolers:
                parts.append(encoder.encode_documents(some, progress))
            writer.commit(entries)
    if not texts:
        raise SourceError("the corpus is empty: no document has a text or a title")
    vectors = {name: np.concatenate([part.pop(name) for part in parts]) for name in poolers}  # `pop` frees memory early
    return EncodedCorpus(kept, owner, texts, vectors, truncated)


class _Runs(Mapping[str, Run]):
    """The runs of all candidates at 12 bytes per hit, a tenth of a dictionary; access to a run converts it to one."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._names = [document.doc_id for document in documents]
        self._number = {name: number for number, name in enumerate(self._names)}
        self._hits: dict[str, dict[str, tuple[NDArray[np.int32], NDArray[np.float64]]]] = {}

    def keep(self, label: str, run: Run) -> None:
        """Add the run of a candidate."""
        self._hits[label] = {
            query: (np.array([self._number[doc] for doc in scores], np.int32), np.array([*scores.values()], np.float64))
            for query, scores in run.items()
        }

    def __getitem__(self, label: str) -> Run:
        return {
            query: {self._names[number]: score for number, score in zip(numbers.tolist(), scores.tolist(), strict=True)}
            for query, (numbers, scores) in self._hits[label].items()
        }

    def __iter__(self) -> Iterator[str]:
        return iter(self._hits)

    def __len__(self) -> int:
        return len(self._hits)


class _LentVectors:
    """A store's documents and keyword index, searched with vectors that candidates lend in turn; a `Searchable`.

    Attributes:
        similarity: Function that ranks the vectors.
        spared_seconds: Time saved by cached keyword hits: the sum of the original search times over all reuses.
    """

    def __init__(self, words: LocalStore) -> None:
        self._words = words
        self._remembered: dict[tuple[str, int], tuple[tuple[Vectors, Ids], float]] = {}
        self.snapshot, self.documents_of, self.doc_ids = words.snapshot, words.documents_of, words.doc_ids
        self.passages_of = words.passages_of
        self.highest_keyword_score, self.keyword_scores = cache(words.highest_keyword_score), words.keyword_scores
        self.similarity, self.spared_seconds = COSINE, 0.0

    def lend(self, vectors: Vectors, similarity: str) -> None:
        """Set the vectors to search `[passages, dim]`, in the order in which passages were committed."""
        self.similarity = similarity
        self._rows, self._vectors = vectors, segments.Segment(np.arange(1, len(vectors) + 1), vectors, similarity)
        self._spread = Spread.of(similarity, vectors)

    def search_vectors(self, queries: Vectors, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """See `Searchable.search_vectors`."""
        return segments.search([(self._vectors, None)], queries, k)

    def similarities(self, queries: Vectors, passages: Sequence[int]) -> Vectors:
        """See `Searchable.similarities`."""
        return similarities(self.similarity, queries, self._rows[np.array(passages, np.int64) - 1])

    def reference_scores(self, queries: Vectors) -> tuple[Vectors, Vectors]:
        """See `Searchable.reference_scores`."""
        return reference_scores(self.similarity, queries, self._spread)

    def search_keywords(self, query: str, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """See `Searchable.search_keywords`; hits are cached for other candidates, but their time counts for each."""
        if hit := self._remembered.get((query, k)):
            self.spared_seconds += hit[1]
            return hit[0]
        started = time.perf_counter()
        found = self._words.search_keywords(query, k, None)
        self._remembered[query, k] = found, time.perf_counter() - started
        return found


def _check(modes: Sequence[str], style: str, fusion: str, depth: int) -> None:
    """Raise UsageError for an invalid mode, style, fusion or depth, before anything is encoded."""
    if not modes:
        raise UsageError(f"no mode given; expected one or more of {', '.join(MODES)}")
    if depth < 1:
        raise UsageError(f"`depth` must be at least 1, got {depth}")
    modes_known = (("mode", mode, MODES) for mode in modes)
    for name, given, known in (*modes_known, ("style", style, STYLES), ("fusion", fusion, FUSIONS)):
        if given not in known:
            raise UsageError(f"unknown {name} {given!r}; expected one of {', '.join(known)}")


def candidates_in_modes(candidates: Sequence[Candidate], modes: Sequence[str]) -> list[Candidate]:
    """Return the candidates of each mode: the dense ones, then the one of keyword search, then the hybrid ones."""
    return [
        *(candidates if "dense" in modes else ()),
        *([Candidate(mode="keyword")] if "keyword" in modes else ()),
        *(replace(one, mode="hybrid") for one in candidates if "hybrid" in modes),
    ]


def _without_own(run: Run, depth: int) -> Run:
    """Return a run of at most `depth` hits per query, without hits that have the query's own id."""
    return {
        query: dict(islice(((doc, score) for doc, score in found.items() if doc != query), depth))
        for query, found in run.items()
    }


def _own_hits(task: RetrievalTask, corpus: EncodedCorpus, runs: Mapping[str, Run]) -> int:
    """Return the number of queries that found the document with their own id and text."""
    text = {document.doc_id: document.text.strip() for document in corpus.documents}
    same = [query.query_id for query in task.queries if text.get(query.query_id) == query.text.strip()]
    found = {query for run in (runs.values() if same else ()) for query in same if query in run.get(query, {})}
    return len(found)
