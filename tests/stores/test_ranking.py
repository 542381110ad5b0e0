"""Test dot products and Euclidean distances in every store against brute force in float64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from fakes import entry, index_spec
from test_contract import CHUNKING, STORES, store_of

from semsearch.filters.read import read_filter
from semsearch.stores.base import Store
from semsearch.stores.local.store import LocalStore
from semsearch.stores.local.vectors import segments
from semsearch.stores.local.vectors.ann.library import Chosen

ROWS = (
    np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    * np.linspace(0.2, 5, 50, dtype=np.float32)[:, None]
)
ROWS[31] = ROWS[30]  # a tie
QUERIES = np.random.default_rng(1).normal(size=(40, 6)).astype(np.float32)
DELETED = [4, 40]


def exact(similarity: str, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Compute scores one by one in float64."""
    a, b = queries.astype(np.float64), rows.astype(np.float64)
    if similarity == "dot":
        return np.array([[sum(x * y for x, y in zip(q, v, strict=True)) for v in b] for q in a])
    return np.array([[-np.sqrt(sum((x - y) ** 2 for x, y in zip(q, v, strict=True))) for v in b] for q in a])


def filled(store: Store, similarity: str, sealed: int = 30) -> Store:
    """Write documents, of which only the first are in segments, and delete some of both."""
    entries = [entry(f"d{n}", row[None], number=n) for n, row in enumerate(ROWS)]
    spec = index_spec(6, normalize=False, similarity=similarity)
    with store.write(spec, CHUNKING) as writer:
        writer.commit(entries[:sealed])
        writer.seal(final=True)
    with store.write(spec, CHUNKING) as writer:
        writer.commit(entries[sealed:])
        writer.delete([f"d{n}" for n in DELETED])
    return store


@pytest.fixture(params=["dot", "euclidean"])
def similarity(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path, similarity: str) -> Iterator[Store]:
    with closing(store_of(request, tmp_path)) as opened:
        yield filled(opened, similarity)


@pytest.mark.parametrize("where", [None, "number >= 20 and number < 45"])
@pytest.mark.parametrize("n_queries", [1, 40])
def test_search_equals_brute_force(store: Store, similarity: str, where: str | None, n_queries: int):
    scores, ids = store.search_vectors(QUERIES[:n_queries], 8, read_filter(where) if where else None)
    kept = [n for n in range(50) if n not in DELETED and (not where or 20 <= n < 45)]
    expected = exact(similarity, QUERIES[:n_queries], ROWS[kept])
    order = np.argsort(-expected, axis=1, kind="stable")[:, :8]
    assert (np.array(kept)[order] + 1).tolist() == ids.tolist()
    assert scores == pytest.approx(np.take_along_axis(expected, order, 1), rel=1e-5, abs=1e-5)
    cosines = expected / np.linalg.norm(ROWS[kept], axis=1)
    assert np.argsort(-cosines, axis=1, kind="stable")[0, :8].tolist() != order[0].tolist()


def test_scores_of_given_passages_equal_brute_force(store: Store, similarity: str):
    assert store.similarity == similarity
    found = store.similarities(QUERIES[:3], [8, 50, 1, DELETED[0] + 1])
    rows = np.concatenate([ROWS[[7, 49, 0]], np.zeros((1, 6))])
    assert found == pytest.approx(exact(similarity, QUERIES[:3], rows), rel=1e-5, abs=1e-5)


def test_reference_scores_by_their_definition(store: Store, similarity: str):
    rows = np.delete(ROWS, DELETED, 0).astype(np.float64)
    scores = exact(similarity, QUERIES, np.concatenate([rows, np.zeros((20, 6))]))
    unrelated, perfect = store.reference_scores(QUERIES)
    if similarity == "dot":
        typical = np.sqrt(np.mean([row @ row for row in rows]))
        assert unrelated == pytest.approx(scores.mean(1), abs=1e-5)
        assert perfect == pytest.approx([np.sqrt(q @ q) * typical for q in QUERIES.astype(np.float64)], rel=1e-5)
    else:
        assert unrelated == pytest.approx(-np.sqrt((scores**2).mean(1)), rel=1e-5)
        assert perfect.tolist() == [0] * 40
    assert (unrelated < perfect).all()


def test_references_of_an_empty_index_are_finite(tmp_path: Path, similarity: str):
    with LocalStore(tmp_path / "i") as store:
        with store.write(index_spec(6, normalize=False, similarity=similarity), CHUNKING) as writer:
            writer.seal(final=True)
        assert np.isfinite(store.reference_scores(QUERIES)).all()


def test_a_missing_segment_is_rebuilt_with_the_same_similarity(tmp_path: Path, similarity: str):
    before, after = filled(LocalStore(tmp_path / "i"), similarity), LocalStore(tmp_path / "i")
    expected = before.search_vectors(QUERIES, 9, None)
    before.close()
    (file,) = (tmp_path / "i").glob("vectors.*")
    file.unlink()
    for ours, theirs in zip(after.search_vectors(QUERIES, 9, None), expected, strict=True):
        assert ours.tolist() == theirs.tolist()
    after.close()


@pytest.mark.parametrize(("dim", "n"), [(64, 40), (384, 400), (10_000, 12)])
@pytest.mark.parametrize("filtered", [False, True])
def test_a_common_offset_cancels_no_digits_of_a_distance(dim: int, n: int, filtered: bool):
    rng = np.random.default_rng(2)
    rows, queries = ((rng.normal(size=(size, dim)) / 8 + 100).astype(np.float32) for size in (200, n))
    expected = np.stack([-np.linalg.norm(rows.astype(np.float64) - query, axis=1) for query in queries])
    allowed = np.arange(0, 200, 2) if filtered else np.arange(200)
    order = np.argsort(-expected[:, allowed], axis=1, kind="stable")[:, :5]
    segment = segments.Segment(np.arange(200), rows, "euclidean")
    chosen = Chosen.of(np.isin(np.arange(200), allowed)) if filtered else None
    scores, ids = segments.search([(segment, chosen)], queries, 5)
    assert scores == pytest.approx(np.take_along_axis(expected, ids, 1), rel=1e-5)
    assert (ids == allowed[order]).mean() > 0.99
