"""The folder of an index: its permitted contents, its creation, and cleanup after a crash."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Collection, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from semsearch.errors import DiskFullError, NoIndexError
from semsearch.files import copy_folder, is_regular, make_lasting, remove, sync
from semsearch.moments import now
from semsearch.stores.local.database import DATABASE, connect, create
from semsearch.stores.local.guard import checksum
from semsearch.stores.local.holder import HOLDER
from semsearch.stores.local.lock import LOCK
from semsearch.types import EncoderSpec


def encoder_folder(precision: str) -> str:
    """Return the name of the folder with the 8-bit model of a precision, see `encoder.runtimes`; empty for others."""
    kind, _, digest = precision.partition(":")
    return f"encoder-{digest[:12]}" if kind == "int8" else ""


DRAFT = "reencode"
"""Folder in which `drafts.py` prepares the move of an index to another encoder; it is kept for a run that resumes."""

OURS = re.compile(
    rf"{re.escape(DATABASE)}\.([0-9a-f]{{16}}\.)?new(-wal|-shm|-journal)?"
    r"|writer\.holder\.[0-9a-f]{16}\.tmp"
    r"|(vectors|words)\.\d{6,19}\.(seg|f32|faiss)(\.tmp|\.[0-9a-f]{16}\.tmp)?"
    r"|encoder-[0-9a-f]{12}(\.new|\.[0-9a-f]{16}\.new)?"
    rf"|{DRAFT}\.[0-9a-f]{{16}}\.old"
)
"""Names of files and folders that a writer creates beside the database and the lock, and may remove again."""


def prepare_folder(folder: Path) -> None:
    """Create the folder; refuse one that contains something else, before anything is written to it."""
    if is_regular(folder / DATABASE):
        connect(folder / DATABASE).close()
        return
    try:
        make_lasting(folder)
    except (FileExistsError, NotADirectoryError):
        raise NoIndexError(f"{str(folder)!r} is a file or inside one; pass a folder for the index") from None
    if foreign := foreign_files(folder):
        raise NoIndexError(
            f"{str(folder)!r} is not an index and contains other files ({foreign[0]} …); pass an empty or new folder"
        )


INDEX = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", DRAFT)
"""Names in the folder of an index that a writer never removes by itself."""


def foreign_files(folder: Path) -> list[str]:
    """Return the names in a folder, which may be missing, that no writer creates beside an index, sorted."""
    try:
        return sorted(name for name in os.listdir(folder) if name not in (LOCK, HOLDER) and not OURS.fullmatch(name))
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise NoIndexError(f"{str(folder)!r} is a file or inside one; pass a folder for the index") from None


def keep_artifacts(folder: Path, artifacts: Mapping[str, Path]) -> None:
    """Copy folders that belong to the encoder into the folder of the index, under their names."""
    for name, source in artifacts.items():
        copy_folder(source, folder / name)


def create_index(
    folder: Path, spec: EncoderSpec, chunking: Mapping[str, Any], origin: str, store_precision: str
) -> None:
    """Create the complete database under a temporary name, so that a crash does not leave a partial one."""
    settings = {"encoder": spec.to_json(), "chunking": dict(chunking), "origin": origin, "revision": 0}
    settings |= {"created": now(), "updated": now(), "store_precision": store_precision}
    for path in folder.glob(f"{DATABASE}.*"):
        remove(path)
    connection, temporary = create(folder)
    try:
        with closing(connection):
            rows = [(key, json.dumps(value)) for key, value in settings.items()]
            sql = "INSERT OR REPLACE INTO settings (key, value, checksum) VALUES (?, ?, ?)"
            connection.executemany(sql, [(*row, checksum(*row)) for row in rows])
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        temporary.replace(folder / DATABASE)
    except BaseException:
        for ending in ("", "-wal", "-shm"):
            remove(temporary.with_name(temporary.name + ending))
        raise
    sync(folder)


def sweep(folder: Path, named: Collection[str]) -> None:
    """Remove what a writer created and nothing refers to: what a crash left behind.

    Args:
        folder: Folder of the index.
        named: Names of files and folders that are in use.
    """
    for path in folder.iterdir():
        if OURS.fullmatch(path.name) and path.name not in named:
            with suppress(OSError):
                remove(path)


def check_space(folder: Path, needed: int, what: str) -> None:
    """Check that the file system of a folder, which may not exist yet, has this many bytes left.

    Raises:
        DiskFullError: If it has not.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise DiskFullError(
            f"{what} takes {needed / 1e6:,.0f} MB of space, but only {free / 1e6:,.0f} MB are free; nothing was "
            "changed; free some, then run the same command again"
        )


def space_needed(folder: Path) -> int:
    """Return the space in bytes that rewriting a database and its segments one by one takes for a while.

    SQLite writes the new database to a temporary file, and from there to its log.
    """
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    database = sum(size for name, size in sizes.items() if name.startswith(DATABASE))
    return 2 * database + max((size for name, size in sizes.items() if name.endswith(".seg")), default=0)
