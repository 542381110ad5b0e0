"""Text from strangers, made harmless for what shows it: a terminal, a table, a page.

Control characters move a terminal's cursor or change its colors, and line ends break tables: each becomes a space.
Marks of direction, which show nothing and rearrange what stands beside them, and Unicode's tags, which show nothing at
all, are left out; Hebrew and Arabic read the same without them. Joiners stay, for Persian words and emoji need them.
JSON shows every one of them, escaped.
"""

from __future__ import annotations

CONTROLS = frozenset((*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029))
"""C0, DEL, C1, and Unicode's line and paragraph separators."""

DIRECTIONS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x2070))
"""Marks, embeddings, overrides and isolates of bidirectional text, those that are deprecated as well."""

TAGS = range(0xE0000, 0xE0080)
"""Letters that show nothing, as in flags of regions, which are shown as a black flag without them."""

UNSEEN: dict[int, None] = dict.fromkeys((*DIRECTIONS, *TAGS))

_ONE_LINE: dict[int, str | None] = {**dict.fromkeys(CONTROLS, " "), **UNSEEN}

_LINES = {code: as_ for code, as_ in _ONE_LINE.items() if chr(code) not in "\n\t"}

_ESCAPES = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029, *DIRECTIONS)}
_ESCAPES |= {code: f"\\udb40\\u{0xDC00 + code - 0xE0000:04x}" for code in TAGS}


def one_line(text: str) -> str:
    """Return a text on one line, with spaces for control characters and without marks of direction."""
    return text.translate(_ONE_LINE)


def harmless(text: str) -> str:
    """Return a text with its lines and tabs, and otherwise as `one_line` does."""
    return text.translate(_LINES)


def escape_json(text: str) -> str:
    """Escape in JSON what it may hold as it is, but terminals obey, or readers of lines take for the end of one."""
    return text.translate(_ESCAPES)
