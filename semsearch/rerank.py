"""The second stage of a search: its best candidates, scored again by what reads query and passage together.

A reranker is slower than the search and sees few passages. `RERANKERS` is the table of them; what it makes scores plain
texts, so that it serves without an index as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias, TypeGuard

import numpy as np

from semsearch.arrays import Vectors
from semsearch.checks import WHOLE, check_types
from semsearch.errors import ModelError, UsageError
from semsearch.types import Hit

if TYPE_CHECKING:
    from semsearch.encoder.cross_encoder import CrossEncoder, Scores
    from semsearch.encoder.encoder import TextEncoder
    from semsearch.encoder.token_vectors import TokenVectors

DEPTH = 50
"""Candidates that are scored again, at least; more where more hits are wanted.

Time is the bound: the best possible order of 20, 50 or 100 candidates of a hybrid search has an nDCG@10 of 0.72, 0.81
or 0.88 on Cranfield.
"""

DEPTHS = {"late-interaction": 20}
"""The same for kinds of rerankers that gain nothing from more (bench/rerank.py)."""

FIRST_SHARE = 0.5
"""Share of the first stage's score beside late interaction; measured in bench/rerank.py."""


SCALED = ("cosine", "hybrid")
"""Kinds of scores of a first stage that lie on a scale from 0, unrelated, to 1, perfect: those that can be mixed."""


class Reranker(Protocol):
    """Scores passages for a query; `LateInteraction` and `CrossEncoder` are two."""

    @property
    def kind(self) -> str:
        """Its name in the table, which says what its scores are."""
        ...

    @property
    def first_share(self) -> float:
        """Share of a first stage's score in the final one, where that has a scale: 0 for none of it."""
        ...

    def scores(self, query: str, passages: Sequence[str]) -> Scores:
        """Float32 `[n]` in the order given, higher is better; each depends on the query and its passage alone."""
        ...


class TokenEncoder(Protocol):
    """An encoder that also gives the vectors of tokens."""

    def encode_query_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Of queries."""
        ...

    def encode_document_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Of passages."""
        ...


@dataclass(frozen=True, slots=True)
class LateInteraction:
    """MaxSim over the token vectors of an encoder (ColBERT, Khattab and Zaharia 2020), without a second model.

    Tokens without a letter or a digit do not count, nor do special tokens. ColBERT sums over the query's tokens; here
    it is their mean, so that a score lies between -1 and 1 for queries of any length.
    """

    encoder: TokenEncoder
    kind: ClassVar[str] = "late-interaction"
    first_share: ClassVar[float] = FIRST_SHARE

    def scores(self, query: str, passages: Sequence[str]) -> Scores:
        """Score passages: the mean over the query's tokens of the highest cosine with a token of the passage.

        Raises:
            ModelError: The runtime cannot compute the vectors.
            UsageError: The passages are one string, or one of them is no string.
        """
        (asked,) = self.encoder.encode_query_tokens([query])
        told = self.encoder.encode_document_tokens(passages)
        wanted = _words(query, asked)
        pairs = zip(passages, told, strict=True)
        return np.array([max_similarity(wanted, _words(text, tokens)) for text, tokens in pairs], np.float32)


def max_similarity(query: Vectors, passage: Vectors) -> float:
    """Mean over the query's tokens of the highest cosine with a token of the passage (equation 3, without the sum).

    Args:
        query: Unit rows, one a token.
        passage: Likewise.

    Returns:
        0 where either has no token.
    """
    return float((query @ passage.T).max(axis=1).mean()) if len(query) and len(passage) else 0.0


