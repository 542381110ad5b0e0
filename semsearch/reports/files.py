"""Files that appear once they are complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from semsearch.errors import SourceError
from semsearch.paths import as_path


def make_folder(folder: str | Path) -> None:
    """Make a folder to write into, unless it exists.

    Raises:
        SourceError: It cannot be made.
        UsageError: What was given is not a path.
    """
    folder = as_path(folder, "folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"cannot write {str(folder)!r}: {error.strerror}") from None


@contextmanager
def writing(path: str | Path) -> Iterator[IO[str]]:
    """Open a text file that appears once it is complete; a pipe or a device is written to directly.

    Raises:
        SourceError: It cannot be written.
        UsageError: What was given is not a path.
    """
    path = as_path(path)
    target = Path(os.path.realpath(path))  # a link stays one
    temporary = target.parent / f".{target.name}.{os.getpid()}.tmp"
    try:
        direct = target.exists() and not target.is_file()
        with (target if direct else temporary).open("w" if direct else "x", encoding="utf-8") as file:
            yield file
        if not direct:
            temporary.replace(target)
    except OSError as error:
        raise SourceError(f"cannot write {str(path)!r}: {error.strerror}") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
