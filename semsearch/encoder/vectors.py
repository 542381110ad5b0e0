"""The vectors that leave a runtime: the one place that looks whether they are numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np

from semsearch.arrays import Vectors
from semsearch.encoder.runtimes.base import Runtime
from semsearch.encoder.tokenization import Batch
from semsearch.errors import ModelError

Batches: TypeAlias = Callable[[Sequence[str], str], Iterator[Batch]]
"""Texts, and what stands in front of each of them, to batches of token ids."""

SQUARES = {2: "nd,nd->n", 3: "ntd,ntd->n"}
"""Sums of squares of each text, by dimensions: of vectors, and of vectors of tokens."""

ADVICE = {
    "openvino": "take `runtime` 'torch'",
    "float16": "take `precision` 'bfloat16' or 'float32'",
    "bfloat16": "take `precision` 'float32'",
}
"""By runtime or precision, what to do about them."""


def run(
    runtime: Runtime, batcher: Batches, texts: Sequence[str], prefix: str, model: str
) -> Iterator[tuple[Batch, list[Vectors]]]:
    """Encode texts, as `Runtime` does, and let no vector out that is not finite.

    Raises:
        ModelError: As for `Runtime`; or a vector has a component that is not finite, or is too long for float32.
    """
    where = f"model {model!r} on runtime {runtime.name!r} in {runtime.precision[:17]}"
    advice = ADVICE.get(runtime.name) or ADVICE.get(runtime.precision) or "check the checkpoint's weights"
    for batch, outputs in runtime(batcher(texts, prefix)):
        for pooled in outputs:
            _refuse(pooled, [texts[row] for row in batch.rows], batch.rows.tolist(), f"{where}; {advice}")
        yield batch, outputs


def check_finite(vectors: Vectors, texts: Sequence[str], model: str) -> Vectors:
    """Return vectors, float32 `[n, dim]`, of these texts.

    Raises:
        ModelError: One of them is not finite.
    """
    _refuse(vectors, texts, range(len(texts)), f"model {model!r}; check the encoder")
    return vectors


def _refuse(vectors: Vectors, texts: Sequence[str], rows: Sequence[int], where: str) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum(SQUARES[vectors.ndim], vectors, vectors)  # NaN and infinity stay what they are, in one pass
    bad = np.flatnonzero(~np.isfinite(squares)).tolist()
    if bad:
        raise ModelError(
            f"{len(bad)} of {len(texts)} texts that were encoded together got vectors that are not finite numbers, the "
            f"first of them text {rows[bad[0]]} (from 0), {texts[bad[0]]!r:.40}: {where}"
        )
