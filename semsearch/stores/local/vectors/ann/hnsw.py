"""Hierarchical navigable small worlds: a graph of neighbors (Malkov and Yashunin 2018), over quantized vectors.

The best choice if memory suffices: with 32 neighbors and 8-bit codes, a row takes dim + 264 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np

from semsearch.arrays import Array, Ids, Vectors
from semsearch.stores.local.vectors.ann.base import Arrays
from semsearch.stores.local.vectors.ann.library import (
    BITS,
    Chosen,
    FaissIndex,
    fill,
    fits,
    import_faiss,
    peek,
    ranged_types,
)

FACTORY = re.compile(r"HNSW([1-9]\d{0,2})(?:,(Flat|SQ4|SQ6|SQ8|SQfp16|SQbf16))?")

LEAST_NEIGHBORS = 2
"""With one neighbor, FAISS draws infinite levels, which crashes the interpreter."""

CONSTRUCTION = 128
"""Width of the search while building: raises recall from .982 to .988 in comparison with FAISS's 40."""

RESCORED, RESCORED_COARSE, RESCORED_SHARE = 2, 50, 30
"""Number of candidates beyond the k best that are scored exactly, with codes of 8 bits or more, and of fewer, and for
how many of the k best there is one more. More raise recall@k by .0001 at most (300,000 sentences, k of 10 to 110)."""

WIDER = 50
"""For how many more than ten neighbors the effort is doubled, to find them with equal recall; it grows linearly.

Measured with 300,000 sentences: for k = 20, 1.2 times as predicted, for 110, 2.9 times, for 1,000, 17 instead of 21."""

SCAN = 50
"""Ratio of the cost of visiting a node of the graph to that of comparing a code, times the nodes visited per effort.

A scan compares all m chosen rows; the graph visits about effort * n / m nodes, because it passes through others."""


