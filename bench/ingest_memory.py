"""Peak memory while indexing corpora of different sizes; it should not grow with the corpus.

Each size runs in its own process, which writes its corpus to a file line by line, indexes it through the same code path
as the command line, and reports its peak resident memory. The word-hash encoder is used so that the weights of a model
do not mask anything.

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
    """Write a corpus of random words, about 400 bytes per line, with titles of many lengths.

    Every 500th text is 40 times as long and one text has 5 MB, so that the effect of a single document is visible too.
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
