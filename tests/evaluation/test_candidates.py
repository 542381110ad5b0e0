"""Tests for the rows of a comparison (labels, order and refusals) and for fitted transforms against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import tiny_checkpoint

from semsearch.errors import UsageError
from semsearch.evaluation.candidates import Candidate, candidates_of, fit, is_flat, repeats
from semsearch.evaluation.multi_pooler import MultiPooler


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> MultiPooler:
    """Load poolers with 32 and 64 dimensions; `cls` is encoded too but is not a row."""
    folder = tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny")
    return MultiPooler.load(str(folder), ["mean", "mean+max"], also=["cls"], device="cpu")


@pytest.mark.parametrize(
    ("row", "label"),
    [
        (Candidate("mean"), "mean"),
        (Candidate("mean+max", "whiten:128"), "mean+max, whiten:128"),
        (Candidate("mean", mode="hybrid"), "mean, hybrid"),
        (Candidate("layer:3+cls", "center", mode="hybrid"), "layer:3+cls, center, hybrid"),
        (Candidate(mode="keyword"), "keyword"),
    ],
)
def test_a_row_is_named_by_what_it_is(row: Candidate, label: str):
    assert row.label == label


def labels(encoder: MultiPooler, *transforms: str) -> list[str]:
    return [row.label for row in candidates_of(encoder, transforms)]


def test_without_transforms_each_pooler_that_was_asked_for_is_a_row(encoder: MultiPooler):
    assert encoder.names == ("mean", "mean+max", "cls")
    assert candidates_of(encoder) == [Candidate("mean", "", mode="dense"), Candidate("mean+max", "", mode="dense")]


def test_each_pooler_comes_by_itself_and_then_with_each_transform_in_the_order_they_were_named(encoder: MultiPooler):
    assert labels(encoder, "whiten:8", "truncate:32", "center") == [
        *("mean", "mean, whiten:8", "mean, truncate:32", "mean, center"),
        *("mean+max", "mean+max, whiten:8", "mean+max, truncate:32", "mean+max, center"),
    ]


def test_all_is_every_transform_that_is_fitted_and_none_is_what_is_there_anyway(encoder: MultiPooler):
    fitted = ["mean", "mean, center", "mean, whiten", "mean, all-but-the-top"]
    assert labels(encoder, "all")[:4] == fitted
    assert labels(encoder, "none", "all", "center", "none")[:4] == fitted
    assert labels(encoder, "truncate:4", "all")[:5] == [fitted[0], "mean, truncate:4", *fitted[1:]]
    assert labels(encoder, "none") == labels(encoder)
    assert len(labels(encoder, "all", "center", "center")) == 2 * 4  # repeated names give one row


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        ("zca", "unknown transform 'zca'; known: center, whiten, all-but-the-top, .* truncate:K, all, none"),
        ("whitening:3", "unknown transform 'whitening:3'"),
        ("", "unknown transform ''"),
        ("All", "unknown transform 'All'"),
        ("none:2", "unknown transform 'none:2'"),
        ("center:3", "transform 'center:3': center takes no K"),
        ("whiten:0", "transform 'whiten:0': K must be a whole number from 1 to 32"),
        ("whiten:33", "K must be a whole number from 1 to 32"),  # fits mean+max, but not mean
        ("all-but-the-top:32", "K must be a whole number from 1 to 31"),
        ("truncate:33", "transform 'truncate:33': K must be a whole number from 1 to 32"),
        ("truncate:0", "K must be a whole number from 1 to 32"),
        ("truncate:-1", "K must be a whole number from 1 to 32"),
        ("truncate:abc", "transform 'truncate:abc': K must be a whole number from 1 to 32"),
        ("truncate:1.5", "K must be a whole number from 1 to 32"),
        ("truncate:²", "K must be a whole number from 1 to 32"),
        ("truncate:", "K must be a whole number from 1 to 32"),
        ("truncate", "K must be a whole number from 1 to 32"),
    ],
)
def test_a_transform_must_exist_and_fit_every_pooler(encoder: MultiPooler, transform: str, said: str):
    with pytest.raises(UsageError, match=said):
        candidates_of(encoder, ["center", transform])


def test_the_largest_k_fits(encoder: MultiPooler):
    assert len(labels(encoder, "whiten:32", "truncate:32", "all-but-the-top:31", "whiten:1", "truncate:1")) == 2 * 6


RNG = np.random.default_rng(5)
CORPUS = (RNG.normal(size=(300, 8)) @ np.diag([9, 6, 4, 3, 2, 1.5, 1, 0.5]) + 3).astype(np.float32)
QUERIES = (RNG.normal(size=(20, 8)) * 4 + 3).astype(np.float32)


def rescaled(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def by_numpy(transform: str, rows: np.ndarray) -> np.ndarray:
    """Fit the transform on CORPUS by SVD in float64 and apply it; axes are determined only up to sign and rotation."""
    corpus = CORPUS.astype(np.float64)
    centered, (_, singular, axes) = rows - corpus.mean(0), np.linalg.svd(corpus - corpus.mean(0), full_matrices=False)
    formulas = {
        "": rows,
        "truncate:3": rows[:, :3],
        "truncate:8": rows,
        "center": centered,
        "whiten": centered @ axes.T / singular,
        "whiten:3": centered @ axes[:3].T / singular[:3],
        "all-but-the-top": centered - centered @ axes[:1].T @ axes[:1],
        "all-but-the-top:4": centered - centered @ axes[:4].T @ axes[:4],
    }
    return rescaled(formulas[transform])


@pytest.mark.parametrize("transform", ["", "truncate:3", "truncate:8", "center"])
def test_simple_transforms_give_numpys_vectors(transform: str):
    finish = fit(transform, CORPUS)
    for rows in (CORPUS, QUERIES):
        np.testing.assert_allclose(finish(rows), by_numpy(transform, rows), atol=1e-5)


@pytest.mark.parametrize("transform", ["whiten", "whiten:3", "all-but-the-top", "all-but-the-top:4"])
def test_fitted_transforms_give_numpys_cosines_between_queries_and_the_corpus_they_were_fitted_on(transform: str):
    finish = fit(transform, CORPUS)
    expected = by_numpy(transform, QUERIES) @ by_numpy(transform, CORPUS).T
    np.testing.assert_allclose(finish(QUERIES) @ finish(CORPUS).T, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("transform", "dim"),
    [("", 8), ("truncate:3", 3), ("center", 8), ("whiten", 8), ("whiten:3", 3), ("all-but-the-top:4", 8)],
)
def test_every_transform_gives_unit_rows_of_float32_and_leaves_what_it_was_given_alone(transform: str, dim: int):
    given = QUERIES.copy()
    rows = fit(transform, CORPUS)(given)
    assert (rows.shape, rows.dtype) == ((20, dim), np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows.astype(np.float64), axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(given, QUERIES)


def test_a_row_that_truncation_leaves_nothing_of_stays_zero():
    rows = fit("truncate:2", CORPUS)(np.array([[0, 0, 5], [3, 4, 5]], np.float32))
    np.testing.assert_allclose(rows, [[0, 0], [0.6, 0.8]], atol=1e-7)


def test_one_vector_is_too_few_to_fit_on():
    with pytest.raises(UsageError, match="transform 'whiten' is fitted on the corpus, which has 1 vectors"):
        fit("whiten", CORPUS[:1])


@pytest.mark.parametrize(
    ("n", "transform", "flat"),
    [
        (12, "whiten", True),  # 11 axes for 12 points: a simplex
        (33, "whiten", True),  # 32 dimensions hold the simplex of 33 points
        (34, "whiten", False),
        (12, "whiten:11", True),
        (12, "whiten:10", False),
        (12, "center", False),
        (12, "all-but-the-top:3", False),
        (12, "truncate:4", False),
        (12, "", False),
    ],
)
def test_whitening_that_keeps_an_axis_for_each_text_but_one_is_flat(n: int, transform: str, flat: bool):
    rows = np.random.default_rng(0).normal(size=(n, 32)).astype(np.float32)
    finish = fit(transform, rows)
    assert is_flat(finish, rows) == flat
    others = (finish(rows) @ finish(rows).T)[np.triu_indices(n, 1)]
    assert (np.ptp(others) < 1e-3) == flat
    assert is_flat(fit(transform, rows[[*range(n), 0]]), rows[[*range(n), 0]]) == flat  # a copy adds no point


def test_the_older_spelling_of_a_transform_is_taken(encoder: MultiPooler):
    assert labels(encoder, "centre") == labels(encoder, "center")


def test_rows_with_the_same_vectors_but_for_length_and_rounding_repeat_the_first_of_them():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600, 8)).astype(np.float32)
    lengths = rng.uniform(1, 9, (600, 1)).astype(np.float32)
    late = rows.copy()
    late[-1] = late[-1, ::-1]  # differs only in the last row
    noise = (1 + rng.normal(0, 1e-7, rows.shape)).astype(np.float32)
    vectors = {
        "mean": rows,
        "sum": rows * lengths,
        "again": rows * noise,
        "late": late,
        "wide": np.hstack([rows, rows]),
    }
    every = [
        *(Candidate(pooler, mode=mode) for mode in ("dense", "hybrid") for pooler in vectors),
        *(Candidate(pooler, transform) for transform in ("center", "truncate:4") for pooler in vectors),
        Candidate(mode="keyword"),
    ]
    assert repeats(every, vectors) == {
        "sum": "mean",
        "again": "mean",
        "sum, hybrid": "mean, hybrid",
        "again, hybrid": "mean, hybrid",
        "again, center": "mean, center",  # the sums have another center, so they do not repeat it
        "sum, truncate:4": "mean, truncate:4",
        "again, truncate:4": "mean, truncate:4",
    }
