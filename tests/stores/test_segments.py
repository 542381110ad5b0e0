"""Test exact segments against brute force in NumPy, with vectors whose inner products are exact in float32."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from semsearch.stores.local.vectors.ann.library import Chosen
from semsearch.stores.local.vectors.segments import Segment, search


def exact_rows(rng: np.random.Generator, n: int, dim: int = 6) -> np.ndarray:
    """Return random multiples of 1/8 from -1 to 1: inner products are exact and ties independent of summation order."""
    return (rng.integers(-8, 9, (n, dim)) / 8).astype(np.float32)


def brute(
    ids: np.ndarray, rows: np.ndarray, queries: np.ndarray, k: int, similarity: str = "dot"
) -> list[list[tuple[float, int]]]:
    """Return the k best (score, id) pairs of each query; equal scores are ordered by id."""
    scores = queries.astype(float) @ rows.astype(float).T
    if similarity == "euclidean":  # squares are exact in float32, too
        scores = -np.sqrt(((queries[:, None] - rows[None]) ** 2).sum(2, dtype=np.float32)).astype(float)
    return [sorted(zip(row, ids.tolist(), strict=True), key=lambda pair: (-pair[0], pair[1]))[:k] for row in scores]


def pairs(scores: np.ndarray, ids: np.ndarray) -> list[list[tuple[float, int]]]:
    """Return the (score, id) pairs of a search without padding, after a check that padding comes last."""
    for row_scores, row_ids in zip(scores, ids, strict=True):
        padding = row_ids == -1
        assert np.array_equal(padding, np.sort(padding))
        assert np.array_equal(padding, np.isneginf(row_scores))
    return [
        [(score, number) for score, number in zip(*row, strict=True) if number != -1]
        for row in zip(scores.tolist(), ids.tolist(), strict=True)
    ]


@pytest.mark.parametrize("k", [1, 3, 10, 150, 1000])
@pytest.mark.parametrize("n_queries", [1, 40])  # from 20 queries on, FAISS uses BLAS
@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
def test_a_search_over_several_indexes_equals_brute_force(n_queries, k, similarity):
    rng = np.random.default_rng(k + n_queries)
    rows, queries = exact_rows(rng, 600), exact_rows(rng, n_queries)
    ids = np.sort(rng.choice(10_000, 600, replace=False)).astype(np.int64)
    parts = np.split(np.arange(600), [5, 5, 300, 580])  # one part is empty
    segments = [Segment(ids[part], rows[part], similarity) for part in parts]
    found = search([(segment, None) for segment in segments], queries, k)
    assert pairs(*found) == brute(ids, rows, queries, k, similarity)
    mask = rng.random(600) < 0.4
    mask[5:300] |= k == 3  # all rows of one part
    chosen = [Chosen.of(mask[part]) for part in parts]
    found = search(list(zip(segments, chosen, strict=True)), queries, k)
    assert pairs(*found) == brute(ids[mask], rows[mask], queries, k, similarity)


@pytest.mark.parametrize("n_queries", [1, 40])
@pytest.mark.parametrize("k", [1, 2, 12, 130])
def test_of_equal_scores_the_oldest_passages_are_kept(k, n_queries):
    rows = np.full((400, 2), 0.5, np.float32)
    rows[[399, 200]] = 0.75  # later and better rows must not push out the oldest one
    queries = np.ones((n_queries, 2), np.float32)
    ids = np.arange(1, 401)
    expected = [201, 400, *[number for number in range(1, 400) if number != 201]][:k]
    for cuts in ([], [100, 390]):
        parts = [(Segment(ids[part], rows[part], "dot"), None) for part in np.split(np.arange(400), cuts)]
        _, found = search(parts, queries, k)
        assert found.tolist() == [expected] * n_queries


def test_a_query_that_meets_nothing_ties_with_everything_and_gets_the_oldest():
    rows = exact_rows(np.random.default_rng(0), 5_000)
    scores, ids = search([(Segment(np.arange(5_000), rows, "dot"), None)], np.zeros((1, 6), np.float32), 4)
    assert (scores.tolist(), ids.tolist()) == ([[0.0] * 4], [[0, 1, 2, 3]])


def test_nothing_to_search_gives_nothing():
    rows = exact_rows(np.random.default_rng(0), 7)
    query = rows[:2]
    whole = Segment(np.arange(7), rows, "dot")
    nothing = Chosen.of(np.zeros(7, bool))
    for segments in ([], [(Segment(np.arange(0), rows[:0], "dot"), None)], [(whole, nothing)]):
        scores, ids = search(segments, query, 5)
        assert scores.shape == ids.shape == (2, 0)
    scores, ids = search([(whole, None)], query[:0], 5)
    assert scores.shape == ids.shape == (0, 5)


@pytest.mark.parametrize("n_queries", [0, 1, 3])
def test_a_search_leaves_the_number_of_threads_as_it_was(n_queries):
    before = faiss.omp_get_max_threads()
    segment = Segment(np.arange(9), exact_rows(np.random.default_rng(1), 9), "dot")
    search([(segment, None)], exact_rows(np.random.default_rng(2), n_queries), 3)
    assert faiss.omp_get_max_threads() == before
