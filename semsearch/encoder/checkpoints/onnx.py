"""Finding the ONNX export of a checkpoint that has no safetensors."""

from __future__ import annotations

import re
from mmap import ACCESS_READ, mmap
from pathlib import Path

from semsearch.errors import ModelError

FOLDERS = ("", "onnx")
"""Folders of a checkpoint that exports are in."""

LOCATION = re.compile(rb"\x0a\x08location\x12(.)", re.DOTALL)
"""What precedes the name of a file with tensors: the key and the name's length, in protobuf's encoding."""

USUAL = ("model.onnx", "model_optimized.onnx")
"""Names of exports without quantization, in order of preference."""


def find_export(backbone: Path, name: str) -> Path | None:
    """Return the ONNX export of a checkpoint, or None if there is none.

    Raises:
        ModelError: If there are several, and none has a usual name.
    """
    files = [file for folder in FOLDERS for file in sorted((backbone / folder).glob("*.onnx"))]
    usual = [file for known in USUAL for file in files if file.name == known]
    if not usual and len(files) > 1:
        raise ModelError(
            f"model {name!r} has several ONNX exports ({', '.join(file.name for file in files)}) and no safetensors; "
            f"keep one of them, or name the one to use {USUAL[0]}"
        )
    return next(iter(usual or files), None)


def export_files(export: Path, name: str) -> tuple[Path, ...]:
    """Return the files of an export: itself, and those beside it that hold its tensors.

    Raises:
        ModelError: If it names a file that is not beside it.
    """
    if not export.stat().st_size:
        raise ModelError(f"model {name!r}: {export.name} is empty")
    with export.open("rb") as opened, mmap(opened.fileno(), 0, access=ACCESS_READ) as content:
        found = {content[one.end() : one.end() + one[1][0]] for one in LOCATION.finditer(content)}
    files = [export.parent / location.decode(errors="replace") for location in sorted(found)]
    if outside := [file for file in files if not (file.name and file.parent == export.parent and file.is_file())]:
        raise ModelError(
            f"model {name!r}: the tensors of {export.name} are in {str(outside[0])!r}, which is not a file beside it"
        )
    return export, *files
