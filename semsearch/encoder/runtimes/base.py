"""What a runtime is, and the names of precisions that runtimes share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from semsearch.arrays import Vectors
from semsearch.encoder.tokenization import Batch, Batching

PRECISIONS = ("auto", "float32", "bfloat16", "float16")

INT8 = "int8"
"""The precision that a user asks for; 8-bit models are calibrated on a corpus."""

QUANTIZED = f"{INT8}:"
"""The beginning of such a model's own precision; the sha256 of the model follows."""


class Runtime(Protocol):
    """Carries batches of token ids through a network."""

    @property
    def name(self) -> str:
        """Its name in the table of runtimes."""
        ...

    @property
    def device(self) -> str:
        """The device that it runs on."""
        ...

    @property
    def precision(self) -> str:
        """Its class of arithmetic, as `EncoderSpec` has it."""
        ...

    @property
    def batching(self) -> Batching:
        """How it wants texts to be put into batches."""
        ...

    @property
    def artifacts(self) -> Mapping[str, Path]:
        """Folders of files that an index must keep, by their names in its folder.

        They belong to the encoder and cannot be had from the checkpoint, such as an 8-bit graph.
        """
        ...

    def quantize(self, batches: Iterable[Batch]) -> Runtime:
        """Return a runtime of the same model in 8-bit integers.

        Args:
            batches: Token ids to calibrate on, one text per batch, so that no padding takes part.

        Raises:
            UnsupportedError: This runtime has no such form, or a library is missing.
        """
        ...

    def __call__(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[Vectors]]]:
        """Yield each batch, or its parts, in any order, with float32 `[n, dim]` for each head, not rescaled.

        A head that keeps tokens gives `[n, longest, hidden]`, a classification head `[n, labels]`.

        Raises:
            ModelError: The model cannot compute them, such as for lack of memory.
            UsageError: The process was forked from the one that the runtime's threads live in.
        """
        ...
