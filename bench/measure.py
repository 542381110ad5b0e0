"""Shared parts of the benchmarks: timing in turns, ratios with their spread, and the memory of a process."""

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
    """Parse --rounds, the only option of most benchmarks."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--rounds", type=int, default=default)
    return int(parser.parse_args().rounds)


def take_turns(sides: Mapping[str, Callable[[], object]], n: int) -> dict[str, list[float]]:
    """Time each side in n rounds, in seconds; all sides run in every round, so that noise affects them alike."""
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(n):
        for side, run in sides.items():
            started = time.perf_counter()
            run()
            seconds[side].append(time.perf_counter() - started)
    return seconds


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Format the median with the minimum and the maximum."""
    middle, least, most = (f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({least} to {most})"


def ratios(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Return the ratios of first to second, round by round."""
    return [a / b for a, b in zip(first, second, strict=True)]


def run_quietly(command: Sequence[str]) -> None:
    """Run a command in a separate process and show its error output only if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr}")


def environment() -> dict[str, str]:
    """Return the environment variables for all sides, which load their models from disk and never contact the hub."""
    return os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def peak_of(command: Sequence[str]) -> tuple[float, float]:
    """Run a command; return its peak resident memory in MB, sampled every 10 ms, and its run time in seconds."""
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
    """Return the hits of many queries as a run, `{query_id: {doc_id: score}}`."""
    found = index.search_many([query.text for query in queries], k, **wishes)
    return {query.query_id: {hit.doc_id: hit.score for hit in hits} for query, hits in zip(queries, found, strict=True)}
