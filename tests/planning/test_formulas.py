"""The formulas of a plan against measurements: the tables of the benchmarks, SQLite itself, and the real chunker."""

from __future__ import annotations

import random
import re
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from semsearch import Chunking, Document, Encoder
from semsearch.corpus.chunking import Chunker
from semsearch.planning import formulas
from semsearch.planning.constants import DOCUMENTED
from semsearch.stores.local.vectors.ann.kinds import choose

DOCS = Path(__file__).parents[2] / "docs"

MEMORY = 2 * 2**30

WINDOW_TOKENS = 68.5
"""Mean number of tokens of the windows of 40 words in the growth table, without special tokens."""


def growth() -> list[tuple[int, float, float, float]]:
    """Return passages, seconds, MiB on disk and MiB in memory of the rows of the growth table."""
    page = (DOCS / "explanation/benchmarks.md").read_text(encoding="utf-8").split("How an index of windows grows")[1]
    row = re.compile(r"^\| ([\d,]+) \| (\d+) s \| ([\d,]+) MiB \| ([\d,]+) MiB \|", re.MULTILINE)
    return [tuple(float(one.replace(",", "")) for one in found) for found in row.findall(page)]


ROWS = growth()


@pytest.mark.parametrize(("n", "seconds", "disk", "memory"), ROWS)
def test_the_growth_table_is_predicted_from_its_smaller_rows(n, seconds, disk, memory):
    factory = choose(int(n), 384, MEMORY)
    each = formulas.vectors_bytes(384, "float32") + formulas.vector_index_bytes(factory, 384) + formulas.PASSAGE_BYTES
    each += formulas.text_bytes(WINDOW_TOKENS) + WINDOW_TOKENS * formulas.WORD_BYTES
    assert n * each / 2**20 == pytest.approx(disk, rel=0.05)
    assert formulas.resident_bytes(n, 384, factory) / 2**20 == pytest.approx(memory, rel=0.25)
    assert formulas.index_seconds(n, 384, DOCUMENTED) == pytest.approx(seconds, rel=0.1)


def test_the_table_has_the_rows_that_the_constants_were_read_off():
    assert [row[0] for row in ROWS] == [1e4, 1e5, 1e6]


@pytest.mark.parametrize(
    ("n", "dense", "keyword", "hybrid"),
    [(10_000, 0.27, 1.2, 4.0), (100_000, 0.16, 1.7, 4.9), (1_000_000, 0.21, 4.4, 10.5)],
)
def test_the_times_of_searches_are_those_of_the_growth_table(n, dense, keyword, hybrid):
    factory = choose(n, 384, MEMORY)
    for mode, expected in (("dense", dense), ("keyword", keyword), ("hybrid", hybrid)):
        assert formulas.search_ms(mode, n, 384, factory, 0.98, DOCUMENTED) == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize(("mode", "served"), [("dense", 547), ("hybrid", 306), ("keyword", 774)])
def test_searches_a_second_are_those_of_the_table_of_serving(mode, served):
    ms = formulas.request_ms(mode, DOCUMENTED) + formulas.search_ms(mode, 1_000, 384, "Flat", 0.98, DOCUMENTED)
    assert 2 * 1e3 / ms == pytest.approx(served, rel=0.25)  # two cores


@pytest.mark.parametrize(
    ("precision", "dim", "measured"),
    [
        ("float32", 384, 4_437),
        ("float16", 384, 2_437),
        ("int8", 384, 1_647),
        ("float32", 192, 2_245),
        ("float16", 192, 1_450),
        ("int8", 192, 1_068),
    ],
)
def test_the_size_of_stored_vectors_is_that_of_the_table_in_the_guide(precision, dim, measured):
    graph = formulas.vector_index_bytes("HNSW32,SQ8", dim)  # the documents of that table have one token
    rest = formulas.PASSAGE_BYTES + formulas.text_bytes(1) + formulas.WORD_BYTES
    assert formulas.vectors_bytes(dim, precision) + graph + rest == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize("length", [100, 399, 779, 1_547, 2_030, 2_060, 3_083, 4_050, 4_107, 6_155, 8_203, 16_395])
def test_the_size_of_a_row_is_that_of_sqlite(length, tmp_path):
    n = 3_000
    with sqlite3.connect(tmp_path / "rows.sqlite") as connection:
        connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, vector BLOB NOT NULL, checksum INTEGER)")
        blob = bytes(length - formulas.VECTOR_ROW)
        connection.executemany("INSERT INTO rows VALUES (?, ?, ?)", ((row, blob, 2**31 - 1) for row in range(n)))
    assert formulas.row_bytes(length) == pytest.approx((tmp_path / "rows.sqlite").stat().st_size / n, rel=0.03)


WORDS = "the heron waits beside a slow river while small fish pass under its long legs and wind moves old reeds".split()


def document(rng: random.Random, tokens: float) -> str:
    """Return a document of about this many tokens, in sentences of 8 to 30 words, each of which is one token."""
    n, sentences = 0, []
    while n < tokens:
        words = rng.choices(WORDS, k=rng.randint(8, 30))
        sentences.append(" ".join(words).capitalize() + ".")
        n += len(words) + 1
    return " ".join(sentences)


@pytest.mark.parametrize("window", [64, 128, 256])
@pytest.mark.parametrize("tokens", [50, 200, 300, 700, 2_000])
def test_the_number_of_passages_is_that_of_the_real_chunker(window, tokens, minilm: Encoder):
    rng = random.Random(tokens)
    chunker = Chunker(minilm.tokenizer, 256, "", Chunking(tokens=window))
    documents = [Document(doc_id=str(n), text=document(rng, tokens * rng.uniform(0.5, 1.5))) for n in range(60)]
    lengths = [len(minilm.tokenizer.encode(one.text, add_special_tokens=False).ids) for one in documents]
    cut = chunker.passages(documents)
    expected = [formulas.passages_per_document(length, window, 32) for length in lengths]
    assert sum(expected) == pytest.approx(sum(len(passages) for passages in cut), rel=0.1)
    encoded = sum(
        n * formulas.tokens_per_passage(length, window, 32) for n, length in zip(expected, lengths, strict=True)
    )
    assert encoded == pytest.approx(sum(one.n_tokens for passages in cut for one in passages), rel=0.2)


def test_a_document_that_fits_is_one_passage():
    assert formulas.passages_per_document(254, 256, 32) == 1
    assert formulas.passages_per_document(255, 256, 32) == 2  # ceil(223 / 222)
    assert formulas.passages_per_document(300, 64, 100) == 9  # at most half of 62 is shared: ceil(269 / 31)
    assert formulas.tokens_per_passage(100, 256, 32) == 102


@pytest.mark.parametrize("n", [10_000, 1_000_000, 30_000_000])
@pytest.mark.parametrize("memory", [2**28, 2**31, 2**36])
def test_the_fewest_shards_fit_into_memory_and_one_fewer_does_not(n, memory):
    shards = formulas.shards_needed(n, 384, memory)
    choose(-(-n // shards), 384, memory)
    if shards > 1:
        with pytest.raises(Exception, match="is too little for"):
            choose(-(-n // (shards - 1)), 384, memory)


def test_a_calibration_with_exact_search_is_read_as_one():
    at = replace(DOCUMENTED, passages=10_000, dense_ms=2 * 0.27)  # twice as slow as the row of the growth table
    assert formulas.dense_ms(100_000, 384, "HNSW32,SQ8", 0.98, at) == pytest.approx(2 * 0.16)
    assert formulas.dense_ms(5_000, 768, "Flat", 0.98, at) == pytest.approx(2 * 0.27)
