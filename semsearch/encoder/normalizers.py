"""A bound on how much longer the normalizer of a tokenizer can make a text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any

from semsearch.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LONGEST = 64
"""Number of characters into which all replacements together may turn one; real tokenizers need one or two."""


def check_normalizer(tokenizer: Tokenizer, name: str) -> None:
    """Raise ModelError if the replacements of a tokenizer's normalizer can lengthen a text out of all proportion.

    Args:
        tokenizer: The tokenizer.
        name: Name of the model, for the message.
    """
    if tokenizer.normalizer is None:
        return
    lengths = list(_insertions(json.loads(tokenizer.normalizer.__getstate__())))
    if prod(max(1, length) for length in lengths) > LONGEST:
        raise ModelError(
            f"model {name!r}: the normalizer of its tokenizer replaces characters by up to {max(lengths):,} others, in "
            f"{len(lengths):,} steps; expected at most {LONGEST} for one in all"
        )


def _insertions(normalizer: dict[str, Any]) -> Iterator[int]:
    """Yield the number of characters that each replacement puts in the place of one, or in front of a text."""
    for inner in normalizer.get("normalizers", ()):
        yield from _insertions(inner)
    for key in ("content", "prepend"):
        if isinstance(normalizer.get(key), str):
            yield len(normalizer[key])
