"""Information about an index: its settings, counts and segments. This module does not need numpy.

The index may come from an untrusted source, and disks lose bits, so every value is checked where it is read.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from semsearch.moments import now
from semsearch.stores.local.curves import choose_effort, curve_from
from semsearch.stores.local.database import Database
from semsearch.stores.local.guard import INDEX_AGAIN, checksum, damaged
from semsearch.types import COSINE, SIMILARITIES, STORE_PRECISIONS, EncoderSpec, Root, Storage, VectorOptions
from semsearch.urls import scheme_of

if TYPE_CHECKING:
    from semsearch.filters.syntax import Value

log = logging.getLogger(__name__)

SEGMENT_FILE = re.compile(r"(vectors|words)\.\d{6,19}\.seg")
"""Name of a file of a segment."""

PRECISION = re.compile(r"[a-z]+[0-9]+(:[0-9a-f]{64})?")

LAST = 2**63 - 1
"""The highest possible passage number."""

MAX_DIM, MAX_TOKENS = 2**20, 2**40
"""Limits on what an index can request, far above those of any model."""

FACETS = """
    WITH fields AS (
        SELECT documents.id, field.key, field.type, field.value FROM documents, json_each(metadata) AS field
        WHERE json_valid(metadata)
    ), leaves AS (
        SELECT id, key, type, value FROM fields WHERE type != 'array'
        UNION
        SELECT fields.id, fields.key, member.type, member.value FROM fields, json_each(fields.value) AS member
        WHERE fields.type = 'array'
    ), counted AS (
        SELECT key, type, value, count(*) AS n,
            row_number() OVER (PARTITION BY key ORDER BY count(*) DESC, value) AS place
        FROM leaves WHERE type IN ('text', 'integer', 'real', 'true', 'false') GROUP BY key, type, value
    )
    SELECT key, type, value, n FROM counted WHERE place <= ? ORDER BY key, place
"""

State: TypeAlias = tuple[int, str, int]
"""Number of the connection, identity of the index, and its revision: two reads in the same state see the same data."""


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """A segment as recorded in SQLite.

    Attributes:
        first, last: Lowest and highest passage number that it covers.
        n_rows: Number of vectors in it.
        vectors, words: Names of its files, with the vectors and the words of its passages.
        vectors_digest, words_digest: Digests of these files; see `array_file`.
        about: JSON with what was measured of its vector index: factory, curve and bytes; see `segment_files.Written`.
    """

    id: int
    first: int
    last: int
    n_rows: int
    vectors: str
    vectors_digest: int
    words: str
    words_digest: int
    about: str

    @property
    def files(self) -> tuple[str, str]:
        """Names of its files."""
        return self.vectors, self.words

    @property
    def checksum(self) -> int:
        """Checksum of the segment's row; see `schema.CHECKED`."""
        return checksum(*astuple(self)[1:])

    def is_sound(self, behind: int) -> bool:
        """Return whether the record is plausible for a segment that follows one ending at passage `behind`."""
        return (
            all(type(number) is int for number in (self.id, self.first, self.last, self.n_rows))
            and type(self.vectors_digest) is type(self.words_digest) is int
            and type(self.vectors) is type(self.words) is type(self.about) is str
            and behind < self.first <= self.last
            and 0 < self.n_rows <= self.last - self.first + 1
            and all(map(SEGMENT_FILE.fullmatch, self.files))
            and isinstance(self.measured, dict)
        )

    @property
    def factory(self) -> Any:
        """Its vector index in FAISS's notation; see `ann.kinds`."""
        return self.measured.get("factory")

    @property
    def n_bytes(self) -> int:
        """Size of its vector index in memory; 0 for none."""
        n_bytes = self.measured.get("bytes", 0)
        return n_bytes if type(n_bytes) is int else 0

    @property
    def measured(self) -> Any:
        """The value of `about`."""
        with suppress(ValueError, RecursionError):
            return json.loads(self.about)
        return None


@dataclass(frozen=True, slots=True)
class About:
    """The settings of an index that never change, except for the location of its checkpoint."""

    identity: str
    spec: EncoderSpec
    chunking: Mapping[str, Any]
    origin: str
    store_precision: str


