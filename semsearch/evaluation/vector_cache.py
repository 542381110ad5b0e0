"""On-disk cache of pooled vectors, by encoder and text, so that later comparisons encode only new texts.

The cache is a convenience: an error in it is only a warning, and the texts are encoded instead. It can be deleted at
any time. Only comparisons use it; an index stores its own vectors.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Vectors
from semsearch.encoder.cache import cache_folder, warn_of_cache
from semsearch.paths import as_path

FILE = "vectors.sqlite"

MAX_MB = 2_048
"""Default size limit; all-MiniLM-L6-v2 takes 18 kB per text for the registered poolers."""

LITTLE_ENDIAN = np.dtype("<f4")

FORMAT = 1

WAIT_SECONDS = 30.0

SMALL = 2**20
"""Number of bytes below which a file is not worth compacting."""

TABLES = {
    "encoders": "id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE",
    "vectors": "id INTEGER PRIMARY KEY, encoder INTEGER NOT NULL, text TEXT NOT NULL, vector BLOB NOT NULL, "
    "UNIQUE (encoder, text)",
}

CHECKSUM_BYTES = 4
"""Size of the crc32 in front of each vector; SQLite does not detect damage to a vector."""


class VectorCache:
    """Vectors on disk, by an encoder's fingerprint and a text's sha256, up to a size limit.

    At the limit, the oldest vectors that this run has not used are deleted; if there are none, the run adds no more
    vectors. A second run over the same texts in the same order then finds as many vectors as fit, where first-in,
    first-out eviction would find none.

    Attributes:
        path: Path of the SQLite file.
    """

    def __init__(self, folder: str | Path | None = None, max_mb: int = MAX_MB) -> None:
        """Open the cache, or create it.

        Args:
            folder: Folder of the cache; None for the one in SEMSEARCH_CACHE, or else the user's cache folder.
            max_mb: Size limit in MiB; the file briefly exceeds it by the vectors of one batch.

        Raises:
            UsageError: If `folder` is not a path.
        """
        self.path = (cache_folder() if folder is None else as_path(folder, "folder")) / FILE
        self._met: set[str] = set()
        self._full = False
        self._max_bytes = max_mb * 2**20
        self._connection: sqlite3.Connection | None = None
        with self._tolerant():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _open(self.path)
            self._connection.create_function("is_met", 1, self._met.__contains__)
            self._shrink(self._connection)  # the limit may have been lowered
            _give_back(self._connection, self._max_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def find(self, fingerprint: str, keys: Sequence[str], out: Vectors) -> NDArray[np.bool_]:
        """Copy cached vectors into `out`.

        Args:
            fingerprint: Fingerprint of the encoder.
            keys: Keys as `key_of` returns them, one per text, `[n]`.
            out: float32 `[n, dim]`; rows that are found are overwritten.

        Returns:
            A mask of the rows that were found, `[n]`; of equal keys, only the first is looked up.
        """
        found = np.zeros(len(keys), bool)
        self._met.update(keys)
        with self._tolerant():
            row_of: dict[str, int] = {}
            for row, key in enumerate(keys):
                row_of.setdefault(key, row)
            for key, blob in self._rows(fingerprint, keys):
                vector = blob[CHECKSUM_BYTES:]
                if len(vector) == LITTLE_ENDIAN.itemsize * out.shape[1] and _sealed(vector) == blob:
                    numbers = np.frombuffer(vector, LITTLE_ENDIAN)
                    if np.isfinite(numbers).all():  # earlier versions also stored non-finite vectors
                        out[row_of[key]], found[row_of[key]] = numbers, True
        return found

    def add(self, keys: Sequence[str], vectors: Mapping[str, Vectors]) -> None:
        """Store vectors, float32 `[n, dim]` by fingerprint, and replace existing ones."""
        with self._tolerant():
            if self._connection is None or self._full:
                return
            self._met.update(keys)
            with self._connection as connection:
                connection.executemany(
                    "INSERT OR IGNORE INTO encoders (fingerprint) VALUES (?)", ((name,) for name in vectors)
                )
                numbers = dict(connection.execute("SELECT fingerprint, id FROM encoders"))
                stored = [(numbers[name], rows.astype(LITTLE_ENDIAN, copy=False)) for name, rows in vectors.items()]
                connection.executemany(
                    "INSERT OR REPLACE INTO vectors (encoder, text, vector) VALUES (?, ?, ?)",
                    (  # text by text, so that all vectors of a text are evicted together; a part of them is useless
                        (number, key, _sealed(rows[place].tobytes()))
                        for place, key in enumerate(keys)
                        for number, rows in stored
                    ),
                )
            self._shrink(self._connection)

    def _rows(self, fingerprint: str, keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        if self._connection is None:
            return
        encoder = "(SELECT id FROM encoders WHERE fingerprint = ?)"
        sql = f"SELECT text, CAST(vector AS BLOB) FROM vectors WHERE encoder = {encoder}"
        for start in range(0, len(keys), 500):  # below the parameter limit of every SQLite build
            some = keys[start : start + 500]
            marks = ", ".join("?" * len(some))
            yield from self._connection.execute(f"{sql} AND text IN ({marks})", (fingerprint, *some))

    def _shrink(self, connection: sqlite3.Connection) -> None:
        """Delete the oldest tenth that this run has not used until the rest fits, or else the newest tenth of all."""
        while _bytes(connection) > self._max_bytes:
            first, last = connection.execute("SELECT min(id), max(id) FROM vectors WHERE NOT is_met(text)").fetchone()
            if first is not None:
                which, bound = "id <= ? AND NOT is_met(text)", first + (last - first) // 10
            else:
                self._full = True
                first, last = connection.execute("SELECT min(id), max(id) FROM vectors").fetchone()
                if first is None:
                    return
                which, bound = "id >= ?", last - (last - first) // 10
            with connection:
                connection.execute(f"DELETE FROM vectors WHERE {which}", (bound,))

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        """Turn an error of the file into one warning, and disable the cache."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            warn_of_cache(f"the cache {str(self.path)!r} is not used: {error}")
            self.close()


