"""Hard negatives: passages that an index ranks high for an anchor although they are not its positive.

Some of the best hits do answer the anchor, only nobody said so. Candidates that score nearly as high as the positive
are therefore left out, a rule known as TopK-PercPos (NV-Retriever, de Souza P. Moreira et al. 2024). The scores come
from the encoder of the index, or from a cross-encoder, which judges more exactly and takes longer.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semsearch.checks import NUMBER, WHOLE, check_types
from semsearch.corpus.gzipped import ending_of
from semsearch.corpus.tables import read_records
from semsearch.duplicates import Shingles, is_repeat, shingles
from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.files import writing
from semsearch.index import Index
from semsearch.paths import as_path
from semsearch.rerank import Reranker
from semsearch.training.data import ALIASES
from semsearch.training.from_corpus import CorpusPairs, plain
from semsearch.types import EUCLIDEAN, Hit

POSITIVE_SHARE = 0.95
"""Default share of the positive's score from which a candidate counts as a false negative, as in NV-Retriever."""

DEPTH = 50
"""Default number of passages to search for each anchor."""

AT_ONCE = 256
"""Number of anchors that are searched at a time."""

JUDGED_AT_ONCE = 8
"""Number of candidates of an anchor that a reranker scores at a time."""

Scores: TypeAlias = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Pair:
    """An anchor and its positive.

    Attributes:
        doc_ids: Documents that are not searched for negatives, such as the one that the positive comes from.
    """

    anchor: str
    positive: str
    doc_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Triplet:
    """An anchor, its positive, and its hard negatives, hardest first."""

    anchor: str
    positive: str
    negatives: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """The score from which a candidate counts as a false negative; exactly one attribute is set.

    Attributes:
        positive_share: A share of the positive's score (TopK-PercPos), such as 0.95.
        margin: The positive's score minus this (TopK-MarginPos), such as 0.05.
        max_score: This score, whatever that of the positive is (TopK-Abs).

    Raises:
        UsageError: If several are set, or one is out of range.
    """

    positive_share: float | None = None
    margin: float | None = None
    max_score: float | None = None

    def __post_init__(self) -> None:
        given = {"positive_share": self.positive_share, "margin": self.margin, "max_score": self.max_score}
        check_types(given, dict.fromkeys(given, NUMBER), tuple(given))
        if (n := sum(value is not None for value in given.values())) != 1:
            raise UsageError(f"{n} of `positive_share`, `margin` and `max_score` are given; expected one of them")
        if self.positive_share is not None and not 0 < self.positive_share <= 1:
            raise UsageError(f"`positive_share` is {self.positive_share:g}; expected a number above 0, at most 1")
        if self.margin is not None and not 0 <= self.margin < math.inf:
            raise UsageError(f"`margin` is {self.margin:g}; expected a difference of scores, at least 0")
        if self.max_score is not None and not math.isfinite(self.max_score):
            raise UsageError(f"`max_score` is {self.max_score:g}; expected a score")

    def limits(self, positives: Scores, *, distances: bool = False) -> Scores:
        """Return the limit for each anchor, given the scores of the positives `[n]`.

        A share of a negative score would be above the score itself, so such a positive's limit is its own score. If
        scores are distances with a minus sign, the distance of the positive is that share of the limit.
        """
        if self.max_score is not None:
            return np.full(len(positives), self.max_score)
        if self.margin is not None:
            return positives - self.margin
        share = np.float32(self.positive_share)
        shares: Scores = positives / share if distances else np.minimum(positives, positives * share)
        return shares


DEFAULT_RULE = Rule(positive_share=POSITIVE_SHARE)


@dataclass(slots=True)
class MiningCounts:
    """What became of the pairs and of the candidates for their negatives.

    Attributes:
        pairs: Number of pairs.
        mined: Number of pairs that got all their negatives.
        short: Number of pairs that did not, which are left out, since all examples need the same number of texts.
        positives: Number of candidates that are the positive, are from its document, or repeat its text or the anchor.
        false_negatives: Number of candidates dropped as likely false negatives before a pair had all its negatives.
    """

    pairs: int = 0
    mined: int = 0
    short: int = 0
    positives: int = 0
    false_negatives: int = 0


