"""Measuring the constants of a plan on this machine: encoding, indexing and searching, in about a minute.

Texts consist of invented words whose frequencies follow Zipf's law, so that nothing has to be read or fetched. Their
tokens are counted, so the words need not be those of a language. Vectors of the index are random, with the structure of
encoded texts: most of their variance lies in a few directions.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from semsearch.arrays import Vectors
from semsearch.checks import is_whole
from semsearch.encoder.encoder import Progress, TextEncoder
from semsearch.encoder.load import load_encoder
from semsearch.encoder.token_parts import TokenParts
from semsearch.errors import UsageError
from semsearch.forks import encode_batch
from semsearch.index import Index
from semsearch.planning.constants import Constants
from semsearch.planning.machine import cores, processor
from semsearch.stores.local.store import LocalStore
from semsearch.transforms import unit_rows
from semsearch.types import EncoderSettings
from semsearch.version import __version__

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from semsearch.types import EncoderSpec

PASSAGES = 12_000
"""Number of passages of the index: enough for a graph over 384 dimensions."""

LEAST_PASSAGES = 100

WORDS = 40
"""Words of a passage of the index, as in the windows of the benchmarks."""

PASSAGE_TOKENS = 165
"""Tokens of the texts that are encoded, as in Cranfield's abstracts, unless the model reads fewer."""

SECONDS = 10.0
"""Seconds that encoding is measured for."""

BATCH, QUERIES, QUERY_WORDS, K = 16, 100, 5, 10
"""Texts encoded together, number of queries, words of a short one, and hits; searches by words alone are for as many
words as a passage has, as in the benchmarks."""

VOCABULARY, COMMON = 20_000, 100
"""Number of invented words, and of the most frequent ones, which are in passages but not in queries."""

SYLLABLES = [f"{first}{vowel}" for first in "bdfgklmnprstvz" for vowel in "aeiou"]

DIRECTIONS, NOISE = 24, 0.3
"""Number of directions in which the vectors vary, and the length of what is added to them in all others."""

Say = Callable[[str], None]


