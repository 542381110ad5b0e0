"""Tests for geometry: hand values of regular figures, and scipy, scikit-learn and loops on random rows."""

from __future__ import annotations

import math
from dataclasses import astuple, fields

import numpy as np
import pytest

from semsearch.evaluation.geometry import HISTOGRAM_EDGES, Geometry, cosine_histogram, measure_geometry, sample_rows
from semsearch.transforms import Transform, fit_transform, unit_rows

DIM = 24
COMPONENTS = ("top1", "top10", "effective_rank", "hubness")
PAIRS = ("mean_cosine", "std_cosine", "uniformity")
NUMBERS = (*COMPONENTS, *PAIRS)


def cloud(n: int = 300, offset: float = 0.0, dim: int = DIM) -> np.ndarray:
    """Draw unit rows around `offset` times one common direction, with a different variance on each axis."""
    rng = np.random.default_rng(3)
    return unit_rows(rng.normal(size=(n, dim)) * 1.1 ** -np.arange(dim) + offset * rng.normal(size=dim))


def circle(n: int) -> np.ndarray:
    """Return the corners of a regular polygon."""
    angles = 2 * np.pi * np.arange(n) / n
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def simplex(n: int) -> np.ndarray:
    """Return n unit rows, each as far from every other as possible."""
    return unit_rows(np.eye(n) - 1 / n)


def bins(**counts: int) -> dict[int, int]:
    return {int(name[1:]): count for name, count in counts.items()}


def filled(found: Geometry) -> dict[int, int]:
    """Return the non-empty bins of a histogram."""
    return {place: count for place, count in enumerate(found.histogram) if count}


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-5, abs=1e-6)


# --- by hand


def test_an_orthonormal_basis():
    """n points lie at squared distance 2 from one another, in n - 1 equal directions; there can be no hub."""
    found = measure_geometry(np.eye(20, dtype=np.float32))
    assert (found.n, found.dim, found.mean_cosine, found.std_cosine, found.hubness, found.dead) == (
        20,
        20,
        0,
        0,
        None,
        0,
    )
    assert filled(found) == bins(_25=190)
    assert found.uniformity == near(-4)
    assert (found.top1, found.top10, found.effective_rank) == (near(1 / 19), near(10 / 19), near(19))


def test_a_simplex():
    """The cosines are -1 / (n - 1), and the squared distances 2 + 2 / (n - 1)."""
    found = measure_geometry(simplex(15))
    assert (found.mean_cosine, found.std_cosine) == (near(-1 / 14), near(0))
    assert found.uniformity == near(-2 * (2 + 2 / 14))
    assert (found.top1, found.effective_rank) == (near(1 / 14), near(14))


def test_an_antipodal_pair():
    """There is one pair, at squared distance 4, and one direction."""
    found = measure_geometry(np.array([[0.6, 0.8], [-0.6, -0.8]], np.float32))
    assert (found.mean_cosine, found.std_cosine, found.uniformity) == (near(-1), near(0), near(-8))
    assert filled(found) == bins(_0=1)
    assert (found.top1, found.top10, found.effective_rank, found.hubness) == (near(1), near(1), near(1), None)


def test_a_regular_polygon():
    """The rows sum to 0, so the cosines of all pairs sum to -n / 2; the two directions are equal."""
    found = measure_geometry(circle(25))
    assert found.mean_cosine == near(-1 / 24)
    # The squares of a row's n cosines sum to n / 2, and its cosine with itself is 1.
    assert found.std_cosine == near(math.sqrt((12.5 - 1) / 24 - 1 / 24**2))
    assert (found.top1, found.top10, found.effective_rank) == (near(0.5), near(1), near(2))
    assert found.hubness is None, "five neighbors on either side: all occur ten times"


def test_a_cross_by_hand():
    """One pair lies on the first axis and nine on the second: variances 1 : 9, deviations 1/4 and 3/4 of their sum."""
    rows = np.array([[1, 0], [-1, 0], *[[0, 1], [0, -1]] * 9], np.float32)
    found = measure_geometry(rows)
    assert found.top1 == near(0.9)
    assert found.effective_rank == near(4 / 3**0.75)


def test_uniformity_of_three_points_by_hand():
    """The squared distances are 2, 2 and 4."""
    rows = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    assert measure_geometry(rows).uniformity == near(math.log((2 * math.exp(-4) + math.exp(-8)) / 3))


@pytest.mark.parametrize("angle", [1e-2, 1e-3, 1e-4])
def test_points_that_nearly_coincide_keep_their_digits(angle):
    """Uniformity is exactly -2 times the only squared distance, a chord's; in float32 the cosine would round to 1."""
    rows = np.array([[1, 0], [math.cos(angle), math.sin(angle)]], np.float32)
    assert measure_geometry(rows).uniformity == pytest.approx(-2 * (2 * math.sin(angle / 2)) ** 2, rel=1e-5, abs=0)


