"""Comparison of vector indexes over the vectors of an index: recall, latency and memory of each, also under filters."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Array, Ids, Vectors
from semsearch.errors import StoreError
from semsearch.stores.local.catalog import LAST, Catalog, SegmentRecord
from semsearch.stores.local.curves import Measured, curve_from
from semsearch.stores.local.vectors.ann.kinds import EXACT, candidates
from semsearch.stores.local.vectors.ann.library import Chosen
from semsearch.stores.local.vectors.ann.recall import K, recalls_of
from semsearch.stores.local.vectors.segment_files import Source, write_segment
from semsearch.stores.local.vectors.segments import Segment, nearest_so_far, open_segment, search
from semsearch.stores.local.vectors.table import VectorTable

SHARES = (1.0, 0.5, 0.01, 0.001)
"""Shares of all passages that are left by the filters that searches are timed with."""

QUERIES = 200
"""Number of rows that serve as queries; they are not in the index."""

LEAST = 2_000
"""Number of vectors below which there is nothing to compare."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was measured of one vector index.

    Attributes:
        factory: The vector index in FAISS's notation; `Flat` is exact search.
        seconds: Time to build it.
        n_bytes: Memory that it takes while it is searched; for `Flat`, that of the vectors.
        curve: Recall and latency at each effort.
        filtered: Recall and median milliseconds of a search among a share of all passages, at the effort that reaches
            the target, by share.
    """

    factory: str
    seconds: float
    n_bytes: int
    curve: Sequence[Measured]
    filtered: Mapping[float, tuple[float, float]]


def tune(catalog: Catalog, vectors: VectorTable, factories: Sequence[str], target: float) -> Iterator[Tuned]:
    """Build vector indexes over all vectors, one after another, in temporary files, and measure them.

    Must be called inside a snapshot.

    Args:
        catalog: The catalog of the index.
        vectors: Its vectors.
        factories: Vector indexes in FAISS's notation; empty for those that `auto` chooses from, and exact search.
        target: Recall to reach.

    Raises:
        StoreError: If the index has too few vectors.
        UsageError: If FAISS rejects a vector index.
    """
    ids, dim = vectors.passages(0, LAST), vectors.dim()
    if len(ids) < LEAST:
        raise StoreError(f"the index has {len(ids):,} vectors; at least {LEAST:,} are needed to compare vector indexes")
    held = np.sort(np.random.default_rng(1).choice(ids, QUERIES, replace=False))
    kept = ids[~np.isin(ids, held)]
    queries, similarity = vectors.of(held.tolist()), catalog.spec.similarity

    def reload(some: Ids) -> Vectors:
        return vectors.of(some.tolist())

    def parts() -> Iterator[tuple[Ids, Array]]:
        for some, rows in vectors.parts(vectors.in_segments):
            inside = ~np.isin(some, held)
            yield some[inside], rows[inside]

    source = Source(kept, dim, parts, lambda some: vectors.rows_of(some.tolist()), vectors.segment_codec)
    masks = {share: np.random.default_rng(2).random(int(kept[-1]) + 1) < share for share in SHARES}
    with tempfile.TemporaryDirectory(prefix="semsearch-tune-") as folder:
        truth: dict[float, Vectors] = {}
        for number, factory in enumerate(factories or (EXACT, *candidates(len(kept), dim))):
            path, started = Path(folder) / f"{number}.seg", time.perf_counter()
            written = write_segment(path, source, similarity, factory, target)
            seconds = time.perf_counter() - started
            about = json.dumps(written.about)
            record = SegmentRecord(1, int(kept[0]), int(kept[-1]), len(kept), path.name, written.digest, "", 0, about)
            segment = open_segment(path, record, dim, similarity, reload, vectors.segment_codec)
            assert segment
            if not truth:
                truth = {share: _truth(vectors, kept, masks[share], queries, similarity) for share in SHARES}
            filtered = {share: _measured(segment, masks[share], queries, truth[share], target) for share in SHARES}
            n_bytes = record.n_bytes or len(kept) * dim * 4
            curve = curve_from(written.about.get("curve", [])) or [Measured(0, 1.0, filtered[1.0][1])]
            yield Tuned(factory, seconds, n_bytes, curve, filtered)
            del segment
            with suppress(OSError):  # on Windows, it is still mapped
                path.unlink()


def _truth(vectors: VectorTable, kept: Ids, mask: NDArray[np.bool_], queries: Vectors, similarity: str) -> Vectors:
    """Return the scores of the K best rows of a mask for each query, by exact search of one part after another."""
    best = np.empty((len(queries), 0), np.float32)
    for ids, rows in vectors.parts(vectors.searched, int(kept[0]), int(kept[-1])):
        inside = np.isin(ids, kept) & mask[ids]
        if inside.any():
            best = nearest_so_far(best, queries, np.ascontiguousarray(rows[inside]), similarity, K)
    return best


def _measured(
    segment: Segment, mask: NDArray[np.bool_], queries: Vectors, truth: Vectors, target: float
) -> tuple[float, float]:
    """Return the recall and the median milliseconds of a search among the rows of a mask."""
    inside = mask[segment.ids]
    chosen = None if inside.all() else Chosen.of(inside)
    if not truth.shape[1]:
        return 1.0, 0.0
    found, spent = [], []
    for query in queries:
        started = time.perf_counter()
        scores, _ = search([(segment, chosen)], query[None], K, target)
        spent.append(1e3 * (time.perf_counter() - started))
        found.append(scores[0])
    return round(float(recalls_of(found, truth).mean()), 4), round(median(spent), 3)
