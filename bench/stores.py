"""The same index in several stores: time to write it, and time and recall of searches.

Vectors are clustered and random, texts are words of a Zipf-like distribution, and there is no encoder. Searches of all
stores take turns. Recall is the share of the ten nearest by brute force over the vectors that match the filter.

    python bench/stores.py indexes/bench postgresql://me@host/db?schema=bench [--n 50000] [--dim 384] [--queries 50]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

import numpy as np
from machine import describe

from semsearch.corpus.chunking import Chunking
from semsearch.filters.read import read_filter
from semsearch.stores.base import Entry, Store
from semsearch.stores.open import open_store
from semsearch.types import Document, EncoderSpec, Passage

BATCH = 2_000

FILTERS = {"none": None, "50%": "share < 500", "1%": "share < 10", "0.1%": "share < 1"}


def vectors(n: int, dim: int, seed: int) -> np.ndarray:
    """Return unit rows `[n, dim]` around 1,000 centers."""
    random = np.random.default_rng(seed)
    centers = np.random.default_rng(0).normal(size=(1_000, dim)).astype(np.float32)
    rows = centers[random.integers(len(centers), size=n)] + random.normal(size=(n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def entries(rows: np.ndarray, start: int, texts: list[str]) -> Iterator[Entry]:
    for place, row in enumerate(rows):
        number = start + place
        document = Document(f"d{number}", texts[number], metadata={"share": number % 1_000})
        yield Entry(document, (Passage(0, 0, len(document.text), "", 80),), row[None])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("locations", nargs="+")
    parser.add_argument("--n", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--queries", type=int, default=50)
    arguments = parser.parse_args()
    print(f"{describe()}\n")
    n, dim = arguments.n, arguments.dim
    rows, asked = vectors(n, dim, 1), vectors(arguments.queries, dim, 2)
    random = np.random.default_rng(3)
    words = np.minimum(random.zipf(1.3, size=(n, 80)), 200_000)
    texts = [" ".join(f"w{word}" for word in line) for line in words.tolist()]
    spec = EncoderSpec.from_json({**_SPEC, "dim": dim})
    stores = [open_store(location) for location in arguments.locations]
    print("| store | writing, s | end of the run, s |\n|---|---|---|")
    for store in stores:
        started = time.perf_counter()
        with store.write(spec, Chunking().to_json()) as writer:
            for start in range(0, n, BATCH):
                writer.commit(entries(rows[start : start + BATCH], start, texts))
                writer.seal(final=False)
            written = time.perf_counter()
            writer.seal(final=True)
        print(f"| {store.location} | {written - started:.0f} | {time.perf_counter() - written:.0f} |")
    dense(stores, rows, asked)
    keyword(stores, texts)
    for store in stores:
        print(store.location, store.status()["vectors"]["segments"])
        store.close()


def dense(stores: list[Store], rows: np.ndarray, asked: np.ndarray) -> None:
    """Print time and recall of dense search by store and filter."""
    print("\n| store | filter | recall@10 | ms, median | ms, 95% |\n|---|---|---|---|---|")
    share = np.arange(len(rows)) % 1_000
    for name, where in FILTERS.items():
        among = np.arange(len(rows)) if where is None else np.flatnonzero(share < int(where.split()[-1]))
        truth = -np.sort(-(asked @ rows[among].T), axis=1)[:, :10]
        spent: dict[str, list[float]] = {store.location: [] for store in stores}
        shares: dict[str, list[float]] = {store.location: [] for store in stores}
        for query, best in zip(asked, truth, strict=True):
            for store in stores:
                started = time.perf_counter()
                scores, _ = store.search_vectors(query[None], 10, read_filter(where))
                spent[store.location].append(1e3 * (time.perf_counter() - started))
                shares[store.location].append(np.count_nonzero(scores[0] >= best[-1] - 1e-5) / len(best))
        for store in stores:
            times = spent[store.location]
            recall, middle, high = np.mean(shares[store.location]), statistics.median(times), np.quantile(times, 0.95)
            print(f"| {store.location} | {name} | {recall:.3f} | {middle:.1f} | {high:.1f} |")


def keyword(stores: list[Store], texts: list[str]) -> None:
    """Print the time of keyword search by store, for queries of rare and of common words."""
    print("\n| store | words | ms, median | ms, 95% |\n|---|---|---|---|")
    lines = [text.split() for text in texts[:: len(texts) // 50]]
    kinds = {
        "rare": [" ".join(sorted(set(line), key=lambda word: -int(word[1:]))[:4]) for line in lines],
        "common": [" ".join(sorted(set(line), key=lambda word: int(word[1:]))[:4]) for line in lines],
    }
    for name, queries in kinds.items():
        spent: dict[str, list[float]] = {store.location: [] for store in stores}
        for query in queries:
            for store in stores:
                started = time.perf_counter()
                store.search_keywords(query, 10, None)
                spent[store.location].append(1e3 * (time.perf_counter() - started))
        for location, times in spent.items():
            print(f"| {location} | {name} | {statistics.median(times):.1f} | {np.quantile(times, 0.95):.1f} |")


_SPEC = {
    "model": "none",
    "weights": "w" * 64,
    "tokenizer": "t" * 64,
    "pooler": "mean",
    "layers": [6],
    "max_tokens": 256,
    "dim": 384,
    "query_prefix": "",
    "passage_prefix": "",
    "normalize": True,
    "transform": "",
    "precision": "float32",
}

if __name__ == "__main__":
    main()
