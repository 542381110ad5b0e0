"""The second stage of a search: a reranker rescores the best candidates by comparing query and passage in detail.

A reranker is slower than the first stage and sees only a few passages. `RERANKERS` is the table of available kinds.
Rerankers score plain texts, so they also work without an index.
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
"""Default number of candidates to rerank; more if more hits are requested.

Time is the limit: the best possible ordering of the top 20, 50 or 100 candidates of a hybrid search has an nDCG@10 of
0.72, 0.81 or 0.88 on Cranfield.
"""

DEPTHS = {"late-interaction": 20}
"""Default numbers for the kinds of rerankers that gain nothing from more candidates (bench/rerank.py)."""

FIRST_SHARE = 0.5
"""Weight of the first-stage score when mixed with late interaction; measured in bench/rerank.py."""


SCALED = ("cosine", "hybrid")
"""Kinds of first-stage scores on a scale from 0 (unrelated) to 1 (perfect), which can be mixed with a reranker's."""


class Reranker(Protocol):
    """Scores passages for a query; `LateInteraction` and `CrossEncoder` are implementations."""

    @property
    def kind(self) -> str:
        """Name of the reranker in `RERANKERS`; it identifies the kind of score."""
        ...

    @property
    def first_share(self) -> float:
        """Weight of the first-stage score in the final score, if its kind is in `SCALED`; 0 ignores it."""
        ...

    def scores(self, query: str, passages: Sequence[str]) -> Scores:
        """Return float32 `[n]` in the order given, higher is better; each depends only on the query and its passage."""
        ...


class TokenEncoder(Protocol):
    """An encoder that can also return token vectors."""

    def encode_query_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the token vectors of each query."""
        ...

    def encode_document_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the token vectors of each passage."""
        ...


@dataclass(frozen=True, slots=True)
class LateInteraction:
    """MaxSim over the token vectors of an encoder (ColBERT, Khattab and Zaharia 2020), without a second model.

    Tokens without a letter or a digit are ignored, and so are special tokens. ColBERT sums over the query's tokens;
    this takes the mean, so that a score lies between -1 and 1 for queries of any length.
    """

    encoder: TokenEncoder
    kind: ClassVar[str] = "late-interaction"
    first_share: ClassVar[float] = FIRST_SHARE

    def scores(self, query: str, passages: Sequence[str]) -> Scores:
        """Score each passage: the mean over the query's tokens of the highest cosine with a token of the passage.

        Raises:
            ModelError: If the runtime cannot compute the vectors.
            UsageError: If `passages` is a single string, or one of them is not a string.
        """
        (asked,) = self.encoder.encode_query_tokens([query])
        told = self.encoder.encode_document_tokens(passages)
        wanted = _words(query, asked)
        pairs = zip(passages, told, strict=True)
        return np.array([max_similarity(wanted, _words(text, tokens)) for text, tokens in pairs], np.float32)


def max_similarity(query: Vectors, passage: Vectors) -> float:
    """Return the mean over the query's tokens of the highest cosine with a token of the passage.

    This is equation 3 of Khattab and Zaharia 2020, with a mean in place of the sum.

    Args:
        query: Token vectors of the query, unit rows `[query tokens, dim]`.
        passage: Token vectors of the passage, unit rows `[passage tokens, dim]`.

    Returns:
        The mean, from -1 to 1; 0 if either text has no tokens.
    """
    return float((query @ passage.T).max(axis=1).mean()) if len(query) and len(passage) else 0.0


