"""Files and folders that appear when they are complete."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder of files to a new place, where it is whole or not at all, also after a loss of power."""
    half_made = target.with_name(f"{target.name}.new")
    shutil.rmtree(half_made, ignore_errors=True)
    shutil.copytree(source, half_made)
    for path in half_made.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    half_made.rename(target)
