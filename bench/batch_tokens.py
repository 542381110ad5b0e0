"""How many tokens to put through the backbone at once on a CPU: the runtimes' `batch_tokens` come from here.

The sizes take turns, so that a noisy machine hits all of them.

    python bench/batch_tokens.py [--rounds 5]
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from functools import partial

from machine import describe, long_texts, short_texts
from measure import rounds, take_turns

from semsearch import Encoder

BUDGETS = (1_024, 2_048, 4_096, 8_192, 16_384)


def main() -> None:
    n = rounds(__doc__, 5)
    print(f"{describe()}\n")
    print(f"| texts/s, median of {n} rounds | {' | '.join(f'{budget:,} tokens' for budget in BUDGETS)} |")
    print(f"|---|{'---|' * len(BUDGETS)}")
    for runtime in ("openvino", "torch"):
        loaded = Encoder.load(device="cpu", runtime=runtime)
        batchers = {budget: replace(loaded._batcher, batch_tokens=budget) for budget in BUDGETS}
        encoders = {str(budget): replace(loaded, _batcher=batcher) for budget, batcher in batchers.items()}
        for name, texts in {"short": short_texts()[:1_500], "long": long_texts()[:150]}.items():
            sides = {budget: partial(encoder.encode_documents, texts) for budget, encoder in encoders.items()}
            speeds = [len(texts) / statistics.median(spent) for spent in take_turns(sides, n).values()]
            print(f"| {runtime}, {name} | {' | '.join(f'{speed:.1f}' for speed in speeds)} |", flush=True)


if __name__ == "__main__":
    main()
