"""How long the texts must be that show whether two ways to run a backbone agree.

A way that is right for short texts can be wrong for long ones, or for short ones beside them: where a backbone attends
within a window, a text packed behind another one, or a padded position far from the last token, can see what it must
not, or nothing. So a probe holds texts of lengths further apart than every window that the configuration names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

PROBE_TOKENS = 512
"""Tokens of the longest text of a probe, unless a window is wider: the limit of most checkpoints. The time that a probe
takes grows with the square of this, and beyond its windows nothing in a backbone changes with the length but positions.
"""

MAX_WINDOW = 2_048
"""Widest window that is probed, which takes a minute for a backbone of 150 million weights on two cores."""

MARGIN = 64
"""Tokens beyond the widest window."""

WINDOW = re.compile(r"window|local_attention|block_size|chunk|max_distance|original_max_position")
"""Within the name of a setting that says at which distance or length a backbone starts to compute something else."""


def probe_tokens(config: Any, limit: int | None) -> int | None:
    """Length of a probe's longest text; None where a window is too wide to be probed.

    Args:
        config: Of the backbone, as transformers has it.
        limit: Longest text that the backbone takes; None where there is no such limit.
    """
    reached = [size for size in _windows(config.to_dict()) if limit is None or size < limit]
    if max(reached, default=0) > MAX_WINDOW:
        return None
    longest = max([PROBE_TOKENS, *(size + MARGIN for size in reached)])
    return min(longest, limit or longest)


def _windows(value: Any, name: str = "") -> Iterator[int]:
    """Every whole number of a configuration whose name speaks of a window, in lists and in objects within it, too."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _windows(inner, str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _windows(inner, name)
    elif isinstance(value, int) and not isinstance(value, bool) and WINDOW.search(name):
        yield value