def calibrate(
    model: str | Path | None = None,
    *,
    device: str = "auto",
    runtime: str = "auto",
    passages: int = PASSAGES,
    seconds: float = SECONDS,
    say: Say = lambda _: None,
) -> Constants:
    """Measure the constants of a plan on this machine; nothing else should run meanwhile.

    Args:
        model: Local directory or Hugging Face name, or `hash:DIM`; None for the default.
        device: As in `Encoder.load`.
        runtime: As in `Encoder.load`.
        passages: Number of passages of the index that is measured.
        seconds: Seconds that encoding is measured for.
        say: Told what is measured next.

    Raises:
        UsageError: If an argument is invalid.
        ModelError: If the model cannot be loaded.
    """
    if not is_whole(passages) or passages < LEAST_PASSAGES:
        raise UsageError(f"`passages` is {passages!r:.60}; expected at least {LEAST_PASSAGES}")
    encoder = load_encoder(EncoderSettings(model=model, device=device, runtime=runtime))
    rng = np.random.default_rng(0)
    words = _words(rng)
    say(f"encoding texts for {seconds:g} s")
    rate = _tokens_per_second(encoder, words, rng, seconds)
    query_ms = _query_ms(encoder, words, rng)
    say(f"indexing {passages:,} passages, and searching them")
    with TemporaryDirectory(prefix="semsearch-plan-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the language of invented words is unknown
        index_seconds, times = _measure_index(Path(folder) / "index", encoder, words, rng, passages)
    return Constants(
        machine=processor(),
        cores=cores(),
        date=date.today().isoformat(),
        version=__version__,
        model=encoder.spec.model,
        fingerprint=encoder.spec.fingerprint,
        precision=encoder.spec.precision,
        tokens_per_second=round(rate, 1),
        query_ms=round(query_ms, 4),
        passages=passages,
        dim=encoder.spec.dim,
        index_seconds=round(index_seconds, 3),
        dense_ms=round(times["dense"], 4),
        keyword_ms=round(times["keyword"], 4),
        hybrid_ms=round(times["hybrid"], 4),
    )


def _words(rng: np.random.Generator) -> list[str]:
    """Return distinct invented words of two to four syllables."""
    found: dict[str, None] = {}
    while len(found) < VOCABULARY:
        found["".join(rng.choice(SYLLABLES, rng.integers(2, 5)))] = None
    return list(found)


def _texts(words: Sequence[str], rng: np.random.Generator, n: int, length: int, skipped: int = 0) -> list[str]:
    """Return n texts of so many words, without the most frequent ones if `skipped`."""
    weights = 1 / np.arange(1, len(words) - skipped + 1)
    rows = rng.choice(len(weights), (n, length), p=weights / weights.sum()) + skipped
    return [" ".join(words[place] for place in row) for row in rows]


def _tokens_per_second(encoder: TextEncoder, words: Sequence[str], rng: np.random.Generator, seconds: float) -> float:
    """Return how many tokens, special tokens included, are encoded in a second."""
    sample = _texts(words, rng, 1, 100)
    per_word = len(encoder.tokenizer.encode(sample[0], add_special_tokens=False).ids) / 100
    length = max(1, int(min(PASSAGE_TOKENS, encoder.spec.max_tokens) / per_word))
    encoder.encode_documents(_texts(words, rng, 2 * BATCH, length))  # compiles what is compiled on first use
    n_tokens, started, spent = 0, time.perf_counter(), 0.0
    while spent < seconds:
        some = _texts(words, rng, 8 * BATCH, length)
        encoder.encode_documents(some)
        n_tokens += sum(min(len(one.ids), encoder.spec.max_tokens) for one in encode_batch(encoder.tokenizer, some))
        spent = time.perf_counter() - started
    return n_tokens / spent


def _query_ms(encoder: TextEncoder, words: Sequence[str], rng: np.random.Generator) -> float:
    """Return the processor time to encode a query in a batch, in milliseconds."""
    spent = []
    for _ in range(QUERIES // BATCH + 1):
        some = _texts(words, rng, BATCH, QUERY_WORDS)
        started = time.process_time()
        encoder.encode_queries(some)
        spent.append(1e3 * (time.process_time() - started) / BATCH)
    return max(median(spent), 1e-3)


class _Known:
    """An encoder that returns prepared vectors: those of texts by their places, and of queries in turn."""

    def __init__(self, encoder: TextEncoder, texts: Sequence[str], vectors: Vectors, queries: Vectors) -> None:
        self.spec: EncoderSpec = encoder.spec
        self.tokenizer: Tokenizer = encoder.tokenizer
        self.artifacts: Mapping[str, Path] = encoder.artifacts
        self._places = {text: place for place, text in enumerate(texts)}
        self._vectors, self._queries, self._asked = vectors, queries, 0

    def quantize(self, texts: Sequence[str]) -> NoReturn:
        raise UsageError("prepared vectors have no 8-bit form")

    def encode_queries(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        places = [(self._asked + place) % len(self._queries) for place in range(len(texts))]
        self._asked += len(texts)
        return self._queries[places]

    def encode_documents(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        return self._vectors[[self._places.get(text, 0) for text in texts]]  # a part of a text may be cut off

    def split_documents(self, texts: Sequence[str]) -> list[TokenParts]:
        raise UsageError("prepared vectors cannot be split")


def _vectors(rng: np.random.Generator, n: int, dim: int) -> Vectors:
    """Return unit rows `[n, dim]` that vary mostly in a few directions."""
    few = min(DIRECTIONS, dim)
    basis = np.random.default_rng(1).standard_normal((few, dim)).astype(np.float32) / np.sqrt(dim)
    rows = rng.standard_normal((n, few)).astype(np.float32) @ basis
    rest = rng.standard_normal((n, dim)).astype(np.float32) * (NOISE * np.sqrt(few / dim))
    return unit_rows(rows + rest)


def _measure_index(
    folder: Path, encoder: TextEncoder, words: Sequence[str], rng: np.random.Generator, n: int
) -> tuple[float, dict[str, float]]:
    """Return the seconds to index n passages, and the median milliseconds of a search by mode."""
    texts, dim = _texts(words, rng, n, WORDS), encoder.spec.dim
    known = _Known(encoder, texts, _vectors(rng, n, dim), _vectors(rng, QUERIES, dim))
    started = time.perf_counter()
    with Index.open(folder, create=True, encoder=known) as index:
        index.add([{"_id": str(number), "text": text} for number, text in enumerate(texts)])
        seconds = time.perf_counter() - started
        short = _texts(words, rng, QUERIES, QUERY_WORDS, skipped=COMMON)
        hybrid = _milliseconds(lambda row: index.search(short[row], K))
    vectors, long = _vectors(rng, QUERIES, dim), _texts(words, rng, QUERIES, WORDS)
    with LocalStore(folder) as store:
        dense = _milliseconds(lambda row: store.search_vectors(vectors[[row]], K, None))
        keyword = _milliseconds(lambda row: store.search_keywords(long[row], K, None))
    return seconds, {"dense": dense, "keyword": keyword, "hybrid": hybrid}


def _milliseconds(ask: Callable[[int], object]) -> float:
    """Return the median time of a call for each of the queries, after one that opens what is searched."""
    ask(0)
    spent = []
    for row in range(QUERIES):
        started = time.perf_counter()
        ask(row)
        spent.append(1e3 * (time.perf_counter() - started))
    return median(spent)
