"""The arrays that pass between rooms; apart from the other nouns, for `semsearch status` needs no numpy."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]
"""float32 `[n, dim]`."""

Vector: TypeAlias = NDArray[np.float32]
"""float32 `[dim]`."""

Ids: TypeAlias = NDArray[np.int64]
"""int64 `[n]`: numbers of passages; -1 for none."""
