"""Vectors in PostgreSQL: how they are sent and received, read, and searched, exactly or in pgvector's HNSW.

The score of a passage is always computed by pgvector from the vector as it is searched, so it is the same however the
passage was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from semsearch.arrays import Ids, Vector, Vectors
from semsearch.filters.postgres import Condition
from semsearch.similarity import Spread, reference_scores
from semsearch.stores.postgres.catalog import Catalog
from semsearch.stores.postgres.connections import Session
from semsearch.types import EUCLIDEAN

COLUMNS = {"float32": "whole", "float16": "half"}
"""Columns of stored vectors by store precision."""

HEADER = np.dtype([("dim", ">i2"), ("unused", ">i2")])

DTYPES: dict[str, np.dtype[Any]] = {"whole": np.dtype(">f4"), "searched": np.dtype(">f4"), "half": np.dtype(">f2")}

FEW = 20_000
"""Number of passages up to which a filter's are compared one by one: some tens of milliseconds, and no recall lost."""

SCANNED = 200_000
"""Maximum number of vectors that an iterative scan of HNSW visits before the search becomes exact."""

SET = """
    SELECT set_config('hnsw.ef_search', %s, true), set_config('hnsw.iterative_scan', 'strict_order', true),
    set_config('hnsw.max_scan_tuples', %s, true),
    set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true)
"""

RESET = "SELECT set_config('enable_seqscan', 'on', true), set_config('enable_sort', 'on', true)"


@dataclass(frozen=True, slots=True)
class Column:
    """The vectors as they are searched, in SQL.

    Attributes:
        name: Name of the column.
        dim: Number of dimensions.
        operator: pgvector's operator of the distance whose negation is the score.
        in_halves: Whether HNSW has them in 16 bits.
    """

    name: str
    dim: int
    operator: str
    in_halves: bool = False

    @property
    def exact(self) -> str:
        """The vector in float32."""
        return f"vectors.{self.name}::vector({self.dim})"

    @property
    def kind(self) -> str:
        """The type of the vectors in HNSW."""
        return f"{'halfvec' if self.in_halves else 'vector'}({self.dim})"

    @property
    def indexed(self) -> str:
        """The vector as HNSW has it."""
        return f"vectors.{self.name}::{self.kind}"


@dataclass(frozen=True, slots=True)
class Graph:
    """The HNSW of an index.

    Attributes:
        stride: Passages whose numbers are divisible by it are not in the graph but compared one by one; recall is
            measured with them.
        effort: pgvector's `hnsw.ef_search` that reaches the target.
        in_halves: Whether it has the vectors in 16 bits.
    """

    stride: int
    effort: int
    in_halves: bool


