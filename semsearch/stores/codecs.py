"""Codecs: the forms in which vectors are stored, as float32, float16 or 8-bit integers with a scale of their own.

A stored vector is a row of `columns(dim)` numbers, whose bytes are a blob in SQLite and a row of a segment. Decoding is
exact and depends on the row alone, so a vector is the same wherever it is read.

    float32     `dim` numbers
    float16     `dim` numbers, IEEE 754 half precision
    int8        the scale, a float32 in 4 bytes, then `dim` signed integers from -127 to 127, all as bytes

Everything is little-endian. The codes of int8 are the components in units of 1/127 of the largest one. The scale is not
that unit, but the one with which the decoded vector has the length of the given one: unit vectors stay unit vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from semsearch.arrays import Array, Vectors
from semsearch.errors import UsageError

SCALE = np.dtype("<f4")

LARGEST = 127


@dataclass(frozen=True, slots=True)
class Codec:
    """A form of stored vectors.

    Attributes:
        dtype: Type of the numbers in a stored row.
        extra: Number of columns of a stored row beside the components.
        encode: Converts float32 `[n, dim]` to stored rows `[n, columns]`.
        decode: Converts stored rows back to float32 `[n, dim]`.
    """

    dtype: np.dtype[np.generic]
    extra: int
    encode: Callable[[Vectors], Array]
    decode: Callable[[Array], Vectors]

    def columns(self, dim: int) -> int:
        """Return the number of columns of a stored row."""
        return dim + self.extra

    def n_bytes(self, dim: int) -> int:
        """Return the number of bytes of a stored vector."""
        return self.dtype.itemsize * self.columns(dim)

    def read(self, data: bytes, dim: int) -> Array:
        """Return the stored rows `[n, columns]` in the bytes of any number of vectors."""
        return np.frombuffer(data, self.dtype).reshape(-1, self.columns(dim))


def _to_float16(rows: Vectors) -> Array:
    with np.errstate(over="ignore"):  # `unstorable` names the vector
        return rows.astype("<f2")


def _to_int8(rows: Vectors) -> Array:
    exact = rows.astype(np.float64)
    with np.errstate(all="ignore"):
        largest = np.abs(exact).max(1, keepdims=True)
        codes = np.rint(np.divide(LARGEST * exact, largest, out=np.zeros_like(exact), where=largest > 0))
        lengths, theirs = (np.linalg.norm(each, axis=1, keepdims=True) for each in (exact, codes))
        scales = np.divide(lengths, theirs, out=np.zeros_like(lengths), where=theirs > 0).astype(SCALE)
        return np.concatenate([scales.view(np.uint8), codes.astype(np.int8).view(np.uint8)], axis=1)


def _from_int8(stored: Array) -> Vectors:
    scales = np.ascontiguousarray(stored[:, : SCALE.itemsize]).view(SCALE)
    with np.errstate(all="ignore"):  # of a damaged row
        return np.multiply(stored[:, SCALE.itemsize :].view(np.int8), scales, dtype=np.float32)


CODECS: Mapping[str, Codec] = {
    "float32": Codec(
        np.dtype("<f4"), 0, lambda rows: rows.astype("<f4", copy=False), lambda stored: stored.astype("f4", copy=False)
    ),
    "float16": Codec(np.dtype("<f2"), 0, _to_float16, lambda stored: stored.astype(np.float32)),
    "int8": Codec(np.dtype(np.uint8), SCALE.itemsize, _to_int8, _from_int8),
}
"""The codecs by store precision; see `types.Storage`."""

FLOAT32 = CODECS["float32"]


def refuse_unstorable(doc_ids: Sequence[str], rows: Vectors, stored: Array, precision: str) -> None:
    """Check that vectors can be stored in a precision.

    Args:
        doc_ids: The document of each vector.
        rows: The vectors, float32 `[n, dim]`.
        stored: The same, as the codec of the precision has encoded them.
        precision: The store precision.

    Raises:
        UsageError: If one cannot; the message names its document.
    """
    if problem := unstorable(rows, stored, CODECS[precision]):
        place, why = problem
        raise UsageError(
            f"a vector of document {doc_ids[place]!r} {why} to store it as {precision}; choose another "
            "`store_precision`"
        )


def unstorable(rows: Vectors, stored: Array, codec: Codec) -> tuple[int, str] | None:
    """Return the number of the first vector that a codec cannot store, and why; None if it can store all of them.

    Args:
        rows: The vectors, float32 `[n, dim]`.
        stored: The same, as the codec has encoded them.
        codec: The codec.
    """
    decoded = codec.decode(stored)
    is_lost = ~np.isfinite(decoded).all(axis=1) | (rows.any(axis=1) & ~decoded.any(axis=1))
    if not is_lost.any():
        return None
    place = int(np.argmax(is_lost))
    if not np.isfinite(rows[place]).all():
        return place, "has components that are not finite, and thus unfit"
    largest = float(np.abs(rows[place]).max())
    return place, f"has components of up to {largest:.3g}, which are too {'large' if largest > 1 else 'small'}"
