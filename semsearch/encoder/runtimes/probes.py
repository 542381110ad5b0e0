"""Lengths of the probe texts that show whether two ways of running a backbone agree.

An implementation that is right for short texts can be wrong for long ones, or for short texts next to long ones: if a
backbone attends within a window, a text packed after another one, or a padded position far from the last token, may
attend to tokens it must not see, or to none. So the lengths of a probe's texts differ by more than every window that
the configuration names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

PROBE_TOKENS = 512
"""Tokens in the longest text of a probe, unless a window is wider; the limit of most checkpoints.

The time of a probe grows with the square of this length, and beyond a backbone's windows, only positions change with
the length.
"""

MAX_WORK = 3.5e11
"""Bound on the tokens of a probe times the parameters of a backbone; this much takes a minute on two cores."""

MARGIN = 64
"""Tokens beyond the widest window."""

OFFSET = 2
"""Rows at the start of some position tables that hold no token."""

WINDOW = re.compile(r"window|local_attention|block_size|chunk|max_distance|original_max_position")
"""Matches names of settings for a distance or length at which a backbone's computation changes."""

TWO_SIDED = re.compile(r"local_attention|attention_window")
"""Matches names of settings for the width of a window, half of which lies on each side of a token."""


class Probe(NamedTuple):
    """What a probe covers.

    Attributes:
        longest: Length of its longest text.
        reach: Length up to which texts are covered, because they lie within a window that would take too long to
            probe; None if the probe is longer than the reach of every window.
    """

    longest: int
    reach: int | None


def plan_probe(config: Any, limit: int | None, n_parameters: int) -> Probe:
    """Plan a probe that is longer than every window, or than those that do not take too long.

    Args:
        config: Configuration of the backbone, from transformers.
        limit: Length of the longest text that the backbone accepts; None if there is no limit.
        n_parameters: Number of the backbone's parameters.
    """
    longest, affordable = PROBE_TOKENS, max(PROBE_TOKENS, MAX_WORK / n_parameters)
    for size in sorted(_windows(config.to_dict())):
        if limit is not None and size >= limit:
            break
        if size + MARGIN > affordable:
            return Probe(min(longest, limit or longest), size)
        longest = max(longest, size + MARGIN)
    return Probe(min(longest, limit or longest), None)


def probe_length(config: Any, wanted: int) -> int:
    """Return the length of a text as long as wanted, or as long as the backbone's position table allows.

    Args:
        config: Configuration of the backbone, from transformers; -1 positions mean no limit.
        wanted: Length, in tokens.
    """
    positions = getattr(config, "max_position_embeddings", None) or 0
    return min(wanted, positions - OFFSET) if positions > 0 else wanted


def _windows(value: Any, name: str = "") -> Iterator[int]:
    """Yield the distance that each window in a configuration reaches, judging by the names of its settings."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _windows(inner, str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _windows(inner, name)
    elif isinstance(value, int) and not isinstance(value, bool) and WINDOW.search(name):
        yield value // 2 if TWO_SIDED.search(name) else value