def test_alignment_by_hand():
    """The squared distances are 0, 2 and 4."""
    left = np.array([[1, 0], [1, 0], [1, 0]], np.float32)
    right = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    assert measure_geometry(left, (left, right)).alignment == near(2)
    assert measure_geometry(left).alignment is None
    assert measure_geometry(left, (left[:0], right[:0])).alignment is None


def test_positives_of_different_shapes_are_no_pairs():
    with pytest.raises(ValueError, match=r"\(1, 2\) and \(5, 2\)"):
        measure_geometry(circle(5), (circle(1), circle(5)))


@pytest.mark.parametrize("m", [13, 40, 100])
def test_a_hub_by_hand(m):
    """The center of an orthonormal basis is the nearest neighbor of all m basis rows, and the other distances tie.

    Each basis row shares the other nine places of m - 1 rows with m - 2 others, and the hub's ten with m - 1 others,
    so it occurs 9 + 10 / m times and the hub m times. The skewness of two values follows from the share p of one.
    """
    rows = unit_rows(np.concatenate([np.eye(m), np.ones((1, m))]))
    p = 1 / (m + 1)
    assert measure_geometry(rows).hubness == near((1 - 2 * p) / math.sqrt(p * (1 - p)))


def test_dead_components_by_hand():
    """Three components have a deviation of 1, the others 0.02, 0.001 and 0; the mean deviation is about 0.5."""
    signs = np.array([[1, 1, 1, 1, 1], [1, -1, 1, -1, 1], [-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1]])
    rows = np.concatenate([signs * [1, 1, 0, 1, 0.02], signs[:, :1] * 0.001], axis=1)
    assert measure_geometry(rows.astype(np.float32)).dead == 2


# --- against independent implementations


@pytest.mark.parametrize("offset", [0, 1, 10, 100])
def test_pairs_agree_with_scipy(offset):
    from scipy.spatial.distance import pdist

    rows = cloud(offset=offset).astype(np.float64)
    found = measure_geometry(rows.astype(np.float32))
    cosines = 1 - pdist(rows, "cosine")
    assert (found.mean_cosine, found.std_cosine) == (near(cosines.mean()), near(cosines.std()))
    assert found.uniformity == pytest.approx(np.log(np.exp(-2 * pdist(rows, "sqeuclidean")).mean()), rel=1e-6)
    assert sum(found.histogram) == 300 * 299 // 2


def test_the_histogram_agrees_with_a_loop():
    rows = cloud(40, offset=0.3)
    counts = [0] * 50
    for i, left in enumerate(rows.astype(np.float64)):
        for right in rows[:i]:
            counts[math.floor((left @ right + 1) / 0.04)] += 1
    assert list(measure_geometry(rows).histogram) == counts


@pytest.mark.parametrize(("n", "offset"), [(300, 0), (300, 10), (15, 1)])
def test_components_agree_with_scikit_learn(n, offset):
    from scipy.stats import entropy
    from sklearn.decomposition import PCA

    rows = cloud(n, offset)
    pca = PCA(svd_solver="full").fit(rows.astype(np.float64))
    found = measure_geometry(rows)
    shares = pca.explained_variance_ratio_
    assert (found.top1, found.top10) == (near(shares[0]), near(shares[:10].sum()))
    assert found.effective_rank == near(math.exp(entropy(pca.singular_values_)))


@pytest.mark.parametrize("offset", [0, 1, 10, 1000])
def test_hubness_agrees_with_scikit_learn_and_scipy(offset):
    from scipy.stats import skew
    from sklearn.neighbors import NearestNeighbors

    rows = cloud(offset=offset)
    exact = rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    neighbors = NearestNeighbors(n_neighbors=10, algorithm="kd_tree").fit(exact).kneighbors()[1]
    assert measure_geometry(rows).hubness == near(skew(np.bincount(neighbors.ravel(), minlength=len(rows))))


def test_alignment_agrees_with_a_loop():
    left, right = cloud(50, offset=1), cloud(50, offset=1)[::-1]
    total = sum(float(np.linalg.norm(x.astype(np.float64) - y)) ** 2 for x, y in zip(left, right, strict=True))
    assert measure_geometry(left, (left, right)).alignment == near(total / 50)


# --- expected behavior


