"""Time from a change of a file until a search finds it, and cost of an update, by the number of files in the folder.

`semsearch index --watch` runs in another process, with its encoder loaded; this one searches the index by keyword.
The cost of an update is measured in this process, with the encoder that hashes words, so that it is all semsearch's.

    python bench/watching.py [--rounds 50]
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from machine import describe
from measure import environment, rounds

from semsearch import Index, WordHashEncoder

FILES = (100, 10_000)
"""Numbers of files in the watched folder, in subfolders of 100."""

COMMITS = 1_000
"""Number of updates after which the segments of an index are counted."""


def make_files(folder: Path, n: int) -> list[Path]:
    """Write short texts."""
    files = [folder / f"{number // 100:03}" / f"{number}.md" for number in range(n)]
    for number, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            f"# Note {number}\n\nThe heron number {number} waits in the reeds by the water of lake {number % 97}.\n"
        )
    return files


@contextmanager
def watched(folder: Path, index: Path, *options: str) -> Iterator[None]:
    """Run the command in another process, from its first update on."""
    command = [sys.executable, "-m", "semsearch", "index", str(folder), "--index", str(index), "--watch", *options]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment()
    ) as run:
        assert run.stderr
        while line := run.stderr.readline():
            if str(folder) in line and not line.startswith("warning"):
                break
        try:
            yield
        finally:
            run.terminate()
            run.stderr.read()


def latencies(files: list[Path], folder: Path, n: int) -> list[float]:
    """Change files one by one; return the seconds until a search finds the new word of each."""
    seconds = []
    with Index.open(folder) as index:
        for number in range(n):
            word, file = f"zq{time.time_ns()}", files[number * 7919 % len(files)]
            time.sleep(0.3 + number % 7 * 0.05)
            started = time.perf_counter()
            file.write_text(f"{file.read_text()}{word}\n")
            while not index.search(word, 1, mode="keyword"):
                if time.perf_counter() - started > 30:
                    raise SystemExit(f"{file} was not updated within 30 seconds")
                time.sleep(0.01)
            seconds.append(time.perf_counter() - started)
    return seconds


def costs(files: list[Path], corpus: Path, folder: Path, n: int) -> tuple[list[float], float, float, int, int]:
    """Update single files in this process.

    Returns:
        Seconds of each update; seconds of a run over all files; seconds of a search at the end; and the number of
        segments and of files of the index at the end.
    """
    with Index.open(folder, create=True, encoder=WordHashEncoder(384)) as index:
        index.add(corpus)
        started = time.perf_counter()
        index.add(corpus)
        whole = time.perf_counter() - started
        seconds = []
        for number in range(n):
            file = files[number * 7919 % len(files)]
            file.write_text(f"{file.read_text()}again {number}\n")
            started = time.perf_counter()
            index.add(corpus, only=[file], delete_missing=True)
            seconds.append(time.perf_counter() - started)
        index.search("heron", 10)
        searches = []
        for number in range(20):
            started = time.perf_counter()
            index.search(f"heron of lake {number}", 10)
            searches.append(time.perf_counter() - started)
        return seconds, whole, statistics.median(searches), index.status()["segments"], len(os.listdir(folder))


def main() -> None:
    n = rounds(__doc__, 50)
    print(f"{describe()}\n")
    print("| files | by | until a search finds a change, s: median | max |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for count in FILES:
            corpus, index = Path(temporary, f"files{count}"), Path(temporary, f"index{count}")
            files = make_files(corpus, count)
            for options in ((), ("--poll",)):
                with watched(corpus, index, *options):
                    found = latencies(files, index, n)
                by = "polling" if options else "notifications"
                print(f"| {count:,} | {by} | {statistics.median(found):.2f} | {max(found):.2f} |", flush=True)
        columns = ("files", "updates", "ms for one of the first 100", "of the last 100", "at most")
        columns += ("s for all files", "ms for a search", "segments", "files of the index")
        print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
        for count in FILES:
            corpus, index = Path(temporary, f"files{count}"), Path(temporary, f"costs{count}")
            shutil.rmtree(corpus)
            files = make_files(corpus, count)
            seconds, whole, search, segments, listing = costs(files, corpus, index, COMMITS)
            early, late = (1_000 * statistics.median(some) for some in (seconds[:100], seconds[-100:]))
            print(
                f"| {count:,} | {COMMITS:,} | {early:.0f} | {late:.0f} | {1_000 * max(seconds):.0f} | {whole:.1f} | "
                f"{1_000 * search:.1f} | {segments} | {listing} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