def key_of(prefix: str, text: str) -> str:
    """Return the key of a text; it also depends on where the prefix ends, since a prefix may be left out of pooling."""
    return hashlib.sha256(f"{len(prefix)} {prefix}{text}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _sealed(vector: bytes) -> bytes:
    """Prepend the checksum of a vector."""
    return zlib.crc32(vector).to_bytes(CHECKSUM_BYTES, "little") + vector


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=WAIT_SECONDS)
    try:
        with connection:
            connection.execute("BEGIN IMMEDIATE")  # one process creates the tables while others wait
            _prepare(connection)
        connection.execute("PRAGMA synchronous = OFF")  # if the machine crashes, damaged vectors are ignored
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    """Create the tables in an empty file; raise an error for a file of another program or format."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not version and not tables:
        for name, columns in TABLES.items():
            connection.execute(f"CREATE TABLE {name} ({columns})")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
    elif not tables >= {*TABLES}:
        raise sqlite3.DatabaseError("it is a database of another program")
    elif version != FORMAT:
        raise sqlite3.DatabaseError(f"it has format {version}, not {FORMAT}; delete it")


def _bytes(connection: sqlite3.Connection) -> int:
    """Return the number of bytes in use in the file."""
    size, pages, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
    )
    return int(size * (pages - free))


def _give_back(connection: sqlite3.Connection, max_bytes: int) -> None:
    """Compact the file if it is far above its limit, because the limit was lowered."""
    size, pages = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count"))
    if size * pages > 1.5 * max_bytes + SMALL:
        with suppress(sqlite3.OperationalError):  # another process is reading, or the disk has no space for a copy
            connection.execute("VACUUM")
