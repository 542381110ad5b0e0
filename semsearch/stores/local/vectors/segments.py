"""Segments of vectors: immutable files that each cover a range of passages, and the search over them.

A segment can be deleted at any time: it is rebuilt from SQLite. Its file contains passage ids, vectors as they are
searched, in the form of the index's codec, and perhaps a vector index over them, as arrays that are checked before
FAISS uses them. FAISS's own file format is not used, because such a file can name other files to be mapped, or crash
the interpreter.

Without a vector index, search is exact. With one, it finds candidates, whose scores are then computed exactly from the
vectors, so that scores never depend on the kind of index. Scores are inner products, which are cosines for unit rows,
or Euclidean distances with a minus sign. This module knows passage ids and vectors, but nothing of documents or SQL.

    ids         int64 `[n]`; ascending, except that the rows held out for measuring recall come last
    rows        `[n, columns]`; see `codecs`
    row_sums    uint64 `[n]`, a checksum of each row; see `row_sums`
    others      those of the vector index; see `ann`
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import gcd, isfinite
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from semsearch.arrays import Array, Ids, Vectors
from semsearch.errors import UsageError
from semsearch.similarity import Spread, similarities
from semsearch.stores.codecs import FLOAT32, Codec
from semsearch.stores.local.array_file import ArrayFile, open_arrays
from semsearch.stores.local.catalog import SegmentRecord
from semsearch.stores.local.curves import Measured, choose_effort, curve_from
from semsearch.stores.local.vectors.ann.base import Arrays
from semsearch.stores.local.vectors.ann.kinds import EXACT, create, kind_of
from semsearch.stores.local.vectors.ann.library import (
    Chosen,
    FaissIndex,
    fill,
    fits,
    import_faiss,
    metric_of,
    threads_for,
)
from semsearch.types import EUCLIDEAN

log = logging.getLogger(__name__)

EXACT_QUERIES, EXACT_VALUES = 16, 2**16
"""Maximum number of queries, and of their components, for which distances are computed at a time.

