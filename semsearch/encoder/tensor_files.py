"""Reading safetensors files into NumPy, without torch; pickled weights are never read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from semsearch.errors import ModelError


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

    Raises:
        ModelError: If the file cannot be read, or a tensor is of a type that NumPy does not have, such as bfloat16.
    """
    with _opened(file, model) as tensors:
        return {name: tensors.get_tensor(name) for name in tensors.keys()}


@contextmanager
def _opened(file: Path, model: str) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "numpy") as tensors:
            yield tensors
    except (SafetensorError, OSError, TypeError) as error:
        raise ModelError(f"model {model!r} cannot be loaded: {str(error).strip().splitlines()[0]}") from None
