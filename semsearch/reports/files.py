"""Files that appear when they are complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from semsearch.errors import SourceError


def make_folder(folder: Path) -> None:
    """Make a folder to write into, unless it is there.

    Raises:
        SourceError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"cannot write {str(folder)!r}: {error.strerror}") from None


@contextmanager
def writing(path: Path) -> Iterator[IO[str]]:
    """A text file that appears when it is complete; a pipe or a device is written to as it goes.

    Raises:
        SourceError: It cannot be written.
    """
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
