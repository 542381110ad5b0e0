"""Finding the ONNX export of a checkpoint that has no safetensors."""

from __future__ import annotations

from pathlib import Path

from semsearch.errors import ModelError

FOLDERS = ("", "onnx")
"""Folders of a checkpoint that exports are in."""

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


def export_files(export: Path) -> tuple[Path, ...]:
    """Return the files of an export: itself, and those beside it that hold its tensors."""
    return (export, *sorted(export.parent.glob(f"{export.name}?data*")))
