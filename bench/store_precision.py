"""Stored vectors in float32, float16 and int8, and with half of their dimensions: size, loss of quality, and latency.

Sentences and their vectors come from bench/large_corpus.py; further sentences serve as queries. Recall@10 is that of
exact search against exact search over float32 vectors of 384 dimensions. Size and latency are those of an index with a
graph. Cranfield is indexed and searched as usual.

    python bench/store_precision.py [--n 300000]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import ir_measures
import numpy as np
from ir_measures import R, nDCG
from large_corpus import load
from large_index import QUERIES, K, exact, milliseconds, recall_of
from machine import data_folder, describe
from measure import run_of

from semsearch import Chunking, Encoder, Index
from semsearch.arrays import Vectors
from semsearch.corpus.readers import read_queries
from semsearch.evaluation.retrieval_data import read_qrels
from semsearch.stores.base import Entry
from semsearch.stores.codecs import CODECS
from semsearch.stores.local.store import LocalStore
from semsearch.transforms import unit_rows
from semsearch.types import Document, EncoderSpec, Passage

SIDES = (("float32", 384), ("float16", 384), ("int8", 384), ("float32", 192), ("float16", 192), ("int8", 192))

BATCH = 5_000


def cut(vectors: Vectors, dim: int) -> Vectors:
    """Return the leading dimensions as unit rows, as the encoder does with `dim`."""
    return vectors if dim == vectors.shape[1] else unit_rows(vectors[:, :dim])


def build(folder: Path, spec: EncoderSpec, vectors: Vectors, precision: str) -> None:
    """Write an index of these vectors `[n, dim]`, each of which is a document."""
    with LocalStore(folder).write(spec, Chunking().to_json(), store_precision=precision) as writer:
        for start in range(0, len(vectors), BATCH):
            rows = vectors[start : start + BATCH]
            writer.commit(
                Entry(Document(str(start + row), "x"), [Passage(0, 0, 1, "x", 3)], vector[None])
                for row, vector in enumerate(rows)
            )
            writer.seal(final=False)
        writer.seal(final=True)


def of_sentences(spec: EncoderSpec, rows: Vectors, queries: Vectors, truth: np.ndarray, precision: str) -> str:
    """Return the columns about sentences."""
    codec = CODECS[precision]
    blocks = (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
    decoded = np.concatenate([codec.decode(codec.encode(block)) for block in blocks])
    recall = recall_of(exact(decoded, queries), truth)
    with tempfile.TemporaryDirectory() as temporary:
        build(Path(temporary), spec, rows, precision)
        with LocalStore(temporary) as store:
            storage, n_bytes = store.storage, store.status()["bytes"]
            store.search_vectors(queries[:1], K, None)
            ms = milliseconds(lambda row: store.search_vectors(queries[[row]], K, None))
    loss = "" if storage.overlap is None else f"{storage.mean_cosine:.6f} | {storage.overlap:.1%}"
    stored = codec.n_bytes(spec.dim)
    return f"{stored:,} | {n_bytes / len(rows):,.0f} | {loss or '| '} | {recall:.4f} | {ms:.2f}"


def of_cranfield(encoder: Encoder, precision: str) -> str:
    """Return nDCG@10 and R@100 of dense search on Cranfield."""
    folder = data_folder() / "cranfield"
    qrels = read_qrels(folder / "qrels" / "test.tsv")
    with tempfile.TemporaryDirectory() as temporary:
        with Index.open(temporary, create=True, encoder=encoder, store_precision=precision) as index:
            index.add(folder)
            run = run_of(index, list(read_queries(str(folder / "queries.jsonl"))), mode="dense")
    found = ir_measures.calc_aggregate([nDCG @ 10, R @ 100], qrels, run)
    return f"{found[nDCG @ 10]:.4f} | {found[R @ 100]:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=300_000)
    n = parser.parse_args().n
    _, vectors = load("sentences", n)
    rows, queries = vectors[:-QUERIES], vectors[-QUERIES:]
    truth = exact(rows, queries)
    print(describe())
    print("\n| | bytes of a vector | bytes of a passage | mean cosine | overlap | recall@10 | ms | nDCG@10 | R@100 |")
    print("|---|---|---|---|---|---|---|---|---|")
    for precision, dim in SIDES:
        encoder = Encoder.load(device="cpu", dim=dim)
        sentences = of_sentences(encoder.spec, cut(rows, dim), cut(queries, dim), truth, precision)
        print(f"| {precision}, {dim} dimensions | {sentences} | {of_cranfield(encoder, precision)} |", flush=True)


if __name__ == "__main__":
    main()
