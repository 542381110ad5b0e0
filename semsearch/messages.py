"""Parts of messages of one line: the first line of a library's error, and lists that are cut to a few names."""

from __future__ import annotations

from collections.abc import Sequence


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or the name of its class if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def listed(names: Sequence[str], shown: int = 3) -> str:
    """Return the first few names, and how many more there are."""
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
