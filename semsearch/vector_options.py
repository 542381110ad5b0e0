"""How the vectors of an index are searched, as a caller states it: checks, and sizes with units such as 2GB."""

from __future__ import annotations

import re
from typing import Any

from semsearch.checks import TEXT, check_types, is_whole
from semsearch.errors import UsageError

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)


def changed_options(
    vector_index: str | None = None, memory: int | str | None = None, target_recall: float | None = None
) -> dict[str, Any]:
    """Return those fields of `VectorOptions` that are given, with `memory` in bytes.

    Raises:
        UsageError: If one of them is invalid.
    """
    check_types({"vector_index": vector_index}, {"vector_index": TEXT}, ("vector_index",))
    given: dict[str, Any] = {} if vector_index is None else {"vector_index": vector_index}
    if memory is not None:
        given["memory"] = _bytes(memory)
    if target_recall is not None:
        if isinstance(target_recall, bool) or not isinstance(target_recall, int | float) or not 0 < target_recall <= 1:
            raise UsageError(f"`target_recall` is {target_recall!r:.60}; expected a number above 0 and at most 1")
        given["target_recall"] = float(target_recall)
    return given


def _bytes(memory: int | str) -> int:
    """Return a size in bytes: a whole number, or a text such as 512MB or 2GB, with units of 1,024."""
    n = memory
    if isinstance(memory, str) and (match := SIZE.fullmatch(memory.strip())):
        n = round(float(match[1]) * UNITS[match[2].upper()])
    if not is_whole(n) or int(n) <= 0:
        raise UsageError(f"`memory` is {memory!r:.60}; expected a number of bytes, or a size such as 512MB or 2GB")
    return int(n)