def load_pairs(path: str | Path) -> tuple[list[Pair], int]:
    """Read pairs to mine negatives for.

    Args:
        path: A .jsonl, .csv or .tsv file, also as .gz, with the columns `anchor` (or `query`) and `positive`, and
            optionally `positive_id`, the id or list of ids of the documents in the index that answer the anchor.

    Returns:
        The pairs, and the number of records left out because a text is empty or both are the same.

    Raises:
        SourceError: If the file cannot be read, or has no usable pair.
        RecordError: If a record lacks a column, or one has the wrong type.
    """
    file = as_path(path)
    pairs, n_skipped = list[Pair](), 0
    for number, record in read_records(file):
        anchor, positive = (_text(file, number, record, name) for name in ("anchor", "positive"))
        if anchor.strip() and positive.strip() and anchor != positive:
            pairs.append(Pair(anchor, positive, _ids(file, number, record.get("positive_id"))))
        else:
            n_skipped += 1
    if not pairs:
        reason = f"{n_skipped} with an empty text or with two equal ones" if n_skipped else "the file is empty"
        raise SourceError(f"{str(file)!r} has no usable pair ({reason}); expected records with anchor and positive")
    return pairs, n_skipped


def _text(file: Path, number: int, record: Any, name: str) -> str:
    value = next((record[one] for one in (name, *ALIASES[name]) if record.get(one) is not None), None)
    if value is None:
        found = ", ".join(map(str, record)) or "none"
        expected = "anchor (or query), positive, positive_id (optional)"
        raise RecordError(str(file), number, f"no {name!r} (found: {found}); expected {expected}")
    if not isinstance(value, str):
        raise RecordError(str(file), number, f"the {name} is {value!r:.40}; expected text")
    return value


def _ids(file: Path, number: int, value: Any) -> tuple[str, ...]:
    ids = value if isinstance(value, list) else [] if value in (None, "") else [value]
    for one in ids:
        if not isinstance(one, str | int) or isinstance(one, bool):
            raise RecordError(str(file), number, f"the positive_id is {value!r:.40}; expected an id or a list of ids")
    return tuple(map(str, ids))


def pairs_of(made: CorpusPairs) -> list[Pair]:
    """Return pairs made from a corpus; negatives never come from the document of a pair."""
    every = zip(*made.examples.columns, made.doc_ids, strict=True)
    return [Pair(anchor, positive, (doc_id,)) for anchor, positive, doc_id in every]


