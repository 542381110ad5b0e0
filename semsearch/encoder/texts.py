"""The texts that an encoder is given: the one place that looks whether they are texts."""

from __future__ import annotations

from collections.abc import Sequence

from semsearch.errors import UsageError


def check_text(text: str) -> str:
    """Return the text.

    Raises:
        UsageError: It is no string.
    """
    if not isinstance(text, str):
        raise UsageError(f"`text` is of type {type(text).__name__}; expected one string")
    return text


def check_texts(texts: Sequence[str]) -> Sequence[str]:
    """Return the texts.

    Raises:
        UsageError: They are one string, no sequence, or one of them is no string.
    """
    if isinstance(texts, str):
        raise UsageError(f"`texts` is the string {texts!r:.40}; expected a list of strings, such as [text]")
    if not isinstance(texts, Sequence) and not hasattr(texts, "__array__"):
        raise UsageError(f"`texts` is of type {type(texts).__name__}; expected a list of strings")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise UsageError(f"`texts` has a {type(text).__name__} at position {row} (from 0); expected strings alone")
    return texts
