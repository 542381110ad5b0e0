"""How much of a text an answer may hold, in tokens of a model that nobody here knows.

A token is taken for three bytes of UTF-8. On the sample corpus, that is 1.2 to 1.8 times as many as the tokenizer of
all-MiniLM-L6-v2 counts in English, as many in Chinese and Japanese, and a tenth too few in German. What is cut is cut
by what its JSON takes, where a control character takes six bytes.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

BYTES_PER_TOKEN = 3

NEAR = 200
"""Characters before a cut in which white space is looked for."""

LONGEST_VALUE = 300
"""Characters of a title, or of a text in metadata, that are shown."""


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has, by its bytes; too few for text without words, such as base64."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def end_within(text: str, start: int, budget: int) -> int:
    """Where the longest stretch of a text from `start` on ends that has at most `budget` tokens, behind a word."""
    room = budget * BYTES_PER_TOKEN
    window = text[start : start + room]  # a character takes a byte or more
    n = bisect_right(range(len(window) + 1), room, key=lambda length: _bytes(window[:length])) - 1
    if start + n >= len(text):
        return len(text)
    space = max(window.rfind(blank, max(0, n - NEAR), n) for blank in "\n ")
    return start + (space + 1 if space > 0 else max(n, 1))


def shortened(text: str) -> str:
    """A title or a text of metadata as it is shown."""
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def bounded(metadata: Mapping[str, Any], budget: int) -> dict[str, Any]:
    """The fields of a document that fit into a budget of tokens, in their order; long texts are shortened."""
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
