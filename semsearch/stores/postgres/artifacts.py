"""Files that belong to an index but not to its documents: the fitted transform, and folders of its encoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from semsearch.errors import DamagedError
from semsearch.stores.postgres.connections import Session, Writing

PART = 2**23
"""Number of bytes of a file in one row; PostgreSQL's limit is 1 GB, and each is in memory several times."""

TRANSFORM = "transform"
"""Name of the fitted transform."""


def keep(writing: Writing, name: str, files: Iterable[tuple[str, bytes]]) -> None:
    """Replace the files of a name by others, given with their relative paths; must be called inside a change."""
    writing.execute("DELETE FROM artifacts WHERE name = %s", (name,))
    for file, data in files:
        for part, start in enumerate(range(0, max(len(data), 1), PART)):
            row = (name, file, part, data[start : start + PART])
            writing.execute("INSERT INTO artifacts VALUES (%s, %s, %s, %s)", row)


def keep_folders(writing: Writing, folders: Mapping[str, Path]) -> None:
    """Store folders of regular files by name, unless they are stored; must be called inside a change."""
    for name, folder in folders.items():
        if not writing.one("SELECT count(*) FROM artifacts WHERE name = %s", (name,)):
            keep(writing, name, _files(folder))


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def write_folders(session: Session, target: Path) -> bool:
    """Write the stored folders to a folder, each under its name; return whether there are any.

    Raises:
        DamagedError: If a stored path leads elsewhere.
    """
    sql = "SELECT name, file, data FROM artifacts WHERE name <> %s ORDER BY name, file, part"
    rows = session.rows("SELECT DISTINCT name, file FROM artifacts WHERE name <> %s", (TRANSFORM,))
    for name, file in rows:
        path = PurePosixPath(name, file)
        if path.is_absolute() or ".." in path.parts or "\\" in str(path) or ":" in str(path) or "/" in name:
            raise DamagedError(
                f"the index {session.address.shown!r} is damaged: it has an artifact with the path {str(path)!r:.100}"
            )
    for name, file, data in session.rows(sql, (TRANSFORM,)) if rows else ():
        path = target / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as out:
            out.write(data)
    return bool(rows)
