"""Contributions of the tokens of a passage to its cosine, or to its dot product, with a query.

A pooled vector is a sum over tokens, and everything up to the cosine is affine: `cos = sum_t (p_t A - m A) . q / |v|`,
where `p_t` is a token's part, `A` and `m` are the matrix and mean of the index's transform, `q` is the query vector as
it is searched, and `v` is the passage vector before it is rescaled. For the dot product of vectors that are not
rescaled, `|v|` is left out. A Euclidean distance is not a sum over tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from semsearch.corpus.chunking import Chunker, Chunking, Encoded
from semsearch.encoder.encoder import TextEncoder
from semsearch.encoder.token_parts import Span, TokenParts
from semsearch.errors import UnsupportedError
from semsearch.explain.records import TokenShare
from semsearch.stores.base import StoredPassage
from semsearch.transforms import Transform
from semsearch.types import EUCLIDEAN

if TYPE_CHECKING:
    from semsearch.arrays import Vector


@dataclass(frozen=True, slots=True)
class Split:
    """A dense score as a sum of tokens' contributions, offsets and rounding; see `semsearch.explain.records`."""

    tokens: tuple[TokenShare, ...]
    offsets: dict[str, float]
    rounding: float
    n_lost: int


class Splitter:
    """Splits dense scores of one query into contributions of tokens."""

    def __init__(self, encoder: TextEncoder, chunking: Chunking, vector: Vector, transform: Transform | None) -> None:
        """Prepare to split dense scores of a query.

        Args:
            encoder: Encoder of the index.
            chunking: Chunking settings of the index.
            vector: The query's vector as the encoder returns it, float32 `[dim]`.
            transform: Transform of the index; None if it has none.
        """
        spec = encoder.spec
        self._encoder, self._transform = encoder, transform
        self._chunker = Chunker(encoder.tokenizer, spec.max_tokens, spec.passage_prefix, chunking)
        self._query = (transform(vector[None])[0] if transform else vector).astype(np.float64)
        self._rescaled = spec.normalize or transform is not None
        self.similarity = spec.similarity

    def split(self, passage: StoredPassage, score: float) -> Split:
        """Split the dense score of a passage.

        Raises:
            UnsupportedError: If the pooler's vectors are not sums over tokens, or the score is a distance.
        """
        if self.similarity == EUCLIDEAN:
            raise UnsupportedError("a Euclidean distance is not a sum over tokens, so it cannot be split")
        forms = self._chunker.encodings(passage.title, passage.section, passage.text)
        every = self._encoder.split_documents([form.text for form in forms])
        splits = [self._split(form, parts, score) for form, parts in zip(forms, every, strict=True)]
        return min(splits, key=lambda split: abs(split.rounding))  # the title may have been shortened

    def _split(self, form: Encoded, parts: TokenParts, score: float) -> Split:
        transform = self._transform
        rows, offsets = parts.vectors.astype(np.float64), {"bias": parts.offset.astype(np.float64)}
        if transform:
            matrix = transform.matrix.astype(np.float64)
            rows, offsets = rows @ matrix, {"bias": offsets["bias"] @ matrix, "transform": -(transform.mean @ matrix)}
        length = float(np.linalg.norm(rows.sum(0) + sum(offsets.values()))) if self._rescaled else 1.0
        query = self._query / (length or 1.0)
        shares: list[float] = (rows @ query).tolist()
        named = {name: float(offset @ query) for name, offset in offsets.items() if offset.any()}
        rounding = score - sum(shares) - sum(named.values())
        tokens = tuple(_placed(span, form, share) for span, share in zip(parts.spans, shares, strict=True))
        return Split(tokens, named, rounding, parts.n_lost)


def _placed(span: Span, form: Encoded, share: float) -> TokenShare:
    """Return a token with its offsets in the passage's text, or in the heading: the title and the section's path."""
    if span.special:
        return TokenShare(span.token, "special", None, None, share)
    if span.end <= 0:
        return TokenShare(span.token, "prefix", None, None, share)
    if span.end > form.text_start:
        start = max(span.start - form.text_start, 0)
        return TokenShare(span.token, "text", start, span.end - form.text_start, share)
    start, end = max(span.start, 0) - form.heading_start, min(span.end - form.heading_start, len(form.heading))
    return TokenShare(span.token, "title", start, end, share)


def weighted(tokens: Sequence[TokenShare], scale: float) -> list[tuple[int, int, float]]:
    """Return the spans of the text's tokens with their contributions to a score, which snippets are chosen by."""
    placed = ((one.start, one.end, one) for one in tokens if one.part == "text")
    return [(start, end, scale * one.contribution) for start, end, one in placed if start is not None and end]