def test_a_common_offset_makes_a_cone_and_centering_opens_it():
    free, cone = cloud(), cloud(offset=10)
    opened = measure_geometry(fit_transform("center", [cone], DIM)(cone))
    free, cone = measure_geometry(free), measure_geometry(cone)
    assert abs(free.mean_cosine) < 0.02 < 0.9 < cone.mean_cosine
    assert free.uniformity < -3 < -0.5 < cone.uniformity < 0
    assert abs(opened.mean_cosine) < 0.02
    assert opened.uniformity < -3


@pytest.mark.parametrize("k", [6, 12, 24])
def test_whitening_raises_the_effective_rank_to_k(k):
    """The k axes that are kept have a lower effective rank before whitening; whitened rows have unit length again."""
    rows = unit_rows(cloud(1000, offset=1) * 1.3 ** -np.arange(DIM, dtype=np.float32))
    whitened = fit_transform(f"whiten:{k}", [rows], DIM)
    unscaled = Transform("", whitened.mean, np.linalg.qr(whitened.matrix)[0].astype(np.float32))
    assert measure_geometry(unscaled(rows)).effective_rank < 0.95 * k
    assert 0.99 * k < measure_geometry(whitened(rows)).effective_rank <= k + 1e-6


def test_a_row_in_the_middle_is_a_hub():
    rng = np.random.default_rng(5)
    middle = rng.normal(size=(1, 100))
    around = unit_rows(middle + 1.5 * rng.normal(size=(200, 100)))
    with_hub = np.concatenate([around, unit_rows(middle)])
    assert measure_geometry(with_hub).hubness > 3 * measure_geometry(around).hubness > 0


@pytest.mark.parametrize("offset", [0, 10])
def test_neither_order_nor_rotation_matters(offset):
    rows = cloud(offset=offset)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(DIM, DIM)))[0]
    turned = (rows[np.random.default_rng(2).permutation(len(rows))] @ rotation).astype(np.float32)
    for name in NUMBERS:
        assert getattr(measure_geometry(turned), name) == near(getattr(measure_geometry(rows), name)), name


def test_copies_share_their_places_whatever_the_order():
    """Two rows have thirty copies each, with one row between; if position broke ties, first copies would be hubs."""
    rows = unit_rows(np.repeat([[1.0, 0], [0, 1], [1, 1]], [30, 30, 1], axis=0))
    expected = measure_geometry(rows).hubness
    # Copies fill one another's 10 places; the row between shares its ten among sixty and is a neighbor of none.
    counts = np.array([10 + 10 / 60] * 60 + [0])
    deviations = counts - counts.mean()
    assert expected == near((deviations**3).mean() / (deviations**2).mean() ** 1.5)
    assert measure_geometry(rows[::-1]).hubness == near(expected)


@pytest.mark.parametrize("offset", [0, 10])
def test_copies_of_many_rows_have_no_hubs(offset):
    """Each row's neighbors are its own 29 copies, whose sums of 100 products differ in the last bit."""
    assert measure_geometry(np.repeat(cloud(10, offset, dim=100), 30, axis=0)).hubness is None


# --- undefined numbers


@pytest.mark.parametrize("rows", [np.empty((0, 5)), np.zeros((1, 5)), np.eye(5)[:1], np.ones((1, 1)), np.empty((0, 0))])
def test_fewer_than_two_rows_have_no_geometry(rows):
    found = measure_geometry(rows.astype(np.float32))
    known = {field.name for field in fields(found) if getattr(found, field.name) is not None}
    assert known == {"n", "dim", "histogram"}
    assert (found.n, found.dim, found.histogram) == (*rows.shape, (0,) * 50)


