"""Vectors in Milvus: how they are read and searched.

Milvus finds the passages. Their scores are computed here from the vectors as they are searched, so that they are the
same however a passage was found.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np

from semsearch.arrays import Ids, Vector, Vectors
from semsearch.errors import UsageError
from semsearch.similarity import Spread, reference_scores, similarities
from semsearch.stores.milvus.catalog import Catalog
from semsearch.stores.milvus.driver import MOST, Row
from semsearch.stores.milvus.rows import read_passages
from semsearch.stores.milvus.schema import parse
from semsearch.stores.milvus.states import Reading
from semsearch.transforms import parse_transform
from semsearch.types import EncoderSpec

SPARE = 16
"""Number of passages beyond the k best that Milvus returns, in case it rounds otherwise."""


FEW = 1_000
"""Number of passages up to which those of a filter are compared one by one here, so that it costs no recall."""


class VectorSearch:
    """Reads and searches the vectors; every method must be called inside a snapshot."""

    def __init__(self, reading: Reading, catalog: Catalog) -> None:
        self._reading, self._catalog = reading, catalog

    @property
    def dim(self) -> int:
        """Number of dimensions of the vectors as they are searched."""
        return searched_dim(self._catalog.spec)

    def transformed(self, rows: Vectors) -> Vectors:
        """Convert vectors `[n, dim]` as the encoder returns them to rows as they are searched."""
        transform = self._catalog.fitted()
        return transform(rows) if transform else rows

    def of(self, passages: Sequence[int]) -> Vectors:
        """See `Readable.vectors_of`."""
        found, rows = (
            read_passages(self._reading, passages, ("vector",)),
            np.zeros((len(passages), self.dim), np.float32),
        )
        for place, passage in enumerate(passages):
            if passage in found:
                rows[place] = found[passage]["vector"]
        return rows

    def stored(self, passages: Sequence[int]) -> Vectors:
        """Return the vectors of passages `[n, dim]` as they were committed; zeros for deleted passages."""
        spec = self._catalog.spec
        if not spec.transform:
            return self.of(passages)
        found, rows = (
            read_passages(self._reading, passages, ("encoded",)),
            np.zeros((len(passages), spec.dim), np.float32),
        )
        for place, passage in enumerate(passages):
            if passage in found:
                rows[place] = decode(found[passage]["encoded"])
        return rows

    def similarities(self, queries: Vectors, passages: Sequence[int]) -> Vectors:
        """See `Searchable.similarities`."""
        rows = self.of(passages)
        return similarities(self._catalog.spec.similarity, self.transformed(queries), rows)

    def reference_scores(self, queries: Vectors) -> tuple[Vectors, Vectors]:
        """See `Searchable.reference_scores`."""
        rows = self.transformed(queries)
        spread = self.spread() or Spread(0, np.zeros(rows.shape[1]))
        return reference_scores(self._catalog.spec.similarity, rows, spread)

    def spread(self) -> Spread | None:
        """Return where all vectors lie; None if there are none."""
        stored = self._catalog.setting("spread", None)
        return None if stored is None else Spread.from_json(stored, self.dim)

    def search(self, queries: Vectors, k: int, condition: str) -> tuple[Vectors, Ids]:
        """See `Searchable.search_vectors`; the condition is on facts and values, empty for none.

        Raises:
            UsageError: If k is more than Milvus returns.
        """
        if k > MOST - SPARE:
            raise UsageError(f"`k` is {k:,}; Milvus returns at most {MOST - SPARE:,} passages")
        effort = int((self._catalog.setting("recall", None) or {}).get("effort", 1))
        few = self._few(condition) if condition else None
        found = [
            self.nearest(row, k, condition, effort) if few is None else self._ranked(row, k, *few)
            for row in self.transformed(queries)
        ]
        width = max((len(ids) for _, ids in found), default=0)
        scores = np.full((len(found), width), -np.inf, np.float32)
        passages = np.full((len(found), width), -1, np.int64)
        for row, (some, ids) in enumerate(found):
            scores[row, : len(ids)], passages[row, : len(ids)] = some, ids
        return scores, passages

    def nearest(self, query: Vector, k: int, condition: str, effort: int) -> tuple[Vector, Ids]:
        """Find the k passages with the highest score for a query `[dim]`, as far as Milvus finds them.

        Args:
            query: The query, as it is searched.
            k: Number of passages.
            condition: Condition on facts and values; empty for none.
            effort: Factor of the effort.
        """
        state, kind = self._reading.state, parse(self._catalog.setting("vector_index"))
        (found,) = self._reading.session.call(
            "search",
            state.passages,
            [query.tolist()],
            anns_field="vector",
            filter=state.visible(condition),
            limit=k + SPARE,
            output_fields=["passage", "vector"],
            search_params={"params": kind.effort(k, effort)},
            consistency_level=self._reading.session.address.level,
        )
        if not found:
            return np.empty(0, np.float32), np.empty(0, np.int64)
        return self._ranked(query, k, *_arrays([hit["entity"] for hit in found]))

    def _few(self, condition: str) -> tuple[Ids, Vectors] | None:
        """Return the passages that meet a condition and their vectors; None if there are more than FEW."""
        session, state = self._reading.session, self._reading.state
        if session.count(state.passages, state.visible(condition)) > FEW:
            return None
        rows = list(session.rows(state.passages, state.visible(condition), ("passage", "vector")))
        return _arrays(rows) if rows else (np.empty(0, np.int64), np.empty((0, self.dim), np.float32))

    def _ranked(self, query: Vector, k: int, passages: Ids, rows: Vectors) -> tuple[Vector, Ids]:
        """Return the k passages, of some with their vectors, that have the highest score for a query `[dim]`."""
        (scores,) = similarities(self._catalog.spec.similarity, query[None], rows)
        best = np.lexsort((passages, -scores))[:k]
        return scores[best], passages[best]


def _arrays(rows: Sequence[Row]) -> tuple[Ids, Vectors]:
    passages = np.array([row["passage"] for row in rows], np.int64)
    return passages, np.array([row["vector"] for row in rows], np.float32)


def searched_dim(spec: EncoderSpec) -> int:
    """Return the number of dimensions of an encoder's vectors as they are searched."""
    return parse_transform(spec.transform, spec.dim)[2] if spec.transform else spec.dim


def encode(row: Vector) -> str:
    """Return a vector as text."""
    return base64.b64encode(row.astype("<f4").tobytes()).decode()


def decode(text: str) -> Vector:
    """Return the vector in a text."""
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32)
