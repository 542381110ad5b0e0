"""Speed of different batch settings on a CPU; the `batching` values of the runtimes come from these measurements.

The first table varies the number of tokens in a batch, with many texts. The second one takes a few texts at a time, as
a server does, and varies how much padding must be saved to justify another batch (`inf`: never split). The settings
take turns, so that noise on the machine affects all of them alike.

    python bench/batch_tokens.py [--rounds 5]
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from machine import describe, long_texts, short_texts
from measure import rounds, take_turns

from semsearch import Encoder
from semsearch.encoder.tokenization import Batching

TOKENS = (1_024, 2_048, 4_096, 8_192, 16_384)

OVERHEADS = (0, 16, 32, 48, 64, 96, math.inf)

GROUPS = (4, 16, 32, 64)
"""Numbers of texts that are encoded at a time."""


def main() -> None:
    n = rounds(__doc__, 5)
    print(f"{describe()}\n")
    heading(n, [f"{tokens:,} tokens" for tokens in TOKENS])
    for runtime in ("openvino", "torch"):
        loaded = Encoder.load(device="cpu", runtime=runtime)
        for name, texts in {"short": short_texts()[:1_500], "long": long_texts()[:150]}.items():
            row(f"{runtime}, {name}", {str(size): with_(loaded, tokens=size) for size in TOKENS}, [texts], n)
    print()
    heading(n, [f"padding {overhead:g}" for overhead in OVERHEADS])
    loaded, chosen = Encoder.load(device="cpu", runtime="openvino"), random.Random(0)
    for size in GROUPS:
        groups = [chosen.sample(short_texts(), size) for _ in range(400 // size)]
        row(f"{size} at a time", {str(most): with_(loaded, overhead=most) for most in OVERHEADS}, groups, n)


def with_(encoder: Encoder, **settings: float) -> Encoder:
    """Return a copy of the encoder with other batch settings."""
    batching: Batching = replace(encoder._batcher.batching, **settings)  # type: ignore[arg-type]
    return replace(encoder, _batcher=replace(encoder._batcher, batching=batching))


def heading(n: int, settings: Iterable[str]) -> None:
    """Print the header of a table."""
    names = [f"texts/s, median of {n} rounds", *settings]
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|")


def row(name: str, encoders: Mapping[str, Encoder], groups: Sequence[Sequence[str]], n: int) -> None:
    """Measure encoders with different settings on the same groups of texts and print a table row."""
    sides = {setting: partial(encode, encoder, groups) for setting, encoder in encoders.items()}
    texts = sum(map(len, groups))
    speeds = [texts / statistics.median(spent) for spent in take_turns(sides, n).values()]
    print(f"| {name} | {' | '.join(f'{speed:.1f}' for speed in speeds)} |", flush=True)


def encode(encoder: Encoder, groups: Sequence[Sequence[str]]) -> None:
    """Encode one group after another."""
    for texts in groups:
        encoder.encode_documents(texts)


if __name__ == "__main__":
    main()
