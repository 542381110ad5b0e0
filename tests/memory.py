"""Memory that a piece of code takes, as Python's allocator counts it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

ATTEMPTS = 3


def peak_within(most: int, action: Callable[[], Any]) -> Any:
    """Return what an action returns, after checking that it takes at most this many bytes.

    The allocator counts every thread of the process, so threads that another test has left are given the time to end:
    one of three attempts must be within the bound.
    """
    peaks = []
    for _ in range(ATTEMPTS):
        tracemalloc.start()
        try:
            result = action()
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        if peaks[-1] < most:
            return result
    raise AssertionError(f"{peaks} bytes, expected less than {most}")
