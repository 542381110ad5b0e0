"""Token budgets for the text of an answer, when the client's model and its tokenizer are unknown.

A token is estimated as three bytes of UTF-8. On the sample corpus, this gives 1.2 to 1.8 times the count of
all-MiniLM-L6-v2's tokenizer in English, the same count in Chinese and Japanese, and a tenth too few in German. Texts
are cut by the size of their JSON, in which a control character takes six bytes.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

BYTES_PER_TOKEN = 3

NEAR = 200
"""Number of characters before a cut in which to look for white space."""

LONGEST_VALUE = 300
"""Maximum length of a title, or of a text in the metadata, in characters."""


def estimate_tokens(text: str) -> int:
    """Estimate the number of tokens of a text from its bytes; too low for text without words, such as base64."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def end_within(text: str, start: int, budget: int) -> int:
    """Return the end of the longest section from `start` that fits into `budget` tokens, after a whole word."""
    room = budget * BYTES_PER_TOKEN
    window = text[start : start + room]  # a character takes a byte or more
    n = bisect_right(range(len(window) + 1), room, key=lambda length: _bytes(window[:length])) - 1
    if start + n >= len(text):
        return len(text)
    space = max(window.rfind(blank, max(0, n - NEAR), n) for blank in "\n ")
    return start + (space + 1 if space > 0 else max(n, 1))


def shortened(text: str) -> str:
    """Return a title or a text from the metadata, truncated to LONGEST_VALUE characters."""
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def bounded(metadata: Mapping[str, Any], budget: int) -> dict[str, Any]:
    """Return the metadata fields that fit into a budget of tokens, in their order; long texts are shortened."""
    left, kept = budget * BYTES_PER_TOKEN, {}
    for name, value in metadata.items():
        shown = shortened(value) if isinstance(value, str) else value
        cost = _bytes({name: shown})
        if cost <= left:
            left -= cost
            kept[name] = shown
    return kept


def _bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