def _words(text: str, tokens: TokenVectors) -> Vectors:
    """Unit rows of the tokens that count; of all where none does, as in `?!`."""
    from semsearch.transforms import unit_rows

    counts = [any(map(str.isalnum, text[start:end])) for start, end in tokens.offsets.tolist()]
    return unit_rows(tokens.vectors[counts] if any(counts) else tokens.vectors)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a reranker may use of the index that it works for.

    Attributes:
        encoder: Gives the encoder of the index, which is perhaps loaded then.
        device, runtime: Where models run, as for `Encoder.load`.
    """

    encoder: Callable[[], TextEncoder]
    device: str = "auto"
    runtime: str = "auto"


def _late_interaction(model: str, around: Surroundings) -> LateInteraction:
    encoder = around.encoder()
    if not _gives_tokens(encoder):
        raise UsageError(
            f"`rerank` 'late-interaction' compares tokens, and encoder {encoder.spec.model!r} gives none; take a "
            "cross-encoder"
        )
    return LateInteraction(encoder)


def _cross_encoder(model: str, around: Surroundings) -> CrossEncoder:
    from semsearch.encoder.cross_encoder import CrossEncoder

    return CrossEncoder.load(model, device=around.device, runtime=around.runtime)


Load: TypeAlias = Callable[[str, Surroundings], Reranker]
"""Makes a reranker of a model, or of nothing where it has none of its own."""

RERANKERS: dict[str, Load] = {"late-interaction": _late_interaction, "cross-encoder": _cross_encoder}

WITH_MODEL = ("cross-encoder",)
"""Rerankers whose name is followed by that of a model."""


def load_reranker(rerank: str | Reranker, around: Surroundings, loaded: dict[str, Reranker]) -> Reranker:
    """Return the reranker of this name, or the one that is given.

    Args:
        rerank: See `RERANKERS`.
        around: What it may use.
        loaded: Those with models of their own that were loaded before, by name; a new one is added.

    Raises:
        ModelError: The checkpoint cannot be loaded, or is no cross-encoder.
        UsageError: An unknown name; or the encoder of the index gives no tokens.
    """
    if not isinstance(rerank, str):
        return rerank
    kind, model = parse_rerank(rerank)
    if kind not in WITH_MODEL:  # a view of the encoder, which may become another one
        return RERANKERS[kind](model, around)
    if rerank not in loaded:
        loaded[rerank] = RERANKERS[kind](model, around)
    return loaded[rerank]


def parse_rerank(name: str) -> tuple[str, str]:
    """Split `cross-encoder:MODEL` into the reranker's name in the table and its model; the latter may be empty.

    Raises:
        UsageError: An unknown reranker; a model is missing, or there is one where none belongs.
    """
    kind, colon, model = name.partition(":")
    known = " or ".join(f"{one}:MODEL" if one in WITH_MODEL else one for one in RERANKERS)
    if kind not in RERANKERS:
        raise UsageError(f"unknown reranker {name!r:.100}; expected {known}")
    if kind in WITH_MODEL and not model.strip():
        raise UsageError(f"`rerank` is {name!r}, without a model; expected {known}")
    if kind not in WITH_MODEL and colon:
        raise UsageError(f"`rerank` is {name!r:.100}, and {kind} takes no model; expected {known}")
    return kind, model


def check_rerank(rerank: str | Reranker | None, depth: int | None, k: int) -> str | Reranker:
    """Return what to rerank with, and refuse what makes no sense before anything is loaded.

    Raises:
        UsageError: An unknown reranker, or one that is none; a depth that is no whole number, below 1 or below k, or
            without a reranker.
    """
    check_types({"rerank_depth": depth}, {"rerank_depth": WHOLE}, ("rerank_depth",))
    if rerank is None:
        raise UsageError("`rerank_depth` goes with `rerank`")
    if isinstance(rerank, str):
        parse_rerank(rerank)
    elif not _is_reranker(rerank):
        raise UsageError(f"`rerank` is {rerank!r:.60}; expected {' or '.join(RERANKERS)}:MODEL, or a CrossEncoder")
    if depth is not None and depth < 1:
        raise UsageError(f"`rerank_depth` must be at least 1, got {depth}")
    if depth is not None and depth < k:
        raise UsageError(f"`rerank_depth` is {depth}, and `k` asks for {k} hits; it must be at least as many")
    return rerank


def depth_for(reranker: Reranker, k: int, depth: int | None) -> int:
    """How many candidates to look for: as many as asked for, or what suits the reranker."""
    return max(k, DEPTHS.get(reranker.kind, DEPTH)) if depth is None else depth


def rerank_hits(reranker: Reranker, query: str, hits: Sequence[Hit], k: int, *, titles: bool = True) -> list[Hit]:
    """The k best of these hits by the reranker's scores, best first; ties stay in the order of the hits.

    Their confidence stays that of the first stage.

    Args:
        reranker: Scores the passages of the hits.
        query: In plain words.
        hits: Of the first stage, best first.
        k: How many are wanted.
        titles: Whether a passage is read with its title in front, as it was encoded.

    Raises:
        ModelError: The reranker cannot compute the scores, or not to finite numbers.
    """
    return [hit for _, hit in reranked(reranker, query, hits, titles)[:k]]


def reranked(reranker: Reranker, query: str, hits: Sequence[Hit], titles: bool) -> list[tuple[int, Hit]]:
    """Hits with their new scores, best first, each behind the place that it had; see `rerank_hits`."""
    if not hits:
        return []
    texts = [f"{hit.title} {hit.text}".strip() if titles else hit.text.strip() for hit in hits]
    scores = np.asarray(reranker.scores(query, texts), np.float64)
    if scores.shape != (len(hits),) or not np.isfinite(scores).all():
        raise ModelError(
            f"reranker {reranker.kind!r} did not give a finite score for each of {len(hits)} passages; check its model"
        )
    share = reranker.first_share if hits[0].kind in SCALED else 0
    scores = share * np.array([hit.score for hit in hits]) + (1 - share) * scores
    order = np.argsort(-scores, kind="stable").tolist()
    return [
        (at, replace(hits[at], rank=rank, score=float(scores[at]), kind=reranker.kind))
        for rank, at in enumerate(order, 1)
    ]


def _is_reranker(value: object) -> TypeGuard[Reranker]:
    share = getattr(value, "first_share", None)
    named = isinstance(getattr(value, "kind", None), str) and isinstance(share, int | float)
    return named and callable(getattr(value, "scores", None))


def _gives_tokens(encoder: object) -> TypeGuard[TokenEncoder]:
    return callable(getattr(encoder, "encode_query_tokens", None))
