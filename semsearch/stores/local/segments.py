"""Vectors in FAISS: segments on disk that each cover a range of passages, and the search over them.

A segment can be deleted at any time: it is rebuilt from SQLite. Its file contains passage ids and vectors, and is not
in FAISS's own index format, because a file that FAISS reads can name other files to be mapped, or crash the
interpreter. Scores are inner products, which are cosines for unit rows, or Euclidean distances with a minus sign. This
module knows passage ids and vectors, but nothing of documents or SQL.

    8 bytes      `semsegm1`
    2 x int64    n, dim
    n x int64    passage ids, ascending
    n x dim      float32 vectors; everything is little-endian
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Ids, Vectors
from semsearch.files import open_regular, write_bytes
from semsearch.forks import runs_here
from semsearch.types import EUCLIDEAN

FaissIndex: TypeAlias = Any
"""A faiss.IndexIDMap over a faiss.IndexFlat; faiss ships without type annotations."""

MAGIC = b"semsegm1"

HEADER_BYTES = 24

IDS, ROWS = np.dtype("<i8"), np.dtype("<f4")


@cache
def import_faiss() -> Any:
    """Return the library, imported on first use, because commands such as `semsearch status` do not need it."""
    return import_module("faiss")


EXACT_QUERIES, EXACT_VALUES = 16, 2**16
"""Maximum number of queries, and of their components, for which distances are computed at a time.

For more of them (`faiss.cvar.distance_compute_blas_threshold`: 20 queries, since FAISS 1.15 128,000 components), FAISS
computes `|q|² - 2 q·v + |v|²`, whose terms cancel in float32: with an offset of 100 in each of 384 components, 1% of
the ten nearest of 5,000 vectors are right.
"""

SPARSE = 1_000
"""Passage ids per member of a set above which a bitmap takes too much memory."""


def build(ids: Ids, vectors: Vectors, similarity: str) -> FaissIndex:
    """Build an exact index over vectors `[n, dim]` with these passage ids; unit rows for cosine."""
    faiss = import_faiss()
    flat = faiss.IndexFlatL2 if similarity == EUCLIDEAN else faiss.IndexFlatIP
    index = faiss.IndexIDMap(flat(vectors.shape[1]))
    index.add_with_ids(np.ascontiguousarray(vectors, np.float32), ids)
    return index


def write(path: Path, ids: Ids, vectors: Vectors) -> str:
    """Write a segment so that its name never refers to a partial file; return its SHA-256 in hex."""
    parts = [
        MAGIC + np.array(vectors.shape, IDS).tobytes(),
        ids.astype(IDS, copy=False).tobytes(),
        vectors.astype(ROWS, copy=False).tobytes(),
    ]
    write_bytes(path, *parts)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def size_of(n: int, dim: int) -> int:
    """Return the size of a segment's file in bytes."""
    return HEADER_BYTES + n * (IDS.itemsize + dim * ROWS.itemsize)


def read(path: Path, sha256: str, n: int, dim: int, first: int, last: int) -> tuple[Ids, Vectors] | None:
    """Read a segment of `n` vectors for passages from `first` to `last`.

    Returns:
        The passage ids `[n]` and the vectors `[n, dim]`; None if the file is missing, is not the one on record, or has
        unexpected contents.
    """
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size != size_of(n, dim):
                return None
            data = np.empty(size_of(n, dim), np.uint8)
            if file.readinto(data.data) != len(data):
                return None
    except OSError:
        return None
    if hashlib.sha256(data.data).hexdigest() != sha256:
        return None
    header, rest = data[:HEADER_BYTES].tobytes(), data[HEADER_BYTES:]
    ids, rows = rest[: n * IDS.itemsize].view(IDS), rest[n * IDS.itemsize :].view(ROWS).reshape(n, dim)
    if header != MAGIC + np.array([n, dim], IDS).tobytes() or not _is_sound(ids, rows, first, last):
        return None
    return ids.astype(np.int64, copy=False), rows


def _is_sound(ids: Ids, rows: Vectors, first: int, last: int) -> bool:
    """Return whether ids ascend within their range and vectors are finite; a NaN makes both min and max NaN."""
    within = len(ids) > 0 and first <= ids[0] and ids[-1] <= last and bool(np.all(ids[1:] > ids[:-1]))
    return within and bool(np.isfinite(rows.min()) and np.isfinite(rows.max()))


