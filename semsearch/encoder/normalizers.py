"""A bound on how much longer the normalizer of a tokenizer can make a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

from semsearch.errors import ModelError

LONGEST = 64
"""Number of characters into which all replacements together may turn one; real tokenizers need one or two."""


def check_normalizer(definition: Mapping[str, Any], name: str) -> None:
    """Raise ModelError if the replacements of a tokenizer's normalizer can lengthen a text out of all proportion.

    This comes before the tokenizer is loaded, which already normalizes some of its tokens.

    Args:
        definition: Content of tokenizer.json.
        name: Name of the model, for the message.
    """
    lengths = list(_insertions(definition.get("normalizer")))
    if prod(max(1, length) for length in lengths) > LONGEST:
        raise ModelError(
            f"model {name!r}: the normalizer of its tokenizer replaces characters by up to {max(lengths):,} others, in "
            f"{len(lengths):,} steps; expected at most {LONGEST} for one in all"
        )


def _insertions(normalizer: object) -> Iterator[int]:
    """Yield the number of characters that each replacement puts in the place of one, or in front of a text."""
    if not isinstance(normalizer, dict):
        return
    steps = normalizer.get("normalizers")
    for step in steps if isinstance(steps, list) else ():
        yield from _insertions(step)
    for key in ("content", "prepend"):
        if isinstance(normalizer.get(key), str):
            yield len(normalizer[key])
