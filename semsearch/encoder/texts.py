"""Validation of the texts that an encoder is given."""

from __future__ import annotations

import re
from collections.abc import Sequence

from semsearch.errors import UsageError

SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair, which alone stands for no character."""


def check_text(text: str) -> str:
    """Return the text after checking it.

    Raises:
        UsageError: If it is not a string, or not valid Unicode.
    """
    if not isinstance(text, str):
        raise UsageError(f"`text` is of type {type(text).__name__}; expected one string")
    if is_broken(text):
        raise UsageError(f"`text` is {text!r:.60}, which is not valid Unicode; expected text in UTF-8")
    return text


def check_texts(texts: Sequence[str]) -> Sequence[str]:
    """Return the texts after checking them.

    Raises:
        UsageError: If they are a single string or not a sequence, or one of them is not a string or not valid Unicode.
    """
    if isinstance(texts, str):
        raise UsageError(f"`texts` is the string {texts!r:.40}; expected a list of strings, such as [text]")
    if not isinstance(texts, Sequence) and not hasattr(texts, "__array__"):
        raise UsageError(f"`texts` is of type {type(texts).__name__}; expected a list of strings")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise UsageError(
                f"`texts` has a value of type {type(text).__name__} at position {row} (from 0); expected only strings"
            )
        if is_broken(text):
            raise UsageError(
                f"`texts` has {text!r:.60} at position {row} (from 0), which is not valid Unicode; expected UTF-8"
            )
    return texts


def is_broken(text: str) -> bool:
    """Return whether a text contains lone surrogates, which no tokenizer accepts."""
    return not text.isascii() and SURROGATE.search(text) is not None
