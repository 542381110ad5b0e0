"""pgvector's HNSW over the vectors of an index: when to build it, how, and the recall that it reaches.

One passage in so many stays out of the graph and is always compared, so that about HELD_OUT of them can serve as the
queries that recall is measured with: they are like the vectors of the index, and not in the graph.
"""

from __future__ import annotations

import logging
import re
import time
import warnings
from dataclasses import dataclass
from math import sqrt
from statistics import median
from typing import Any

import numpy as np

from semsearch.arrays import Vectors
from semsearch.errors import UsageError
from semsearch.stores.postgres.batches import Batches
from semsearch.stores.postgres.catalog import Catalog
from semsearch.stores.postgres.connections import Writing
from semsearch.stores.postgres.vectors import Column, Graph, VectorTable, decode
from semsearch.types import AUTO
from semsearch.vector_options import RecallWarning

log = logging.getLogger(__name__)

FLAT = "Flat"

LEAST = 50_000
"""Number of passages from which on `auto` builds a graph; below it, comparing all takes some 80 ms on one core."""

HELD_OUT = 200
"""Number of passages that stay out of the graph when it is built, and that recall is measured with."""

GROWN = 2
"""Factor by which an index grows before its graph is built and measured anew."""

M, WIDTH = 16, 128
"""Edges of a node by default, and number of candidates while the graph is built."""

K = 10

EFFORTS = (20, 40, 80, 160, 320, 640, 1_000)

MOST_DIM = {False: 2_000, True: 4_000}
"""Highest number of dimensions of HNSW in 32 and in 16 bits."""

KIND = re.compile(r"HNSW(\d{1,3})(,SQfp16)?")

TOLERANCE = 1e-6

NAME, OTHERS = "vectors_hnsw", "vectors_held_out"
"""Names of the graph, and of the index of the passages that are not in it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of graph: the edges of a node, and whether it has the vectors in 16 bits."""

    m: int
    in_halves: bool


def parse(vector_index: str) -> Kind | None:
    """Return the kind of graph that is asked for; None for exact search.

    Raises:
        UsageError: If pgvector has no such index.
    """
    if vector_index in (FLAT, AUTO):
        return None if vector_index == FLAT else Kind(M, in_halves=False)
    match = KIND.fullmatch(vector_index)
    if not match or not 2 <= int(match[1]) <= 100:
        raise UsageError(
            f"`vector_index` is {vector_index!r:.60}; for an index in PostgreSQL expected auto, Flat, or HNSW with 2 "
            "to 100 edges, such as HNSW16 or HNSW16,SQfp16 for vectors of 16 bits"
        )
    return Kind(int(match[1]), match[2] is not None)


