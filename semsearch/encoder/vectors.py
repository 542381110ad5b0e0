"""Running texts through a runtime, and rejecting vectors that are not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np

from semsearch.arrays import Vectors
from semsearch.encoder.runtimes.base import Runtime
from semsearch.encoder.tokenization import Batch
from semsearch.errors import ModelError

Batches: TypeAlias = Callable[[Sequence[str], str], Iterator[Batch]]
"""Turns texts, and the prefix or query that precedes each of them, into batches of token ids."""

TABLE = "static"
"""Name of the runtime of tables of static token vectors."""

SQUARES = {2: "nd,nd->n", 3: "ntd,ntd->n"}
"""einsum subscripts for the sum of squares per text, by number of dimensions: vectors, and token vectors."""

ADVICE = {
    "openvino": "use `runtime` 'torch'",
    "float16": "use `precision` 'bfloat16' or 'float32'",
    "bfloat16": "use `precision` 'float32'",
}
"""What to do about vectors that are not finite, by runtime or precision."""


def run(
    runtime: Runtime, batcher: Batches, texts: Sequence[str], prefix: str, model: str
) -> Iterator[tuple[Batch, list[Vectors]]]:
    """Encode texts with a runtime, and yield each batch with its vectors after checking that they are finite.

    A text without tokens, such as an empty one where the tokenizer adds no special tokens, gets a vector of zeros; a
    table of static token vectors has its own for it.

    Raises:
        ModelError: As for `Runtime`; also if a vector has a component that is not finite, or its squared length
            overflows float32.
    """
    where = f"model {model!r} on runtime {runtime.name!r} in {runtime.precision[:17]}"
    advice = ADVICE.get(runtime.name) or ADVICE.get(runtime.precision) or "check the checkpoint's weights"
    for batch, outputs in runtime(batcher(texts, prefix)):
        if runtime.name != TABLE and not all(batch.ids):
            outputs = [_without_empty(pooled, batch) for pooled in outputs]
        for pooled in outputs:
            _refuse(pooled, [texts[row] for row in batch.rows], batch.rows.tolist(), f"{where}; {advice}")
        yield batch, outputs


def check_finite(vectors: Vectors, texts: Sequence[str], model: str) -> Vectors:
    """Return the vectors of these texts, float32 `[n, dim]`, after checking that they are finite.

    Raises:
        ModelError: If a vector is not finite.
    """
    _refuse(vectors, texts, range(len(texts)), f"model {model!r}; check the encoder")
    return vectors


def _without_empty(vectors: Vectors, batch: Batch) -> Vectors:
    """Return a copy of the vectors with zeros for texts without tokens, whose padding would be pooled otherwise."""
    filled = vectors.copy()
    filled[[not ids for ids in batch.ids]] = 0
    return filled


def _refuse(vectors: Vectors, texts: Sequence[str], rows: Sequence[int], where: str) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum(SQUARES[vectors.ndim], vectors, vectors)  # one pass; NaN and infinity carry over
    bad = np.flatnonzero(~np.isfinite(squares)).tolist()
    if bad:
        raise ModelError(
            f"the vectors of {len(bad)} of {len(texts)} texts encoded together are not finite numbers, starting with "
            f"text {rows[bad[0]]} (from 0), {texts[bad[0]]!r:.40}: {where}"
        )
