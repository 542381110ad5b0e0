"""Large indexes of real texts: recall, latency, memory and growth, with other vector indexes in the same run.

Vectors come from bench/large_corpus.py, which encodes them once; queries are further texts of the same kind, which are
not in the index. Other libraries hold the same vectors; their search width is raised until they reach the same recall.

    python bench/large_index.py [--kind sentences|windows] [--n 300000] [--memory 2GB] [--peers] [--keep FOLDER]
    python bench/large_index.py --kind windows --growth [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from large_corpus import KINDS, Known, load
from machine import describe
from measure import environment, peak_of, run_quietly, spread

from semsearch import Encoder, Index
from semsearch.arrays import Vectors
from semsearch.filters.text import parse
from semsearch.stores.local.store import LocalStore
from semsearch.stores.local.vectors.segments import IndexedSegment

QUERIES, K, ROUNDS = 500, 10, 3

YEARS = 1_000
"""Documents have `year` from 0 to 999 in turn, so that filters keep any share of them."""

FILTERS = {"50%": "year < 500", "1%": "year < 10", "0.1%": "year < 1"}

SIZES = (10_000, 100_000, 1_000_000)
"""Numbers of texts that the growth law is read off."""

WIDTHS = (16, 20, 24, 28, 32, 36, 40, 44, 48, 56, 64, 72, 80, 96, 112, 128, 160, 192, 256, 384, 512, 1024)
"""Search widths of other libraries, of which the least with our recall is measured."""

SMALL = 1_400
"""Number of texts in the index that cold queries are compared with, as many as Cranfield has."""

COLD = "import sys; from semsearch.cli.main import main; sys.argv[0] = 'semsearch'; main()"


def milliseconds(ask: Callable[[int], object], n: int = QUERIES) -> float:
    """Return the median time of a call for each of the first n queries, one after another."""
    spent = []
    for row in range(n):
        started = time.perf_counter()
        ask(row)
        spent.append(1e3 * (time.perf_counter() - started))
    return statistics.median(spent)


def recall_of(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found.tolist(), truth.tolist(), strict=True)]))


def exact(rows: Vectors, queries: Vectors, kept: np.ndarray | None = None) -> np.ndarray:
    """Return the positions of the K nearest rows by brute force, of those that are kept."""
    best = []
    for start in range(0, len(queries), 50):
        scores = queries[start : start + 50] @ rows.T
        if kept is not None:
            scores[:, ~kept] = -np.inf
        best.append(np.argpartition(-scores, K, axis=1)[:, :K])
    return np.concatenate(best)


def build(folder: Path, encoder: Encoder, texts: list[str], vectors: Vectors, memory: str | None) -> float:
    """Index the texts; return the seconds that this took."""
    documents = (
        {"_id": str(number), "text": text.replace("\0", " "), "year": number % YEARS}
        for number, text in enumerate(texts)
    )
    started = time.perf_counter()
    with Index.open(folder, create=True, encoder=Known(encoder, texts, vectors)) as index:
        index.add(documents, memory=memory)
    return time.perf_counter() - started


def peak_of_compaction(folder: Path, memory: str) -> tuple[float, float]:
    """Return the peak memory in MB and the seconds of a process that builds the vector index anew."""
    command = [sys.executable, "-c", COLD, "compact", "--index", str(folder), "--memory", memory, "--vector-index"]
    run_quietly([*command, "Flat"])
    return peak_of([*command, "auto"])


def resident(folder: Path, queries: Vectors) -> tuple[float, float]:
    """Return the seconds until the first answer, and by how many MiB a process grows over all queries."""
    code = (
        "import sys, time, json, numpy as np, psutil, faiss\n"
        "from semsearch.stores.local.store import LocalStore\n"
        "queries = np.load(sys.argv[2]); process = psutil.Process(); before = process.memory_info().rss\n"
        "started = time.perf_counter(); store = LocalStore(sys.argv[1]); store.search_vectors(queries[:1], 10, None)\n"
        "opened = time.perf_counter() - started\n"
        "for row in range(len(queries)): store.search_vectors(queries[[row]], 10, None)\n"
        "print(json.dumps([opened, (process.memory_info().rss - before) / 2**20]))"
    )
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "queries.npy"
        np.save(path, queries)
        command = [sys.executable, "-c", code, str(folder), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    opened, grown = json.loads(done.stdout)
    return opened, grown


def cold(folder: Path) -> float:
    """Return the seconds of a whole `semsearch query` in a new process, the median of five."""
    spent = []
    for _ in range(5):
        started = time.perf_counter()
        run_quietly([sys.executable, "-c", COLD, "query", "how a heron fishes", "--index", str(folder)])
        spent.append(time.perf_counter() - started)
    return statistics.median(spent)


def peers(
    rows: Vectors, queries: Vectors, truth: np.ndarray, target: float
) -> Iterator[tuple[str, float, float, float]]:
    """Yield name, seconds to build, recall and milliseconds of other libraries at the least width with this recall."""
    makers: dict[str, Callable[[], tuple[Callable[[Vectors], Any], Callable[[int], None]]]] = {}
    if find_spec("hnswlib"):

        def hnswlib_index() -> tuple[Callable[[Vectors], Any], Callable[[int], None]]:
            import hnswlib

            index = hnswlib.Index("ip", rows.shape[1])
            index.init_index(len(rows), ef_construction=128, M=32)
            index.add_items(rows)
            index.set_num_threads(1)
            return lambda some: index.knn_query(some, K)[0], index.set_ef

        makers["hnswlib, M 32"] = hnswlib_index
    if find_spec("usearch"):

        def usearch_index() -> tuple[Callable[[Vectors], Any], Callable[[int], None]]:
            from usearch.index import Index as USearch

            index = USearch(ndim=rows.shape[1], metric="ip", dtype="f32", connectivity=32, expansion_add=128)
            index.add(np.arange(len(rows)), rows)

            def width(value: int) -> None:
                index.expansion_search = value

            return lambda some: np.atleast_2d(index.search(some, K, threads=1).keys), width

        makers["usearch, M 32"] = usearch_index
    for name, make in makers.items():
        started = time.perf_counter()
        ask, widen = make()
        seconds = time.perf_counter() - started
        for width in WIDTHS:
            widen(width)
            recall = recall_of(np.asarray(ask(queries)), truth)
            if recall >= target:
                break
        yield name, seconds, recall, milliseconds(lambda row, ask=ask: ask(queries[[row]]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=KINDS, default="sentences")
    parser.add_argument("--n", type=int, default=300_000)
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    sizes = SIZES if options.growth else (options.n,)
    texts, vectors = load(options.kind, max(sizes) + QUERIES)
    queries, asked = np.ascontiguousarray(vectors[max(sizes) :]), texts[max(sizes) :]
    encoder = Encoder.load(device="cpu")
    home = options.keep or Path(tempfile.mkdtemp(prefix="semsearch-bench-"))
    print(f"{describe()}\n")
    try:
        if options.growth:
            print("| passages | indexing s | disk MiB | resident MiB | first answer s | kind, recall@10 ", end="")
            print("| dense ms | with 1% filter | keyword ms | hybrid ms |\n|---|---|---|---|---|---|---|---|---|---|")
        for n in sizes:
            folder, seconds = home / f"{options.kind}-{n}", home / f"{options.kind}-{n}.seconds"
            if not folder.exists():
                seconds.write_text(f"{build(folder, encoder, texts[:n], vectors[:n], options.memory):.0f}")
            if options.growth:
                print(growth(folder, n, seconds.read_text(), queries, asked, encoder), flush=True)
            else:
                print(f"{n:,} {options.kind}, indexed in {seconds.read_text()} s, without encoding")
                report(folder, options, texts[:n], vectors[:n], queries, asked, encoder)
    finally:
        if not options.keep:
            shutil.rmtree(home)


def growth(folder: Path, n: int, seconds: str, queries: Vectors, asked: list[str], encoder: Encoder) -> str:
    """Return the row of the growth table for an index of n texts; milliseconds are without encoding."""
    opened, grown = resident(folder, queries)
    one_percent = parse("year < 10")
    with LocalStore(folder) as store:
        kinds = [f"{each['kind']} {each.get('recall', 1)}" for each in store.status()["vectors"]["segments"]]
        store.search_vectors(queries[:1], K, one_percent)
        store.search_keywords(asked[0], K, None)
        dense = milliseconds(lambda row: store.search_vectors(queries[[row]], K, None))
        filtered = milliseconds(lambda row: store.search_vectors(queries[[row]], K, one_percent))
        keyword = milliseconds(lambda row: store.search_keywords(asked[row], K, None))
    short = questions(asked)
    with Index.open(folder, encoder=encoder) as index:
        index.search(short[0])
        hybrid = milliseconds(lambda row: index.search(short[row], K), 200)
    hybrid -= milliseconds(lambda row: encoder.encode_queries([short[row]]), 200)
    start = f"| {n:,} | {seconds} | {mebibytes(folder):,.0f} | {grown:,.0f} | {opened:.2f} | {', '.join(kinds)} |"
    return f"{start} {dense:.2f} | {filtered:.2f} | {keyword:.2f} | {hybrid:.2f} |"


def report(
    folder: Path,
    options: argparse.Namespace,
    texts: list[str],
    vectors: Vectors,
    queries: Vectors,
    asked: list[str],
    encoder: Encoder,
) -> None:
    opened, grown = resident(folder, queries)
    floats = vectors.nbytes / 2**20
    print(
        f"disk {mebibytes(folder):,.0f} MiB; opened and first answer in {opened:.3f} s; resident {grown:,.0f} MiB, ",
        end="",
    )
    print(f"{grown / floats:.2f} of the float32 vectors")
    with tempfile.TemporaryDirectory() as temporary:
        small = Path(temporary) / "index"
        build(small, encoder, texts[:SMALL], vectors[:SMALL], None)
        print(f"cold `semsearch query`: {cold(folder):.2f} s, over {SMALL:,} of the texts {cold(small):.2f} s")
    faiss.omp_set_num_threads(1)
    with LocalStore(folder) as store:
        store.search_vectors(queries[:1], K, None)
        segment, *rest = store._read()._dense._parts.all
        assert isinstance(segment, IndexedSegment), "too few rows for a vector index"
        print(f"segments {1 + len(rest)}, {segment.ann.factory}, {store.status()['vectors']['segments']}\n")
        rows = segment._file.array("rows", check=False)
        truth = segment.ids[exact(rows, queries)]
        index, effort = segment.ann.index, segment.ann.effort(store.status()["vectors"]["target_recall"])
        parameters = (
            faiss.SearchParametersHNSW(efSearch=effort)
            if "HNSW" in segment.ann.factory
            else faiss.IVFRaBitQSearchParameters(nprobe=effort)
        )
        width = len(segment._kind.candidates(index, queries[:1], K, effort, None)[0])

        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(np.ascontiguousarray(rows))
        refined = faiss.IndexRefine(index, flat)
        refining = faiss.IndexRefineSearchParameters(k_factor=width / K, base_index_params=parameters)

        def inside(row: int) -> object:
            return store.search_vectors(queries[[row]], K, None)

        ask: dict[str, Callable[[int], object]] = {
            "store": lambda row: store.search_vectors(queries[[row]], K, None),
            "store, within a snapshot": inside,
            "segment": lambda row: segment.search(queries[[row]], K, None, 0.98),
            "FAISS, same parameters, as many candidates refined": lambda row: refined.search(
                queries[[row]], K, params=refining
            ),
            "FAISS, same parameters": lambda row: index.search(queries[[row]], K, params=parameters),
            "exact FAISS": lambda row: flat.search(queries[[row % 50]], K),
        }
        blocks: dict[str, list[float]] = {name: [] for name in ask}
        for _ in range(ROUNDS):
            for name, one in ask.items():
                with store.snapshot() if one is inside else nullcontext():
                    blocks[name].append(milliseconds(one, 50 if name.startswith("exact") else QUERIES))
        found = store.search_vectors(queries, K, None)[1]
        print(f"recall@10 {recall_of(found, truth):.4f} over {QUERIES} queries that are not in the index\n")
        print("| one query, one thread | ms, p50 |\n|---|---|")
        for name, values in blocks.items():
            print(f"| {name} | {spread(values, 3)} |")
        if options.peers:
            for name, seconds, recall, ms in peers(vectors, queries, exact(vectors, queries), recall_of(found, truth)):
                print(f"| {name}: recall {recall:.4f}, built in {seconds:.0f} s | {ms:.3f} |", flush=True)
        print("\n| filter | recall@10 | dense ms | keyword ms |\n|---|---|---|---|")
        places = document_places(store, segment.ids)
        for name, text in FILTERS.items():
            where, kept = parse(text), places % YEARS < int(text.split()[-1])
            found = store.search_vectors(queries[:200], K, where)[1]
            recall = recall_of(found, segment.ids[exact(rows, queries[:200], kept)])
            dense = milliseconds(lambda row, where=where: store.search_vectors(queries[[row]], K, where), 200)
            store.search_keywords(asked[0], K, where)
            words = milliseconds(lambda row, where=where: store.search_keywords(asked[row], K, where), 200)
            print(f"| {name} | {recall:.4f} | {dense:.2f} | {words:.2f} |")
    with Index.open(folder, encoder=encoder) as opened_index:
        short = questions(asked)
        opened_index.search(short[0])
        print("\n| whole question, warm | ms, p50 |\n|---|---|")
        print(f"| encoding | {milliseconds(lambda row: encoder.encode_queries([short[row]]), 200):.2f} |")
        for mode in ("dense", "keyword", "hybrid"):
            print(
                f"| {mode} | {milliseconds(lambda row, m=mode: opened_index.search(short[row], K, mode=m), 200):.2f} |"
            )
        more = [{"_id": f"more {row}", "text": text} for row, text in enumerate(texts[:1_000])]
        started = time.perf_counter()
        encoder.encode_documents([document["text"] for document in more])
        encoding = time.perf_counter() - started
        started = time.perf_counter()
        opened_index.add(more)
        adding = time.perf_counter() - started
        print(f"\nadding 1,000 passages {adding:.2f} s, encoding them {encoding:.2f} s: {adding / encoding:.2f}")
        opened_index.delete([document["_id"] for document in more])
    peak, seconds = peak_of_compaction(folder, options.memory)
    print(f"building the vector index with --memory {options.memory}: {seconds:.0f} s, peak {peak:,.0f} MB")


def questions(texts: list[str]) -> list[str]:
    """Return the first six words of each text."""
    return [" ".join(text.split()[:6]) for text in texts]


def mebibytes(folder: Path) -> float:
    """Return the size of an index on disk."""
    return sum(path.stat().st_size for path in folder.iterdir()) / 2**20


def document_places(store: LocalStore, passages: np.ndarray) -> np.ndarray:
    """Return the number of the document of each passage, as it was counted when the index was built."""
    with store.snapshot():
        sql = "SELECT passages.id, doc_id FROM passages JOIN documents ON documents.id = document"
        ids = dict(store._read()._database.execute(sql))
    return np.array([int(ids[number]) for number in passages.tolist()])


if __name__ == "__main__":
    main()
