"""Test FAISS segments against brute force in NumPy, with vectors whose inner products are exact in float32."""

from __future__ import annotations

import errno
import hashlib
import os
import struct

import faiss
import numpy as np
import pytest

from semsearch import files
from semsearch.errors import DiskFullError
from semsearch.stores.local.database import translated_errors
from semsearch.stores.local.segments import build, read, search, write

NONE = np.empty(0, np.int64)


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
    indexes = [build(ids[part], rows[part], similarity) for part in parts]
    kept, gone = np.sort(rng.choice(ids, 200, replace=False)), np.sort(rng.choice(ids, 90, replace=False))
    left = ~np.isin(ids, gone)

    found = search(indexes, queries, k, allowed=None, excluded=NONE)
    assert pairs(*found) == brute(ids, rows, queries, k, similarity)
    found = search(indexes, queries, k, allowed=None, excluded=gone)
    assert pairs(*found) == brute(ids[left], rows[left], queries, k, similarity)
    found = search(indexes, queries, k, allowed=kept, excluded=gone)
    mask = np.isin(ids, kept)
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
        indexes = [build(ids[part], rows[part], "dot") for part in np.split(np.arange(400), cuts)]
        _, found = search(indexes, queries, k, allowed=None, excluded=NONE)
        assert found.tolist() == [expected] * n_queries


def test_a_query_that_meets_nothing_ties_with_everything_and_gets_the_oldest():
    rows = exact_rows(np.random.default_rng(0), 5_000)
    scores, ids = search(
        [build(np.arange(5_000), rows, "dot")], np.zeros((1, 6), np.float32), 4, allowed=None, excluded=NONE
    )
    assert (scores.tolist(), ids.tolist()) == ([[0.0] * 4], [[0, 1, 2, 3]])


def test_nothing_to_search_gives_nothing():
    rows = exact_rows(np.random.default_rng(0), 7)
    query = rows[:2]
    for indexes in ([], [build(NONE, rows[:0], "dot")]):
        scores, ids = search(indexes, query, 5, allowed=None, excluded=NONE)
        assert scores.shape == ids.shape == (2, 0)
    scores, ids = search([build(np.arange(7), rows, "dot")], query, 5, allowed=NONE, excluded=NONE)
    assert pairs(scores, ids) == [[], []]
    scores, ids = search([build(np.arange(7), rows, "dot")], query[:0], 5, allowed=None, excluded=NONE)
    assert scores.shape == ids.shape == (0, 5)


def test_a_written_segment_is_the_file_that_its_checksum_names(tmp_path):
    rows, ids = exact_rows(np.random.default_rng(3), 20), np.arange(100, 120)
    path = tmp_path / "vectors.000001.f32"
    digest = write(path, ids, rows)
    data = path.read_bytes()
    assert os.listdir(tmp_path) == [path.name]
    assert digest == hashlib.sha256(data).hexdigest()
    assert data == b"semsegm1" + struct.pack("<2q", 20, 6) + struct.pack("<20q", *range(100, 120)) + rows.tobytes()
    again = read(path, digest, 20, 6, 100, 119)
    found = search([build(*again, "dot")], rows[[7]], 3, allowed=None, excluded=NONE)
    assert pairs(*found) == brute(ids, rows, rows[[7]], 3)


def bytes_of(n: int = 9, ids: object = None, rows: object = None, magic: bytes = b"semsegm1", dim: int = 6) -> bytes:
    """Return the bytes of a segment file, assembled by hand."""
    rows = exact_rows(np.random.default_rng(1), 9) if rows is None else rows
    ids = np.arange(9) if ids is None else ids
    return magic + struct.pack("<2q", n, dim) + np.asarray(ids, "<i8").tobytes() + np.asarray(rows, "<f4").tobytes()


def with_row(value: float) -> np.ndarray:
    rows = exact_rows(np.random.default_rng(1), 9)
    rows[4, 2] = value
    return rows


ON_DISK = faiss.IndexIVFFlat(faiss.IndexFlatL2(6), 6, 2)
"""An index of a kind whose file can name another file, which FAISS would then map."""

WRONG = {
    "missing": None,
    "empty": b"",
    "truncated": bytes_of()[:-4],
    "longer": bytes_of() + bytes(4),
    "another magic": bytes_of(magic=b"semsegm2"),
    "more rows than there are": bytes_of(n=10),
    "a huge count": bytes_of(n=2**62),
    "another dimension": bytes_of(dim=5),
    "a NaN": bytes_of(rows=with_row(np.nan)),
    "infinite": bytes_of(rows=with_row(np.inf)),
    "an id twice": bytes_of(ids=[0, 1, 2, 3, 3, 5, 6, 7, 8]),
    "ids that fall": bytes_of(ids=[0, 2, 1, 3, 4, 5, 6, 7, 8]),
    "an id below the range": bytes_of(ids=[-1, 1, 2, 3, 4, 5, 6, 7, 8]),
    "an id above the range": bytes_of(ids=[0, 1, 2, 3, 4, 5, 6, 7, 9]),
    "an index of FAISS's own": faiss.serialize_index(ON_DISK).tobytes(),
    "a flat one": faiss.serialize_index(build(np.arange(9), exact_rows(np.random.default_rng(1), 9), "dot")).tobytes(),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_sound_segment_is_not_read_even_with_the_right_checksum(tmp_path, wrong):
    path, data = tmp_path / "vectors.000001.f32", WRONG[wrong]
    if data is not None:
        path.write_bytes(data)
    assert read(path, hashlib.sha256(data or b"").hexdigest(), 9, 6, 0, 8) is None
    path.write_bytes(bytes_of())
    assert read(path, hashlib.sha256(bytes_of()).hexdigest(), 9, 6, 0, 8)[0].tolist() == [*range(9)]


def test_one_bit_is_seen(tmp_path):
    path, data = tmp_path / "vectors.000001.f32", bytearray(bytes_of())
    digest = hashlib.sha256(data).hexdigest()
    data[-5] ^= 4
    path.write_bytes(data)
    assert read(path, digest, 9, 6, 0, 8) is None


@pytest.mark.parametrize("planted", ["a folder", "a link", "a pipe", "a device"])
def test_only_a_regular_file_is_read(tmp_path, planted):
    path, data = tmp_path / "vectors.000001.f32", bytes_of()
    (tmp_path / "elsewhere").write_bytes(data)
    if planted == "a folder":
        path.mkdir()
    elif planted == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "elsewhere" if planted == "a link" else "/dev/zero")
    assert read(path, hashlib.sha256(data).hexdigest(), 9, 6, 0, 8) is None


def test_a_full_disk_while_a_segment_is_written_leaves_no_part_of_it(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(DiskFullError, match="No space left"), translated_errors():
        write(tmp_path / "vectors.000001.f32", np.arange(9), exact_rows(np.random.default_rng(1), 9))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("n_queries", [0, 1, 3])
def test_a_search_leaves_the_number_of_threads_as_it_was(n_queries):
    before = faiss.omp_get_max_threads()
    index = build(np.arange(9), exact_rows(np.random.default_rng(1), 9), "dot")
    search([index], exact_rows(np.random.default_rng(2), n_queries), 3, allowed=None, excluded=NONE)
    assert faiss.omp_get_max_threads() == before
