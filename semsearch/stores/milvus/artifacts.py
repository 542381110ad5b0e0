"""Files that belong to the encoder of an index, but not to its checkpoint, as settings."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from semsearch.stores.milvus.catalog import Catalog


def artifact_settings(folders: Mapping[str, Path], known: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the settings for folders of regular files, and for their list with those that are known."""
    settings, listed = dict[str, Any](), dict(known)
    for name, folder in folders.items():
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        listed[name] = [path.relative_to(folder).as_posix() for path in files]
        for file, path in zip(listed[name], files, strict=True):
            settings[f"artifact {name}/{file}"] = base64.b64encode(path.read_bytes()).decode()
    return {**settings, "artifacts": listed}


def write_folders(catalog: Catalog, target: Path) -> bool:
    """Write the stored folders to a folder, each under its name; return whether there are any.

    Raises:
        DamagedError: If a stored path leads elsewhere.
    """
    listed = catalog.setting("artifacts", {})
    for name, files in listed.items():
        for file in files:
            path = PurePosixPath(name, file)
            if path.is_absolute() or ".." in path.parts or "\\" in str(path) or ":" in str(path) or "/" in name:
                raise catalog.damaged(f"it has an artifact with the path {str(path)!r:.100}")
            place = target / name / file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(base64.b64decode(catalog.setting(f"artifact {name}/{file}", "")))
    return bool(listed)
