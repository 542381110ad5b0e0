"""Copies of an index: backups, made while a writer may be at work, and their restoration.

A copy contains one committed state, with the segments of that state, so that it opens as fast as the original. It is
checked as a whole before it appears under its name.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack, closing
from pathlib import Path

from semsearch.errors import DamagedError, NoIndexError, UsageError
from semsearch.files import building, copy_folder, exchanging, open_regular
from semsearch.stores.local.care.verify import Watch, first_of, verify_folder
from semsearch.stores.local.catalog import Catalog
from semsearch.stores.local.database import DATABASE, Database, translated_errors
from semsearch.stores.local.folder import INDEX, check_space, encoder_folder, foreign_files
from semsearch.stores.local.lock import hold_lock

ATTEMPTS = 5
"""Number of times that a copy is begun, because a writer may replace a segment just before it is opened."""

AT_ONCE = 2**20
"""Number of bytes of a file in memory at a time."""


def back_up(folder: Path, target: Path, watch: Watch | None = None) -> None:
    """Copy an index to a new folder, which appears once the copy is complete, on disk, and found to be intact.

    Args:
        folder: Folder of the index.
        target: The new folder.
        watch: Progress callback that receives the name of each part before it is copied or checked.

    Raises:
        UsageError: If the target exists.
        DamagedError: If the index is damaged.
        DiskFullError: If there is not enough space.
    """
    with building(target, "target") as made:
        _check_space(folder, made)
        _copy(folder, made, watch)


def restore(backup: Path, folder: Path, *, replace: bool = False, watch: Watch | None = None) -> None:
    """Copy a backup to the folder of an index, once the copy is complete, on disk, and found to be intact.

    An index that is replaced stays as it is until then. Open readers see the restored one from their next search on.

    Args:
        backup: Folder of the backup.
        folder: Folder of the index.
        replace: Replace an index that is there.
        watch: Progress callback, as for `back_up`.

    Raises:
        NoIndexError: If there is no backup, or the folder contains something else than an index.
        UsageError: If there is an index in the folder, unless `replace`.
        DamagedError: If the backup is damaged.
        LockedError: If the index that is to be replaced is being written.
        DiskFullError: If there is not enough space.
    """
    Database(backup).close()  # raises an error that says what is there instead
    if foreign := [name for name in foreign_files(folder) if name not in INDEX]:
        raise NoIndexError(f"{str(folder)!r} contains other files ({foreign[0]} …); choose an empty or new folder")
    is_index = os.path.lexists(folder / DATABASE)
    if is_index and not replace:
        raise UsageError(f"there is an index in {str(folder)!r} already; choose another folder, or pass `replace`")
    if is_index and folder.samefile(backup):
        raise UsageError(f"{str(folder)!r} is the backup itself; choose another folder")
    if not (folder.is_dir() and os.listdir(folder)):
        with building(folder, "location") as made:
            _check_space(backup, made)
            _copy(backup, made, watch)
        return
    with translated_errors(), hold_lock(folder), exchanging(folder) as made:
        _check_space(backup, made)
        _copy(backup, made, watch)


def _copy(source: Path, made: Path, watch: Watch | None) -> None:
    """Copy the current state of an index into an empty folder, and check the copy."""
    with translated_errors():
        for attempt in range(ATTEMPTS):
            with closing(Database(source)) as database, database.snapshot(), ExitStack() as opened:
                catalog = Catalog(database)
                names = [file for segment in catalog.segments() for file in segment.files]
                try:
                    files = {name: opened.enter_context(open_regular(source / name)) for name in names}
                except OSError as error:
                    if attempt < ATTEMPTS - 1:
                        continue
                    raise DamagedError(
                        f"the index {str(source)!r} is damaged: its file {Path(str(error.filename)).name} is missing; "
                        "run semsearch rebuild"
                    ) from None
                if watch:
                    watch("copying")
                database.copy_to(made / DATABASE)
                for name, file in files.items():
                    with (made / name).open("xb") as copy:
                        shutil.copyfileobj(file, copy, AT_ONCE)
                if artifact := encoder_folder(catalog.spec.precision):
                    copy_folder(source / artifact, made / artifact)
            break
        if problems := verify_folder(made, watch):
            remedy = "run semsearch rebuild" if all(one.derived for one in problems) else "semsearch verify lists all"
            raise DamagedError(f"{str(source)!r} was not copied, because it is damaged: {first_of(problems)}; {remedy}")


def _check_space(source: Path, target: Path) -> None:
    """Check that there is enough space for a copy of an index."""
    needed = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    check_space(target, needed, f"copying {str(source)!r}")
