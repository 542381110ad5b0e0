"""Sealing: writing committed vectors and words to segments, and merging these.

Segments are built from committed data, so a crash between the two only costs the time to build them.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np

from semsearch.arrays import Ids
from semsearch.errors import DamagedError, UsageError
from semsearch.files import is_regular, remove
from semsearch.stores.local.catalog import LAST, Catalog, SegmentRecord, last_covered
from semsearch.stores.local.curves import choose_effort, curve_from
from semsearch.stores.local.database import Database
from semsearch.stores.local.folder import encoder_folder, sweep
from semsearch.stores.local.tiers import Size, first_merged, most_merged
from semsearch.stores.local.vectors.ann.kinds import EXACT, choose, exact_rows, kind_of
from semsearch.stores.local.vectors.segment_files import Source, Written, write_segment
from semsearch.stores.local.vectors.table import VectorTable
from semsearch.stores.local.words.files import open_words, texts_of, write_words
from semsearch.stores.words.postings import Postings, build, merge
from semsearch.types import AUTO
from semsearch.vector_options import RecallWarning

log = logging.getLogger(__name__)

SEGMENT_BYTES = 64 * 2**20
"""Size of the vectors in a full segment, all of which are in memory while it is built or rebuilt."""

TAIL_ROWS = 200
"""Number of rows that may stay outside segments when a run ends; when an index is opened, they are read from SQLite,
and their words are analyzed, in some 20 ms."""

MAX_DELETED, MAX_DELETED_LARGE = 0.2, 0.5
"""Fraction of deleted rows above which a segment is rewritten, and above which even a very large one is."""


class Sealer:
    """Writes segments, and removes those that they replace; used by the writer of an index alone.

    Attributes:
        changed: Number of passages that the run has added or deleted so far.
    """

    def __init__(self, database: Database, catalog: Catalog, vectors: VectorTable) -> None:
        self._folder, self._database, self._catalog, self._vectors = database.folder, database, catalog, vectors
        self.changed = 0
        self._too_little_memory: UsageError | None = None

    def seal(self, *, final: bool) -> None:
        """Write committed vectors to segments.

        A full segment is written as soon as there are enough rows; a remainder of more than `TAIL_ROWS` rows only at
        the end of a run (`final`). Segments that lost their file or more than `MAX_DELETED` of their rows are rebuilt.
        """
        try:
            self._seal(final)
        except DamagedError as error:
            if final:
                raise
            log.debug("%s; the rest of the run may repair it", error)

    def _seal(self, final: bool) -> None:
        if self._catalog.spec.transform and not self._vectors.transform():
            return
        with self._database.turn():
            self._forget_damaged(final)
            for segment in self._catalog.segments():
                if self._is_worn(segment) or not self._has_files(segment):
                    self._write_segment(segment.first, segment.last, replaces=[segment])
            while self._seal_full():
                pass
            if final:
                self._merge()
                self.sweep()
                if self._too_little_memory:
                    raise self._too_little_memory

    def rewrite(self) -> None:
        """Write all vectors to one segment."""
        if not self._catalog.spec.transform or self._vectors.transform():
            self._write_segment(1, max(1, self._last_passage()), replaces=self._catalog.segments(), forget=True)

    @property
    def _segment_rows(self) -> int:
        """Number of vectors in a segment that is written during a run."""
        return max(1, SEGMENT_BYTES // (4 * self._catalog.spec.dim))

    @property
    def _exact_rows(self) -> int:
        """Number of vectors up to which a segment is searched exactly."""
        return exact_rows(self._vectors.dim())

    def _is_worn(self, segment: SegmentRecord) -> bool:
        """Return whether so many rows of a segment are deleted that it should be rewritten, as far as this is cheap."""
        n_deleted = self._deleted_in(segment.first, segment.last)
        cheap = segment.n_rows <= most_merged(self.changed, self._exact_rows)
        return n_deleted > (MAX_DELETED if cheap else MAX_DELETED_LARGE) * segment.n_rows

    def _forget_damaged(self, final: bool) -> None:
        """Delete the records of segments if they are damaged or do not match the passages; SQLite has all vectors.

        Counting the passages takes a while, so it is only done at the end of a run.
        """
        segments = self._catalog.segments()
        is_sound = len(segments) == self._database.one("SELECT count(*) FROM segments")
        if not is_sound or (final and not self._catalog.is_complete(segments)):
            with self._database.change():
                self._database.execute("DELETE FROM segments")
                self._database.execute("DELETE FROM deleted")

    def _waiting(self) -> tuple[int, int]:
        """Return the number of rows outside segments, and that of rows deleted from there."""
        behind = last_covered(self._catalog.segments())
        n = self._database.one("SELECT count(*) FROM vectors WHERE passage > ?", behind)
        return n, self._deleted_in(behind + 1, LAST)

    def _seal_full(self) -> bool:
        """Write a segment for exact search if enough rows wait for one; return whether it did."""
        room = self._segment_rows
        if self._waiting()[0] < room:
            return False
        behind = last_covered(self._catalog.segments())
        last = self._database.one(
            "SELECT max(passage) FROM (SELECT passage FROM vectors WHERE passage > ? ORDER BY passage LIMIT ?)",
            behind,
            room,
        )
        self._write_segment(behind + 1, last, replaces=[], factory=EXACT)
        return True

    def _merge(self) -> None:
        """Write a segment of the rows outside segments, merged with small segments; see `tiers`."""
        segments = self._catalog.segments()
        n, gone = self._waiting()
        waiting = n if n + gone > (TAIL_ROWS if segments else 0) else 0
        sizes = [Size(segment.n_rows, segment.factory == EXACT) for segment in segments]
        merged = segments[first_merged(sizes, waiting, self.changed, self._exact_rows) :]
        if not waiting and (not merged or self._is_as_it_should_be(merged)):
            return
        first = merged[0].first if merged else last_covered(segments) + 1
        self._write_segment(first, self._last_passage() if waiting else merged[-1].last, replaces=merged)

    def _is_as_it_should_be(self, merged: Sequence[SegmentRecord]) -> bool:
        """Return whether this is a single segment with the vector index that it would be given again."""
        factory = self._factory(merged[0].n_rows, merged)
        return len(merged) == 1 and merged[0].factory == factory

    def merge_all(self, deleted: float) -> bool:
        """Write all vectors into one segment with the vector index for them; return whether there was a need to.

        Args:
            deleted: Fraction of deleted rows that a segment may keep.
        """
        self._forget_damaged(final=True)
        segments, (waiting, _) = self._catalog.segments(), self._waiting()
        gone = sum(self._deleted_in(segment.first, segment.last) for segment in segments)
        n = waiting + sum(segment.n_rows for segment in segments) - gone
        factory = self._factory(n, segments) if n else EXACT
        if self._too_little_memory:
            raise self._too_little_memory
        is_one = len(segments) == 1 and not waiting and gone <= deleted * n
        if is_one and segments[0].factory == factory:
            return False
        if segments or waiting:
            self._write_segment(1, max(1, self._last_passage()), replaces=segments, factory=factory)
        return bool(segments or waiting)

    def _last_passage(self) -> int:
        return self._database.one("SELECT coalesce(max(passage), 0) FROM vectors")

    def _write_segment(
        self,
        first: int,
        last: int,
        *,
        replaces: list[SegmentRecord],
        factory: str | None = None,
        forget: bool = False,
    ) -> None:
        """Write a segment for a range of passages: first the file, then its record; `forget` all other records."""
        ids = self._vectors.passages(first, last)
        number = self._database.one(
            "SELECT coalesce(max(seq), 0) + 1 FROM (SELECT seq FROM sqlite_sequence WHERE name = 'segments')"
        )
        vectors, words = (f"{name}.{number:06}.seg" for name in ("vectors", "words"))
        made, words_digest = None, 0
        if len(ids):
            factory = factory or self._factory(len(ids), replaces)
            log.info("%s: writing %s with %d vectors as %s", self._folder, vectors, len(ids), factory)
            made = self._write_vectors(self._folder / vectors, ids, factory)
            self._warn_of_recall(made)
            words_digest = write_words(self._folder / words, self._postings(ids, last, [] if forget else replaces))
        with self._database.change():
            for segment in replaces:
                self._database.execute("DELETE FROM segments WHERE id = ?", (segment.id,))
            if forget:
                self._database.execute("DELETE FROM segments")
                self._database.execute("DELETE FROM deleted")
            self._database.execute("DELETE FROM deleted WHERE passage BETWEEN ? AND ?", (first, last))
            if made:
                about = json.dumps(made.about)
                record = SegmentRecord(number, first, last, len(ids), vectors, made.digest, words, words_digest, about)
                columns = ", ".join(field.name for field in fields(record))
                marks = ", ".join("?" * (len(fields(record)) + 1))
                sql = f"INSERT INTO segments ({columns}, checksum) VALUES ({marks})"
                self._database.execute(sql, (*astuple(record), record.checksum))
            self._catalog.mark_changed()
        for file in (file for segment in replaces for file in segment.files):
            with suppress(OSError):  # on Windows, a reader may have mapped it; the next run removes it
                remove(self._folder / file)

    def _factory(self, n: int, replaces: Sequence[SegmentRecord]) -> str:
        """Return the vector index for a segment of n rows, within the memory that other segments leave."""
        options, dim = self._catalog.vector_options(), self._vectors.dim()
        if n <= self._exact_rows or options.vector_index == EXACT:
            return EXACT
        if options.vector_index != AUTO:
            return (
                options.vector_index if kind_of(options.vector_index).least_rows(options.vector_index) <= n else EXACT
            )
        others = [segment for segment in self._catalog.segments() if segment not in replaces]
        try:
            return choose(n, dim, options.memory - sum(segment.n_bytes for segment in others))
        except UsageError as error:
            self._too_little_memory = error
            return EXACT

    def _warn_of_recall(self, made: Written) -> None:
        """Warn if a vector index does not reach the target recall."""
        target, curve = self._catalog.vector_options().target_recall, curve_from(made.about.get("curve"))
        if curve and (best := choose_effort(curve, target)).recall < target:
            warnings.warn(
                f"the vector index {made.about['factory']!r} finds {best.recall:.3f} of the ten nearest vectors at "
                f"most, less than `target_recall` {target:g}; choose another `vector_index` (`semsearch tune` compares "
                "them) or a lower target",
                RecallWarning,
                stacklevel=2,
            )

    def _has_files(self, segment: SegmentRecord) -> bool:
        return all(is_regular(self._folder / file) for file in segment.files)

    def _postings(self, ids: Ids, last: int, replaces: Sequence[SegmentRecord]) -> Postings:
        """Return the inverted index of passages up to `last`, merged from those of the segments that it replaces."""
        behind = max((segment.last for segment in replaces), default=int(ids[0]) - 1)
        parts = [
            open_words(self._folder / segment.words, segment)
            or build(texts_of(self._database, segment.first, segment.last))
            for segment in replaces
        ]
        parts.append(build(texts_of(self._database, behind + 1, last)))
        kept = [(part, np.isin(part.passages, ids)) for part in parts]
        merged = merge([(part, None if mask.all() else mask) for part, mask in kept if mask.any()])
        if np.array_equal(merged.passages, ids):
            return merged
        return build(texts_of(self._database, int(ids[0]), last))  # the segments lacked passages

    def _write_vectors(self, path: Path, ids: Ids, factory: str) -> Written:
        first, last = int(ids[0]), int(ids[-1])
        source = Source(
            ids,
            self._vectors.dim(),
            lambda: self._vectors.parts(self._vectors.in_segments, first, last),
            lambda some: self._vectors.rows_of(some.tolist()),
            self._vectors.segment_codec,
        )
        target = self._catalog.vector_options().target_recall
        return write_segment(path, source, self._catalog.spec.similarity, factory, target)

    def _deleted_in(self, first: int, last: int) -> int:
        return self._database.one("SELECT count(*) FROM deleted WHERE passage BETWEEN ? AND ?", first, last)

    def sweep(self) -> None:
        """Remove what a crash left behind, and truncate SQLite's log."""
        named = {file for segment in self._catalog.segments() for file in segment.files}
        sweep(self._folder, {*named, encoder_folder(self._catalog.spec.precision)})
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