def mine_negatives(
    index: Index,
    pairs: Sequence[Pair],
    *,
    negatives: int = 1,
    from_rank: int = 1,
    depth: int | None = None,
    rule: Rule = DEFAULT_RULE,
    judge: str | Reranker | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[list[Triplet], MiningCounts]:
    """Mine hard negatives: the best passages of a dense search for each anchor, without positives and likely ones.

    A candidate is left out if its document is one of the pair's; if its text repeats the anchor, or a positive of any
    pair with the same anchor; or if its score reaches the limit that `rule` sets. Its text is that of the passage,
    without the title. The positive is scored as it is written; if the index includes titles, its passages mostly score
    higher than their texts alone, so that the rule is rather too strict than too lax.

    Args:
        index: The index to search.
        pairs: Anchors with their positives.
        negatives: Number of negatives per pair.
        from_rank: Rank of the first candidate, from 1, after the positives are left out.
        depth: Number of passages to search for each anchor; None for 50, or more if `from_rank` and `negatives` need
            more.
        rule: Which candidates are likely false negatives.
        judge: Reranker whose scores the rule applies to, as for `Index.search`, such as `cross-encoder:MODEL`; None for
            the scores of the search.
        progress: Called with the number of pairs just mined.

    Returns:
        The triplets of all pairs with enough negatives, in the order of the pairs, and counts.

    Raises:
        UsageError: If an argument is out of range.
        SourceError: If the index has too few passages, or no pair has enough negatives.
        ModelError: If the encoder belongs to another program, or a model cannot be loaded.
        MismatchError: If the checkpoint is not the one that the index was built with.
    """
    least = from_rank + negatives - 1
    _check(negatives, from_rank, depth, least)
    _refuse_small(index, least)
    judged = None if judge is None else index.reranker(judge)
    depth = depth or max(DEPTH, 2 * least)
    miner = _Miner(index, negatives, from_rank, depth, rule, judged, MiningCounts(len(pairs)))
    answers, triplets, every = _answers(pairs), list[Triplet](), iter(pairs)
    while some := list(islice(every, AT_ONCE)):
        triplets += miner.mine(some, answers)
        if progress:
            progress(len(some))
    miner.counts.mined, miner.counts.short = len(triplets), len(pairs) - len(triplets)
    if not triplets:
        raise SourceError(
            f"none of {len(pairs)} pairs has {negatives} negative{'s' * (negatives != 1)} among the best {depth} "
            f"passages: {miner.counts.positives} candidates repeat or belong to a positive, and "
            f"{miner.counts.false_negatives} are likely false negatives; increase `depth`, or relax the limit for "
            "false negatives"
        )
    return triplets, miner.counts


def _check(negatives: int, from_rank: int, depth: int | None, least: int) -> None:
    given = {"negatives": negatives, "from_rank": from_rank, "depth": depth}
    check_types(given, dict.fromkeys(given, WHOLE), ("depth",))
    for name in ("negatives", "from_rank"):
        if given[name] < 1:  # type: ignore[operator]
            raise UsageError(f"`{name}` must be at least 1, got {given[name]}")
    if depth is not None and depth <= least:
        raise UsageError(
            f"`depth` is {depth}; expected at least {least + 1} passages for `negatives` {negatives} and `from_rank` "
            f"{from_rank}, besides the positive"
        )


def _refuse_small(index: Index, least: int) -> None:
    if not len(index):
        raise SourceError(f"the index {index.location!r} has no documents to mine; add some first")
    passages = index.status()["passages"]
    if passages <= least:
        raise SourceError(
            f"the index {index.location!r} is too small to mine: it has {passages} passages, and at least {least + 1} "
            "are needed; add documents, or lower `negatives` or `from_rank`"
        )


@dataclass(slots=True)
class _Answers:
    """What is known to answer an anchor: the shingles of its positives, and the documents that these come from."""

    positives: list[Shingles] = field(default_factory=list)
    doc_ids: set[str] = field(default_factory=set)

    def repeated_by(self, text: str) -> bool:
        grams = shingles(text)
        return any(is_repeat(grams, one) for one in self.positives)


def _answers(pairs: Iterable[Pair]) -> dict[str, _Answers]:
    """Collect what is known to answer each anchor; several pairs may have the same one."""
    known = defaultdict[str, _Answers](_Answers)
    for pair in pairs:
        known[pair.anchor].positives.append(shingles(pair.positive))
        known[pair.anchor].doc_ids.update(pair.doc_ids)
    return known


@dataclass(slots=True)
class _Miner:
    """Mines some pairs at a time, and counts."""

    index: Index
    negatives: int
    from_rank: int
    depth: int
    rule: Rule
    judge: Reranker | None
    counts: MiningCounts

    def mine(self, pairs: Sequence[Pair], answers: Mapping[str, _Answers]) -> Iterator[Triplet]:
        """Yield the triplets of the pairs that have enough negatives."""
        anchors = list(dict.fromkeys(pair.anchor for pair in pairs))
        hits = dict(
            zip(anchors, self.index.search_many(anchors, self.depth, mode="dense", unit="passage"), strict=True)
        )
        distances = self.judge is None and self.index.spec.similarity == EUCLIDEAN
        limits = self.rule.limits(self._scores(pairs), distances=distances)
        for pair, limit in zip(pairs, limits.tolist(), strict=True):
            candidates = self._candidates(pair.anchor, hits[pair.anchor], answers[pair.anchor])
            chosen = tuple(islice(self._below(limit, pair.anchor, candidates), self.negatives))
            if len(chosen) == self.negatives:
                yield Triplet(pair.anchor, pair.positive, chosen)

    def _scores(self, pairs: Sequence[Pair]) -> Scores:
        """Return the score of each positive."""
        if self.judge is None:
            return self.index.score_pairs([pair.anchor for pair in pairs], [pair.positive for pair in pairs])
        return np.array([self.judge.scores(pair.anchor, [pair.positive])[0] for pair in pairs], np.float32)

    def _candidates(self, anchor: str, hits: Sequence[Hit], known: _Answers) -> Iterator[Hit]:
        """Yield the hits from `from_rank` on that are not positives, each text once, best first."""
        own = known.doc_ids or {hit.doc_id for hit in hits if known.repeated_by(hit.text)}
        taken, rank = {plain(anchor), ""}, 0
        for hit in hits:
            if plain(hit.text) in taken or hit.doc_id in own or known.repeated_by(hit.text):
                self.counts.positives += 1
                continue
            taken.add(plain(hit.text))
            rank += 1
            if rank >= self.from_rank:
                yield hit

    def _below(self, limit: float, anchor: str, candidates: Iterator[Hit]) -> Iterator[str]:
        """Yield the texts of the candidates whose score is below the limit."""
        scored = ((hit, hit.score) for hit in candidates) if self.judge is None else self._judged(anchor, candidates)
        for hit, score in scored:
            if score < limit:
                yield hit.text
            else:
                self.counts.false_negatives += 1

    def _judged(self, anchor: str, candidates: Iterator[Hit]) -> Iterator[tuple[Hit, float]]:
        """Yield candidates with the scores of the judge, which are computed only for as many as are needed."""
        assert self.judge is not None
        while some := list(islice(candidates, JUDGED_AT_ONCE)):
            yield from zip(some, self.judge.scores(anchor, [hit.text for hit in some]).tolist(), strict=True)


# --- output


def check_output(path: str | Path, *, force: bool = False) -> Path:
    """Check, before anything is computed, that triplets can be written to a file.

    Raises:
        UsageError: If the name does not end in .jsonl.
        SourceError: If the file exists and `force` is False, it is a folder, or its folder does not exist.
    """
    file = as_path(path, "out")
    if ending_of(file) != ".jsonl" or file.suffix == ".gz":
        raise UsageError(f"`out` is {str(file)!r}; expected a name that ends in .jsonl")
    if not file.parent.is_dir():
        raise SourceError(f"cannot write {str(file)!r}: there is no folder {str(file.parent)!r}; create it first")
    if file.is_dir():
        raise SourceError(f"cannot write {str(file)!r}: it is a folder; choose another name")
    if file.exists() and not force:
        raise SourceError(f"{str(file)!r} already exists; choose another name, or pass `force` to replace it")
    return file


def write_triplets(path: str | Path, triplets: Iterable[Triplet], *, force: bool = False) -> None:
    """Write triplets as JSON lines, atomically; `load_examples` reads them.

    Each line has `anchor`, `positive` and `negative`, which is a text if there is one, and else a list of texts.

    Raises:
        UsageError: If the name does not end in .jsonl.
        SourceError: If the file exists and `force` is False, or it cannot be written.
    """
    with writing(check_output(path, force=force)) as file:
        for one in triplets:
            negative: Any = one.negatives[0] if len(one.negatives) == 1 else one.negatives
            line = {"anchor": one.anchor, "positive": one.positive, "negative": negative}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
