"""Speed and memory of encoding on Ray: two workers of one core each, against the local engine on two cores.

Both engines index the same corpus into new indexes, in turns. Connecting and loading the model take some seconds in
each run, whatever its size, so they are measured with a corpus of one document and subtracted. The default corpus fills
six batches to the brim, three for each worker, so that none is idle at the end. The memory is the peak of the process
that writes the index; it should not grow with the corpus. It is measured with the word-hash encoder.

Ray listens on every interface, so this script runs itself in a network namespace that has loopback alone.

    python bench/ray_engine.py [--rounds 3] [--documents 1720] [--lines 20000 40000 80000]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from ingest_memory import generate
from machine import describe, long_texts
from measure import environment, peak_of, ratios, spread, take_turns

ISOLATED = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")

INSIDE = "--inside"


def write(path: Path, n: int) -> Path:
    """Write n documents: abstracts, each with a number so that all differ."""
    texts = long_texts()
    lines = [json.dumps({"_id": str(number), "text": f"{number}. {texts[number % len(texts)]}"}) for number in range(n)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--documents", type=int, default=1_720)
    parser.add_argument("--lines", type=int, nargs="+", default=[20_000, 40_000, 80_000])
    parser.add_argument(INSIDE, action="store_true")
    arguments = parser.parse_args()
    if not arguments.inside:
        subprocess.run([*ISOLATED, sys.executable, *sys.argv, INSIDE], check=True, env=environment())
        return
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # Ray's workers have a niceness of 15, so that on a busy machine others would take the processor from them alone
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    from ray.cluster_utils import Cluster

    options = {"num_cpus": 1, "object_store_memory": 2**27}
    cluster = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
    cluster.add_node(**options)
    print(f"{describe()}\n")
    try:
        with tempfile.TemporaryDirectory() as temporary:
            speed(Path(temporary), cluster.address, arguments.documents, arguments.rounds)
            memory(Path(temporary), cluster.address, arguments.lines)
    finally:
        cluster.shutdown()


def command(corpus: Path, index: Path, address: str) -> list[str]:
    """Return the command that indexes a corpus, locally if there is no address."""
    words = [sys.executable, "-c", "from semsearch.cli.main import main; main()", "index", str(corpus)]
    words += ["--index", str(index), "--json"]
    return [*words, "--engine", "ray", "--address", address, "--workers", "2"] if address else words


def speed(folder: Path, address: str, n: int, rounds: int) -> None:
    """Print documents per second of both engines, and their ratio."""
    corpora = {"one": write(folder / "one.jsonl", 1), "all": write(folder / "all.jsonl", n)}

    def side(corpus: Path, address: str) -> None:
        index = Path(tempfile.mkdtemp(dir=folder)) / "index"
        subprocess.run(command(corpus, index, address), check=True, env=environment(), stdout=subprocess.DEVNULL)

    engines = {"local": "", "ray": address}
    sides = {
        f"{engine} {size}": (lambda corpus=corpus, at=at: side(corpus, at))
        for size, corpus in corpora.items()
        for engine, at in engines.items()
    }
    warm = write(folder / "warm.jsonl", 120)
    for at in engines.values():  # compiles the model for one and for two threads
        side(warm, at)
    spent = take_turns(sides, rounds)
    net = {
        engine: [whole - start for whole, start in zip(spent[f"{engine} all"], spent[f"{engine} one"], strict=True)]
        for engine in engines
    }
    print("| engine | documents | start, s | documents/s without it |")
    print("|---|---|---|---|")
    for engine in engines:
        start = statistics.median(spent[f"{engine} one"])
        print(f"| {engine} | {n:,} | {start:.1f} | {spread([(n - 1) / seconds for seconds in net[engine]], 1)} |")
    print(f"\nRay relative to local: {spread(ratios(net['local'], net['ray']))}\n", flush=True)


def memory(folder: Path, address: str, sizes: list[int]) -> None:
    """Print the peak memory of the process that writes the index, and its speed when encoding costs nothing."""
    print("| lines | corpus, MB | peak with Ray, MB | seconds | peak locally, MB | seconds |")
    print("|---|---|---|---|---|---|")
    for lines in sizes:
        corpus, cells = folder / f"{lines}.jsonl", []
        generate(corpus, lines)
        for at in (address, ""):
            words = command(corpus, Path(tempfile.mkdtemp(dir=folder)) / "index", at)
            peak, seconds = peak_of([*words, "--model", "hash:384"])
            cells += [f"{peak:.0f}", f"{seconds:.0f}"]
        print(f"| {lines:,} | {corpus.stat().st_size / 1e6:.0f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
