"""Sanitizing of untrusted text for display in a terminal, a table or a web page.

Control characters move a terminal's cursor or change its colors, and line ends break tables, so each becomes a space.
Bidirectional controls, which are invisible and reorder the text around them, and Unicode tags, which are invisible, are
removed; Hebrew and Arabic read the same without them. Joiners stay, because Persian words and emoji need them. In JSON,
all of these characters are kept, escaped.
"""

from __future__ import annotations

CONTROLS = frozenset((*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029))
"""C0 controls, DEL, C1 controls, and Unicode's line and paragraph separators."""

DIRECTIONS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x2070))
"""Marks, embeddings, overrides and isolates of bidirectional text, including the deprecated ones."""

TAGS = range(0xE0000, 0xE0080)
"""Invisible tag characters, as in the flags of regions; without them, such a flag appears as a black one."""

UNSEEN: dict[int, None] = dict.fromkeys((*DIRECTIONS, *TAGS))

_ONE_LINE: dict[int, str | None] = {**dict.fromkeys(CONTROLS, " "), **UNSEEN}

_LINES = {code: as_ for code, as_ in _ONE_LINE.items() if chr(code) not in "\n\t"}

_ESCAPES = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029, *DIRECTIONS)}
_ESCAPES |= {code: f"\\udb40\\u{0xDC00 + code - 0xE0000:04x}" for code in TAGS}


def one_line(text: str) -> str:
    """Return a text on one line, with spaces for control characters and without invisible ones."""
    return text.translate(_ONE_LINE)


def harmless(text: str) -> str:
    """Sanitize a text as `one_line` does, but keep line feeds and tabs."""
    return text.translate(_LINES)


def escape_json(text: str) -> str:
    """Escape characters that JSON allows unescaped but that terminals obey or line readers take for line ends."""
    return text.translate(_ESCAPES)
