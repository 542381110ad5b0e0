"""Keyword search at size: its inverted index beside FTS5, which it replaces, and tantivy, if that is installed.

All sides search the same texts of bench/large_corpus.py for 10 passages, one query after another in turns. The queries
are held-out sentences, five words from the middle of each, six of the twenty most common words, and 1,000 words.
Filters keep 50%, 1% and 0.1% of the passages: masks here, lists of numbers in FTS5, a field in tantivy. FTS5 must find
the same passages with the same scores; since it is slow, it only answers every tenth query, and no query of 1,000 words
in a large corpus. Everything runs on one thread.

    python bench/keywords.py [--kind sentences|windows] [--n 10000 100000 300000]
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from large_corpus import KINDS, texts_of
from machine import describe
from measure import peak_of

from semsearch.stores.local.array_file import open_arrays, writing_arrays
from semsearch.stores.words.bm25 import KeywordIndex
from semsearch.stores.words.keywords import body, exact_tokens, match_expression, tokens
from semsearch.stores.words.postings import DTYPES, Mask, build, read
from semsearch.stores.words.tokenizer import EXACT_WORDS, WORDS

K, HELD_OUT, EVERY, LONG = 10, 200, 10, 100_000

SHARES = {"none": 1.0, "50%": 0.5, "1%": 0.01, "0.1%": 0.001}

Found = list[tuple[float, int]]
"""Score and passage number, best first."""

Search = Callable[[str, str], Any]
"""Searches for a query with one of the filters in SHARES."""


def write_index(lines: Path, path: Path) -> None:
    """Build an inverted index of a file with a text per line, and print how to open it."""

    def texts() -> Iterator[tuple[int, str, str]]:
        with lines.open(encoding="utf-8", newline="\n") as file:
            yield from ((number, "", line) for number, line in enumerate(file, 1))

    with writing_arrays(path, {}) as writer:
        for name, array in build(texts()).arrays().items():
            writer.add(name, array)
    path.with_suffix(".digest").write_text(str(writer.digest), encoding="utf-8")


def ours(path: Path, masks: dict[str, Mask | None]) -> tuple[Search, float]:
    """Return the search in an inverted index, and the milliseconds that opening and checking it takes."""
    started = time.perf_counter()
    file = open_arrays(path, int(path.with_suffix(".digest").read_text(encoding="utf-8")))
    assert file is not None
    postings = read({name: file.array(name) for name in DTYPES})
    assert postings is not None
    index = KeywordIndex([(postings, None)])
    opened = time.perf_counter() - started

    def search(query: str, share: str) -> Found:
        mask = masks[share]
        scores, ids = index.search(query, K, [] if mask is None else [mask])
        return list(zip(scores.tolist(), ids.tolist(), strict=True))

    return search, 1e3 * opened


class Fts5:
    """The full-text tables of indexes of schema 4."""

    def __init__(self, path: Path, texts: Sequence[str], masks: dict[str, Mask | None]) -> None:
        self._sql, self._n, self._known = sqlite3.connect(path), len(texts), dict[str, float]()
        self._sql.execute(f"""CREATE VIRTUAL TABLE keywords USING fts5(body, content='', tokenize="{WORDS}")""")
        self._sql.execute(
            "CREATE VIRTUAL TABLE exact USING fts5(tokens, content='', columnsize=0, detail=none, "
            f'tokenize="{EXACT_WORDS}")'
        )
        words = ((number, body("", text)) for number, text in enumerate(texts, 1))
        self._sql.executemany("INSERT INTO keywords (rowid, body) VALUES (?, ?)", words)
        exact = ((number, tokens("", text)) for number, text in enumerate(texts, 1))
        self._sql.executemany("INSERT INTO exact (rowid, tokens) VALUES (?, ?)", exact)
        self._sql.commit()
        self._lists = {share: self._list(mask) for share, mask in masks.items()}

    def _list(self, mask: Mask | None) -> tuple[str, str]:
        """Return IN or NOT IN with the shorter list of numbers."""
        if mask is None:
            return "", "[]"
        kept = np.flatnonzero(mask) + 1
        others = np.flatnonzero(~mask) + 1
        name, numbers = ("IN", kept) if len(kept) <= len(others) else ("NOT IN", others)
        return f" AND +rowid {name} (SELECT value FROM json_each(?))", json.dumps(numbers.tolist())

    def search(self, query: str, share: str) -> Found:
        """Search as `semsearch.stores.local.reader` did with these tables."""
        weights = {token: self._most(parts) for token, parts in exact_tokens(query).items()}
        score = "-bm25(keywords)" + " + ? * (rowid IN (SELECT rowid FROM exact WHERE exact MATCH ?))" * len(weights)
        among, numbers = self._lists[share]
        parameters: list[Any] = [value for token, weight in weights.items() for value in (weight, token)]
        parameters += [match_expression(query), *([numbers] if among else []), K]
        sql = f"SELECT {score} AS score, rowid FROM keywords WHERE keywords MATCH ?{among}"
        return self._sql.execute(f"{sql} ORDER BY score DESC, rowid LIMIT ?", parameters).fetchall()

    def _most(self, phrases: Sequence[str]) -> float:
        for phrase in phrases:
            if phrase not in self._known:
                sql = "SELECT count(*) FROM keywords WHERE keywords MATCH ?"
                (having,) = self._sql.execute(sql, (phrase,)).fetchone()
                self._known[phrase] = max(math.log((self._n - having + 0.5) / (having + 0.5)), 1e-6)
        return 2.2 * sum(self._known[phrase] for phrase in phrases)


def tantivy_side(folder: Path, texts: Sequence[str], masks: dict[str, Mask | None]) -> Search:
    """Build tantivy's index with a field that says which filters a passage passes."""
    tantivy = import_module("tantivy")
    fields = tantivy.SchemaBuilder().add_text_field("body", tokenizer_name="en_stem", index_option="freq")
    schema = fields.add_text_field("kept", tokenizer_name="raw", index_option="basic").build()
    folder.mkdir()
    index = tantivy.Index(schema, str(folder))
    writer = index.writer(heap_size=512_000_000, num_threads=1)
    for row, text in enumerate(texts):
        document = tantivy.Document(body=text)
        for share, mask in masks.items():
            if mask is not None and mask[row]:
                document.add_text("kept", share)
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()

    def search(query: str, share: str) -> Any:
        words = "".join(character if character.isalnum() else " " for character in query)
        asked = index.parse_query(words.lower(), ["body"])
        if share != "none":
            kept = tantivy.Query.term_query(schema, "kept", share, "basic")
            kept = tantivy.Query.const_score_query(kept, 0.0)
            asked = tantivy.Query.boolean_query([(tantivy.Occur.Must, asked), (tantivy.Occur.Must, kept)])
        return searcher.search(asked, K, count=False).hits

    return search


