"""Retrieval: how well does each pooler find what people judged relevant?

What is measured is what would be shipped: the same chunking, the same search, the same fusion as those of an index.
The corpus is cut and encoded once; one index of its words serves all candidates, which lend it their vectors in turn.
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

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Ids, Vectors
from semsearch.corpus.chunking import Chunker, Chunking
from semsearch.encoder.encoder import Progress
from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.evaluation.candidates import Candidate, Fits, Scored, candidates_of, one_by_one, repeats
from semsearch.evaluation.measures import MEASURES, STYLES, PerQuery, check_measures, judged_queries, measure_run
from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.evaluation.retrieval_data import RetrievalTask
from semsearch.evaluation.significance import SEED, Comparison, compare_means
from semsearch.filters.syntax import Filter
from semsearch.search import FUSIONS, MODES, find_run
from semsearch.stores.base import UNRELATED, Entry
from semsearch.stores.local import segments as faiss_segments
from semsearch.stores.local.store import LocalStore
from semsearch.types import Document, Run

DEPTH = 1_000
"""Documents a query, trec_eval's own bound."""

AT_ONCE = 4_096
"""Documents that are cut and encoded together."""


@dataclass(frozen=True, slots=True)
class EncodedCorpus:
    """A corpus cut into passages and encoded with every pooler.

    Attributes:
        documents: In order.
        owner: Each passage's document, as its place among them, `[passages]`.
        texts: What the encoder saw of each passage.
        vectors: By pooler, float32 `[passages, dim]` as pooled; none where no candidate needs them.
        truncated: Passages that the encoder did not see the whole of.
    """

    documents: list[Document]
    owner: list[int]
    texts: list[str]
    vectors: Mapping[str, Vectors]
    truncated: int


