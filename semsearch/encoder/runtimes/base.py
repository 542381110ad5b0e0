"""The interface of a runtime, and the names of precisions that runtimes share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from semsearch.arrays import Vectors
from semsearch.encoder.tokenization import Batch, Batching

PRECISIONS = ("auto", "float32", "bfloat16", "float16")

INT8 = "int8"
"""The precision that a user requests for an 8-bit model, which is calibrated on a corpus."""

QUANTIZED = f"{INT8}:"
"""Prefix of the precision stored for an 8-bit model; the model's sha256 follows."""


class Runtime(Protocol):
    """Runs batches of token ids through a network."""

    @property
    def name(self) -> str:
        """Name in the table of runtimes."""
        ...

    @property
    def device(self) -> str:
        """Device that the runtime uses."""
        ...

    @property
    def precision(self) -> str:
        """Numeric precision, as recorded in `EncoderSpec`."""
        ...

    @property
    def batching(self) -> Batching:
        """How texts should be grouped into batches for this runtime."""
        ...

    @property
    def artifacts(self) -> Mapping[str, Path]:
        """Folders that an index must keep a copy of, by their names in the index folder.

        They belong to the encoder and cannot be recreated from the checkpoint, such as an 8-bit graph.
        """
        ...

    def quantize(self, batches: Iterable[Batch]) -> Runtime:
        """Return a runtime for an 8-bit version of the same model.

        Args:
            batches: Token ids to calibrate on, one text per batch, so that there is no padding.

        Raises:
            UnsupportedError: If this runtime cannot quantize, or a library is missing.
        """
        ...

    def __call__(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[Vectors]]]:
        """Yield each batch, or parts of it, in any order, with float32 `[n, dim]` for each head, not rescaled.

        A head that keeps tokens returns `[n, longest, hidden]`, a classification head `[n, labels]`.

        Raises:
            ModelError: If the model cannot compute the vectors, for example for lack of memory.
            UsageError: If the process was forked from the one in which the runtime's threads run.
        """
        ...
