"""Access to FAISS: import on first use, threads, selectors, and vectors that view memory which FAISS does not own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from semsearch.arrays import Array
from semsearch.forks import runs_here
from semsearch.types import EUCLIDEAN

FaissIndex: TypeAlias = Any
"""A faiss.Index; faiss ships without type annotations."""

BITS = {"Flat": 32, "SQ4": 4, "SQ6": 6, "SQ8": 8, "SQfp16": 16, "SQbf16": 16, "RaBitQ": 1}
"""Bits per component of a code, by its name in a factory string."""


@cache
def import_faiss() -> Any:
    """Return the library, imported on first use, because commands such as `semsearch status` do not need it."""
    return import_module("faiss")


def metric_of(similarity: str) -> Any:
    """Return FAISS's metric for a similarity; for unit rows, the inner product is the cosine."""
    faiss = import_faiss()
    return faiss.METRIC_L2 if similarity == EUCLIDEAN else faiss.METRIC_INNER_PRODUCT


@contextmanager
def threads_for(n_queries: int) -> Iterator[None]:
    """Limit FAISS to one thread per query: further threads have nothing to do, and busy-wait on a core.

    Measured in bench/search_latency.py. A forked child always uses one thread, because it has none of its parent's.
    """
    faiss = import_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads((min(before, n_queries) or 1) if runs_here("faiss") else 1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The rows of a segment that may be found, at least one but not all of them.

    Attributes:
        mask: Whether each row may be found, `[n]`.
        n: Number of such rows.
        selector: The same for FAISS.
    """

    mask: NDArray[np.bool_]
    n: int
    selector: Any

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> Chosen:
        """Create one from a mask `[n]`."""
        bits = np.packbits(mask, bitorder="little")
        return cls(mask, int(np.count_nonzero(mask)), import_faiss().IDSelectorBitmap(bits))


def peek(vector: Any) -> Array:
    """Return the values of one of FAISS's vectors without copying them; valid for as long as it is unchanged."""
    if not vector.size():
        return import_faiss().vector_to_array(vector)  # type: ignore[no-any-return]
    return import_faiss().rev_swig_ptr(vector.data(), vector.size())  # type: ignore[no-any-return]


def fill(owner: Any, name: str, values: Array) -> None:
    """Set a vector of a FAISS object, `owner.name`, to values.

    They are not copied if FAISS supports that, which it does since version 1.12 for codes and neighbors: the caller
    must keep them.
    """
    faiss, vector, flat = import_faiss(), getattr(owner, name), np.ascontiguousarray(values).reshape(-1)
    if hasattr(vector, "create_view"):
        setattr(owner, name, vector.create_view(faiss.swig_ptr(flat), len(flat), vector.owner))
    else:
        faiss.copy_array_to_vector(flat, vector)


def fits(array: Array, dtype: DTypeLike, *shape: int) -> bool:
    """Return whether an array has this type and shape."""
    return array.dtype == dtype and array.shape == shape


def ranged_types() -> tuple[int, ...]:
    """Return the types of scalar quantizers that have a range for each component."""
    quantizer = import_faiss().ScalarQuantizer
    return quantizer.QT_8bit, quantizer.QT_6bit, quantizer.QT_4bit
