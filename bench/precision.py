"""Loss of quality from faster arithmetic: STS-B and Cranfield in float32, bfloat16 and 8-bit integers.

As with `semsearch index --precision int8`, an 8-bit model is calibrated on passages of the corpus that it is meant for:
here on Cranfield's abstracts and, for STS-B, on sentences of its development set.

    python bench/precision.py
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence

import ir_measures
import numpy as np
from ir_measures import R, nDCG
from machine import data_folder, describe, long_texts, short_texts
from measure import run_of

from semsearch import Chunking, Encoder, Index
from semsearch.corpus.readers import read_queries
from semsearch.encoder.runtimes.int8 import SAMPLE
from semsearch.evaluation import load_sts
from semsearch.evaluation.correlation import correlate
from semsearch.evaluation.retrieval_data import read_qrels


def sts_b(encoder: Encoder) -> float:
    """Return Spearman x 100 on the test set of STS-B."""
    (task,) = load_sts(data_folder() / "sts", ["STS-B"])
    (subset,) = task.subsets
    first, second = (encoder.encode_queries(side) for side in (subset.first, subset.second))
    return 100 * (correlate((first * second).sum(1).astype(np.float64), subset.similarity).spearman or 0.0)


def cranfield(encoder: Encoder) -> str:
    """Return `nDCG@10 / R@100` of dense search on Cranfield."""
    folder = data_folder() / "cranfield"
    qrels = read_qrels(folder / "qrels" / "test.tsv")
    with tempfile.TemporaryDirectory() as temporary:
        with Index.open(temporary, create=True, encoder=encoder, chunking=Chunking(on_long="truncate")) as searcher:
            searcher.add(folder)
            run = run_of(searcher, list(read_queries(str(folder / "queries.jsonl"))), mode="dense")
    found = ir_measures.calc_aggregate([nDCG @ 10, R @ 100], qrels, run)
    return f"{found[nDCG @ 10]:.4f} / {found[R @ 100]:.4f}"


def cosine(encoder: Encoder, exact: Encoder, texts: Sequence[str]) -> float:
    """Return the mean cosine between the vectors of texts and their float32 vectors."""
    return float((encoder.encode_documents(texts) * exact.encode_documents(texts)).sum(1).mean())


def main() -> None:
    exact = Encoder.load(device="cpu", precision="float32", runtime="openvino")
    short, long = (random.Random(0).sample(texts, SAMPLE) for texts in (short_texts(), long_texts()))
    sides = {
        "float32": (exact, exact),
        "bfloat16 (default)": (Encoder.load(device="cpu", precision="bfloat16"),) * 2,
        "int8": (exact.quantize(short), exact.quantize(long)),
    }
    print(f"{describe()}\n")
    print("| precision | STS-B | mean cosine | Cranfield nDCG@10 / R@100 | mean cosine |")
    print("|---|---|---|---|---|")
    for name, (for_short, for_long) in sides.items():
        cosines = (cosine(for_short, exact, short_texts()), cosine(for_long, exact, long_texts()))
        found = (f"{sts_b(for_short):.2f}", f"{cosines[0]:.5f}", cranfield(for_long), f"{cosines[1]:.5f}")
        print(f"| {name} | {' | '.join(found)} |", flush=True)


if __name__ == "__main__":
    main()
