"""What an index says of itself: its settings, its counts, its segments. It needs no numpy."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semsearch.errors import StoreError
from semsearch.stores.local.database import Database
from semsearch.types import EncoderSpec, Root


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of vectors as recorded in SQLite.

    Attributes:
        first, last: Lowest and highest passage id that it covers.
        n_rows: Vectors in the file.
        sha256: Of the file, in hex.
    """

    id: int
    file: str
    kind: str
    first: int
    last: int
    n_rows: int
    sha256: str


class Catalog:
    """The settings of an index, read once, and what changes with each commit, read anew each time.

    Attributes:
        spec: The encoder that its vectors come from.
        chunking: How documents are cut, as JSON.
        origin: Where the first corpus came from.
    """

    def __init__(self, database: Database) -> None:
        """Read the settings.

        Raises:
            StoreError: One of them is missing.
        """
        self._database = database
        with database.snapshot():
            self.spec = EncoderSpec.from_json(self.setting("encoder"))
            self.chunking: dict[str, Any] = self.setting("chunking")
            self.origin: str = self.setting("origin")

    def counts(self) -> dict[str, int]:
        """Documents, passages, tokens, passages that were truncated, and tokens lost by that."""
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
        """What `semsearch status` shows: counts, settings, segments, size on disk in bytes."""
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
                "transform": self.spec.transform and fitted,
                "encoder": {**self.spec.to_json(), "fingerprint": self.spec.fingerprint},
                "chunking": self.chunking,
            }

    def fields(self) -> list[str]:
        """Names of the metadata fields that documents have, sorted."""
        with self._database.snapshot():
            return [name for (name,) in self._database.execute("SELECT name FROM fields ORDER BY name")]

    def segments(self) -> list[Segment]:
        """The segments that are in force, by the passages they cover."""
        rows = self._database.execute("SELECT id, file, kind, first, last, n_rows, sha256 FROM segments ORDER BY first")
        return [Segment(*row) for row in rows]

    def roots(self) -> list[Root]:
        """The folders by which files are named."""
        with self._database.snapshot():
            return [Root(**root) for root in self.setting("roots")]

    def revision(self) -> int:
        """A number that each commit raises."""
        return int(self.setting("revision"))

    def setting(self, key: str) -> Any:
        """A setting's value; raises StoreError where it is missing."""
        row = self._database.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise StoreError(
                f"{str(self._database.folder)!r} lacks the setting {key!r}; the index is damaged, build it again"
            )
        return json.loads(row[0])


def last_covered(segments: Iterable[Segment]) -> int:
    """Highest passage id that segments cover; 0 for none."""
    return max((segment.last for segment in segments), default=0)


def _size(folder: Path) -> int:
    """Bytes of the files in a folder in which a writer may be at work."""
    total = 0
    for file in folder.iterdir():
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total
