"""Inverted files: rows in lists around centroids, as short codes (Jégou et al. 2011; RaBitQ, Gao and Long 2024).

The choice for little memory: with RaBitQ, a row takes dim / 8 + 16 bytes. Several times slower than a graph at the same
recall, and training the centroids takes most of the time to build it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import ceil
from typing import Any

import numpy as np

from semsearch.arrays import Array, Ids, Vectors
from semsearch.stores.local.vectors.ann.base import Arrays
from semsearch.stores.local.vectors.ann.library import BITS, Chosen, FaissIndex, fits, import_faiss, peek, ranged_types

FACTORY = re.compile(r"IVF([1-9]\d{0,5}),(?:(Flat|SQ4|SQ6|SQ8|SQfp16|SQbf16|RaBitQ)|PQ([1-9]\d{0,3})(?:x8)?)")

PER_LIST = 40
"""Number of rows per centroid to train on; FAISS recommends at least 39."""

RESCORED, LEAST_RESCORED = 10, 200
"""Candidates that are scored exactly: this many per row wanted, and at least so many."""

SCANNED = 150_000
"""Number of chosen rows up to which all lists are searched, because they may be in any; this takes up to 5 ms."""


class Ivf:
    """See `Kind`; the search parameter is the number of lists that are searched, FAISS's nprobe."""

    efforts = (8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)

    def accepts(self, factory: str) -> bool:
        """See `Kind.accepts`."""
        return FACTORY.fullmatch(factory) is not None

    def bytes_per_row(self, factory: str, dim: int) -> float:
        """See `Kind.bytes_per_row`: the code and the position."""
        _, storage, parts = _parsed(factory)
        if parts:
            return parts + 8
        return dim * BITS[storage or "Flat"] / 8 + (8 if storage == "RaBitQ" else 0) + 8

    def least_rows(self, factory: str) -> int:
        """See `Kind.least_rows`: a row for each centroid, and for each of the 256 values of a part."""
        lists, _, parts = _parsed(factory)
        return max(lists, 256 if parts else 1)

    def n_training(self, factory: str) -> int:
        """See `Kind.n_training`."""
        lists, _, parts = _parsed(factory)
        return PER_LIST * max(lists, 256 if parts else 1)

    def prepare(self, index: FaissIndex) -> None:
        """See `Kind.prepare`: FAISS must not print warnings about few rows."""
        for one in (index, getattr(index, "pq", None)):
            if one is not None:
                one.cp.min_points_per_centroid = 1

    def arrays(self, index: FaissIndex) -> Iterator[tuple[str, Array]]:
        """See `Kind.arrays`; the rows are ordered by list."""
        faiss, lists = import_faiss(), index.invlists
        sizes = [lists.list_size(number) for number in range(index.nlist)]
        filled = [number for number, size in enumerate(sizes) if size]
        yield "centroids", index.quantizer.reconstruct_n(0, index.nlist)
        yield "sizes", np.array(sizes, np.uint32)
        ids = [faiss.rev_swig_ptr(lists.get_ids(number), sizes[number]) for number in filled]
        yield "positions", np.concatenate(ids).astype(np.uint32)
        width = index.code_size
        codes = [faiss.rev_swig_ptr(lists.get_codes(number), sizes[number] * width) for number in filled]
        yield "codes", np.concatenate(codes).reshape(-1, width)
        if (trained := _trained(index)) is not None:
            yield "trained", peek(trained)

    def restore(self, index: FaissIndex, arrays: Arrays, n: int) -> bool:
        """See `Kind.restore`: every row must be in one list."""
        faiss, trained = import_faiss(), _trained(index)
        centroids, sizes, positions, codes = (arrays[name] for name in ("centroids", "sizes", "positions", "codes"))
        if not (fits(centroids, np.float32, index.nlist, index.d) and np.isfinite(centroids).all()):
            return False
        if not (fits(codes, np.uint8, n, index.code_size) and _are_lists(sizes, positions, index.nlist, n)):
            return False
        if trained is not None:
            values = arrays["trained"]
            if not (fits(values, np.float32, _n_trained(index)) and np.isfinite(values).all()):
                return False
            faiss.copy_array_to_vector(values, trained)
        index.quantizer.add(np.ascontiguousarray(centroids))
        ids, start = positions.astype(np.int64), 0
        for number, size in enumerate(sizes.tolist()):
            if size:
                some = faiss.swig_ptr(ids[start : start + size]), faiss.swig_ptr(codes[start : start + size])
                index.invlists.add_entries(number, size, *some)
                start += size
        index.ntotal, index.is_trained = n, True
        if hasattr(index, "pq"):
            index.precompute_table()
        return True

    def candidates(self, index: FaissIndex, queries: Vectors, k: int, effort: int, chosen: Chosen | None) -> Ids:
        """See `Kind.candidates`; the fewer rows are chosen, the more lists are searched."""
        faiss, n = import_faiss(), chosen.n if chosen else index.ntotal
        wanted, lists = min(max(RESCORED * k, LEAST_RESCORED), n), effort * index.ntotal / n
        if chosen and n <= SCANNED:
            lists = index.nlist
        make = faiss.IVFRaBitQSearchParameters if isinstance(index, faiss.IndexIVFRaBitQ) else faiss.SearchParametersIVF
        parameters = make(nprobe=min(ceil(lists), index.nlist), sel=chosen.selector if chosen else None)
        found: Ids = index.search(queries, wanted, params=parameters)[1]
        short = np.flatnonzero(found[:, min(k, wanted) - 1] < 0)
        if len(short):  # the lists that were searched contain too few rows
            parameters.nprobe = index.nlist
            found[short] = index.search(queries[short], wanted, params=parameters)[1]
        return found


def _are_lists(sizes: Array, positions: Array, n_lists: int, n: int) -> bool:
    """Return whether each of n rows is in one list."""
    if not (fits(sizes, np.uint32, n_lists) and fits(positions, np.uint32, n)):
        return False
    if int(sizes.sum(dtype=np.int64)) != n or positions.max() >= n:
        return False
    return bool((np.bincount(positions, minlength=n) == 1).all())


def _trained(index: FaissIndex) -> Any:
    """Return the vector with what the codes were trained to, if they are trained at all."""
    if hasattr(index, "pq"):
        return index.pq.centroids
    return index.sq.trained if hasattr(index, "sq") else None


def _n_trained(index: FaissIndex) -> int:
    if hasattr(index, "pq"):
        return int(index.pq.M * index.pq.ksub * index.pq.dsub)
    return 2 * int(index.d) if index.sq.qtype in ranged_types() else 0


def _parsed(factory: str) -> tuple[int, str | None, int]:
    match = FACTORY.fullmatch(factory)
    assert match, factory
    return int(match[1]), match[2], int(match[3] or 0)