@pytest.mark.parametrize("n", [2, 3, 11, 12, 200])
@pytest.mark.parametrize(
    ("row", "cosine"),
    [([0, 0, 0], 0), ([0.6, 0, 0.8], 1), ([1 / 3, 2 / 3, 2 / 3], 1), ([1], 1), ([-1], 1), ([0.1] * 100, 1)],
)
def test_rows_that_are_all_the_same_are_a_single_point(n, row, cosine):
    found = measure_geometry(np.array([row] * n, np.float32))
    assert [getattr(found, name) for name in COMPONENTS] == [None] * 4
    assert (found.mean_cosine, found.std_cosine, found.uniformity) == (near(cosine), near(0), near(0))
    assert (found.dead, filled(found)) == (len(row), {49 if cosine else 25: n * (n - 1) // 2})


def test_what_float32_cannot_tell_apart_is_a_single_point():
    rows = np.repeat(cloud(1), 50, axis=0)
    rows *= 1 + np.random.default_rng(0).uniform(-1e-7, 1e-7, rows.shape).astype(np.float32)
    assert len(np.unique(rows, axis=0)) > 1
    found = measure_geometry(rows)
    assert [getattr(found, name) for name in COMPONENTS] == [None] * 4
    assert found.dead == DIM


@pytest.mark.parametrize("n", [2, 3, 10, 11, 12, 13, 50])
@pytest.mark.parametrize("dim", [1, 2, 30])
@pytest.mark.parametrize("zeros", [0, 1, 9])
def test_small_sets_and_empty_texts_give_finite_numbers(n, dim, zeros):
    rows = cloud(n, dim=dim)
    rows[:zeros] = 0
    found = measure_geometry(rows, (rows, rows[::-1]))
    numbers = [value for value in astuple(found) if isinstance(value, float)]
    assert np.isfinite(numbers).all()
    assert None not in [getattr(found, name) for name in (*PAIRS, "alignment", "dead")]
    assert found.hubness is None or n > 11


def test_zeros_among_unit_rows_by_hand():
    """An empty text has cosine 0 with every text and distance 1 from unit rows; two empty texts coincide."""
    rows = np.array([[0, 0], [0, 0], [1, 0]], np.float32)
    found = measure_geometry(rows)
    assert (found.mean_cosine, found.uniformity) == (0, near(math.log((1 + 2 * math.exp(-2)) / 3)))


def test_one_component_has_rank_one():
    """Five rows are 1 and five are -1, so 20 pairs agree and 25 do not."""
    found = measure_geometry(np.array([[1], [-1]] * 5, np.float32))
    assert found.mean_cosine == near((20 - 25) / 45)
    assert (found.top1, found.top10, found.effective_rank, found.dead) == (1, 1, 1, 0)
    assert filled(found) == bins(_0=25, _49=20)


def test_the_length_of_rows_does_not_matter():
    rows, lengths = cloud(60, offset=1), np.random.default_rng(0).uniform(0.1, 9, (60, 1)).astype(np.float32)
    for name in NUMBERS:
        assert getattr(measure_geometry(rows * lengths), name) == near(getattr(measure_geometry(rows), name)), name
    assert measure_geometry(rows, (rows * lengths, rows)).alignment == near(0)


def test_what_was_measured_compares_and_does_not_change_its_input():
    rows = cloud(30)
    before = rows.copy()
    assert measure_geometry(rows) == measure_geometry(rows)
    np.testing.assert_array_equal(rows, before)


# --- histogram and sample


def test_the_bins_are_fifty_of_the_same_width():
    np.testing.assert_allclose(np.diff(HISTOGRAM_EDGES), 0.04)
    assert (HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[25], HISTOGRAM_EDGES[-1], len(HISTOGRAM_EDGES)) == (-1, 0, 1, 51)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cosines_by_bin_by_hand(dtype):
    cosines = np.array([-1.0000002, -1, -0.97, -0.95, 0, 0.03, 0.05, 0.97, 1, 1.0000002], dtype)
    counts = cosine_histogram(cosines)
    assert counts.dtype == np.int64
    assert dict(enumerate(counts)) | bins(_0=3, _1=1, _25=2, _26=1, _49=3) == dict(enumerate(counts))
    assert counts.sum() == 10
    assert cosine_histogram(cosines[:0]).tolist() == [0] * 50


@pytest.mark.parametrize(("n", "size"), [(0, 5), (5, 5), (5, 9), (1, 1)])
def test_all_rows_are_the_sample_where_they_fit(n, size):
    rows = sample_rows(n, size, 0)
    assert rows.dtype == np.int64
    assert rows.tolist() == list(range(n))


@pytest.mark.parametrize(("n", "size"), [(10, 9), (10, 0), (100_000, 2000)])
def test_a_sample_is_rising_and_has_no_row_twice(n, size):
    rows = sample_rows(n, size, 7)
    assert (rows.dtype, rows.shape) == (np.int64, (size,))
    assert all(0 <= row < n for row in rows)
    assert (np.diff(rows) > 0).all()


def test_a_sample_depends_on_its_seed_alone():
    np.random.seed(1)  # noqa: NPY002  the caller's global state must be neither read nor changed
    first, state = sample_rows(1000, 20, 3), np.random.get_state()[1].tolist()  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert sample_rows(1000, 20, 3).tolist() == first.tolist() != sample_rows(1000, 20, 4).tolist()
    np.random.seed(1)  # noqa: NPY002
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


def test_every_row_is_drawn_equally_often():
    """Drawing 3 of 10 rows 2000 times gives each row 600 times, within four standard deviations of 20."""
    counts = np.bincount(np.concatenate([sample_rows(10, 3, seed) for seed in range(2000)]), minlength=10)
    assert (abs(counts - 600) < 82).all()
