"""What the measurements share: sides that take turns, ratios with their spread, memory of a process."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psutil

from semsearch import Index, Query
from semsearch.types import Run


def rounds(doc: str | None, default: int) -> int:
    """The one option that most measurements have."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--rounds", type=int, default=default)
    return int(parser.parse_args().rounds)


def take_turns(sides: Mapping[str, Callable[[], object]], n: int) -> dict[str, list[float]]:
    """Seconds of each side in each of n rounds; in a round each has its turn, so that a noisy machine hits all."""
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(n):
        for side, run in sides.items():
            started = time.perf_counter()
            run()
            seconds[side].append(time.perf_counter() - started)
    return seconds


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median with the smallest and the largest."""
    middle, least, most = (f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({least} to {most})"


def ratios(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """First over second, round by round."""
    return [a / b for a, b in zip(first, second, strict=True)]


def run_quietly(command: Sequence[str]) -> None:
    """Run a command in a process of its own; what it prints is nobody's business unless it fails."""
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr}")


def environment() -> dict[str, str]:
    """Every side finds its model on this disk, and none asks the hub for it."""
    return os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def peak_of(command: Sequence[str]) -> tuple[float, float]:
    """Run a command; its peak resident memory in MB, sampled every 10 ms, and its seconds."""
    started = time.perf_counter()
    child = psutil.Popen(command, stdout=subprocess.DEVNULL, env=environment())
    peak = 0
    while child.poll() is None:
        try:
            peak = max(peak, child.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.01)
    if child.wait() != 0:
        raise SystemExit(f"{' '.join(command)} failed")
    return peak / 1e6, time.perf_counter() - started


def run_of(index: Index, queries: Sequence[Query], k: int = 100, **wishes: Any) -> Run:
    """The hits of many queries as `{query_id: {doc_id: score}}`."""
    found = index.search_many([query.text for query in queries], k, **wishes)
    return {query.query_id: {hit.doc_id: hit.score for hit in hits} for query, hits in zip(queries, found, strict=True)}