def search(
    indexes: Sequence[FaissIndex], queries: Vectors, k: int, *, allowed: Ids | None, excluded: Ids
) -> tuple[Vectors, Ids]:
    """Find the k best passages for each query over several indexes.

    Args:
        indexes: Indexes with disjoint ids.
        queries: float32 `[n, dim]`, as searched.
        k: Maximum number of passages per query.
        allowed: Passages to search, ascending; None for all.
        excluded: Passages to skip, ascending (deleted since the index was built); must be disjoint from `allowed`.

    Returns:
        Scores and passage ids, both `[n, at most k]`, best first; rows of queries with fewer passages are padded with
        score -inf and id -1.
    """
    selector: Any = None
    if allowed is not None:
        selector = _selector(allowed)
    elif len(excluded):
        selector = import_faiss().IDSelectorNot(_selector(excluded))
    parameters = import_faiss().SearchParameters(sel=selector) if selector else None
    queries = np.ascontiguousarray(queries)
    with _threads_for(len(queries)):
        found = [_best(index, queries, k, k + 1, parameters) for index in indexes if index.ntotal]
    if not found:
        return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    scores = np.concatenate([scores for scores, _ in found], axis=1)
    ids = np.concatenate([ids for _, ids in found], axis=1)
    return _ranked(scores, ids, k)


def rows_of(indexes: Sequence[FaissIndex], excluded: Ids) -> Iterator[tuple[Vectors, NDArray[np.bool_]]]:
    """Yield the vectors of each index `[n, dim]`, without copying them, and which of them are not excluded `[n]`."""
    for index in indexes:
        kept = ~np.isin(import_faiss().vector_to_array(index.id_map), excluded)
        flat = import_faiss().downcast_index(index.index)
        yield import_faiss().rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(-1, flat.d), kept


def _selector(ids: Ids) -> Any:
    """Return a set of ids as a bitmap: a hash set of half a million ids takes longer to build than a search."""
    if len(ids) and (ids[0] < 0 or ids[-1] > SPARSE * len(ids) + 2**20):
        return import_faiss().IDSelectorBatch(ids)
    bits = np.zeros(int(ids[-1]) + 1 if len(ids) else 1, bool)
    bits[ids] = True
    return import_faiss().IDSelectorBitmap(np.packbits(bits, bitorder="little"))


@contextmanager
def _threads_for(n_queries: int) -> Iterator[None]:
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


def _best(index: FaissIndex, queries: Vectors, k: int, width: int, parameters: Any) -> tuple[Vectors, Ids]:
    """Return one index's k best; ask FAISS for more than k, because it breaks ties for the last place arbitrarily."""
    scores, ids = _nearest(index, queries, min(width, index.ntotal), parameters)
    scores[ids == -1] = -np.inf
    last = scores[:, -1]
    scores, ids = _ranked(scores, ids, k)
    if width < index.ntotal:
        for row in np.flatnonzero((last == scores[:, -1]) & (last != -np.inf)):
            scores[[row]], ids[[row]] = _best(index, queries[[row]], k, 8 * width, parameters)
    return scores, ids


def _nearest(index: FaissIndex, queries: Vectors, width: int, parameters: Any) -> tuple[Vectors, Ids]:
    """Return the scores and ids `[n, width]` of one index; distances are converted to scores."""
    if index.metric_type == import_faiss().METRIC_INNER_PRODUCT:
        scores, ids = index.search(queries, width, params=parameters)
        return scores, ids
    scores, ids = np.empty((len(queries), width), np.float32), np.empty((len(queries), width), np.int64)
    step = max(1, min(EXACT_QUERIES, EXACT_VALUES // queries.shape[1]))
    for start in range(0, len(queries), step):
        some = slice(start, start + step)
        squares, ids[some] = index.search(queries[some], width, params=parameters)
        scores[some] = -np.sqrt(squares)
    return scores, ids


def _ranked(scores: Vectors, ids: Ids, k: int) -> tuple[Vectors, Ids]:
    """Return the k best of each row, ties ordered by passage id, so that results do not depend on time or segments."""
    best = np.lexsort((ids, -scores), axis=-1)[:, :k]
    return np.take_along_axis(scores, best, 1), np.take_along_axis(ids, best, 1)
