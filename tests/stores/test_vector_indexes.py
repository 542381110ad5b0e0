"""Test vector indexes against brute force: recall as measured, exact scores, filters, and files with wrong contents."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import faiss
import numpy as np
import pytest

from semsearch.errors import UsageError
from semsearch.stores.local.array_file import open_arrays, writing_arrays
from semsearch.stores.local.catalog import SegmentRecord
from semsearch.stores.local.curves import Measured, choose_effort, curve_from
from semsearch.stores.local.vectors.ann.hnsw import Hnsw
from semsearch.stores.local.vectors.ann.kinds import bytes_needed, candidates, choose, create, kind_of
from semsearch.stores.local.vectors.ann.library import Chosen
from semsearch.stores.local.vectors.ann.recall import measure
from semsearch.stores.local.vectors.segment_files import Source, write_segment
from semsearch.stores.local.vectors.segments import Segment, open_segment, search

DIM, N = 16, 3_000
FACTORIES = ("HNSW32,SQ8", "HNSW16", "HNSW8,SQfp16", "IVF32,RaBitQ", "IVF32,Flat", "IVF32,SQ8", "IVF16,PQ8")
IDS = np.arange(N) * 2 + 10


def clustered(n: int, seed: int) -> np.ndarray:
    """Return unit rows around 40 centers."""
    centers = np.random.default_rng(99).normal(size=(40, DIM))
    rng = np.random.default_rng(seed)
    rows = centers[rng.integers(0, 40, n)] + 0.5 * rng.normal(size=(n, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


ROWS, QUERIES = clustered(N, 0), clustered(200, 1)


@dataclass
class Made:
    """A segment on disk, with its record."""

    path: Path
    record: SegmentRecord
    similarity: str

    def open(self, rows: np.ndarray = ROWS) -> Segment | None:
        return open_segment(
            self.path, self.record, DIM, self.similarity, lambda ids: rows[np.searchsorted(IDS, ids)].copy()
        )


def made(path: Path, factory: str, rows: np.ndarray = ROWS, similarity: str = "cosine", target: float = 0.98) -> Made:
    source = Source(
        IDS,
        DIM,
        lambda: ((IDS[part], rows[part]) for part in np.array_split(np.arange(N), 7)),
        lambda ids: rows[np.searchsorted(IDS, ids)],
    )
    written = write_segment(path, source, similarity, factory, target)
    about = json.dumps(written.about)
    return Made(path, SegmentRecord(1, 10, int(IDS[-1]), N, path.name, written.digest, "", 0, about), similarity)


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    folder = tmp_path_factory.mktemp("segments")
    return {factory: made(folder / str(number), factory) for number, factory in enumerate(FACTORIES)}


def scores_of(queries: np.ndarray, rows: np.ndarray, similarity: str = "cosine") -> np.ndarray:
    if similarity == "euclidean":
        return -np.linalg.norm(queries[:, None].astype(float) - rows[None], axis=2)
    return queries.astype(float) @ rows.astype(float).T


def recall(found: np.ndarray, exact: np.ndarray, k: int) -> float:
    """Return the share of the k best ids that were found."""
    best = IDS[np.argsort(-exact, axis=1)[:, :k]]
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(found.tolist(), best.tolist(), strict=True)]))


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_search_finds_the_nearest_rows_with_their_exact_scores(segments, factory):
    segment, exact = segments[factory].open(), scores_of(QUERIES, ROWS)
    assert sorted(segment.ids.tolist()) == IDS.tolist()
    for k in (1, 10, 60):
        scores, ids = search([(segment, None)], QUERIES, k, 0.98)
        assert ids.shape == (200, k)
        for row in range(200):
            assert len(set(ids[row].tolist())) == k
            assert np.abs(scores[row] - exact[row][(ids[row] - 10) // 2]).max() < 1e-6
        assert (np.diff(scores, axis=1) <= 0).all()
        assert recall(ids, exact, k) >= 0.97
    (one,), _ = search([(segment, None)], QUERIES[:1], 10, 0.98)
    assert one == pytest.approx(search([(segment, None)], QUERIES, 10, 0.98)[0][0], abs=1e-6)


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.01, 0.001])
def test_a_filter_costs_no_recall(segments, factory, share):
    segment, exact = segments[factory].open(), scores_of(QUERIES, ROWS)
    mask = np.random.default_rng(5).random(N) < share
    by_id = mask[(segment.ids - 10) // 2]
    n = int(mask.sum())
    _, ids = search([(segment, Chosen.of(by_id))], QUERIES, 10, 0.98)
    assert set(ids.ravel().tolist()) <= set(IDS[mask].tolist())
    assert ids.shape == (200, min(10, n))
    exact[:, ~mask] = -np.inf
    assert recall(ids, exact, min(10, n)) >= 0.97


@pytest.mark.parametrize("factory", FACTORIES)
def test_rows_far_from_a_query_are_found_if_they_are_all_that_is_allowed(segments, factory):
    segment = segments[factory].open()
    query = QUERIES[:1]
    mask = (ROWS @ query[0] < -0.3)[(segment.ids - 10) // 2]
    assert 10 < mask.sum() < N / 2
    exact = scores_of(query, ROWS)
    exact[exact >= -0.3] = -np.inf
    _, ids = search([(segment, Chosen.of(mask))], query, 10, 0.98)
    assert recall(ids, exact, 10) >= 0.9


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
@pytest.mark.parametrize("factory", ["HNSW32,SQ8", "IVF32,RaBitQ"])
def test_other_similarities_are_searched_as_well(tmp_path, similarity, factory):
    lengths = np.random.default_rng(2).uniform(0.5, 2, (N, 1)).astype(np.float32)
    rows = ROWS * lengths + (similarity == "euclidean")
    queries = QUERIES + np.float32(similarity == "euclidean")
    segment, exact = made(tmp_path / "s", factory, rows, similarity).open(rows), scores_of(queries, rows, similarity)
    scores, ids = search([(segment, None)], queries, 10, 0.98)
    assert recall(ids, exact, 10) >= 0.95
    assert np.abs(scores - np.take_along_axis(exact, (ids - 10) // 2, 1)).max() < 1e-5


@pytest.mark.parametrize("factory", FACTORIES)
def test_the_recorded_recall_is_that_of_rows_which_were_not_in_the_index(segments, factory):
    curve = curve_from(segments[factory].record.measured["curve"])
    efforts = [one.effort for one in curve]
    assert efforts == list(kind_of(factory).efforts)[: len(efforts)]
    assert all(0 < one.recall <= 1 and one.ms > 0 for one in curve)
    chosen = choose_effort(curve, 0.98)
    if factory == "HNSW16":  # the order of insertion is that of the file, so it can be built again
        segment = segments[factory].open()
        order = np.searchsorted(IDS, segment.ids)
        rest, held = ROWS[order[:-150]], ROWS[order[-150:]]
        index = create(factory, DIM, "cosine")
        index.add(rest)
        found = index.search(held, 10, params=faiss.SearchParametersHNSW(efSearch=max(chosen.effort, 30)))[1]
        best = np.argsort(-(held @ rest.T), axis=1)[:, :10]
        measured = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), best.tolist(), strict=True)])
        assert chosen.recall == pytest.approx(measured, abs=0.01)


def test_the_effort_is_the_least_that_reaches_the_target_or_else_the_best():
    curve = [Measured(16, 0.91, 0.1), Measured(32, 0.97, 0.2), Measured(64, 0.99, 0.4)]
    for target, effort in ((0.5, 16), (0.91, 16), (0.92, 32), (0.98, 64), (0.999, 64)):
        assert choose_effort(curve, target).effort == effort


def test_the_target_is_reached_with_the_standard_error_subtracted():
    curve = [Measured(16, 0.982, 0.1, error=0.003), Measured(32, 0.982, 0.2, error=0.001)]
    assert choose_effort(curve, 0.98).effort == 32


def test_the_standard_error_is_that_of_a_mean_over_queries():
    class Kind(Hnsw):
        efforts = (16,)

        def candidates(self, index, queries, k, effort, chosen):
            return np.tile(np.arange(10), (len(queries), 1))

    scores = np.tile(np.arange(20, 0, -1, dtype=np.float32), (4, 1))  # of all rows, for each query
    truth = np.sort(scores, axis=1)[:, ::-1][:, :10].copy()
    truth[2:] = np.array([30] * 5 + [20, 19, 18, 17, 16])  # of two queries, half of the nearest are found
    rows = np.arange(20, 0, -1, dtype=np.float32)[:, None]
    (one,) = measure(Kind(), None, lambda places: rows[places], np.ones((4, 1), np.float32), truth, "dot", 0.98)
    assert one.recall == 0.75
    assert one.error == 0.125  # half of .25, the deviation of 1, 1, .5, .5


@pytest.mark.parametrize(
    "stored", [None, 7, "x", [[1, 2]], [[16, 2.0, 0.1]], [[16, "x", 1]], [[0, 0.5, 1]], [[1e400, 1, 1]]]
)
def test_a_curve_that_cannot_be_is_empty(stored):
    assert curve_from(stored) == []


DAMAGE: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "a neighbor beyond the rows": ("neighbors", lambda a: np.where(np.arange(a.size) == 5, N, a)),
    "a negative neighbor": ("neighbors", lambda a: np.where(np.arange(a.size) == 5, -2, a)),
    "too few neighbors": ("neighbors", lambda a: a[:-1]),
    "neighbors of another type": ("neighbors", lambda a: a.astype(np.int64)),
    "a level of none": ("levels", lambda a: np.where(np.arange(a.size) == 5, 0, a)),
    "a huge level": ("levels", lambda a: np.where(np.arange(a.size) == 5, 99, a)),
    "levels that do not fit": ("levels", lambda a: np.ones_like(a)),
    "an entry that is no row": ("entry", lambda a: a + N),
    "a negative entry": ("entry", lambda a: a - N - 1),
    "two entries": ("entry", lambda a: np.repeat(a, 2)),
    "too few codes": ("codes", lambda a: a[1:]),
    "narrow codes": ("codes", lambda a: a[:, 1:]),
    "codes of another type": ("codes", lambda a: a.astype(np.float32)),
    "ranges of NaN": ("ranges", lambda a: a * np.nan),
    "too few ranges": ("ranges", lambda a: a[1:]),
    "centroids of NaN": ("centroids", lambda a: a * np.nan),
    "too few centroids": ("centroids", lambda a: a[1:]),
    "sizes that do not add up": ("sizes", lambda a: a + 1),
    "too few sizes": ("sizes", lambda a: a[1:]),
    "a position beyond the rows": ("positions", lambda a: np.where(np.arange(a.size) == 5, N, a).astype(np.uint32)),
    "a position twice": ("positions", lambda a: np.where(np.arange(a.size) == 5, a[6], a).astype(np.uint32)),
    "too few positions": ("positions", lambda a: a[1:]),
    "trained values of NaN": ("trained", lambda a: a * np.nan),
    "too few trained values": ("trained", lambda a: a[1:]),
}


def rewritten(segment: Made, change: Callable[[str, np.ndarray], np.ndarray | None], path: Path) -> Made:
    """Write a segment again with changed arrays and the right checksums, as an informed attacker would."""
    file = open_arrays(segment.path, segment.record.vectors_digest)
    with writing_arrays(path, file.about) as out:
        for name in file.names:
            if (array := change(name, file.array(name))) is not None:
                out.add(name, array)
    return Made(path, replace(segment.record, vectors_digest=out.digest), segment.similarity)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("factory", ["HNSW32,SQ8", "IVF32,RaBitQ", "IVF16,PQ8"])
def test_a_vector_index_with_wrong_contents_is_not_used(segments, tmp_path, factory, damage):
    wrong, change = DAMAGE[damage]
    names = open_arrays(segments[factory].path, segments[factory].record.vectors_digest).names
    if wrong not in names:
        pytest.skip("another kind")
    for drop in (False, True):
        planted = rewritten(
            segments[factory],
            lambda name, array, drop=drop: array if name != wrong else None if drop else change(array),
            tmp_path / str(drop),
        )
        segment = planted.open()
        assert type(segment) is Segment
        scores, _ = search([(segment, None)], QUERIES, 10)
        assert scores == pytest.approx(-np.sort(-scores_of(QUERIES, ROWS))[:, :10], abs=1e-6)


@pytest.mark.parametrize("factory", ["Flat", "HNSW32,SQ8"])
@pytest.mark.parametrize(
    ("wrong", "change"),
    [
        ("ids", lambda a: a + 1_000_000),
        ("ids", lambda a: np.where(a == a[5], a[6], a)),
        ("ids", lambda a: a[1:]),
        ("ids", lambda a: a.astype(np.int32)),
        ("rows", lambda a: a[:, 1:]),
        ("rows", lambda a: a[1:]),
        ("row_sums", lambda a: a[1:]),
        ("row_sums", lambda a: None),
        ("rows", lambda a: None),
    ],
)
def test_a_segment_with_wrong_contents_is_none(segments, tmp_path, factory, wrong, change):
    sound = segments[factory] if factory in segments else made(tmp_path / "flat", factory)
    planted = rewritten(sound, lambda name, array: change(array) if name == wrong else array, tmp_path / "planted")
    assert planted.open() is None
    assert sound.open() is not None
    assert replace(sound, similarity="dot").open() is None
    assert replace(sound, record=replace(sound.record, about='{"factory": "HNSW16"}')).open() is None


def test_damaged_vectors_are_read_from_the_database(segments, tmp_path, caplog):
    sound = segments["HNSW32,SQ8"]
    data = bytearray(sound.path.read_bytes())
    file = open_arrays(sound.path, sound.record.vectors_digest)
    start = data.index(file.array("rows")[:9].tobytes())
    data[start : start + 4 * DIM * N : 4 * DIM] = bytes(N)  # the first byte of each row
    data[start + 3 : start + 4 * DIM * N : 4 * DIM] = bytes([0xFF]) * N
    (tmp_path / "s").write_bytes(data)
    segment = replace(sound, path=tmp_path / "s").open()
    scores, _ = search([(segment, None)], QUERIES[:5], 10, 0.98)
    assert scores == pytest.approx(search([(sound.open(), None)], QUERIES[:5], 10, 0.98)[0], abs=1e-6)
    assert "damaged; reading them from the database" in caplog.text


@pytest.mark.parametrize(
    ("n", "dim", "memory", "factory"),
    [
        (10_000, 384, 2**31, "Flat"),
        (900, 10_000, 2**31, "Flat"),
        (300_000, 384, 2**31, "HNSW32,SQ8"),
        (1_000_000, 384, 2**31, "HNSW32,SQ8"),
        (1_000_000, 384, 700 * 2**20, "HNSW16,SQ8"),
        (1_000_000, 384, 350 * 2**20, "IVF4096,RaBitQ"),
        (10_000_000, 384, 2**31, "IVF16384,RaBitQ"),
    ],
)
def test_the_fastest_vector_index_that_fits_is_chosen(n, dim, memory, factory):
    assert choose(n, dim, memory) == factory
    if factory != "Flat":
        assert bytes_needed(factory, n, dim) <= memory


def test_too_little_memory_is_refused_with_the_least_that_works():
    with pytest.raises(UsageError, match=r"100 MiB is too little for 1,000,000 vectors of 384 dimensions") as caught:
        choose(1_000_000, 384, 100 * 2**20)
    least = int(str(caught.value).split("takes ")[1].split(" MiB")[0].replace(",", ""))
    assert choose(1_000_000, 384, least * 2**20) == candidates(1_000_000, 384)[-1]
    with pytest.raises(UsageError):
        choose(1_000_000, 384, (least - 1) * 2**20)


@pytest.mark.parametrize(
    "factory",
    ["HNSW", "LSH", "IVF32", "HNSW32,SQ5", "../x", "IVF32,PQ8x4fs", "HNSW0", "HNSW1", "HNSW1000", "hnsw32,sq8", ""],
)
def test_what_cannot_be_stored_is_refused(factory):
    with pytest.raises(UsageError, match="expected 'auto', 'Flat', HNSW"):
        create(factory, DIM, "cosine")


def test_what_faiss_rejects_is_refused():
    with pytest.raises(UsageError, match="FAISS rejects `vector_index` 'IVF32,PQ7' for vectors of 16 dimensions: "):
        create("IVF32,PQ7", DIM, "cosine")