class Catalog:
    """The settings of an index, read once per index that is found in the folder, and the data that commits change."""

    def __init__(self, database: Database) -> None:
        """Read the settings.

        Raises:
            DamagedError: If one of them is missing or corrupt.
        """
        self._database = database
        self._about: tuple[tuple[int, str], About] | None = None
        self._state: tuple[tuple[int, int] | None, State] | None = None
        self._complete: tuple[State, Sequence[SegmentRecord]] | None = None
        self._background: tuple[State, Any] | None = None
        self._facets: tuple[tuple[State, int], dict[str, list[tuple[Value, int]]]] | None = None
        with database.snapshot():
            self.about()

    def about(self) -> About:
        """Return the settings of the index that is currently in the folder."""
        with self._database.snapshot():
            key = self.state()[:2]
            if self._about is None or self._about[0] != key:
                self._about = key, self._read_about()
            return self._about[1]

    def _read_about(self) -> About:
        identity, encoder, chunking, origin = map(self.setting, ("identity", "encoder", "chunking", "origin"))
        about = About(identity, self._spec(encoder), chunking, origin, self.setting("store_precision"))
        if not (isinstance(about.identity, str) and isinstance(about.chunking, dict) and isinstance(about.origin, str)):
            raise damaged(self._database.folder, "its settings have the wrong types")
        if about.store_precision not in list(STORE_PRECISIONS):  # not necessarily hashable
            raise damaged(self._database.folder, "its setting 'store_precision' is not one that semsearch knows")
        return about

    def _spec(self, fields: Any) -> EncoderSpec:
        try:
            spec = EncoderSpec.from_json(fields)
        except (AttributeError, KeyError, TypeError):
            spec = None
        if spec is None or not _is_possible(spec):
            raise damaged(self._database.folder, "its setting 'encoder' does not describe a valid encoder")
        return spec

    @property
    def spec(self) -> EncoderSpec:
        """The encoder that produced all vectors."""
        return self.about().spec

    @property
    def chunking(self) -> Mapping[str, Any]:
        """The chunking settings, as JSON."""
        return self.about().chunking

    @property
    def origin(self) -> str:
        """The source of the first corpus."""
        return self.about().origin

    @property
    def store_precision(self) -> str:
        """The precision of stored vectors."""
        return self.about().store_precision

    def storage(self) -> Storage:
        """See `Store.storage`."""
        with self._database.snapshot():
            if not self._database.one("SELECT count(*) FROM settings WHERE key = 'store_loss'"):
                return Storage(self.store_precision)
            stored = self.setting("store_loss")
            with suppress(TypeError):
                storage = Storage(self.store_precision, **stored)
                if all(type(value) is float for value in (storage.mean_cosine, storage.overlap)):
                    if type(storage.measured) is int:
                        return storage
        raise damaged(self._database.folder, "its setting 'store_loss' is not valid", "run semsearch rebuild")

    def counts(self) -> dict[str, int]:
        """See `Store.counts`."""
        with self._database.snapshot():
            row = self._database.execute(
                "SELECT count(*), coalesce(sum(n_tokens), 0), coalesce(sum(n_lost > 0), 0), coalesce(sum(n_lost), 0) "
                "FROM passages"
            ).fetchone()
            names = ("passages", "tokens", "truncated", "tokens_lost")
            return {
                "documents": self._database.one("SELECT count(*) FROM documents"),
                **dict(zip(names, row, strict=True)),
            }

    def status(self) -> dict[str, Any]:
        """Return what `semsearch status` shows: counts, settings, segments, and the size on disk in bytes."""
        with self._database.snapshot():
            segments = self.segments()
            beside = self._database.one("SELECT count(*) FROM vectors WHERE passage > ?", last_covered(segments))
            fitted = "fitted" if self._database.one("SELECT count(*) FROM transform") else "not fitted yet"
            return {
                "index": str(self._database.folder),
                "origin": self.origin,
                "roots": [root.path for root in self.roots()],
                "created": self.setting("created"),
                "updated": self.setting("updated"),
                **self.counts(),
                "fields": self.fields(),
                "segments": len(segments),
                "rows_in_segments": sum(segment.n_rows for segment in segments),
                "rows_beside_segments": beside,
                "deleted_rows": self._database.one("SELECT count(*) FROM deleted"),
                "bytes": _size(self._database.folder),
                "storage": asdict(self.storage()),
                "vectors": self._vectors_status(segments, self.vector_options()),
                "transform": self.spec.transform and fitted,
                "encoder": {**self.spec.to_json(), "fingerprint": self.spec.fingerprint},
                "chunking": dict(self.chunking),
            }

    @staticmethod
    def _vectors_status(segments: Sequence[SegmentRecord], options: VectorOptions) -> dict[str, Any]:
        """Return the options for vectors, and the vector index of each segment with what was measured of it."""
        kinds = []
        for segment in segments:
            about = segment.measured
            kind: dict[str, Any] = {"rows": segment.n_rows, "kind": about.get("factory", "")}
            if curve := curve_from(about.get("curve", [])):
                chosen = choose_effort(curve, options.target_recall)
                kind |= {**asdict(chosen), "bytes": about.get("bytes")}
            kinds.append(kind)
        return {**options.to_json(), "segments": kinds}

    def fields(self) -> list[str]:
        """Return the names of the metadata fields that documents have, sorted."""
        with self._database.snapshot():
            return [str(name) for (name,) in self._database.execute("SELECT name FROM fields ORDER BY name")]

    def facets(self, n: int) -> dict[str, list[tuple[Value, int]]]:
        """See `Store.facets`."""
        with self._database.snapshot():
            state = self.state(), n
            if self._facets is None or self._facets[0] != state:
                found: dict[str, list[tuple[Value, int]]] = {}
                for name, kind, value, count in self._database.execute(FACETS, (n,)):
                    found.setdefault(str(name), []).append((bool(value) if kind in ("true", "false") else value, count))
                self._facets = state, found
            return self._facets[1]

    def segments(self) -> list[SegmentRecord]:
        """Return the current segments, ordered by the passages they cover; empty if their records are damaged.

        Nothing is lost in that case, because all vectors are in SQLite.
        """
        columns = ", ".join(field.name for field in fields(SegmentRecord))
        segments: list[SegmentRecord] = []
        for *values, stored in self._database.execute(f"SELECT {columns}, checksum FROM segments ORDER BY first"):
            segment = SegmentRecord(*values)
            if segment.checksum != stored or not segment.is_sound(last_covered(segments)):
                log.warning("%s: the segment records are damaged; ignoring all segments", self._database.folder)
                return []
            segments.append(segment)
        return segments

    def complete_segments(self) -> Sequence[SegmentRecord]:
        """Return the current segments; none if they do not match the passages. Computed once for each state."""
        state = self.state()
        if self._complete is None or self._complete[0] != state:
            segments = self.segments()
            if not self.is_complete(segments):
                log.warning("%s: the segments do not match the database; searching without them", self._database.folder)
                segments = []
            self._complete = state, segments
        return self._complete[1]

    def is_complete(self, segments: Sequence[SegmentRecord]) -> bool:
        """Return whether segments contain every passage up to their last, except for those recorded as deleted."""
        covered = last_covered(segments)
        noted = "SELECT count(*) FROM deleted WHERE passage <= ?"
        misnoted = "SELECT count(*) FROM deleted WHERE passage IN (SELECT id FROM passages)"
        behind = self._database.one("SELECT count(*) FROM passages WHERE id > ?", covered)
        n = self._database.one("SELECT count(*) FROM passages") - behind
        n_rows = sum(segment.n_rows for segment in segments)
        return n_rows - self._database.one(noted, covered) == n and not self._database.one(misnoted)

    def roots(self) -> list[Root]:
        """Return the root folders that file names are relative to."""
        with self._database.snapshot():
            stored = self.setting("roots")
        with suppress(TypeError):
            roots = [Root(**root) for root in stored]
            if (
                isinstance(stored, list)
                and all(map(_is_root, roots))
                and len({root.name for root in roots}) == len(roots)
            ):
                return roots
        raise damaged(self._database.folder, "its setting 'roots' is not a valid list of folders")

    def background(self) -> dict[str, Any] | None:
        """See `Readable.background`."""
        with self._database.snapshot():
            state = self.state()
            if self._background is None or self._background[0] != state:
                stored = self._database.one("SELECT count(*) FROM settings WHERE key = 'background'")
                self._background = state, self.setting("background") if stored else None
        background = self._background[1]
        if not isinstance(background, dict | None):
            raise damaged(self._database.folder, "its setting 'background' is not an object", INDEX_AGAIN)
        return background

    def vector_options(self) -> VectorOptions:
        """Return how vectors are searched; the defaults for an index that does not say."""
        with self._database.snapshot():
            if not self._database.one("SELECT count(*) FROM settings WHERE key = 'vectors'"):
                return VectorOptions()
            stored = self.setting("vectors")
        with suppress(TypeError):
            options = VectorOptions(**stored)
            if _are_possible(options):
                return options
        raise damaged(self._database.folder, "its setting 'vectors' is not valid")

    def files_of(self, root: str, n: int) -> dict[str, str]:
        """See `Store.files_of`."""
        prefix = f"{root}/" if root else ""
        sql = "SELECT file, content_hash FROM documents WHERE root = ? AND doc_id = ? || file ORDER BY file LIMIT ?"
        with self._database.snapshot():
            return {str(file): str(content) for file, content in self._database.execute(sql, (root, prefix, n))}

    def file_of(self, doc_id: str) -> str:
        """Return the absolute path of the file that a document was read from; empty if it is not from a file."""
        with self._database.snapshot():
            rows = list(self._database.execute("SELECT root, file FROM documents WHERE doc_id = ?", (doc_id,)))
            roots = {root.name: root.path for root in self.roots()}
        return next((os.path.join(roots[root], *file.split("/")) for root, file in rows if root in roots), "")

    def state(self) -> State:
        """Return a key that distinguishes this committed state from any other; see `State`."""
        version = self._database.version if self._database.in_snapshot else None
        if version is None or self._state is None or self._state[0] != version:
            self._state = version, self._read_state()
        return self._state[1]

    def mark_changed(self) -> None:
        """Increment the revision, which tells readers that something has changed; must be called inside a change."""
        write_setting(self._database, "revision", self.state()[2] + 1)
        write_setting(self._database, "updated", now())

    def _read_state(self) -> State:
        revision = self.setting("revision")
        if type(revision) is not int:
            raise damaged(self._database.folder, "its setting 'revision' is not a number")
        return self._database.connections, str(self.setting("identity")), revision

    def setting(self, key: str) -> Any:
        """Return the value of a setting.

        Raises:
            DamagedError: If it is missing or corrupt.
        """
        row = self._database.execute("SELECT value, checksum FROM settings WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise damaged(self._database.folder, f"its setting {key!r} is missing")
        with suppress(ValueError, TypeError, RecursionError):
            if checksum(key, row[0]) == row[1]:
                return json.loads(row[0])
        raise damaged(self._database.folder, f"its setting {key!r} is corrupt")


OPTIONAL: Mapping[str, Callable[[Catalog], Any]] = {
    "background": Catalog.background,
    "vectors": Catalog.vector_options,
    "store_loss": Catalog.storage,
}
"""The settings that an index may lack, and how each is read."""


def write_setting(database: Database, key: str, value: object) -> None:
    """Write a setting; must be called inside `Database.change`."""
    text = json.dumps(value)
    sql = "INSERT INTO settings (key, value, checksum) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
    row = (key, text, checksum(key, text))
    database.execute(f"{sql} value = excluded.value, checksum = excluded.checksum", row)


def _is_root(root: Root) -> bool:
    """Return whether a root is valid: a plain name and an absolute path, or a URL."""
    if not isinstance(root.name, str) or not isinstance(root.path, str) or "\0" in root.path:
        return False
    return not set("/\0") & set(root.name) and (os.path.isabs(root.path) or bool(scheme_of(root.path)))


def last_covered(segments: Iterable[SegmentRecord]) -> int:
    """Return the highest passage number that segments cover; 0 if there are none."""
    return max((segment.last for segment in segments), default=0)


def read_object(text: object, folder: Path, what: str) -> dict[str, Any]:
    """Parse a text as a JSON object.

    Raises:
        DamagedError: If it is something else; `what` says so.
    """
    with suppress(ValueError, TypeError, RecursionError):
        value = json.loads(text, parse_constant=_refuse) if isinstance(text, str) else None
        if isinstance(value, dict):
            return value
    raise damaged(folder, what)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _is_possible(spec: EncoderSpec) -> bool:
    """Return whether such an encoder can exist, as far as can be told without its checkpoint."""
    texts = (spec.model, spec.weights, spec.tokenizer, spec.pooler, spec.transform, spec.precision)
    return (
        all(isinstance(text, str) for text in (*texts, spec.query_prefix, spec.passage_prefix))
        and all(type(number) is int for number in (*spec.layers, spec.max_tokens, spec.dim))
        and 0 < spec.dim <= MAX_DIM
        and 0 < spec.max_tokens <= MAX_TOKENS
        and isinstance(spec.normalize, bool)
        and spec.similarity in ((COSINE,) if spec.transform else SIMILARITIES)
        and PRECISION.fullmatch(spec.precision) is not None
    )


def _are_possible(options: VectorOptions) -> bool:
    """Return whether options have the right types and are in range; a vector index is checked where it is built."""
    return (
        type(options.vector_index) is str
        and type(options.memory) is int
        and type(options.target_recall) in (int, float)
        and options.memory > 0
        and 0 < options.target_recall <= 1
    )


def _size(folder: Path) -> int:
    """Return the total size in bytes of the files in a folder, to which a writer may be writing."""
    total = 0
    for file in folder.iterdir():
        with suppress(FileNotFoundError):
            total += file.lstat().st_size
    return total