def queries_for(texts: Sequence[str]) -> dict[str, list[str]]:
    """Return queries of several kinds."""
    held, rng = texts_of("sentences")[-HELD_OUT:], random.Random(0)
    counts = Counter(word for text in texts[:10_000] for word in text.lower().split() if word.isalpha())
    common = [word for word, _ in counts.most_common(20)]
    middles = [words[len(words) // 2 - 2 :][:5] for words in map(str.split, held)]
    long = " ".join(texts_of("sentences")[-HELD_OUT:]).split()[:1_000]
    return {
        "sentences": held,
        "five words": [" ".join(middle) for middle in middles],
        "common words": [" ".join(rng.sample(common, 6)) for _ in range(50)],
        "1,000 words": [" ".join(long)] * 5,
    }


def check(found: Found, expected: Found, query: str) -> None:
    """Compare passages and scores."""
    same = [number for _, number in found] == [number for _, number in expected]
    if not same or not np.allclose([s for s, _ in found], [s for s, _ in expected], rtol=1e-5):
        raise SystemExit(f"{query!r} finds {found}, but FTS5 finds {expected}")


def compare(kind: str, n: int, folder: Path) -> None:
    """Measure one corpus and print its tables."""
    texts, rng = texts_of(kind)[:n], np.random.default_rng(0)
    if len(texts) < n:
        raise SystemExit(f"this machine has only {len(texts):,} {kind}; expected {n:,}: install the bench group")
    masks: dict[str, Mask | None] = {
        name: None if share == 1 else rng.random(n) < share for name, share in SHARES.items()
    }
    (folder / "lines").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8", newline="\n")
    made = folder / "words.arrays"
    peak, seconds = peak_of([sys.executable, __file__, "--build", str(folder / "lines"), str(made)])
    search, opened = ours(made, masks)
    print(f"\n## {n:,} {kind}\n\n| | build, s | MB | |\n|---|---|---|---|")
    note = f"process included; peak memory {peak:,.0f} MB; opened and checked in {opened:.0f} ms"
    print(f"| semsearch | {seconds:.1f} | {made.stat().st_size / 1e6:.1f} | {note} |", flush=True)
    sides: dict[str, Search] = {"semsearch": search}
    started = time.perf_counter()
    fts5 = Fts5(folder / "fts5.sqlite", texts, masks)
    size = (folder / "fts5.sqlite").stat().st_size
    print(f"| FTS5 | {time.perf_counter() - started:.1f} | {size / 1e6:.1f} | |", flush=True)
    if find_spec("tantivy"):
        started = time.perf_counter()
        sides["tantivy"] = tantivy_side(folder / "tantivy", texts, masks)
        size = sum(path.stat().st_size for path in (folder / "tantivy").iterdir())
        print(f"| tantivy | {time.perf_counter() - started:.1f} | {size / 1e6:.1f} | |", flush=True)
    sides["FTS5"] = fts5.search
    print(f"\n| queries | filter | {' | '.join(f'{side}, ms, p50 | p95' for side in sides)} |")
    print(f"|---|---|{'---|---|' * len(sides)}")
    for name, queries in queries_for(texts).items():
        for share in SHARES:
            some = {side: sides[side] for side in sides if side != "FTS5" or n <= LONG or name != "1,000 words"}
            spent = measure(some, queries, share)
            cells = (
                " | ".join(f"{percentile(spent[side], p):.2f}" if side in spent else "" for p in (50, 95))
                for side in sides
            )
            print(f"| {name} | {share} | {' | '.join(cells)} |", flush=True)


def measure(sides: dict[str, Search], queries: Sequence[str], share: str) -> dict[str, list[float]]:
    """Time each side for each query, in milliseconds; first without timing, so that everything is warm."""
    spent: dict[str, list[float]] = {side: [] for side in sides}
    for number, query in enumerate(queries):
        found: dict[str, Any] = {}
        for side, search in sides.items():
            if side == "FTS5" and number % EVERY:
                continue
            if side != "FTS5":
                search(query, share)
            started = time.perf_counter()
            found[side] = search(query, share)
            spent[side].append(1e3 * (time.perf_counter() - started))
        if "FTS5" in found:
            check(found["semsearch"], found["FTS5"], query)
    return spent


def percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=KINDS, default="sentences")
    parser.add_argument("--n", type=int, nargs="+", default=[10_000, 100_000, 300_000])
    parser.add_argument("--build", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        write_index(*options.build)
        return
    print(describe())
    for n in options.n:
        with tempfile.TemporaryDirectory() as folder:
            compare(options.kind, n, Path(folder))


if __name__ == "__main__":
    main()
