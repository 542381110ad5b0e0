"""Test transforms against the formulas of the papers, written in float64 NumPy over all rows at once."""

from __future__ import annotations

import numpy as np
import pytest

from semsearch.errors import UsageError
from semsearch.transforms import TRANSFORMS, Transform, fit_transform, parse_transform, unit_rows

DIM = 12


def corpus(n: int = 400, offset: float = 0.0, dim: int = DIM) -> np.ndarray:
    """Return correlated float32 rows whose axes differ clearly in variance."""
    rng = np.random.default_rng(7)
    mixing = rng.normal(size=(dim, dim)) * 1.5 ** -np.arange(dim)
    return (rng.normal(size=(n, dim)) @ mixing.T + offset * rng.normal(size=dim)).astype(np.float32)


def rescaled(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def cosines(rows: np.ndarray) -> np.ndarray:
    """Return the pairwise cosines, which are invariant under sign changes and rotations of the axes."""
    return rescaled(rows) @ rescaled(rows).T


def by_the_paper(name: str, rows: np.ndarray) -> np.ndarray:
    """Apply Su et al. 2021, section 3 (SVD of the covariance), or Mu and Viswanath 2018, algorithm 1 (PCA)."""
    kind, _, k = name.partition(":")
    rows = rows.astype(np.float64)
    centered = rows - rows.mean(0)
    if kind == "whiten":
        u, variance, _ = np.linalg.svd(np.cov(rows, rowvar=False, bias=True))
        return centered @ (u @ np.diag(1 / np.sqrt(variance)))[:, : int(k or len(u))]
    if kind == "all-but-the-top":
        _, _, axes = np.linalg.svd(centered, full_matrices=False)
        return centered - sum(
            np.outer(centered @ axis, axis) for axis in axes[: int(k or max(1, rows.shape[1] // 100))]
        )
    return centered


NAMES = ["center", "whiten", "whiten:5", "whiten:12", "all-but-the-top", "all-but-the-top:3", "all-but-the-top:11"]


def test_every_transform_is_tried_here() -> None:
    assert {name.partition(":")[0] for name in NAMES} == set(TRANSFORMS)


@pytest.mark.parametrize("name", NAMES)
def test_a_transform_is_what_its_paper_says(name: str) -> None:
    rows = corpus()
    vectors = fit_transform(name, [rows], DIM)(rows)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(rows), parse_transform(name, DIM)[2])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors @ vectors.T, cosines(by_the_paper(name, rows)), atol=2e-4)


@pytest.mark.parametrize("offset", [0, 1e3, 1e6])
@pytest.mark.parametrize("name", ["whiten", "whiten:5"])
def test_whitened_rows_have_the_identity_as_covariance(name: str, offset: float) -> None:
    rows = corpus(offset=offset)
    whitened = rows.astype(np.float64) @ fit_transform(name, np.array_split(rows, 3), DIM).matrix
    np.testing.assert_allclose(np.cov(whitened, rowvar=False, bias=True), np.eye(whitened.shape[1]), atol=1e-4)


def test_whitening_keeps_the_strongest_axes() -> None:
    rows = corpus() @ np.diag([9, 1, 5, *[0.1] * (DIM - 3)]).astype(np.float32)
    first = fit_transform("whiten:2", [rows], DIM)
    variance, axes = np.linalg.eigh(np.cov(rows, rowvar=False))
    np.testing.assert_allclose(abs(rescaled(first.matrix.T) @ axes[:, [-1, -2]]), np.eye(2), atol=1e-3)
    assert variance[-1] > variance[-2]


def test_the_top_is_gone_and_the_rest_untouched() -> None:
    rows = corpus()
    fitted = fit_transform("all-but-the-top:2", [rows], DIM)
    _, _, axes = np.linalg.svd(rows - rows.mean(0))
    np.testing.assert_allclose(axes[:2] @ fitted.matrix, 0, atol=1e-4)
    np.testing.assert_allclose(axes[2:] @ fitted.matrix, axes[2:], atol=1e-4)


def test_by_default_a_hundredth_of_the_dimensions_is_the_top() -> None:
    """Mu and Viswanath's rule of thumb is d / 100, which removes 3 of 384 components."""
    matrix = fit_transform("all-but-the-top", [corpus(600, dim=384)], 384).matrix
    assert round(384 - np.trace(matrix.astype(np.float64))) == 3


def test_centering_by_hand() -> None:
    fitted = fit_transform("center", [np.array([[1, 1], [3, 5]], np.float32)], 2)
    np.testing.assert_array_equal(fitted.mean, [2, 3])
    np.testing.assert_allclose(fitted(np.array([[5, 7], [2, 3]], np.float32)), [[0.6, 0.8], [0, 0]], atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sizes", [[400], [1, 399], [100, 7, 293], [0, 400], [399, 0, 1]])
def test_a_corpus_in_several_batches_gives_what_the_formula_gives_at_once(name: str, sizes: list[int]) -> None:
    rows = corpus(offset=3)
    fitted = fit_transform(name, iter(np.split(rows, np.cumsum(sizes)[:-1])), DIM)
    np.testing.assert_allclose(fitted.mean, rows.astype(np.float64).mean(0), rtol=1e-6)
    vectors = fitted(rows)
    np.testing.assert_allclose(vectors @ vectors.T, cosines(by_the_paper(name, rows)), atol=3e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_common_offset_a_thousand_times_the_spread_costs_no_digits(name: str) -> None:
    rows = corpus(offset=1000)
    fitted = fit_transform(name, np.array_split(rows, 4), DIM)
    vectors = fitted(rows)
    np.testing.assert_allclose(vectors @ vectors.T, cosines(by_the_paper(name, rows)), atol=2e-2)


@pytest.mark.parametrize("name", NAMES)
def test_fewer_rows_than_dimensions_give_finite_vectors(name: str) -> None:
    rows = corpus(4)
    vectors = fit_transform(name, [rows], DIM)(np.concatenate([rows, corpus(50)]))
    assert np.isfinite(vectors).all()
    lengths = np.linalg.norm(vectors, axis=1)
    assert np.all((abs(lengths - 1) < 1e-5) | (lengths == 0))


def test_whitening_four_rows_puts_them_at_the_corners_of_a_simplex() -> None:
    """For n centered rows with identity covariance in n - 1 dimensions, all cosines are -1 / (n - 1)."""
    rows = corpus(4)
    vectors = fit_transform("whiten", [rows], DIM)(rows)
    np.testing.assert_allclose(vectors @ vectors.T, (4 * np.eye(4) - 1) / 3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_are_all_the_same_give_no_nan(name: str) -> None:
    rows = np.tile(corpus(1), (5, 1))
    assert np.isfinite(fit_transform(name, [rows], DIM)(rows)).all()


def test_a_transform_of_no_rows_is_empty() -> None:
    fitted = fit_transform("whiten:5", [corpus()], DIM)
    assert isinstance(fitted, Transform)
    assert fitted(np.empty((0, DIM), np.float32)).shape == (0, 5)


@pytest.mark.parametrize("batches", [[], [corpus(1)], [np.empty((0, DIM), np.float32)]])
def test_fewer_than_two_rows_are_an_error(batches: list[np.ndarray]) -> None:
    with pytest.raises(UsageError, match=f"has {sum(map(len, batches))} vectors; at least 2 are needed"):
        fit_transform("whiten", batches, DIM)


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("center", ("center", None, 12)),
        ("whiten", ("whiten", None, 12)),
        ("whiten:1", ("whiten", 1, 1)),
        ("whiten:12", ("whiten", 12, 12)),
        ("all-but-the-top:11", ("all-but-the-top", 11, 12)),
    ],
)
def test_a_name_says_kind_k_and_length(name: str, parsed: tuple[str, int | None, int]) -> None:
    assert parse_transform(name, DIM) == parsed


@pytest.mark.parametrize("name", ["", "zorg", "Whiten", "whitening:3", "truncate:3"])
def test_a_name_that_is_none_lists_the_names(name: str) -> None:
    with pytest.raises(UsageError, match="known: center, whiten, all-but-the-top, as NAME or NAME:K"):
        parse_transform(name, DIM)


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("whiten:", 12),
        ("whiten:0", 12),
        ("whiten:13", 12),
        ("whiten:-1", 12),
        ("whiten:2.5", 12),
        ("all-but-the-top:12", 11),
    ],
)
def test_a_k_that_does_not_fit_is_refused_with_its_bounds(name: str, last: int) -> None:
    with pytest.raises(UsageError, match=f"K must be a whole number from 1 to {last}"):
        parse_transform(name, DIM)


def test_center_takes_no_k() -> None:
    with pytest.raises(UsageError, match="center takes no"):
        parse_transform("center:3", DIM)


def test_unit_rows_leaves_zeros_alone() -> None:
    vectors = unit_rows(np.array([[3.0, 4.0], [0.0, 0.0], [-2.0, 0.0]]))
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 0], [-1, 0]], atol=1e-7)
    assert vectors.dtype == np.float32
