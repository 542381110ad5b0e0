"""Compare what `semsearch plan` predicts with measured runs over real texts, by bench/large_corpus.py.

The constants are those of this machine, measured first, or with --documented those of the documentation. A million
passages are an extrapolation from both: pass --sizes 10000 100000 1000000 to check it, which takes hours to encode.

    python bench/planning.py [--sizes 10000 100000] [--kind windows] [--documented]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from large_corpus import KINDS, load
from large_index import K, build, mebibytes, milliseconds, questions, resident
from machine import describe

from semsearch import Encoder, Index
from semsearch.arrays import Vectors
from semsearch.planning.calibrate import calibrate
from semsearch.planning.constants import DOCUMENTED, Constants
from semsearch.planning.plan import plan
from semsearch.stores.local.store import LocalStore

QUERIES = 200


def measured(folder: Path, encoder: Encoder, texts: list[str], vectors: Vectors, n: int) -> dict[str, float]:
    """Index n texts, search them with further ones, and return seconds, MiB and milliseconds by name."""
    queries, asked = np.ascontiguousarray(vectors[n : n + QUERIES]), texts[n : n + QUERIES]
    seconds = build(folder, encoder, texts[:n], vectors[:n], None)
    short = questions(asked)
    with LocalStore(folder) as store:
        store.search_keywords(asked[0], K, None)
        dense = milliseconds(lambda row: store.search_vectors(queries[[row]], K, None), QUERIES)
        keyword = milliseconds(lambda row: store.search_keywords(asked[row], K, None), QUERIES)
    with Index.open(folder, encoder=encoder) as index:
        index.search(short[0])
        hybrid = milliseconds(lambda row: index.search(short[row], K), QUERIES)
    hybrid -= milliseconds(lambda row: encoder.encode_queries([short[row]]), QUERIES)
    memory = resident(folder, queries)[1]
    return {
        "disk MiB": mebibytes(folder),
        "resident MiB": memory,
        "indexing s": seconds,
        **{"dense ms": dense, "keyword ms": keyword, "hybrid ms": hybrid},
    }


def predicted(n: int, tokens: float, constants: Constants) -> dict[str, float]:
    """Return the same as a plan predicts it."""
    by_mode = {mode: plan(n, tokens, mode=mode, constants=constants) for mode in ("dense", "keyword", "hybrid")}
    made = by_mode["hybrid"]
    return {
        "disk MiB": made.disk_bytes / 2**20,
        "resident MiB": made.memory / 2**20,
        "indexing s": made.index_hours * 3_600,
        **{f"{mode} ms": one.search_ms for mode, one in by_mode.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--kind", choices=KINDS, default="windows")
    parser.add_argument("--documented", action="store_true")
    options = parser.parse_args()
    print(f"{describe()}\n")
    constants = DOCUMENTED if options.documented else calibrate()
    print(
        f"{constants.to_json()}\n\n| passages | | predicted | measured | predicted / measured |\n|---|---|---|---|---|"
    )
    texts, vectors = load(options.kind, max(options.sizes) + QUERIES)
    encoder = Encoder.load(device="cpu")
    counted = encoder.tokenizer.encode_batch(texts[:5_000], add_special_tokens=False)
    tokens = float(np.mean([len(one.ids) for one in counted]))
    for n in options.sizes:
        with tempfile.TemporaryDirectory(prefix="semsearch-bench-") as temporary:
            found = measured(Path(temporary) / "index", encoder, texts, vectors, n)
        for name, value in predicted(n, tokens, constants).items():
            print(f"| {n:,} | {name} | {value:,.2f} | {found[name]:,.2f} | {value / found[name]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
