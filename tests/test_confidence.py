"""Test confidence by hand: the share of unrelated pairs that reach a score, and the resulting confidence."""

from __future__ import annotations

import math

import pytest

from semsearch.confidence import Background, share_above

TAIL = ((0.0, 0.5), (0.2, 0.1), (0.4, 0.01))
BACKGROUND = Background(100, {"dense": TAIL})


@pytest.mark.parametrize(
    ("score", "share"),
    [
        (-1, 0.5),
        (0, 0.5),
        (0.1, math.sqrt(0.5 * 0.1)),  # log-linear: halfway is the geometric mean
        (0.2, 0.1),
        (0.3, math.sqrt(0.1 * 0.01)),
        (0.4, 0.01),
        (0.8, 0.01 * 0.01 / 0.5),  # as far again as the tail is long, over which it falls by a factor of 50
    ],
)
def test_the_share_of_pairs_is_log_linear(score, share):
    assert share_above(TAIL, score) == pytest.approx(share)
    assert BACKGROUND.confidence("dense", score) == pytest.approx(1 / (1 + share / 0.01))


def test_confidence_lies_between_0_and_1_and_rises_with_the_score():
    sure = [BACKGROUND.confidence("dense", score / 100) for score in range(-300, 300)]
    assert all(0 < one < 1 for one in sure[:300])
    assert sure == sorted(sure)
    assert max(sure) <= 1
    assert BACKGROUND.confidence("keyword", 0.5) is None


def test_what_is_stored_is_read_again():
    assert Background.from_json(BACKGROUND.to_json()) == BACKGROUND


@pytest.mark.parametrize(
    "stored",
    [
        {},
        [],
        {"passages": 3},
        {"passages": "3", "tails": {}},
        {"passages": 3, "tails": []},
        {"passages": 3, "tails": {"dense": []}},
        {"passages": 3, "tails": {"dense": [[0, 0.5], [0, 0.1]]}},
        {"passages": 3, "tails": {"dense": [[0, 0.1], [1, 0.5]]}},
        {"passages": 3, "tails": {"dense": [[0, 2]]}},
        {"passages": 3, "tails": {"dense": [[0, 0]]}},
        {"passages": 3, "tails": {"dense": [[math.nan, 0.5]]}},
        {"passages": 3, "tails": {"dense": [["x", 0.5]]}},
        {"passages": 3, "tails": {"dense": [[0, 0.5, 1]]}},
        {"passages": 3, "tails": {"dense": 7}},
    ],
)
def test_what_nobody_measured_is_refused(stored):
    with pytest.raises(ValueError, match="malformed background scores"):
        Background.from_json(stored)
