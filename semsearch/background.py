"""Measuring how unrelated pairs of a query and a passage score in an index; see `confidence.py` for the use of it.

The queries are stretches of words out of the index's own documents, and each is scored, in every mode, against
consecutive passages of other documents somewhere in the index. Such pairs are unrelated as a rule, and yet have the
language and the subject of the corpus in common. An index of few documents gets queries about other things as well.
"""

from __future__ import annotations

from random import Random

import numpy as np

from semsearch.arrays import Vectors
from semsearch.confidence import Background, Tail, background_of
from semsearch.encoder.encoder import TextEncoder
from semsearch.search import DENSE_WEIGHT, Scale, dense_part, keyword_part
from semsearch.stores.base import Store

QUERIES, QUERIES_A_STRETCH, PASSAGES_A_STRETCH = 60, 5, 500
"""Pseudo-queries, and how many of them meet the same consecutive passages."""

WORDS, CHARACTERS = (4, 12), (8, 24)
"""Shortest and longest pseudo-query, in words or, of a text without spaces, in characters."""

SHARES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""Of unrelated pairs, whose scores are kept."""

LEAST_PAIRS = 2
"""Pairs that must reach a score for it to be kept."""

GAP = 0.01
"""Two scores that are kept are this far apart at least."""

COPY = 0.95
"""How far, from the mean cosine (0) to the same text (1), another passage lies that repeats that of a pseudo-query."""

STALE = 1.25
"""An index is measured again when it has this many times as many passages, or as few."""

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
"""Queries about things that few small indexes hold all of."""


def is_stale(store: Store) -> bool:
    """Whether an index was not measured yet, or has grown or shrunk much since."""
    background, passages = background_of(store), store.counts()["passages"]
    if background is None or not passages:
        return passages > 0
    return not background.passages / STALE <= passages <= background.passages * STALE


def measure_background(store: Store, encoder: TextEncoder, seed: int = 0) -> Background:
    """Score unrelated pairs, in each mode of a store that has passages."""
    random = Random(seed)
    scores: dict[str, list[Vectors]] = {mode: [] for mode in store.modes}
    with store.snapshot():
        passages = store.counts()["passages"]
        last = max(0.0, 1 - PASSAGES_A_STRETCH / passages)  # where a stretch still has its length
        queries = {**_own_queries(store, random), **dict.fromkeys(FOREIGN)}  # to the passages that they are out of
        asked = list(queries.items())[:QUERIES]
        vectors = encoder.encode_queries([query for query, _ in asked])
        means = store.mean_cosines(vectors).tolist()
        for n, (query, source) in enumerate(asked):
            if n % QUERIES_A_STRETCH == 0:
                stretch = store.passages_from(random.uniform(0, last), PASSAGES_A_STRETCH)
                owners, rows = store.documents_of(stretch), store.vectors_of(stretch)
                near = store.cosines(vectors[n : n + QUERIES_A_STRETCH], stretch)
            unrelated = np.ones(len(stretch), bool)
            if source is not None:
                own, alike = store.documents_of([source]).get(source), rows @ store.vectors_of([source])[0]
                unrelated = dense_part(alike, Scale(float(alike.mean()), 1)) < COPY  # all are alike in a narrow cone
                unrelated &= [owners[one] != own for one in stretch]
            cosines = near[n % QUERIES_A_STRETCH][unrelated]
            scores["dense"].append(cosines)
            if "keyword" in scores:
                scale = Scale(means[n], store.highest_keyword_score(query))
                words = keyword_part(store.keyword_scores(query, stretch)[unrelated], scale)
                scores["keyword"].append(words)
                scores["hybrid"].append(DENSE_WEIGHT * dense_part(cosines, scale) + (1 - DENSE_WEIGHT) * words)
    measured = {mode: np.concatenate(every) for mode, every in scores.items()}
    return Background(passages, {mode: _tail(every) for mode, every in measured.items() if len(every)})


def _own_queries(store: Store, random: Random) -> dict[str, int | None]:
    """Stretches of words out of passages of different documents, with these passages."""
    drawn = [passage for _ in range(QUERIES) for passage in store.passages_from(random.random(), 1)]
    by_document = {document: passage for passage, document in store.documents_of(drawn).items()}
    shown = store.show(list(by_document.values()))
    return {_stretch(shown[passage].text or shown[passage].title, random): passage for passage in by_document.values()}


def _stretch(text: str, random: Random) -> str:
    """Some words in a row, or some characters of a text without spaces."""
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
    """Scores with the share of all that reach them; the highest of n stands for what 1 in n + 1 would reach."""
    n = len(scores)
    kept = [(float(np.quantile(scores, 1 - share)), share) for share in SHARES if share * n >= LEAST_PAIRS]
    points = [(float(np.median(scores)), 0.5)]
    for score, share in [*kept, (max(float(scores.max()), points[0][0] + GAP), 1 / (n + 2))]:
        if score >= points[-1][0] + GAP and share < points[-1][1]:
            points.append((score, share))
    return tuple(points)
