"""Which way of mixing dense and keyword search finds best: nDCG@10 and R@100 on Cranfield and on the sample corpus.

python bench/fusion.py
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ir_measures
from ir_measures import R, nDCG
from machine import data_folder, describe

from semsearch import Chunking, Encoder, Query, Searcher, index_corpus, read_corpus, search
from semsearch.text.readers import read_queries

WEIGHTS = (0.5, 0.6, 0.7, 0.8)
DEPTHS = (100, 1_000)


def runs(searcher: Searcher, queries: list[Query]) -> Iterator[tuple[str, search.Run]]:
    """A run for each mode and each setting of the fusions."""
    for mode in ("dense", "keyword"):
        yield mode, searcher.run(queries, mode=mode)
    for depth in DEPTHS:
        search.FUSED_DEPTH = depth
        yield f"hybrid, rrf, depth {depth:,}", searcher.run(queries, mode="hybrid", fusion="rrf")
        for weight in WEIGHTS:
            search.DENSE_WEIGHT = weight
            yield f"hybrid, convex {weight}, depth {depth:,}", searcher.run(queries, mode="hybrid", fusion="convex")


def scores(folder: Path, encoder: Encoder) -> dict[str, str]:
    """`nDCG@10 / R@100` of each run over a folder in BEIR's layout."""
    with (folder / "qrels" / "test.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    qrels = [ir_measures.Qrel(row["query-id"], row["corpus-id"], int(row["score"])) for row in rows]
    queries = list(read_queries(str(folder / "queries.jsonl")))
    with tempfile.TemporaryDirectory() as temporary:
        index_corpus(temporary, read_corpus([str(folder)]), encoder, chunking=Chunking(on_long="truncate"))
        with Searcher.open(temporary, encoder) as searcher:
            found = {
                name: ir_measures.calc_aggregate([nDCG @ 10, R @ 100], qrels, run)
                for name, run in runs(searcher, queries)
            }
    return {name: f"{measured[nDCG @ 10]:.4f} / {measured[R @ 100]:.4f}" for name, measured in found.items()}


def main() -> None:
    encoder = Encoder.load()
    print(f"{describe()}\n")
    cranfield = scores(data_folder() / "cranfield", encoder)
    sample = scores(Path(__file__).parents[1] / "corpora" / "sample", encoder)
    print("| nDCG@10 / R@100 | Cranfield | sample corpus |")
    print("|---|---|---|")
    for name in cranfield:
        print(f"| {name} | {cranfield[name]} | {sample[name]} |")


if __name__ == "__main__":
    main()
