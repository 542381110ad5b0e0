"""Conversion of ISO 8601 dates and times into text that sorts in chronological order.

    2026-11-29    2026-11-29T17:15    2026-11-29 17:15:54.25+01:00    2026-11-29T24:00Z

A time without a UTC offset is a local time at an unknown place. It cannot be ordered among times that have an offset,
so the two kinds are compared by their local (clock) times.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta

_ISO = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(?::(\d\d(?:[.,]\d+)?))?(Z|z|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII)


def clock(text: object) -> str | None:
    """Return the local time, such as `2026-11-29T17:15:54.250000`, or None if the value is not a date or time."""
    moment = _read(text)
    return None if moment is None else moment.replace(tzinfo=None).isoformat(timespec="microseconds")


def utc(text: object) -> str | None:
    """Return the time in UTC, or None if the value is not a date or time or has no UTC offset."""
    moment = _read(text)
    if moment is None or moment.tzinfo is None:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def now() -> str:
    """Return the current time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


FUNCTIONS: Mapping[str, Callable[[object], str | None]] = {"moment_clock": clock, "moment_utc": utc}
"""The functions, by their names in SQL."""


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
            moment.astimezone(UTC)  # overflows for the first and the last hours that datetime can represent
    except (ValueError, OverflowError):
        return None
    return moment