For more of them (`faiss.cvar.distance_compute_blas_threshold`: 20 queries, since FAISS 1.15 128,000 components), FAISS
computes `|q|² - 2 q·v + |v|²`, whose terms cancel in float32: with an offset of 100 in each of 384 components, 1% of
the ten nearest of 5,000 vectors are right.
"""

Reload: TypeAlias = Callable[[Ids], Vectors]
"""Returns the rows of some passages `[n, dim]` from SQLite."""


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """A vector index over the rows of a segment.

    Attributes:
        factory: Its description in FAISS's notation.
        index: The index in FAISS.
        curve: Recall at each effort that was measured.
        arrays: Its contents, which the index in FAISS views.
    """

    factory: str
    index: FaissIndex
    curve: Sequence[Measured]
    arrays: Arrays

    def effort(self, target: float) -> int:
        """Return the value of the search parameter for a target recall."""
        return choose_effort(self.curve, target).effort


@dataclass(frozen=True, slots=True)
class Extra:
    """What is known of the rows of a segment beside its vector index.

    Attributes:
        codec: The form of the rows in the file.
        sums: Checksums of the rows `[n]`; see `row_sums`.
        spread: Where they lie.
        reload: Reads the rows of some passages `[n, dim]` from SQLite, in place of damaged ones.
    """

    codec: Codec
    sums: Any
    spread: Spread
    reload: Reload


class Segment:
    """The vectors of some passages, searched exactly.

    Attributes:
        ids: Passage ids `[n]`.
    """

    def __init__(self, ids: Ids, rows: Vectors, similarity: str) -> None:
        """Create a segment over rows `[n, dim]`, which are not copied."""
        self.ids, self._rows, self._similarity = ids, rows, similarity
        self._flat: FaissIndex = _flat(rows, similarity) if len(ids) else None

    @classmethod
    def joined(cls, segments: Sequence[Segment]) -> Segment:
        """Create a segment with the vectors of several ones in memory."""
        rows = np.concatenate([segment._rows for segment in segments])
        return cls(np.concatenate([segment.ids for segment in segments]), rows, segments[0]._similarity)

    def __len__(self) -> int:
        return len(self.ids)

    def search(self, queries: Vectors, k: int, chosen: Chosen | None, target: float) -> tuple[Vectors, Ids]:
        """Find the k best rows for each query.

        Args:
            queries: float32 `[n, dim]`, as searched.
            k: Maximum number of rows per query.
            chosen: The rows that may be found, at least one; None for all.
            target: Share of the best ten that a vector index should find.

        Returns:
            Scores and passage ids, both `[n, at most k]`, best first, equal scores ordered by id, padded with score
            -inf and id -1.
        """
        k = min(k, chosen.n if chosen else len(self))
        return self._exact(queries, k, k + 1, chosen)

    def spread(self, chosen: Chosen | None) -> Spread:
        """Return where the chosen vectors lie; None for all."""
        return Spread.of(self._similarity, self._rows if chosen is None else self._rows[chosen.mask])

    def _exact(self, queries: Vectors, k: int, width: int, chosen: Chosen | None) -> tuple[Vectors, Ids]:
        """Return the k best; ask FAISS for more than k, because it breaks ties for the last place arbitrarily."""
        scores, positions = self._nearest(queries, min(width, len(self)), chosen)
        missing = positions < 0
        scores[missing] = -np.inf
        ids = np.where(missing, -1, self.ids[positions])
        last = scores[:, -1]
        scores, ids = ranked(scores, ids, k)
        if width < len(self):
            for row in np.flatnonzero((last == scores[:, -1]) & (last != -np.inf)):
                scores[[row]], ids[[row]] = self._exact(queries[[row]], k, 8 * width, chosen)
        return scores, ids

    def _nearest(self, queries: Vectors, width: int, chosen: Chosen | None) -> tuple[Vectors, Ids]:
        """Return exact scores and positions `[n, width]`; FAISS's squared distances are converted to scores."""
        parameters = import_faiss().SearchParameters(sel=chosen.selector) if chosen else None
        if self._similarity != EUCLIDEAN:
            scores, positions = self._flat.search(queries, width, params=parameters)
            return scores, positions
        scores, positions = np.empty((len(queries), width), np.float32), np.empty((len(queries), width), np.int64)
        step = max(1, min(EXACT_QUERIES, EXACT_VALUES // queries.shape[1]))
        for start in range(0, len(queries), step):
            some = slice(start, start + step)
            squares, positions[some] = self._flat.search(queries[some], width, params=parameters)
            scores[some] = -np.sqrt(squares)
        return scores, positions


class IndexedSegment(Segment):
    """The vectors of some passages on disk, searched with a vector index."""

    def __init__(self, ids: Ids, file: ArrayFile, similarity: str, ann: VectorIndex, extra: Extra) -> None:
        """Create a segment from its file."""
        self.ids, self.ann = ids, ann
        self._similarity, self._extra = similarity, extra
        self._file, self._read = file, file.reader("rows")
        self._kind = kind_of(ann.factory)

    def search(self, queries: Vectors, k: int, chosen: Chosen | None, target: float) -> tuple[Vectors, Ids]:
        """See `Segment.search`; the scores of candidates are computed from the vectors."""
        k = min(k, chosen.n if chosen else len(self.ids))
        near = self._kind.candidates(self.ann.index, queries, k, self.ann.effort(target), chosen)
        found = [self._best(query, some, k) for query, some in zip(queries, near, strict=True)]
        if len(found) == 1 and len(found[0][1]) == k:
            return found[0][0][None], found[0][1][None]
        scores, ids = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
        for row, (some_scores, some_ids) in enumerate(found):
            scores[row, : len(some_ids)], ids[row, : len(some_ids)] = some_scores, some_ids
        return scores, ids

    def _best(self, query: Vectors, near: Ids, k: int) -> tuple[Vectors, Ids]:
        """Return the exact scores and the ids of the k best candidates, given by their positions."""
        if near[-1] < 0:
            near = near[near >= 0]
        (scores,) = similarities(self._similarity, query[None], self.rows_at(near))
        ids = self.ids[near]
        best = np.lexsort((ids, -scores))[:k]
        return scores[best], ids[best]

    def rows_at(self, positions: Ids) -> Vectors:
        """Return rows `[n, dim]`, from SQLite those that are damaged in the file."""
        stored = self._read(positions.tolist())
        wrong, rows = row_sums(stored) != self._extra.sums[positions], self._extra.codec.decode(stored)
        if wrong.any():
            log.warning("%d vectors of a segment are damaged; reading them from the database", np.count_nonzero(wrong))
            rows = rows.copy()
            rows[wrong] = self._extra.reload(self.ids[positions[wrong]])
        return rows

    def spread(self, chosen: Chosen | None) -> Spread:
        """See `Segment.spread`."""
        if chosen is None:
            return self._extra.spread
        return self._extra.spread - Spread.of(self._similarity, self.rows_at(np.flatnonzero(~chosen.mask)))


def row_sums(rows: Array) -> Any:
    """Return a checksum uint64 `[n]` of each stored row `[n, columns]`, in words as large as its bytes allow.

    It is multilinear hashing modulo 2^64 (Lemire and Kaser 2014), much faster for a few rows than CRC-32. The
    coefficients are odd, so it always reveals a single bit.
    """
    words, coefficients = _hashing(rows.shape[1] * rows.itemsize)
    return np.ascontiguousarray(rows).view(words) @ coefficients


@cache
def _hashing(n_bytes: int) -> tuple[Any, Any]:
    """Return the type of the words in a row of so many bytes, and their coefficients."""
    size = gcd(n_bytes, 8)
    coefficients = np.frombuffer(hashlib.shake_256(b"semsearch").digest(8 * n_bytes // size), "<u8") | np.uint64(1)
    return np.dtype(f"<u{size}"), coefficients


def _flat(rows: Vectors, similarity: str) -> FaissIndex:
    """Return an index for exact search that views rows `[n, dim]`."""
    faiss = import_faiss()
    flat = faiss.IndexFlat(rows.shape[1], metric_of(similarity))
    fill(flat, "codes", np.ascontiguousarray(rows, np.float32).view(np.uint8))
    flat.ntotal = len(rows)
    return flat


def open_segment(
    path: Path, record: SegmentRecord, dim: int, similarity: str, reload: Reload, codec: Codec = FLOAT32
) -> Segment | None:
    """Open the file of a segment, most of which is mapped into memory.

    Args:
        path: The file, in a folder that may come from someone else.
        record: The segment as recorded in SQLite.
        dim: Dimension of the vectors as they are searched.
        similarity: Similarity of the index.
        reload: Reads rows from SQLite in place of damaged ones.
        codec: The form in which the index stores them.

    Returns:
        The segment; None if the file is missing, is not the one on record, or has unexpected contents.
    """
    file = open_arrays(path, record.vectors_digest)
    if file is None:
        return None
    n, about, factory = record.n_rows, file.about, record.factory
    ids, sums = file.array("ids"), file.array("row_sums")
    rows = file.array("rows", check=factory == EXACT)
    if ids is None or sums is None or rows is None or factory != about.get("factory"):
        return None
    if not fits(rows, codec.dtype, n, codec.columns(dim)) or not fits(sums, np.uint64, n):
        return None
    if not _are_ids(ids, n, record.first, record.last) or about.get("similarity") != similarity:
        return None
    if factory == EXACT:
        return _exact(ids, rows, similarity, codec)
    ann, spread = _open_ann(file, record, dim, similarity), Spread.from_json(about.get("spread"), dim)
    if ann is not None and spread is not None:
        return IndexedSegment(ids, file, similarity, ann, Extra(codec, sums, spread, reload))
    log.warning("the vector index in %s is missing or damaged; searching exactly, which is slower", path)
    rows = file.array("rows")
    return None if rows is None else _exact(ids, rows, similarity, codec)


def _exact(ids: Ids, stored: Array, similarity: str, codec: Codec) -> Segment | None:
    """Return a segment that is searched exactly, with its rows decoded in memory; None if they are not finite."""
    rows = codec.decode(stored)
    return Segment(ids, rows, similarity) if _is_finite(rows) else None


def _open_ann(file: ArrayFile, record: SegmentRecord, dim: int, similarity: str) -> VectorIndex | None:
    """Return the vector index of a segment; None if it is damaged."""
    names = [name for name in file.names if name not in ("ids", "rows", "row_sums")]
    arrays = {name: file.array(name) for name in names}
    found = {name: array for name, array in arrays.items() if array is not None}
    factory, curve = record.factory, curve_from(record.measured.get("curve"))
    if len(found) < len(arrays) or not curve or not isinstance(factory, str):
        return None
    try:
        index = create(factory, dim, similarity)
        if not kind_of(factory).restore(index, found, record.n_rows):
            return None
    except (KeyError, UsageError):
        return None
    return VectorIndex(factory, index, curve, found)


def _are_ids(ids: Any, n: int, first: int, last: int) -> bool:
    """Return whether ids are distinct and within a range."""
    if not fits(ids, np.int64, n) or not n:
        return False
    ordered = ids if (ids[1:] > ids[:-1]).all() else np.sort(ids)
    return bool(first <= ordered[0] and ordered[-1] <= last and (ordered[1:] > ordered[:-1]).all())


def _is_finite(rows: Vectors) -> bool:
    """Return whether vectors are finite; a NaN makes both min and max NaN."""
    return isfinite(rows.min()) and isfinite(rows.max())


def search(
    segments: Sequence[tuple[Segment, Chosen | None]], queries: Vectors, k: int, target: float = 1.0
) -> tuple[Vectors, Ids]:
    """Find the k best passages for each query over several segments, each with the rows that may be found.

    Returns:
        Scores and passage ids, both `[n, at most k]`, best first, equal scores ordered by id; rows of queries with
        fewer passages are padded with score -inf and id -1.
    """
    queries = np.ascontiguousarray(queries, np.float32)
    with threads_for(len(queries)):
        found = [
            segment.search(queries, k, chosen, target)
            for segment, chosen in segments
            if (chosen.n if chosen else len(segment))
        ]
    if not found:
        return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    if len(found) == 1:
        return found[0]
    return ranked(np.concatenate([scores for scores, _ in found], 1), np.concatenate([ids for _, ids in found], 1), k)


def ranked(scores: Vectors, ids: Ids, k: int) -> tuple[Vectors, Ids]:
    """Return the k best of each row, ties ordered by passage id, so that results do not depend on time or segments."""
    best = np.lexsort((ids, -scores), axis=-1)[:, :k]
    return np.take_along_axis(scores, best, 1), np.take_along_axis(ids, best, 1)


def nearest_so_far(best: Vectors, queries: Vectors, rows: Vectors, similarity: str, k: int) -> Vectors:
    """Compare queries `[n, dim]` with more rows `[m, dim]`, exactly.

    Args:
        best: The scores of the k nearest rows before, `[n, at most k]`, best first.
        queries: The queries.
        rows: The rows to compare them with.
        similarity: Similarity of the index.
        k: Number of rows whose scores are kept.

    Returns:
        The same scores after it.
    """
    scores, _ = search([(Segment(np.arange(len(rows)), rows, similarity), None)], queries, k)
    return -np.sort(-np.concatenate([best, scores], axis=1), axis=1)[:, :k]