@dataclass(frozen=True, slots=True)
class RetrievalResult:
    """What each candidate found.

    Attributes:
        task: What was asked.
        candidates: What was compared.
        style: Whose conventions the measures follow.
        queries: Ids of the queries that count, in the order of the numbers below.
        runs: By candidate (its label), `{query_id: {doc_id: score}}`.
        per_query: By candidate and measure, `[queries]`.
        search_seconds: By candidate, for all queries together, encoding left out.
        encoding_seconds: Of passages and of queries, for all poolers together.
        unknown_documents: Judged relevant or not, but not in the corpus: never found.
        own_hits: Queries whose own document, by id and text, was among the hits.
        corpus: The encoded corpus.
        query_vectors: By pooler, float32 `[queries, dim]` as pooled.
        counts: Where the vectors came from, as `MultiPooler.counts` has it.
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
        """The mean of each measure, with intervals and tests."""
        return compare_means({one.label: self.per_query[one.label] for one in self.candidates}, seed, self.repeats())

    def repeats(self) -> dict[str, str]:
        """Candidates that repeat an earlier one, by their labels."""
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
    """Search a task with each pooler, by itself and with each transform.

    Args:
        task: As `load_retrieval` gives it.
        encoder: With the poolers to compare.
        transforms: As for `candidates_of`; fitted on the corpus, as an index does.
        modes: Some of `dense`, `keyword` and `hybrid`.
        measures: As ir-measures writes them.
        style: `trec` or `st`, see `measures`.
        fusion: How `hybrid` mixes.
        chunking: How documents are cut; None for the default of an index.
        depth: Documents a query.
        drop_same_id: Leave out a hit with the query's own id, as BEIR does (ArguAna, Quora).
        progress: Told the number of texts just encoded.
        scored: Told how many rows are scored, and of how many.

    Raises:
        UsageError: An unknown measure, mode, transform, style or fusion; no mode, or a depth below 1.
        SourceError: The corpus is empty, or no query counts.
        RecordError: A bad record.
    """
    check_measures(measures)
    _check(modes, style, fusion, depth)
    asked_about = judged_queries(task.qrels, style)
    if not asked_about:
        raise SourceError(f"no query of {task.name} has a relevant document, and style {style!r} counts no others")
    candidates = candidates_in_modes(candidates_of(encoder, transforms), modes)
    poolers = encoder.names if any(one.pooler for one in candidates) else ()
    with TemporaryDirectory(prefix="semsearch-") as folder:
        counts, started = Counter(encoder.counts), time.perf_counter()
        corpus = encode_for_all(Path(folder), task, encoder, poolers, chunking or Chunking(), progress)
        passages_done = time.perf_counter()
        asked_texts = [query.text for query in task.queries]
        query_vectors = encoder.encode_queries(asked_texts, progress) if poolers else {}
        encoding_seconds = passages_done - started, time.perf_counter() - passages_done
        runs, per_query, seconds = _Runs(corpus.documents), {}, {}
        with LocalStore(folder) as words:
            index = _LentVectors(words)
            fits = Fits(corpus.vectors)
            for candidate in one_by_one([*candidates, *map(Candidate, encoder.also if poolers else ())], scored):
                asked = None
                if candidate.pooler:
                    finish = fits(candidate)
                    index.lend(finish(corpus.vectors[candidate.pooler]))
                    asked = finish(query_vectors[candidate.pooler])
                index.spared_seconds = 0.0
                started = time.perf_counter()
                found = find_run(index, task.queries, asked, depth + drop_same_id, mode=candidate.mode, fusion=fusion)
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
    """Cut documents as an index does, encode the passages, and make an index of their words in `folder`.

    The rows of the vectors are in the order of the index's passage ids. Without poolers nothing is encoded.
    """
    documents = task.documents()
    chunker = Chunker(encoder.tokenizer, encoder.spec.max_tokens, encoder.spec.passage_prefix, chunking)
    kept: list[Document] = []
    owner: list[int] = []
    texts: list[str] = []
    parts: list[dict[str, Vectors]] = []
    bad: list[RecordError] = []
    truncated = 0
    spec = replace(encoder.spec, dim=1, transform="")  # its vectors are borrowed
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
    vectors = {name: np.concatenate([part.pop(name) for part in parts]) for name in poolers}  # never all of them twice
    return EncodedCorpus(kept, owner, texts, vectors, truncated)


class _Runs(Mapping[str, Run]):
    """The runs of all candidates at 12 bytes a hit, a tenth of a dictionary; one is a dictionary while in use."""

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
    """A store's documents and words, searched with vectors that one candidate after another lends; a `Searchable`.

    Attributes:
        spared_seconds: What keyword searches took whose hits were remembered, added up as they are asked for again.
    """

    def __init__(self, words: LocalStore) -> None:
        self._words = words
        self._vectors: faiss_segments.FaissIndex = None
        self._remembered: dict[tuple[str, int], tuple[tuple[Vectors, Ids], float]] = {}
        self.snapshot, self.documents_of, self.doc_ids = words.snapshot, words.documents_of, words.doc_ids
        self.highest_keyword_score = cache(words.highest_keyword_score)
        self.spared_seconds = 0.0

    def lend(self, vectors: Vectors) -> None:
        """Search these from now on: unit rows `[passages, dim]`, in the order in which passages were committed."""
        self._vectors = faiss_segments.build(np.arange(1, len(vectors) + 1), vectors)
        self._mean: Vectors = vectors.sum(0) / np.float32(len(vectors) + UNRELATED)

    def search_vectors(self, queries: Vectors, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """See `Searchable.search_vectors`."""
        return faiss_segments.search([self._vectors], queries, k, allowed=None, excluded=np.empty(0, np.int64))

    def mean_cosines(self, queries: Vectors) -> Vectors:
        """See `Searchable.mean_cosines`."""
        return queries @ self._mean

    def search_keywords(self, query: str, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """See `Searchable.search_keywords`; every hybrid candidate asks the same and is charged for it."""
        if hit := self._remembered.get((query, k)):
            self.spared_seconds += hit[1]
            return hit[0]
        started = time.perf_counter()
        found = self._words.search_keywords(query, k, None)
        self._remembered[query, k] = found, time.perf_counter() - started
        return found


def _check(modes: Sequence[str], style: str, fusion: str, depth: int) -> None:
    """Raise UsageError where something is asked for that cannot be, before anything is encoded."""
    if not modes:
        raise UsageError(f"no mode is named; expected some of {', '.join(MODES)}")
    if depth < 1:
        raise UsageError(f"`depth` is {depth}; expected 1 or more documents")
    modes_known = (("mode", mode, MODES) for mode in modes)
    for name, given, known in (*modes_known, ("style", style, STYLES), ("fusion", fusion, FUSIONS)):
        if given not in known:
            raise UsageError(f"unknown {name} {given!r}; expected one of {', '.join(known)}")


def candidates_in_modes(candidates: Sequence[Candidate], modes: Sequence[str]) -> list[Candidate]:
    """The candidates of each mode: dense ones first, the one of keywords, then the hybrid ones."""
    return [
        *(candidates if "dense" in modes else ()),
        *([Candidate(mode="keyword")] if "keyword" in modes else ()),
        *(replace(one, mode="hybrid") for one in candidates if "hybrid" in modes),
    ]


def _without_own(run: Run, depth: int) -> Run:
    """A run without hits that have their query's id."""
    return {
        query: dict(islice(((doc, score) for doc, score in found.items() if doc != query), depth))
        for query, found in run.items()
    }


def _own_hits(task: RetrievalTask, corpus: EncodedCorpus, runs: Mapping[str, Run]) -> int:
    """Queries that found the document that they are themselves."""
    text = {document.doc_id: document.text.strip() for document in corpus.documents}
    same = [query.query_id for query in task.queries if text.get(query.query_id) == query.text.strip()]
    found = {query for run in (runs.values() if same else ()) for query in same if query in run.get(query, {})}
    return len(found)
