"""What storing vectors in fewer bits costs, measured while an index grows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from semsearch.arrays import Array, Vectors
from semsearch.loss import measure_loss
from semsearch.stores.codecs import FLOAT32, Codec
from semsearch.types import Storage

SAMPLE = 1_000
"""Number of passages of a run that the loss is measured on."""


class StoreLoss:
    """The first vectors of a run, exactly and as they are stored, to measure the loss on."""

    def __init__(self) -> None:
        self._exact: list[Vectors] = []
        self._stored: list[Array] = []
        self._n = 0

    def take(self, exact: Vectors, stored: Array, codec: Codec) -> bool:
        """Add vectors `[n, dim]`, which the codec has encoded as these rows; return whether any of them is needed."""
        chosen = np.flatnonzero(exact.any(1))[: SAMPLE - self._n]  # zeros have no neighbors
        if codec is FLOAT32 or not len(chosen):
            return False
        self._exact.append(exact[chosen])
        self._stored.append(stored[chosen])
        self._n += len(chosen)
        return True

    def measure(
        self, codec: Codec, transformed: Callable[[Vectors], Vectors], similarity: str, known: Storage
    ) -> dict[str, Any] | None:
        """Measure the loss of the vectors as they are searched.

        Args:
            codec: The codec that has encoded them.
            transformed: Converts vectors as the encoder returns them to those that are searched.
            similarity: The function that dense scores are computed by.
            known: What the index knows of its loss.

        Returns:
            The loss as a setting; None if there are no vectors, or if the index knows it from more of them.
        """
        if not self._n or self._n < known.measured:
            return None
        decoded = codec.decode(np.concatenate(self._stored))
        loss = measure_loss(transformed(decoded), transformed(np.concatenate(self._exact)), similarity)
        return {"mean_cosine": loss.mean_cosine, "overlap": loss.overlap, "measured": self._n}


def as_setting(storage: Storage) -> dict[str, Any]:
    """Return a loss that was measured elsewhere as a setting."""
    return {"mean_cosine": storage.mean_cosine, "overlap": storage.overlap, "measured": storage.measured}
