"""The texts that an encoder is given: the one place that looks whether they are texts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from semsearch.errors import UsageError

SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a pair, which stands for no character."""


def check_text(text: str) -> str:
    """Return the text.

    Raises:
        UsageError: It is no string, or no valid Unicode.
    """
    if not isinstance(text, str):
        raise UsageError(f"`text` is of type {type(text).__name__}; expected one string")
    if is_broken(text):
        raise UsageError(f"`text` is {text!r:.60}, which is not valid Unicode; expected text in UTF-8")
    return text


def check_texts(texts: Sequence[str]) -> Sequence[str]:
    """Return the texts.

    Raises:
        UsageError: They are one string, no sequence, or one of them is no string or no valid Unicode.
    """
    if isinstance(texts, str):
        raise UsageError(f"`texts` is the string {texts!r:.40}; expected a list of strings, such as [text]")
    if not isinstance(texts, Sequence) and not hasattr(texts, "__array__"):
        raise UsageError(f"`texts` is of type {type(texts).__name__}; expected a list of strings")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise UsageError(f"`texts` has a {type(text).__name__} at position {row} (from 0); expected strings alone")
        if is_broken(text):
            raise UsageError(
                f"`texts` has {text!r:.60} at position {row} (from 0), which is not valid Unicode; expected UTF-8"
            )
    return texts


def is_broken(text: str) -> bool:
    """Whether there are halves of surrogate pairs in a text, which no tokenizer takes."""
    return not text.isascii() and SURROGATE.search(text) is not None
