"""Test dates and times as text that sorts in chronological order, against values by hand and Python's datetime."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semsearch.moments import clock, utc


@pytest.mark.parametrize(
    ("text", "shown", "in_utc"),
    [
        ("2026-11-29", "2026-11-29T00:00:00.000000", None),
        ("2026-11-29T17:15", "2026-11-29T17:15:00.000000", None),
        ("2026-11-29 17:15:54", "2026-11-29T17:15:54.000000", None),
        ("2026-11-29t17:15:54.25z", "2026-11-29T17:15:54.250000", "2026-11-29T17:15:54.250000"),
        ("2026-11-29T17:15:54,123456789Z", "2026-11-29T17:15:54.123456", "2026-11-29T17:15:54.123456"),
        ("2026-11-29T00:15+01:00", "2026-11-29T00:15:00.000000", "2026-11-28T23:15:00.000000"),
        ("2026-11-29T00:15-0130", "2026-11-29T00:15:00.000000", "2026-11-29T01:45:00.000000"),
        ("2026-11-29T00:15+05", "2026-11-29T00:15:00.000000", "2026-11-28T19:15:00.000000"),
        ("2026-12-31T24:00Z", "2027-01-01T00:00:00.000000", "2027-01-01T00:00:00.000000"),
        ("0001-01-01", "0001-01-01T00:00:00.000000", None),
    ],
)
def test_moments_by_hand(text, shown, in_utc):
    assert (clock(text), utc(text)) == (shown, in_utc)


NO_MOMENTS = [
    *("", "2026", "2026-11", "20261129", "2026-W48-7", "2026-02-30", "2026-11-29T", "2026-11-29T17", "yesterday"),
    *("2026-11-29T24:01", "2026-11-29T24:00:01", "2026-11-29T17:60", "x2026-11-29", "2026-11-29x"),
    *("2026-11-29T17:15+24:00", "9999-12-31T24:00", "0001-01-01T00:00+01:00", "٢٠٢٦-11-29"),
    *(None, 2026, True, b"2026-11-29"),
]


@pytest.mark.parametrize("text", NO_MOMENTS)
def test_what_is_no_moment(text):
    assert clock(text) is None
    assert utc(text) is None


OFFSETS = st.none() | st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=OFFSETS), st.sampled_from("T "))
def test_whatever_python_writes_is_read_as_the_same(moment, separator):
    text = moment.isoformat(separator)
    assert datetime.fromisoformat(clock(text) or "") == moment.replace(tzinfo=None)
    if moment.tzinfo:
        assert datetime.fromisoformat(utc(text) or "").replace(tzinfo=UTC) == moment
    else:
        assert utc(text) is None
