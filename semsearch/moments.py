"""Dates and times as ISO 8601 writes them, in a form in which text is ordered as time is.

    2026-11-29    2026-11-29T17:15    2026-11-29 17:15:54.25+01:00    2026-11-29T24:00Z

A moment without an offset from UTC is what a clock shows somewhere. It has no place among those that have an offset, so
the two kinds are compared by their clocks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta

_ISO = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(?::(\d\d(?:[.,]\d+)?))?(Z|z|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII)


def clock(text: object) -> str | None:
    """Return what the clock shows, such as `2026-11-29T17:15:54.250000`; None where the text is no moment."""
    moment = _read(text)
    return None if moment is None else moment.replace(tzinfo=None).isoformat(timespec="microseconds")


def utc(text: object) -> str | None:
    """Return the same in UTC; None where the text is no moment, or names no offset."""
    moment = _read(text)
    if moment is None or moment.tzinfo is None:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


FUNCTIONS: Mapping[str, Callable[[object], str | None]] = {"moment_clock": clock, "moment_utc": utc}
"""Under the names that SQL has for them."""


def _read(text: object) -> datetime | None:
    found = _ISO.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    whole, minute = found[0].upper(), found[2]
    try:
        if minute != "24:00":
            moment = datetime.fromisoformat(whole)
        elif (found[3] or "").strip("0.,"):
            return None
        else:  # the end of the day
            moment = datetime.fromisoformat(whole.replace("24:00", "00:00", 1)) + timedelta(days=1)
        if moment.tzinfo and moment.year in (MINYEAR, MAXYEAR):
            moment.astimezone(UTC)  # which does not hold the first and the last hours of all
    except (ValueError, OverflowError):
        return None
    return moment
