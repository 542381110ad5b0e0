"""Lengths of the probe texts that show whether two ways of running a backbone agree.

An implementation that is right for short texts can be wrong for long ones, or for short texts next to long ones: if a
backbone attends within a window, a text packed after another one, or a padded position far from the last token, may
attend to tokens it must not see, or to none. So the lengths of a probe's texts differ by more than every window that
the configuration names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

PROBE_TOKENS = 512
"""Tokens in the longest text of a probe, unless a window is wider; the limit of most checkpoints.

The time of a probe grows with the square of this length, and beyond a backbone's windows, only positions change with
the length.
"""

MAX_WINDOW = 2_048
"""Widest window to probe; it takes a minute for a backbone of 150 million parameters on two cores."""

MARGIN = 64
"""Tokens beyond the widest window."""

WINDOW = re.compile(r"window|local_attention|block_size|chunk|max_distance|original_max_position")
"""Matches names of settings for a distance or length at which a backbone's computation changes."""


def probe_tokens(config: Any, limit: int | None) -> int | None:
    """Return the length of a probe's longest text, or None if a window is too wide to probe.

    Args:
        config: Configuration of the backbone, from transformers.
        limit: Length of the longest text that the backbone accepts; None if there is no limit.
    """
    reached = [size for size in _windows(config.to_dict()) if limit is None or size < limit]
    if max(reached, default=0) > MAX_WINDOW:
        return None
    longest = max([PROBE_TOKENS, *(size + MARGIN for size in reached)])
    return min(longest, limit or longest)


def _windows(value: Any, name: str = "") -> Iterator[int]:
    """Yield each whole number in a configuration, nested ones included, whose name suggests a window."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _windows(inner, str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _windows(inner, name)
    elif isinstance(value, int) and not isinstance(value, bool) and WINDOW.search(name):
        yield value