class Hnsw:
    """See `Kind`; the search parameter is FAISS's efSearch."""

    efforts = (16, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024)

    def accepts(self, factory: str) -> bool:
        """See `Kind.accepts`."""
        match = FACTORY.fullmatch(factory)
        return match is not None and LEAST_NEIGHBORS <= int(match[1])

    def bytes_per_row(self, factory: str, dim: int) -> float:
        """See `Kind.bytes_per_row`: codes, twice as many neighbors on the lowest level, and the level."""
        neighbors, storage = _parsed(factory)
        return dim * BITS[storage or "Flat"] / 8 + 4 * 2.04 * neighbors + 12

    def least_rows(self, factory: str) -> int:
        """See `Kind.least_rows`."""
        return 1

    def n_training(self, factory: str) -> int:
        """See `Kind.n_training`: enough for the range of each component."""
        return 50_000 if (_parsed(factory)[1] or "Flat").startswith("SQ") else 0

    def prepare(self, index: FaissIndex) -> None:
        """See `Kind.prepare`."""
        index.hnsw.efConstruction = CONSTRUCTION

    def arrays(self, index: FaissIndex) -> Iterator[tuple[str, Array]]:
        """See `Kind.arrays`."""
        storage, graph = import_faiss().downcast_index(index.storage), index.hnsw
        yield "codes", peek(storage.codes).reshape(index.ntotal, -1)
        if hasattr(storage, "sq"):
            yield "ranges", peek(storage.sq.trained)
        yield "levels", peek(graph.levels)
        yield "neighbors", peek(graph.neighbors)
        yield "entry", np.array([graph.entry_point], np.int64)

    def restore(self, index: FaissIndex, arrays: Arrays, n: int) -> bool:
        """See `Kind.restore`: every neighbor must exist, on the level that it is a neighbor on."""
        faiss, graph = import_faiss(), index.hnsw
        storage = faiss.downcast_index(index.storage)
        codes, levels, neighbors, entry = (arrays[name] for name in ("codes", "levels", "neighbors", "entry"))
        widths = peek(graph.cum_nneighbor_per_level).astype(np.int64)
        if not (fits(codes, np.uint8, n, storage.code_size) and fits(levels, np.int32, n)):
            return False
        if levels.min() < 1 or levels.max() > len(widths) - 1:
            return False
        offsets = np.concatenate([[0], np.cumsum(widths[levels])])
        if not _are_neighbors(neighbors, offsets, levels, widths) or not fits(entry, np.int64, 1):
            return False
        if not 0 <= entry[0] < n or levels[entry[0]] != levels.max():
            return False
        if hasattr(storage, "sq"):
            ranges, n_ranges = arrays["ranges"], 2 * index.d if storage.sq.qtype in ranged_types() else 0
            if not (fits(ranges, np.float32, n_ranges) and np.isfinite(ranges).all()):
                return False
            faiss.copy_array_to_vector(ranges, storage.sq.trained)
        fill(storage, "codes", codes)
        faiss.copy_array_to_vector(levels, graph.levels)
        faiss.copy_array_to_vector(offsets.astype(np.uint64), graph.offsets)
        fill(graph, "neighbors", neighbors)
        graph.entry_point, graph.max_level = int(entry[0]), int(levels.max()) - 1
        storage.ntotal = index.ntotal = n
        storage.is_trained = index.is_trained = True
        return True

    def candidates(self, index: FaissIndex, queries: Vectors, k: int, effort: int, chosen: Chosen | None) -> Ids:
        """See `Kind.candidates`; a graph of which few nodes are chosen is not walked, but its codes are compared."""
        n = index.ntotal
        spare = RESCORED if index.storage.sa_code_size() >= index.d else RESCORED_COARSE
        wanted = min(k + spare + k // RESCORED_SHARE, n)
        width = max(effort * (1 + max(k - 10, 0) / WIDER), wanted)
        if chosen is None:
            return _walk(index, queries, wanted, width, None)
        wanted = min(wanted, chosen.n)
        if chosen.n**2 <= SCAN * width * n:
            return _scan(index, queries, wanted, chosen)
        found = _walk(index, queries, wanted, width * n / chosen.n, chosen)
        short = np.flatnonzero(found[:, min(k, wanted) - 1] < 0)
        if len(short):  # the chosen rows are far from the query
            found[short] = _scan(index, queries[short], wanted, chosen)
        return found


def _walk(index: FaissIndex, queries: Vectors, wanted: int, width: float, chosen: Chosen | None) -> Ids:
    if chosen is None:
        parameters = _unfiltered(ceil(width))
    else:
        parameters = import_faiss().SearchParametersHNSW(efSearch=ceil(width), sel=chosen.selector)
    found: Ids = index.search(queries, wanted, params=parameters)[1]
    return found


@lru_cache
def _unfiltered(width: int) -> Any:
    """Return the parameters of a search in all rows; creating them takes 3 µs."""
    return import_faiss().SearchParametersHNSW(efSearch=width)


def _scan(index: FaissIndex, queries: Vectors, wanted: int, chosen: Chosen) -> Ids:
    parameters = import_faiss().SearchParameters(sel=chosen.selector)
    found: Ids = index.storage.search(queries, wanted, params=parameters)[1]
    return found


def _parsed(factory: str) -> tuple[int, str | None]:
    match = FACTORY.fullmatch(factory)
    assert match, factory
    return int(match[1]), match[2]


def _are_neighbors(neighbors: Array, offsets: Ids, levels: Array, widths: Ids) -> bool:
    """Return whether all neighbors are rows or -1, and have the level that they are neighbors on."""
    n = len(levels)
    if not fits(neighbors, np.int32, offsets[-1]) or neighbors.min() < -1 or neighbors.max() >= n:
        return False
    for level in range(1, int(levels.max())):
        starts = offsets[:-1][levels > level] + widths[level]
        near = neighbors[starts[:, None] + np.arange(widths[level + 1] - widths[level])]
        if (levels[near[near >= 0]] <= level).any():
            return False
    return True
