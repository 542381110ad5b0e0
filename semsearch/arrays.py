"""Array types that packages share, kept apart from `semsearch.types` so that `semsearch status` needs no numpy."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]
"""float32 `[n, dim]`."""

Vector: TypeAlias = NDArray[np.float32]
"""float32 `[dim]`."""

Ids: TypeAlias = NDArray[np.int64]
"""Passage numbers, int64 `[n]`; -1 stands for no passage."""

Array: TypeAlias = NDArray[Any]
"""An array of any type and shape."""
