"""Reading safetensors files into NumPy, without torch; pickled weights are never read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import ModelError
from semsearch.messages import first_line

BFLOAT16 = "BF16"
"""Name of the type in safetensors."""


def read_shapes(file: Path, model: str) -> dict[str, list[int]]:
    """Return the shape of each tensor in a safetensors file, by name, without reading the data.

    Args:
        file: The file.
        model: Name of the model, for messages.

    Raises:
        ModelError: If the file cannot be read.
    """
    with _opened(file, model) as tensors:
        return {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}


def read_tensors(file: Path, model: str) -> dict[str, NDArray[Any]]:
    """Return all tensors of a safetensors file, by name; see `read_shapes`.

    Tensors in bfloat16 are returned in float32.

    Raises:
        ModelError: If the file cannot be read, or a tensor is of another type that NumPy does not have.
    """
    with _opened(file, model) as tensors:
        types = {name: tensors.get_slice(name).get_dtype() for name in tensors.keys()}
        found = {name: tensors.get_tensor(name) for name, kind in types.items() if kind != BFLOAT16}
        if len(found) < len(types):
            found |= _bfloat16(file)
        return found


def _bfloat16(file: Path) -> dict[str, NDArray[np.float32]]:
    """Return the tensors in bfloat16, which are the upper halves of float32 numbers."""
    from safetensors import deserialize

    parts: list[tuple[str, dict[str, Any]]] = deserialize(file.read_bytes())  # type: ignore[no-untyped-call]
    return {
        name: (np.frombuffer(part["data"], "<u2").astype(np.uint32) << 16).view(np.float32).reshape(part["shape"])
        for name, part in parts
        if part["dtype"] == BFLOAT16
    }


@contextmanager
def _opened(file: Path, model: str) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "numpy") as tensors:
            yield tensors
    except (SafetensorError, OSError, TypeError, AttributeError) as error:  # the last two for types that NumPy lacks
        raise ModelError(f"model {model!r} cannot be loaded: {first_line(error)}") from None
