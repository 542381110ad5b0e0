"""The table of kinds of vector indexes, and the choice among them."""

from __future__ import annotations

from math import ceil, log2, sqrt

from semsearch.errors import UsageError
from semsearch.stores.local.vectors.ann.base import Kind
from semsearch.stores.local.vectors.ann.hnsw import Hnsw
from semsearch.stores.local.vectors.ann.ivf import Ivf
from semsearch.stores.local.vectors.ann.library import FaissIndex, import_faiss, metric_of

KINDS: dict[str, Kind] = {"HNSW": Hnsw(), "IVF": Ivf()}

EXACT = "Flat"
"""Factory string of exact search, which needs no index beside the vectors."""

EXACT_BYTES = 16 * 2**20
"""Size of float32 vectors up to which they are searched exactly: about 10,000 of 384 dimensions, in 0.6 ms."""

MIB = 2**20

BLOCK_BYTES = 96 * MIB
"""Size of the float32 vectors that are added to an index at a time."""

LEAST_ROWS = 1_000
"""Number of rows below which a vector index would save nothing, whatever their dimension."""


def kind_of(factory: str) -> Kind:
    """Return the kind of a factory string.

    Raises:
        UsageError: If no kind accepts it.
    """
    for kind in KINDS.values():
        if kind.accepts(factory):
            return kind
    raise UsageError(
        f"`vector_index` {factory!r} is not supported; expected 'auto', {EXACT!r}, HNSW<neighbors>,<code> or "
        "IVF<lists>,<code> in FAISS's notation, such as 'HNSW32,SQ8' or 'IVF2048,RaBitQ'. Codes: Flat, SQ4, SQ6, SQ8, "
        "SQfp16, SQbf16; for IVF also RaBitQ and PQ<bytes>"
    )


def create(factory: str, dim: int, similarity: str) -> FaissIndex:
    """Create an empty index.

    Raises:
        UsageError: If FAISS rejects the factory string for this dimension.
    """
    kind = kind_of(factory)
    try:
        index = import_faiss().index_factory(dim, factory, metric_of(similarity))
    except RuntimeError as error:
        said = str(error).splitlines()[0].rpartition("Error: ")[2]
        raise UsageError(f"FAISS rejects `vector_index` {factory!r} for vectors of {dim} dimensions: {said}") from None
    kind.prepare(index)
    return index


def bytes_needed(factory: str, n: int, dim: int) -> float:
    """Return the approximate memory that n rows take while an index over them is built, or searched."""
    kind = kind_of(factory)
    return n * kind.bytes_per_row(factory, dim) + max(kind.n_training(factory) * dim * 4, BLOCK_BYTES)


def candidates(n: int, dim: int) -> tuple[str, ...]:
    """Return the vector indexes for n rows, the fastest at equal recall first, the smallest last."""
    lists = 2 ** max(4, round(log2(4 * sqrt(max(n, 1)))))
    return "HNSW32,SQ8", "HNSW16,SQ8", f"IVF{lists},RaBitQ"


def exact_rows(dim: int) -> int:
    """Return the number of vectors up to which they are searched exactly."""
    return max(1, EXACT_BYTES // (4 * dim))


def choose(n: int, dim: int, memory: int) -> str:
    """Return the factory string of the vector index for n rows that takes at most this many bytes.

    Raises:
        UsageError: If even the smallest takes more; the message says how much that is.
    """
    if n <= max(exact_rows(dim), LEAST_ROWS):
        return EXACT
    possible = candidates(n, dim)
    for factory in possible:
        if bytes_needed(factory, n, dim) <= memory:
            return factory
    least = bytes_needed(possible[-1], n, dim)
    raise UsageError(
        f"`memory` of {memory / MIB:,.0f} MiB is too little for {n:,} vectors of {dim} dimensions; the smallest vector "
        f"index, {possible[-1]}, takes {ceil(least / MIB):,} MiB to build"
    )