class VectorTable:
    """Reads and searches the vectors; every method must be called inside a snapshot or a change."""

    def __init__(self, session: Session, catalog: Catalog) -> None:
        self._session, self._catalog = session, catalog

    def column(self, *, in_halves: bool = False) -> Column:
        """Return the vectors as they are searched."""
        spec = self._catalog.spec
        name = "searched" if spec.transform else COLUMNS[self._catalog.store_precision]
        transform = self._catalog.transform() if spec.transform else None
        dim = transform.matrix.shape[1] if transform else spec.dim
        return Column(name, dim, "<->" if spec.similarity == EUCLIDEAN else "<#>", in_halves)

    def transformed(self, rows: Vectors) -> Vectors:
        """Convert vectors `[n, dim]` as the encoder returns them to rows as they are searched."""
        transform = self._catalog.fitted()
        return transform(rows) if transform else rows

    def of(self, passages: Sequence[int]) -> Vectors:
        """See `Readable.vectors_of`."""
        column = self.column()
        found, none = self._read(column.name, column.dim, passages), np.zeros(column.dim, np.float32)
        return np.array([found.get(passage, none) for passage in passages], np.float32).reshape(-1, column.dim)

    def stored(self, passages: Sequence[int]) -> Vectors:
        """Return the vectors of existing passages `[n, dim]` as they were committed.

        Raises:
            DamagedError: If one is missing.
        """
        name, dim = COLUMNS[self._catalog.store_precision], self._catalog.spec.dim
        found = self._read(name, dim, passages)
        if missing := [passage for passage in passages if passage not in found]:
            raise self._catalog.damaged(f"passage {missing[0]} has no vector")
        return np.array([found[passage] for passage in passages], np.float32).reshape(-1, dim)

    def _read(self, name: str, dim: int, passages: Sequence[int]) -> dict[int, Vector]:
        sql = f"SELECT passage, {name} FROM vectors WHERE passage = ANY(%s) AND {name} IS NOT NULL"
        rows = self._session.rows(sql, (list(passages),), binary=True)
        return {passage: decode(data, name, dim) for passage, data in rows}

    def similarities(self, queries: Vectors, passages: Sequence[int]) -> Vectors:
        """See `Searchable.similarities`."""
        column = self.column()
        sql = f"SELECT passage, {column.exact} {column.operator} %s::vector FROM vectors WHERE passage = ANY(%s)"
        scores = np.zeros((len(queries), len(passages)), np.float32)
        for row, query in enumerate(self.transformed(queries)):
            found = dict(self._session.rows(sql, (literal(query), list(passages))))
            absent = float(np.linalg.norm(query)) if column.operator == "<->" else 0.0
            scores[row] = [-found.get(passage, absent) for passage in passages]
        return scores

    def reference_scores(self, queries: Vectors) -> tuple[Vectors, Vectors]:
        """See `Searchable.reference_scores`."""
        rows = self.transformed(queries)
        spread = self.spread() or Spread(0, np.zeros(rows.shape[1]))
        return reference_scores(self._catalog.spec.similarity, rows, spread)

    def spread(self) -> Spread | None:
        """Return where all vectors lie; None if there are none."""
        stored = self._catalog.settings().get("spread")
        return None if stored is None else Spread.from_json(stored, self.column().dim)

    def search(self, queries: Vectors, k: int, condition: Condition | None) -> tuple[Vectors, Ids]:
        """See `Searchable.search_vectors`; the condition is on the table `documents`."""
        found = [self._best(query, k, condition) for query in self.transformed(queries)]
        width = max((len(ids) for _, ids in found), default=0)
        scores = np.full((len(found), width), -np.inf, np.float32)
        passages = np.full((len(found), width), -1, np.int64)
        for row, (some, ids) in enumerate(found):
            scores[row, : len(ids)], passages[row, : len(ids)] = some, ids
        return scores, passages

    def _best(self, query: Vector, k: int, condition: Condition | None) -> tuple[Vector, Ids]:
        graph = self.graph()
        if graph is not None and (condition is None or self._are_many(condition)):
            found = self.nearest(query, k, graph, condition)
            if len(found[1]) == k:
                return found
        return self.exactly(query, k, condition)

    def graph(self) -> Graph | None:
        """Return the HNSW of the index; None if there is none."""
        about = self._catalog.settings().get("hnsw")
        return None if about is None else Graph(int(about["stride"]), int(about["effort"]), bool(about["in_halves"]))

    def _are_many(self, condition: Condition) -> bool:
        some = f"SELECT 1 FROM vectors {_joined(condition)} WHERE {condition.sql} LIMIT {FEW}"
        return bool(self._session.one(f"SELECT count(*) FROM ({some}) AS few", condition.parameters) == FEW)

    def exactly(
        self, query: Vector, k: int, condition: Condition | None = None, only: str = "true"
    ) -> tuple[Vector, Ids]:
        """Find the k passages with the highest score for a query `[dim]`, by comparing all of them."""
        column = self.column()
        sql = (
            f"SELECT {column.exact} {column.operator} %s::vector AS distance, passage "
            f"FROM vectors {_joined(condition)} WHERE {only} AND {_sql(condition)} ORDER BY distance, passage LIMIT %s"
        )
        return _ranked(self._session.rows(sql, (literal(query), *_parameters(condition), k)))

    def nearest(
        self, query: Vector, k: int, graph: Graph, condition: Condition | None = None, *, held_out: bool = True
    ) -> tuple[Vector, Ids]:
        """Find the k passages with the highest score for a query `[dim]`, as far as HNSW finds them.

        Args:
            query: The query.
            k: Maximum number of passages; fewer are found if the scan ends early.
            graph: The HNSW.
            condition: Condition on the table `documents`; None for all.
            held_out: Whether to search the passages that are not in the graph, too.
        """
        column = self.column(in_halves=graph.in_halves)
        self._session.rows(SET, (str(max(min(max(graph.effort, k), 1000), 1)), str(SCANNED)))
        asked = literal(query)
        near = (
            f"SELECT passage FROM vectors {_joined(condition)} WHERE passage %% {graph.stride} <> 0 "
            f"AND {_sql(condition)} ORDER BY {column.indexed} {column.operator} %s::{column.kind} LIMIT %s"
        )
        passages = [number for (number,) in self._session.rows(near, (*_parameters(condition), asked, k))]
        self._session.rows(RESET)
        scores, ids = self._scored(column, asked, passages)
        if not held_out:
            return scores, ids
        others = self.exactly(query, k, condition, f"passage %% {graph.stride} = 0")
        scores, ids = np.concatenate([scores, others[0]]), np.concatenate([ids, others[1]])
        best = np.lexsort((ids, -scores))[:k]
        return scores[best], ids[best]

    def _scored(self, column: Column, asked: str, passages: list[int]) -> tuple[Vector, Ids]:
        sql = (
            f"SELECT {column.exact} {column.operator} %s::vector AS distance, passage FROM vectors "
            "WHERE passage = ANY(%s) ORDER BY distance, passage"
        )
        return _ranked(self._session.rows(sql, (asked, passages)))


def encode(rows: Vectors, name: str) -> list[bytes]:
    """Return vectors `[n, dim]` as PostgreSQL's binary protocol sends them to a column."""
    header = np.array([(rows.shape[1], 0)], HEADER).tobytes()
    return [header + row.tobytes() for row in rows.astype(DTYPES[name])]


def decode(data: bytes, name: str, dim: int) -> Vector:
    """Return a vector `[dim]` of a column, as the binary protocol sends it."""
    return np.frombuffer(data, DTYPES[name], count=dim, offset=HEADER.itemsize).astype(np.float32)


def literal(row: Vector) -> str:
    """Return a vector as pgvector reads it; the digits denote exactly these float32 numbers."""
    return f"[{','.join(map(repr, row.astype(np.float32).tolist()))}]"


def _joined(condition: Condition | None) -> str:
    return "" if condition is None else "JOIN documents ON documents.id = vectors.document"


def _sql(condition: Condition | None) -> str:
    return "true" if condition is None else condition.sql


def _parameters(condition: Condition | None) -> Sequence[object]:
    return () if condition is None else condition.parameters


def _ranked(rows: list[tuple[float, int]]) -> tuple[Vector, Ids]:
    scores = -np.array([distance for distance, _ in rows], np.float32)
    return scores, np.array([passage for _, passage in rows], np.int64)
