"""Peak memory while indexing, as the corpus grows: it should not grow with it.

Each size is a process of its own, which generates its corpus line by line into a file, indexes that through the command
line's own path with the word-hash encoder (so that a model's weights do not hide anything), and reports its peak
resident memory.

    python bench/ingest_memory.py [--lines 50000 100000 200000]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

from machine import describe
from measure import peak_of

WORDS_A_LINE = 60


def generate(path: Path, lines: int) -> None:
    """A corpus of random words, about 400 bytes a line, with titles of many lengths.

    Each 500th text is 40 times as long, and one is of 5 MB, so that a single document's share shows as well.
    """
    chance = random.Random(7)
    words = ["".join(chance.choices("abcdefghijklmnoprstuvw", k=chance.randint(3, 9))) for _ in range(30_000)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(lines):
            length = 800_000 if number == 100 else 40 * WORDS_A_LINE if number % 500 == 0 else WORDS_A_LINE
            title, text = (" ".join(chance.choices(words, k=k)) for k in (number % 40, length))
            file.write(
                json.dumps({"_id": str(number), "title": title, "text": text, "year": 1990 + number % 30}) + "\n"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, nargs="+", default=[50_000, 100_000, 200_000])
    parser.add_argument("--dim", type=int, default=384)
    arguments = parser.parse_args()
    print(f"{describe()}\n")
    print("| lines | corpus, MB | peak memory, MB | seconds |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for lines in arguments.lines:
            corpus = Path(temporary) / f"{lines}.jsonl"
            generate(corpus, lines)
            command = [sys.executable, "-c", "from semsearch.cli.main import main; main()", "index", str(corpus)]
            command += ["--index", str(corpus.with_suffix("")), "--model", f"hash:{arguments.dim}"]
            peak, seconds = peak_of(command)
            print(f"| {lines:,} | {corpus.stat().st_size / 1e6:.0f} | {peak:.0f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
