"""Effectiveness of ways to fuse dense and keyword search: nDCG@10 and R@100 on Cranfield and on the sample corpus.

Run it with `python bench/fusion.py`.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import ir_measures
from ir_measures import R, nDCG
from machine import data_folder, describe
from measure import run_of

from semsearch import Chunking, Encoder, Index, Query, search
from semsearch.corpus.readers import read_queries
from semsearch.evaluation.retrieval_data import read_qrels

WEIGHTS = (0.4, 0.5, 0.6, 0.7)
DEPTHS = (50, 100, 1_000)
WEIGHT = 0.7

Scale: TypeAlias = Callable[[search.Ranking], dict[int, float]]


def from_lowest(ranking: search.Ranking) -> dict[int, float]:
    """Scale scores to the range from 0 for the lowest to 1 for the best."""
    low, best = min(s for s, _ in ranking.values()), max(s for s, _ in ranking.values())
    return {document: (score - low) / (best - low) if best > low else 1.0 for document, (score, _) in ranking.items()}


def from_zero(ranking: search.Ranking) -> dict[int, float]:
    """Divide scores by the best one."""
    best = max(score for score, _ in ranking.values())
    return {document: score / best for document, (score, _) in ranking.items()}


def deviations(ranking: search.Ranking) -> dict[int, float]:
    """Return scores in standard deviations above the lowest: z-scores up to a constant."""
    scores = [score for score, _ in ranking.values()]
    spread = statistics.pstdev(scores) or 1.0
    return {document: (score - min(scores)) / spread for document, (score, _) in ranking.items()}


LEFT = {
    "from the lowest cosine, share of the best BM25": (from_lowest, from_zero),
    "min-max on both sides": (from_lowest, from_lowest),
    "both as shares of the best": (from_zero, from_zero),
    "z-scores": (deviations, deviations),
}
"""Scalings of the dense and keyword scores that were tried and rejected; see docs/explanation/decisions.md."""


def mixed(dense_scale: Scale, keyword_scale: Scale) -> Callable[..., search.Ranking]:
    """Return a fusion function with these scalings and the weight that worked best for them."""

    def fuse(dense: search.Ranking, keyword: search.Ranking, scale: search.Scale) -> search.Ranking:
        ours = dense_scale(dense) if dense else {}
        theirs = keyword_scale(keyword) if keyword else {}
        totals = {d: WEIGHT * ours.get(d, 0) + (1 - WEIGHT) * theirs.get(d, 0) for d in sorted({**ours, **theirs})}
        return {d: (totals[d], (dense.get(d) or keyword[d])[1]) for d in sorted(totals, key=lambda d: -totals[d])}

    return fuse


def runs(searcher: Index, queries: list[Query]) -> Iterator[tuple[str, search.Run]]:
    """Yield a named run for each mode and each fusion setting."""
    for mode in ("dense", "keyword"):
        yield mode, run_of(searcher, queries, mode=mode)
    for depth in DEPTHS:
        search.FUSED_DEPTH = dict.fromkeys(("convex", "rrf", *LEFT), depth)
        yield f"hybrid, rrf, depth {depth:,}", run_of(searcher, queries, mode="hybrid", fusion="rrf")
        for weight in WEIGHTS:
            search.DENSE_WEIGHT = weight
            yield f"hybrid, convex {weight}, depth {depth:,}", run_of(searcher, queries, mode="hybrid", fusion="convex")
    for name, scales in LEFT.items():
        search.FUSIONS[name] = mixed(*scales)
        yield f"hybrid, {name}, {WEIGHT}, depth {depth:,}", run_of(searcher, queries, mode="hybrid", fusion=name)


def scores(folder: Path, encoder: Encoder) -> dict[str, str]:
    """Return `nDCG@10 / R@100` of each run over a folder in BEIR's layout."""
    qrels = read_qrels(folder / "qrels" / "test.tsv")
    queries = list(read_queries(str(folder / "queries.jsonl")))
    with tempfile.TemporaryDirectory() as temporary:
        with Index.open(temporary, create=True, encoder=encoder, chunking=Chunking(on_long="truncate")) as searcher:
            searcher.add(folder)
            found = {
                name: ir_measures.calc_aggregate([nDCG @ 10, R @ 100], qrels, run)
                for name, run in runs(searcher, queries)
            }
    return {name: f"{measured[nDCG @ 10]:.4f} / {measured[R @ 100]:.4f}" for name, measured in found.items()}


def main() -> None:
    encoder = Encoder.load(precision="float32")
    print(f"{describe()}\n")
    cranfield = scores(data_folder() / "cranfield", encoder)
    sample = scores(Path(__file__).parents[1] / "corpora" / "sample", encoder)
    print("| nDCG@10 / R@100 | Cranfield | sample corpus |")
    print("|---|---|---|")
    for name in cranfield:
        print(f"| {name} | {cranfield[name]} | {sample[name]} |")


if __name__ == "__main__":
    main()
