"""Finding out which character separates the cells of a CSV or TSV file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from semsearch.corpus.formats.csv_rows import read_rows, read_tabbed_rows

DELIMITERS = (",", ";", "\t", "|")
"""Characters that are recognized; any other needs a first line such as `sep=^`."""

SAMPLE_LINES, SAMPLE_LENGTH = 50, 2**18
"""Maximum number of lines to examine, and their number of characters from which no more are read."""

CLEAR = 0.5
"""Least share of rows with as many cells as the header for another delimiter than the usual one, without the columns
that are needed."""

_DECLARED = re.compile(r'"?sep=([^"\w])"?\r?\n?', re.IGNORECASE)


def declared_delimiter(line: str) -> str | None:
    """Return the delimiter that a first line such as `sep=;` declares, as Excel writes and reads it, or None."""
    found = _DECLARED.fullmatch(line)
    return found[1] if found else None


def detect_delimiter(
    sample: Sequence[str], usual: str, fits: Callable[[Sequence[str]], bool], *, complete: bool
) -> str:
    """Return the delimiter of rows below a header: the one that splits most rows into as many cells as the header.

    Quoted cells are parsed, so that delimiters inside them do not count. A delimiter that yields the columns that the
    user needs comes before all others; of equals, the one with more columns wins, and then the usual one.

    Args:
        sample: The first lines, with their line endings.
        usual: The delimiter that the format is named after. A tab anywhere in the header of TSV settles it.
        fits: Returns whether a header has the columns that are needed.
        complete: Whether the sample is the whole file, so that its last row is whole, too.
    """
    best, chosen = (False, 0.0, 0, True), usual
    for delimiter in DELIMITERS:
        header, *rows = _rows(sample, delimiter, complete) or [""]
        width = len(header)
        if isinstance(header, str) or width < 2:
            continue
        if delimiter == usual == "\t":
            return usual
        share = sum(not isinstance(row, str) and len(row) == width for row in rows) / len(rows) if rows else 1.0
        key = (fits(header), share, width, delimiter == usual)
        if key > best and (share >= CLEAR or key[0] or delimiter == usual):
            best, chosen = key, delimiter
    return chosen


def _rows(sample: Sequence[str], delimiter: str, complete: bool) -> list[list[str] | str]:
    """Return the rows of a sample without empty ones; a string stands for a malformed row."""
    longest = sum(map(len, sample))
    if delimiter == "\t":
        rows = [row for _, row in read_tabbed_rows(iter(sample), longest)]
    else:
        rows = list(read_rows(iter(sample), delimiter, longest))
    if not complete and len(rows) > 1:
        rows.pop()
    return [row for row in rows if isinstance(row, str) or "".join(row).strip()]
