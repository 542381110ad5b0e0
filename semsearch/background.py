"""Measure how unrelated pairs of a query and a passage score in an index; `confidence.py` uses the result.

The queries are sequences of words from the index's own documents. Each is scored, in every mode, against passages of
other documents sampled from the whole index. Such pairs are usually unrelated, but share the language and the subject
of the corpus. Tickets, records and log lines are often generated from a template, so of passages that share half of
their words only one is used, and none that shares as many with the source of the query. If an index has few documents,
or few distinct ones, queries about foreign topics are added. These are also scored against one another, which tells how
the encoder scores unrelated texts when the index has too few of its own.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Ids, Vectors
from semsearch.confidence import Background, Tail, background_of
from semsearch.encoder.encoder import TextEncoder
from semsearch.encoder.languages import UNKNOWN, has_vocabulary, unknown_shares
from semsearch.search import DENSE_WEIGHT, Scale, dense_part, dense_strength, dense_weight, keyword_part
from semsearch.similarity import similarities
from semsearch.stores.base import Store

QUERIES = 60
"""Number of pseudo-queries."""

DRAWN = 1_000
"""Number of passages to sample; a smaller index is used as a whole."""

READ = 100
"""Number of sampled passages whose language is checked."""

SAME = 0.5
"""Jaccard similarity of the words of two passages from which on they count as instances of one template."""

BUCKETS = 4_096
"""Number of buckets that words are hashed into for comparing passages."""

LONG = 12
"""Length in characters from which on a word may be a sentence in a script without spaces."""

WORDS, CHARACTERS = (4, 12), (8, 24)
"""Minimum and maximum length of a pseudo-query, in words or, for a text without spaces, in characters."""

SHARES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""Shares of unrelated pairs for which the score they reach is stored."""

LEAST_PAIRS = 2
"""Minimum number of pairs that must reach a score for it to be stored."""

GAP = 0.01
"""Minimum difference between stored scores."""

STALE = 1.25
"""Factor by which the number of passages must grow or shrink before an index is measured again."""

FOREIGN = (
    "how long does it take to boil an egg",
    "the train to the coast leaves at noon",
    "symptoms of a cold in children",
    "who wrote this symphony and when",
    "cheap hotels near the old harbor",
    "replace the battery of a watch",
    "rules of chess for beginners",
    "why do cats purr",
    "interest rates rose again last month",
    "a sweater knitted from gray wool",
    "the volcano erupted in the spring",
    "install a printer without a disk",
    "songs that everybody knows by heart",
    "when to prune an apple tree",
    "the court dismissed the appeal",
    "how far away is the moon",
    "a recipe for bread without yeast",
    "the goalkeeper saved two penalties",
    "words that rhyme with orange",
    "which vaccine do I need for the tropics",
)
"""Queries about topics so varied that hardly any small index covers them all."""


def is_stale(store: Store) -> bool:
    """Return whether an index has not been measured yet, or has grown or shrunk considerably since."""
    background, passages = background_of(store), store.counts()["passages"]
    if background is None or not passages:
        return passages > 0
    return not background.passages / STALE <= passages <= background.passages * STALE


@dataclass(frozen=True, slots=True)
class _Passages:
    """Passages of an index.

    Attributes:
        numbers, documents: Numbers of the passages and their documents in the store, int64 `[n]`.
        texts: Text of each passage, or its title if it has no text.
        words: 1 for each bucket that a word of the passage falls into, else 0; float32 `[n, BUCKETS]`.
    """

    numbers: Ids
    documents: Ids
    texts: list[str]
    words: Vectors


def measure_background(store: Store, encoder: TextEncoder, seed: int = 0) -> Background:
    """Score unrelated pairs in each mode of a store; the store must have passages.

    For `hybrid`, queries in a language that the encoder does not know count only if most of the corpus is in such
    languages: they score low for lack of a dense score, and would make other hits look better than they are.
    """
    random = Random(seed)
    foreign = encoder.encode_queries(FOREIGN)
    scores: dict[str, list[Vectors]] = {mode: [] for mode in store.modes}

    def add(near: Vectors, scale: Scale, words: Vectors, in_index: bool = True) -> None:
        """Add the pairs of one query; those outside the index do not count for `keyword`, as BM25 depends on it."""
        scores["dense"].append(dense_strength(store.similarity, near, scale))
        if "keyword" in scores and in_index:
            scores["keyword"].append(words)
        if "hybrid" in scores and (foreign_corpus or scale.weight == DENSE_WEIGHT):
            scores["hybrid"].append(scale.weight * dense_part(near, scale) + (1 - scale.weight) * words)

    with store.snapshot():
        passages = store.counts()["passages"]
        drawn = _read(store, _drawn(store, random, passages))
        alike = _shared(drawn.words, drawn.words) >= SAME
        sources = _distinct(alike, _one_a_document(drawn, random))[:QUERIES]
        met = _distinct(alike, range(len(drawn.numbers)))
        own = [_stretch(drawn.texts[place], random) for place in sources]
        queries = [*own, *FOREIGN][:QUERIES]
        vectors = np.concatenate([encoder.encode_queries(own), foreign])[: len(queries)]
        numbers, documents = drawn.numbers[met], drawn.documents[met]
        dense = store.similarities(vectors, numbers.tolist())
        means, perfects = (each.tolist() for each in store.reference_scores(vectors))
        weights = list(map(dense_weight, unknown_shares(encoder.tokenizer, queries)))
        foreign_corpus = sum(weight < DENSE_WEIGHT for weight in weights[: len(own)]) > len(own) / 2
        for row, query in enumerate(queries):
            unrelated = np.ones(len(met), bool)
            if row < len(own):
                unrelated = (documents != drawn.documents[sources[row]]) & ~alike[sources[row], met]
            scale = Scale(means[row], 1.0, perfects[row], weights[row])
            words = np.zeros(int(unrelated.sum()), np.float32)
            if "keyword" in scores:
                scale = replace(scale, highest=store.highest_keyword_score(query))
                words = keyword_part(store.keyword_scores(query, numbers[unrelated].tolist()), scale)
            add(dense[row][unrelated], scale, words)
        apart = ~np.eye(len(FOREIGN), dtype=bool)
        known = _words(FOREIGN)
        # shares of the query's words; halved, because no text reaches the highest BM25
        common = (known @ known.T) / known.sum(1)[:, None] / 2
        among = similarities(store.similarity, foreign, foreign)
        references = (each.tolist() for each in store.reference_scores(foreign))
        weights = list(map(dense_weight, unknown_shares(encoder.tokenizer, FOREIGN)))
        for one, near, shared, weight, mean, perfect in zip(apart, among, common, weights, *references, strict=True):
            add(near[one], Scale(mean, 1.0, perfect, weight), shared[one], in_index=False)
    measured = {mode: np.concatenate(every) for mode, every in scores.items() if every}
    tails = {mode: _tail(every) for mode, every in measured.items() if len(every)}
    return Background(passages, tails, _unknown_language(encoder, drawn.texts))


