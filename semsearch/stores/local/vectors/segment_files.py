"""Writing the file of a segment in one pass over its vectors, which may be more than fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from semsearch.arrays import Array, Ids, Vectors
from semsearch.similarity import Spread
from semsearch.stores.codecs import FLOAT32, Codec
from semsearch.stores.local.array_file import ArrayWriter, writing_arrays
from semsearch.stores.local.vectors.ann.kinds import EXACT, create, kind_of
from semsearch.stores.local.vectors.ann.library import FaissIndex
from semsearch.stores.local.vectors.ann.recall import HELD_OUT, SHARE, K, measure
from semsearch.stores.local.vectors.segments import nearest_so_far, row_sums

Parts: TypeAlias = Iterable[tuple[Ids, Array]]
"""Passage ids `[n]`, ascending, and stored rows `[n, columns]`, in several parts; see `Codec`."""

Sample: TypeAlias = Callable[[Ids], Array]
"""Returns the stored rows of some passages `[n, columns]`."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file of a segment.

    Attributes:
        digest: Its digest; see `array_file`.
        about: What was measured of its vector index, as JSON: factory, curve and bytes.
    """

    digest: int
    about: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """The vectors of a segment as they are searched.

    Attributes:
        ids: Their passages `[n]`, ascending.
        dim: Their dimension.
        parts: Returns the stored rows of all of them.
        sample: Returns those of some passages.
        codec: The form in which they are stored.
    """

    ids: Ids
    dim: int
    parts: Callable[[], Parts]
    sample: Sample
    codec: Codec = FLOAT32


def write_segment(path: Path, source: Source, similarity: str, factory: str, target: float) -> Written:
    """Write a segment so that its name never refers to a partial file.

    Args:
        path: The file.
        source: Its vectors; at least one.
        similarity: Similarity of the index.
        factory: Vector index to build over them, in FAISS's notation.
        target: Recall that its search parameter is measured for.

    Raises:
        UsageError: If FAISS rejects the vector index.
        OSError: If the file cannot be written; no partial file is left behind.
    """
    described: dict[str, Any] = {"factory": factory, "similarity": similarity}
    build = _Build(source, similarity, factory, target)
    with writing_arrays(path, described) as out:
        out.add("ids", build.order)
        dtype, shape = source.codec.dtype.str, (len(build.order), source.codec.columns(source.dim))
        out.stream("rows", dtype, shape, build.rows())
        out.add("row_sums", np.concatenate(build.sums))
        about = {"factory": factory, **build.finish(out)}
        described["spread"] = build.spread.to_json()
    return Written(out.digest, about)


class _Build:
    """A segment that is being written: its rows pass by once, and a vector index is built of them meanwhile."""

    def __init__(self, source: Source, similarity: str, factory: str, target: float) -> None:
        self._source, self._similarity, self._factory, self._target = source, similarity, factory, target
        self.sums: list[Any] = []
        self.spread = Spread(0, np.zeros(source.dim))
        self._held, self.order = np.empty(0, np.int64), source.ids
        self._index: FaissIndex = None
        if factory != EXACT:
            rng, n = np.random.default_rng(0), len(source.ids)
            self._index = self._trained(rng)
            self._held = np.sort(rng.choice(source.ids, min(HELD_OUT, n // SHARE), replace=False))
            self.order = np.concatenate([source.ids[~np.isin(source.ids, self._held)], self._held])
            self._held_rows = source.sample(self._held)
            self._queries = source.codec.decode(self._held_rows)
            self._truth = np.empty((len(self._queries), 0), np.float32)

    def _trained(self, rng: np.random.Generator) -> FaissIndex:
        """Return an empty index, trained on random rows."""
        index = create(self._factory, self._source.dim, self._similarity)
        n = min(kind_of(self._factory).n_training(self._factory), len(self._source.ids))
        if not index.is_trained:
            rows = self._source.sample(np.sort(rng.choice(self._source.ids, n, replace=False)))
            index.train(self._source.codec.decode(rows))
        return index

    def rows(self) -> Iterator[Array]:
        """Yield all stored rows in the order of the file, after adding all but those held out to the index."""
        for ids, rows in self._source.parts():
            kept = np.ascontiguousarray(rows[~np.isin(ids, self._held)] if len(self._held) else rows)
            if len(kept):
                decoded = self._source.codec.decode(kept)
                self._pass(kept, decoded)
                yield kept
                self._add(decoded)
        if len(self._held):
            self._pass(self._held_rows, self._queries)
            yield self._held_rows

    def _pass(self, rows: Array, decoded: Vectors) -> None:
        self.sums.append(row_sums(rows))
        self.spread += Spread.of(self._similarity, decoded)

    def _add(self, rows: Vectors) -> None:
        if self._index is None:
            return
        self._index.add(rows)
        self._truth = nearest_so_far(self._truth, self._queries, rows, self._similarity, K)

    def finish(self, out: ArrayWriter) -> dict[str, Any]:
        """Measure recall, add the rows held out, and write the index; return what was measured."""
        if self._index is None:
            return {}
        kind, read = kind_of(self._factory), out.reader("rows")
        args = self._queries, self._truth, self._similarity, self._target
        curve = measure(kind, self._index, lambda places: self._source.codec.decode(read(places.tolist())), *args)
        self._index.add(self._queries)
        n_bytes = 0
        for name, array in kind.arrays(self._index):
            out.add(name, array)
            n_bytes += array.nbytes
        return {"curve": [list(astuple(one)) for one in curve], "bytes": n_bytes}
