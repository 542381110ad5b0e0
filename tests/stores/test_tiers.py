"""Test which segments are merged: examples by hand, and what many small runs cost in total."""

from __future__ import annotations

import pytest

from semsearch.stores.local.tiers import AT_LEAST, GROWTH, PER_CHANGE, Size, first_merged

EXACT_ROWS = 10_000


def exact(*sizes: int) -> list[Size]:
    return [Size(n, True) for n in sizes]


def indexed(*sizes: int) -> list[Size]:
    return [Size(n, False) for n in sizes]


@pytest.mark.parametrize(
    ("segments", "waiting", "changed", "first"),
    [
        ([], 0, 0, 0),
        ([], 500, 500, 0),
        (exact(40_000, 40_000), 7_000, 87_000, 0),  # the first run over a corpus
        (indexed(300_000), 1_000, 1_000, 1),  # too small to touch the large segment
        (indexed(300_000) + exact(5_000), 1_000, 1_000, 1),
        (indexed(300_000) + exact(39_500), 1_000, 1_000, 2),  # more than a run of this size may merge
        (indexed(300_000) + exact(39_500), 3_000, 3_000, 1),
        (indexed(300_000), 100_000, 100_000, 0),  # a third of its size
        (indexed(300_000), 99_999, 99_999, 1),
        (indexed(900_000, 40_000) + exact(9_000), 11_000, 11_000, 1),
        (indexed(300_000), 0, 0, 1),
    ],
)
def test_new_rows_are_merged_with_segments_of_about_their_size(segments, waiting, changed, first):
    assert first_merged(segments, waiting, changed, EXACT_ROWS) == first


@pytest.mark.parametrize("run", [100, 1_000, 10_000])
def test_many_small_runs_write_each_row_a_bounded_number_of_times_and_leave_few_segments(run):
    segments, written, n = list[Size](), 0, 0
    while n < 1_000_000:
        first = first_merged(segments, run, run, EXACT_ROWS)
        merged = run + sum(size.n_rows for size in segments[first:])
        assert merged <= max(AT_LEAST * EXACT_ROWS, PER_CHANGE * run) or merged == run
        segments[first:] = [Size(merged, merged <= EXACT_ROWS)]
        written += merged * (merged > EXACT_ROWS)  # the rows of which a vector index was built
        n += run
    assert written / n < 2 * (GROWTH + 1) * 4
    assert len(segments) <= 35