def _unknown_language(encoder: TextEncoder, texts: Sequence[str]) -> float | None:
    """Return the share of texts in a language that the encoder does not know; None if it has no vocabulary."""
    if not has_vocabulary(encoder.tokenizer):
        return None
    some = texts[:: -(-len(texts) // READ)]
    return float(np.mean([share >= UNKNOWN for share in unknown_shares(encoder.tokenizer, some)]))


def _drawn(store: Store, random: Random, passages: int) -> list[int]:
    """Sample passages from the whole index one by one, because neighbors are often about the same topic."""
    if passages <= DRAWN:
        return store.passages_from(0.0, passages)
    return sorted({passage for _ in range(DRAWN) for passage in store.passages_from(random.random(), 1)})


def _read(store: Store, numbers: Sequence[int]) -> _Passages:
    """Read the texts and documents of passages."""
    shown, documents = store.show(numbers), store.documents_of(numbers)
    texts = [shown[number].text or shown[number].title for number in numbers]
    owners = [documents[number] for number in numbers]
    return _Passages(np.array(numbers, np.int64), np.array(owners, np.int64), texts, _words(texts))


def _one_a_document(drawn: _Passages, random: Random) -> list[int]:
    """Return the positions of passages from different documents, one for each, in random order."""
    places = list(range(len(drawn.numbers)))
    random.shuffle(places)
    return list({int(drawn.documents[place]): place for place in places}.values())


def _distinct(alike: NDArray[np.bool_], places: Iterable[int]) -> list[int]:
    """Return the positions of passages, without those that are too similar to an earlier one."""
    kept: list[int] = []
    for place in places:
        if not alike[place, kept].any():
            kept.append(place)
    return kept


def _words(texts: Sequence[str]) -> Vectors:
    """Return the hashed words of each text, with all numbers treated as equal; see `_Passages.words`."""
    rows = np.zeros((len(texts), BUCKETS), np.float32)
    for row, text in enumerate(texts):
        for word in set(re.findall(r"\w+", re.sub(r"\d+", "0", text.casefold()))):
            unspaced = len(word) >= LONG and not word.isascii()
            for unit in {word[n : n + 2] for n in range(len(word) - 1)} if unspaced else {word}:
                rows[row, zlib.crc32(unit.encode("utf-8", "replace")) % BUCKETS] = 1
    return rows


def _shared(words: Vectors, others: Vectors) -> Vectors:
    """Return the Jaccard similarity (Jaccard 1901) `[n, m]` between the words of each pair of texts."""
    common = words @ others.T
    union = words.sum(1)[:, None] + others.sum(1)[None] - common
    shares: Vectors = common / np.maximum(union, 1)
    return shares


def _stretch(text: str, random: Random) -> str:
    """Return a random sequence of words from a text, or of characters if it has too few words."""
    words = text.split()
    shortest, longest = WORDS
    if len(words) >= shortest:
        n = random.randint(shortest, longest)
        start = random.randrange(max(len(words) - n, 0) + 1)
        return " ".join(words[start : start + n])
    shortest, longest = CHARACTERS
    start = random.randrange(max(len(text) - longest, 0) + 1)
    return text[start : start + random.randint(shortest, longest)]


def _tail(scores: Vectors) -> Tail:
    """Return scores with the share of pairs that reach them; the highest of n scores gets the share 1 / (n + 2)."""
    n = len(scores)
    kept = [(float(np.quantile(scores, 1 - share)), share) for share in SHARES if share * n >= LEAST_PAIRS]
    points = [(float(np.median(scores)), 0.5)]
    for score, share in [*kept, (max(float(scores.max()), points[0][0] + GAP), 1 / (n + 2))]:
        if score >= points[-1][0] + GAP and share < points[-1][1]:
            points.append((score, share))
    return tuple(points)
