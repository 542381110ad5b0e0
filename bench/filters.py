"""Cost of a filter: broad, medium and narrow filters in each mode, compared with the same search without a filter.

A filtered search must never take longer than the unfiltered search plus one pass over the metadata; that pass is
measured separately, with SQLite. All variants take turns, query by query. The documents are STS-B sentences, each with
a number in its metadata; their vectors are random, which makes no difference to an exact search, and exact search is
what is chosen.

    python bench/filters.py [--rounds 30]
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import count, cycle, islice
from pathlib import Path

import numpy as np
from machine import describe, short_texts
from measure import rounds, spread, take_turns

from semsearch import Index, WordHashEncoder
from semsearch.arrays import Vectors
from semsearch.encoder.encoder import Progress
from semsearch.filters.sqlite import compile_filter
from semsearch.filters.text import parse
from semsearch.search import MODES
from semsearch.stores.local.reader import PASSAGES_OF
from semsearch.transforms import unit_rows

DOCUMENTS, DIM, K = 19_000, 384, 10

FILTERS = {"broad (all but one)": "n != 7", "medium (half)": "n >= 9500", "narrow (20)": "n < 20"}

QUERIES = ("a man is playing a guitar in the park", "the stock of the company fell", "two dogs run in the snow")


class Drawn(WordHashEncoder):
    """An encoder that returns random vectors for passages."""

    def encode_documents(self, texts: list[str], progress: Progress | None = None) -> Vectors:
        """Return random unit rows."""
        return unit_rows(np.random.default_rng(len(texts)).normal(size=(len(texts), self.dim)))


def main() -> None:
    n = rounds(__doc__, 30)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "index"
        texts = islice(cycle(short_texts()), DOCUMENTS)
        with Index.open(folder, create=True, encoder=Drawn(DIM)) as index:
            documents = ({"_id": str(number), "text": text, "n": number} for number, text in enumerate(texts))
            index.add(documents, vector_index="Flat")
        with (
            Index.open(folder, encoder=Drawn(DIM)) as index,
            closing(sqlite3.connect(folder / "passages.sqlite")) as sql,
        ):
            asked = {mode: count() for mode in MODES}

            def search(mode: str, where: str | None) -> None:
                index.search(QUERIES[next(asked[mode]) % len(QUERIES)], K, mode=mode, where=where)

            def read(where: str) -> None:
                condition = compile_filter(parse(where))
                sql.execute(f"{PASSAGES_OF} WHERE {condition.sql}", condition.parameters).fetchall()

            sides: dict[str, Callable[[], object]] = {}
            for mode in MODES:
                sides[mode] = partial(search, mode, None)
                sides |= {f"{mode}, {name}": partial(search, mode, where) for name, where in FILTERS.items()}
            sides |= {f"metadata, {name}": partial(read, where) for name, where in FILTERS.items()}
            take_turns(sides, 2)
            seconds = take_turns(sides, n)
    print(f"{describe()}\n")
    print("| mode | filter | ms | of the search without it | of that and the metadata |")
    print("|---|---|---|---|---|")
    for mode in MODES:
        plain = seconds[mode]
        print(f"| {mode} | none | {spread([1e3 * one for one in plain], 1)} | | |")
        for name in FILTERS:
            spent, passes = seconds[f"{mode}, {name}"], seconds[f"metadata, {name}"]
            both = [one + two for one, two in zip(plain, passes, strict=True)]
            against = (f"{statistics.median(spent) / statistics.median(other):.2f}" for other in (plain, both))
            print(f"| {mode} | {name} | {spread([1e3 * one for one in spent], 1)} | {' | '.join(against)} |")
    for name in FILTERS:
        print(f"| metadata alone | {name} | {spread([1e3 * one for one in seconds[f'metadata, {name}']], 1)} | | |")


if __name__ == "__main__":
    main()
