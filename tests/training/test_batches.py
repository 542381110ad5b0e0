"""The order of examples: every example once an epoch, the same order for the same seed, no text twice in a batch."""

from __future__ import annotations

from itertools import chain, islice, takewhile

import pytest

from semsearch.errors import UsageError
from semsearch.training.batches import Batches


def epoch(batches: Batches, number: int) -> list[list[int]]:
    return [rows for which, rows in takewhile(lambda found: found[0] <= number, batches) if which == number]


def test_every_epoch_has_every_example_once_in_a_new_order():
    batches = Batches(10, 4, seed=3)
    first, second = epoch(batches, 0), epoch(batches, 1)
    assert [len(rows) for rows in first] == [4, 4, 2]
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(10))
    assert first != second
    assert (batches.per_epoch(), epoch(Batches(10, 4, seed=3), 1)) == (3, second)
    assert epoch(Batches(10, 4, seed=4), 0) != first


def test_a_text_never_occurs_twice_in_a_batch():
    anchors = [f"q{n % 5}" for n in range(40)]
    positives = [f"p{n}" for n in range(40)]
    positives[7] = "q1"  # also an anchor
    for _, rows in islice(Batches(40, 4, 0, (anchors, positives)), 50):
        texts = [text for row in rows for text in {anchors[row], positives[row]}]
        assert len(texts) == len({*texts})
        assert len(rows) >= 2
    found = [*chain(*epoch(Batches(40, 4, 0, (anchors, positives)), 0))]
    assert len(found) == len({*found}), "no example twice in an epoch"
    assert len(found) >= 36


def test_a_text_of_most_examples_does_not_end_the_epoch():
    texts = ["same" if n < 600 else f"own {n}" for n in range(1_000)]
    found = {*chain(*epoch(Batches(1_000, 2, 0, (texts,)), 0))}
    assert len(found & {*range(600, 1_000)}) >= 395, "only examples with the common text are left out"


def test_examples_that_all_share_a_text_have_no_negatives():
    with pytest.raises(UsageError, match="no two of the 6 examples are free of common texts"):
        next(iter(Batches(6, 4, 0, (["same"] * 6, list("abcdef")))))
    with pytest.raises(UsageError, match="no two of the 1 examples"):
        next(iter(Batches(1, 4, 0, (["one"],))))
