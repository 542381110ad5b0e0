"""How many tokens to put through the backbone at once on a CPU: the default in `encode.py` comes from here.

Rounds alternate between the sizes, so that a noisy machine hits all of them.

    python bench/batch_tokens.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

from machine import describe, long_texts, short_texts

from semsearch import Encoder

BUDGETS = (1_024, 2_048, 4_096, 8_192, 16_384)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    loaded = Encoder.load(device="cpu")
    batchers = {budget: replace(loaded._batcher, batch_tokens=budget) for budget in BUDGETS}
    encoders = {budget: replace(loaded, _batcher=batcher) for budget, batcher in batchers.items()}
    print(f"{describe()}\n")
    print(f"| texts/s, median of {rounds} rounds | {' | '.join(f'{budget:,} tokens' for budget in BUDGETS)} |")
    print(f"|---|{'---|' * len(BUDGETS)}")
    for name, texts in {
        "short (STS-B sentences)": short_texts()[:1500],
        "long (Cranfield)": long_texts()[:150],
    }.items():
        speeds: dict[int, list[float]] = {budget: [] for budget in BUDGETS}
        for _ in range(rounds):
            for budget, encoder in encoders.items():
                started = time.perf_counter()
                encoder.encode_passages(texts)
                speeds[budget].append(len(texts) / (time.perf_counter() - started))
        print(
            f"| {name} | {' | '.join(f'{statistics.median(speeds[budget]):.1f}' for budget in BUDGETS)} |", flush=True
        )


if __name__ == "__main__":
    main()
