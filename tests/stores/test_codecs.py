"""Test the codecs of stored vectors against values that were computed by hand, and by struct and NumPy."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest

from semsearch.stores.codecs import CODECS, unstorable

EACH = pytest.mark.parametrize("precision", CODECS)


def encoded(precision: str, *rows: list[float]) -> list[bytes]:
    return [row.tobytes() for row in CODECS[precision].encode(np.array(rows, np.float32))]


def test_the_bytes_of_a_vector_by_hand():
    row = [3.0, -4.0, 0.5, 0.0]  # in units of 4 / 127: 95.25, -127, 15.875, 0
    assert encoded("float32", row) == [struct.pack("<4f", *row)]
    assert encoded("float16", row) == [struct.pack("<4e", *row)]
    scale = math.sqrt(9 + 16 + 0.25) / math.sqrt(95**2 + 127**2 + 16**2)
    assert encoded("int8", row) == [struct.pack("<f4b", scale, 95, -127, 16, 0)]


@EACH
def test_a_vector_of_zeros_and_one_of_equal_components_are_exact(precision):
    rows = np.array([[0] * 5, [0.25] * 5, [-2, 0, 0, 0, 0]], np.float32)
    codec = CODECS[precision]
    decoded = codec.decode(codec.encode(rows))
    assert decoded.dtype == np.float32
    assert decoded == pytest.approx(rows, rel=1e-7)
    assert not decoded[0].any()


@EACH
@pytest.mark.parametrize("length", [1e-3, 1, 100])
def test_an_error_is_at_most_half_a_unit_and_lengths_are_kept(precision, length):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 48)) * rng.lognormal(sigma=1, size=48)  # some components are far larger than others
    rows = (length * rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    codec = CODECS[precision]
    stored = codec.encode(rows)
    assert stored.nbytes == 200 * codec.n_bytes(48) == 200 * {"float32": 192, "float16": 96, "int8": 52}[precision]
    decoded = codec.decode(stored)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    unit = {"float32": 0.0, "float16": 2.0**-10 * np.abs(rows), "int8": largest / 127}[precision]
    subnormal = 2.0**-25 if precision == "float16" else 0
    lengths = np.linalg.norm(decoded.astype(float), axis=1)
    stretched = 1e-2 * np.abs(decoded) if precision == "int8" else 0
    assert (np.abs(decoded - rows) <= unit / 2 + subnormal + stretched).all()
    assert lengths == pytest.approx([length] * 200, rel=1e-3 if precision == "float16" else 1e-6)
    assert codec.read(stored.tobytes(), 48).tobytes() == stored.tobytes()


@EACH
def test_codes_do_not_depend_on_other_vectors_and_encoding_again_changes_nothing(precision):
    rows = np.random.default_rng(1).normal(size=(300, 31)).astype(np.float32)
    codec = CODECS[precision]
    stored = codec.encode(rows)
    assert b"".join(codec.encode(row[None]).tobytes() for row in rows) == stored.tobytes()
    again = codec.encode(codec.decode(stored))
    assert codec.decode(again) == pytest.approx(codec.decode(stored), rel=2e-7)
    assert np.array_equal(again[:, codec.extra :], stored[:, codec.extra :])


@pytest.mark.parametrize(
    ("precision", "value", "expected"),
    [
        ("float16", 65_504, None),
        ("float16", 65_520, "components of up to 6.55e+04, which are too large"),
        ("float16", -1e9, "components of up to 1e+09, which are too large"),
        ("float16", 1e-9, "components of up to 1e-09, which are too small"),
        ("float32", 3e38, None),
        ("int8", 3e38, None),
        ("int8", 1e-30, None),
        ("int8", 1e-45, "too small"),
        *((precision, value, "not finite") for precision in CODECS for value in (math.nan, math.inf, -math.inf)),
    ],
)
def test_a_vector_that_cannot_be_stored_is_told(precision, value, expected):
    rows = np.array([[1, 2], [0, 0], [0, value], [math.nan, 0]], np.float32)
    codec = CODECS[precision]
    for some in (rows[:3], rows):
        found = unstorable(some, codec.encode(some), codec)
        if expected is None and len(some) == 3:
            assert found is None
        elif expected is not None:
            assert found is not None
            assert found[0] == 2
            assert expected in found[1]
