"""What each token of a text contributes to its vector: the record that an encoder gives, and where its tokens stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semsearch.arrays import Vector, Vectors
from semsearch.encoder.tokenization import closing_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, slots=True)
class Span:
    """A token as it stands in a text.

    Attributes:
        token: Its characters; the name of a special token, such as [CLS].
        start, end: Character offsets into the text, half open; below 0 in a prefix, and both 0 for a special token.
        special: Whether it is none of the text's.
    """

    token: str
    start: int
    end: int
    special: bool = False


@dataclass(frozen=True, slots=True)
class TokenParts:
    """A text's vector, before it is rescaled to unit length, as a sum: `offset + vectors.sum(0)`.

    Attributes:
        spans: The tokens that the encoder sees, in their order.
        vectors: What each of them contributes, float32 `[tokens, dim]`.
        offset: What none of them contributes, float32 `[dim]`: the bias of a linear layer, or zeros.
        n_lost: How many tokens stand behind the encoder's limit, so that it cannot see them.
    """

    spans: Sequence[Span]
    vectors: Vectors
    offset: Vector
    n_lost: int = 0


def tokenize(tokenizer: Tokenizer, prefix: str, text: str, max_tokens: int) -> tuple[list[int], list[Span], int]:
    """Token ids of a text behind a prefix, cut to length as `Batcher` does, where they stand, and how many were cut."""
    whole = prefix + text
    encoding = tokenizer.encode(whole)
    ids, lost = encoding.ids, max(0, len(encoding.ids) - max_tokens)
    spans = [
        Span(name, 0, 0, special=True) if special else Span(whole[start:end], start - len(prefix), end - len(prefix))
        for name, special, (start, end) in zip(
            encoding.tokens, encoding.special_tokens_mask, encoding.offsets, strict=True
        )
    ]
    if lost:
        closing = closing_tokens(tokenizer)
        keep = max_tokens - closing
        ids, spans = ids[:keep] + ids[len(ids) - closing :], spans[:keep] + spans[len(spans) - closing :]
    return ids, spans, lost
