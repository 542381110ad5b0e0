"""Records of what each token contributes to the vector of its text, and of its position in the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semsearch.arrays import Vector, Vectors
from semsearch.encoder.tokenization import Cut

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, slots=True)
class Span:
    """A token and its position in a text.

    Attributes:
        token: Characters of the token, or the name of a special token, such as [CLS].
        start, end: Character offsets into the text, half open; below 0 in a prefix, and both 0 for a special token.
        special: Whether it is a special token.
    """

    token: str
    start: int
    end: int
    special: bool = False


@dataclass(frozen=True, slots=True)
class TokenParts:
    """A text's vector, before it is rescaled to unit length, as a sum: `offset + vectors.sum(0)`.

    Attributes:
        spans: Tokens that the encoder sees, in text order.
        vectors: Contribution of each token, float32 `[tokens, dim]`.
        offset: Part of the vector that comes from no token, float32 `[dim]`: the bias of a linear layer, or zeros.
        n_lost: Number of tokens beyond the encoder's limit, which it does not see.
    """

    spans: Sequence[Span]
    vectors: Vectors
    offset: Vector
    n_lost: int = 0


def tokenize(tokenizer: Tokenizer, prefix: str, text: str, cut: Cut) -> tuple[list[int], list[Span], int]:
    """Return a prefixed text's token ids, truncated as by `Batcher`, their spans, and how many tokens were cut."""
    whole = prefix + text
    encoding = tokenizer.encode(whole)
    spans = [
        Span(name, 0, 0, special=True) if special else Span(whole[start:end], start - len(prefix), end - len(prefix))
        for name, special, (start, end) in zip(
            encoding.tokens, encoding.special_tokens_mask, encoding.offsets, strict=True
        )
    ]
    return cut(encoding.ids), cut(spans), max(0, len(spans) - cut.max_tokens)