def _words(text: str, tokens: TokenVectors) -> Vectors:
    """Return unit rows of the tokens with a letter or digit; of all tokens if there are none, as in `?!`."""
    from semsearch.transforms import unit_rows

    counts = [any(map(str.isalnum, text[start:end])) for start, end in tokens.offsets.tolist()]
    return unit_rows(tokens.vectors[counts] if any(counts) else tokens.vectors)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Resources of an index that its reranker may use.

    Attributes:
        encoder: Returns the encoder of the index, loading it if necessary.
        device, runtime: Where models run, as for `Encoder.load`.
    """

    encoder: Callable[[], TextEncoder]
    device: str = "auto"
    runtime: str = "auto"


def _late_interaction(model: str, around: Surroundings) -> LateInteraction:
    encoder = around.encoder()
    if not _gives_tokens(encoder):
        raise UsageError(
            f"`rerank` 'late-interaction' needs token vectors, but encoder {encoder.spec.model!r} has none; use a "
            "cross-encoder"
        )
    return LateInteraction(encoder)


def _cross_encoder(model: str, around: Surroundings) -> CrossEncoder:
    from semsearch.encoder.cross_encoder import CrossEncoder

    return CrossEncoder.load(model, device=around.device, runtime=around.runtime)


Load: TypeAlias = Callable[[str, Surroundings], Reranker]
"""Makes a reranker from a model name, which is empty for a kind without a model of its own."""

RERANKERS: dict[str, Load] = {"late-interaction": _late_interaction, "cross-encoder": _cross_encoder}

WITH_MODEL = ("cross-encoder",)
"""Rerankers whose name is followed by the name of a model."""


def load_reranker(rerank: str | Reranker, around: Surroundings, loaded: dict[str, Reranker]) -> Reranker:
    """Return the reranker of this name, or `rerank` itself if it is a reranker.

    Args:
        rerank: A name such as `late-interaction` or `cross-encoder:MODEL`, or a reranker.
        around: Resources that the reranker may use.
        loaded: Rerankers with models of their own that are already loaded, by name; a new one is added.

    Raises:
        ModelError: If the checkpoint cannot be loaded, or is not a cross-encoder.
        UsageError: If the name is unknown, or the encoder of the index has no token vectors.
    """
    if not isinstance(rerank, str):
        return rerank
    kind, model = parse_rerank(rerank)
    if kind not in WITH_MODEL:  # it only wraps the encoder, which may be replaced
        return RERANKERS[kind](model, around)
    if rerank not in loaded:
        loaded[rerank] = RERANKERS[kind](model, around)
    return loaded[rerank]


def parse_rerank(name: str) -> tuple[str, str]:
    """Split a name such as `cross-encoder:MODEL` into the kind of reranker and its model, which may be empty.

    Raises:
        UsageError: If the reranker is unknown, lacks its model, or has a model but takes none.
    """
    kind, colon, model = name.partition(":")
    known = " or ".join(f"{one}:MODEL" if one in WITH_MODEL else one for one in RERANKERS)
    if kind not in RERANKERS:
        raise UsageError(f"unknown reranker {name!r:.100}; expected {known}")
    if kind in WITH_MODEL and not model.strip():
        raise UsageError(f"`rerank` {name!r} is missing its model; expected {known}")
    if kind not in WITH_MODEL and colon:
        raise UsageError(f"`rerank` is {name!r:.100}, but {kind} takes no model; expected {known}")
    return kind, model


def check_rerank(rerank: str | Reranker | None, depth: int | None, k: int) -> str | Reranker:
    """Check `rerank` and `rerank_depth` before anything is loaded, and return the reranker or its name.

    Raises:
        UsageError: If `rerank` is unknown or not a reranker; if the depth is not a whole number, is below 1 or below k,
            or is given without a reranker.
    """
    check_types({"rerank_depth": depth}, {"rerank_depth": WHOLE}, ("rerank_depth",))
    if rerank is None:
        raise UsageError("`rerank_depth` requires `rerank`")
    if isinstance(rerank, str):
        parse_rerank(rerank)
    elif not _is_reranker(rerank):
        raise UsageError(f"`rerank` is {rerank!r:.60}; expected {' or '.join(RERANKERS)}:MODEL, or a CrossEncoder")
    if depth is not None and depth < 1:
        raise UsageError(f"`rerank_depth` must be at least 1, got {depth}")
    if depth is not None and depth < k:
        raise UsageError(f"`rerank_depth` must be at least `k`, which is {k}; got {depth}")
    return rerank


def depth_for(reranker: Reranker, k: int, depth: int | None) -> int:
    """Return how many candidates to retrieve: the requested depth, or the reranker's default."""
    return max(k, DEPTHS.get(reranker.kind, DEPTH)) if depth is None else depth


def rerank_hits(reranker: Reranker, query: str, hits: Sequence[Hit], k: int, *, titles: bool = True) -> list[Hit]:
    """Return the k best of these hits by the reranker's scores, best first; ties keep the order of the hits.

    The hits keep the confidence of the first stage.

    Args:
        reranker: Scores the passages of the hits.
        query: Text of the query.
        hits: Hits of the first stage, best first.
        k: Maximum number of hits to return.
        titles: Whether to put a passage's title in front of its text, as when it was encoded.

    Raises:
        ModelError: If the reranker cannot compute the scores, or a score is not finite.
    """
    return [hit for _, hit in reranked(reranker, query, hits, titles)[:k]]


def reranked(reranker: Reranker, query: str, hits: Sequence[Hit], titles: bool) -> list[tuple[int, Hit]]:
    """Return (previous position from 0, hit with its new score) pairs, best first; see `rerank_hits`."""
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