class Graphs:
    """Builds and measures the graph; every method must be called inside a change, `is_due` inside a snapshot."""

    def __init__(self, writing: Writing, catalog: Catalog, vectors: VectorTable, batches: Batches) -> None:
        self._writing, self._catalog, self._vectors, self._batches = writing, catalog, vectors, batches

    def is_due(self) -> bool:
        """Return whether the graph is missing, no longer wanted, or built for a much smaller index."""
        about, wanted = self._catalog.settings().get("hnsw"), self._wanted()
        if about is None or wanted is None:
            return (about is None) != (wanted is None)
        is_other = (about["m"], about["in_halves"]) != (wanted.m, wanted.in_halves)
        return is_other or self._catalog.counts()["passages"] > GROWN * about["rows"]

    def _wanted(self) -> Kind | None:
        """Return the kind of graph that the index should have; None for exact search."""
        asked, n = self._catalog.vector_options().vector_index, self._catalog.counts()["passages"]
        kind = parse(asked)
        if kind is None or n < (LEAST if asked == AUTO else 2 * K) or "spread" not in self._catalog.settings():
            return None
        dim = self._vectors.column().dim
        if self._catalog.store_precision == "float16" and not self._catalog.spec.transform:
            kind = Kind(kind.m, in_halves=True)
        if dim > MOST_DIM[kind.in_halves]:
            kind = Kind(kind.m, in_halves=True)
        if dim > MOST_DIM[True]:
            if asked != AUTO:
                raise UsageError(f"pgvector's HNSW takes up to {MOST_DIM[True]:,} dimensions; these have {dim:,}")
            return None
        return kind

    def drop(self) -> None:
        """Delete the graph."""
        self._writing.execute(f"DROP INDEX IF EXISTS {NAME}, {OTHERS}")
        self._writing.execute("DELETE FROM settings WHERE key = 'hnsw'")

    def build(self) -> bool:
        """Build the graph anew and measure it, or delete it if it is not wanted; return whether that changed it."""
        about, kind = self._catalog.settings().get("hnsw"), self._wanted()
        if kind is None:
            self.drop()
            return about is not None
        n, started = self._catalog.counts()["passages"], time.perf_counter()
        stride = max(n // HELD_OUT, 2)
        stride += about is not None and stride == about["stride"]  # so that the old graph cannot answer for the new one
        column = self._vectors.column(in_halves=kind.in_halves)
        operators = f"{'halfvec' if kind.in_halves else 'vector'}_{'l2' if column.operator == '<->' else 'ip'}_ops"
        memory = max(64 * 2**10, self._catalog.vector_options().memory // 2**10)
        self._writing.rows("SELECT set_config('maintenance_work_mem', %s, true)", (f"{min(memory, 2**31 - 1)}kB",))
        self._writing.execute(f"DROP INDEX IF EXISTS {NAME}_new, {OTHERS}_new")
        self._writing.execute(
            f"CREATE INDEX {NAME}_new ON vectors USING hnsw (({column.indexed.removeprefix('vectors.')}) {operators}) "
            f"WITH (m = {kind.m}, ef_construction = {max(WIDTH, 2 * kind.m)}) WHERE passage % {stride} <> 0"
        )
        self._writing.execute(f"CREATE INDEX {OTHERS}_new ON vectors (passage) WHERE passage % {stride} = 0")
        self._writing.execute("ANALYZE vectors")
        curve = self._measure(column, stride)
        # only now, because readers wait for it until the commit
        self._writing.execute(f"DROP INDEX IF EXISTS {NAME}, {OTHERS}")
        for name in (NAME, OTHERS):
            self._writing.execute(f"ALTER INDEX {name}_new RENAME TO {name}")
        self._store(kind, stride, n, curve, time.perf_counter() - started)
        return True

    def _store(self, kind: Kind, stride: int, n: int, curve: list[dict[str, Any]], seconds: float) -> None:
        target = self._catalog.vector_options().target_recall
        chosen = next((one for one in curve if one["recall"] >= target), curve[-1])
        if chosen["recall"] < target:
            warnings.warn(
                f"the HNSW of {self._writing.address.shown!r} finds {chosen['recall']:.1%} of the ten nearest at most, "
                f"less than {target:.1%}; for more, pass `vector_index` with more edges, such as HNSW{2 * kind.m}",
                RecallWarning,
                stacklevel=2,
            )
        about = {"m": kind.m, "in_halves": kind.in_halves, "stride": stride, "rows": n, **chosen, "curve": curve}
        about["bytes"] = self._writing.one("SELECT pg_relation_size(%s::text::regclass)", (NAME,))
        self._batches.set("hnsw", {**about, "seconds": round(seconds, 1)})
        log.info("%s: HNSW over %d vectors in %.1f s", self._writing.address.shown, n, seconds)

    def _measure(self, column: Column, stride: int) -> list[dict[str, Any]]:
        """Measure recall and latency with more and more effort, up to the target."""
        rows = self._held_out(column, stride)
        truth = [self._vectors.exactly(row, K, only=f"passage %% {stride} <> 0")[0] for row in rows]
        target, curve = self._catalog.vector_options().target_recall, list[dict[str, Any]]()
        for effort in EFFORTS:
            graph, shares, spent = Graph(stride, effort, column.in_halves), [], []
            for row, best in zip(rows, truth, strict=True):
                started = time.perf_counter()
                scores, _ = self._vectors.nearest(row, K, graph, held_out=False)
                spent.append(1e3 * (time.perf_counter() - started))
                least = best[-1] - TOLERANCE * max(abs(float(best[-1])), 1)
                shares.append(np.count_nonzero(scores >= least) / len(best))
            recall, error = float(np.mean(shares)), float(np.std(shares) / sqrt(len(shares)))
            curve.append(
                {"effort": effort, "recall": round(recall, 4), "error": round(error, 4), "ms": round(median(spent), 3)}
            )
            if recall >= max(target, 0.999) or (len(curve) > 1 and curve[-2]["recall"] >= target):
                break
        return curve

    def _held_out(self, column: Column, stride: int) -> Vectors:
        """Return the vectors that are not in the graph, as they are searched."""
        sql = f"SELECT {column.name} FROM vectors WHERE passage % {stride} = 0 ORDER BY passage LIMIT {HELD_OUT}"
        return np.stack([decode(data, column.name, column.dim) for (data,) in self._writing.rows(sql, binary=True)])
