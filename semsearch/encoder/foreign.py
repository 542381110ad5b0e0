"""An encoder whose vectors come from another program: a framework's embedding model, or a remote service.

Nothing is known here about how the vectors are computed. The encoder's fingerprint consists of the model's name and the
length of its vectors, so an index rejects a different name or length, but a change of the model behind a name goes
unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NoReturn, TypeAlias

import numpy as np

from semsearch.arrays import Vectors
from semsearch.encoder.encoder import Progress
from semsearch.encoder.load import FOREIGN
from semsearch.encoder.texts import check_texts
from semsearch.encoder.word_hash import word_tokenizer
from semsearch.errors import ModelError, UnsupportedError, UsageError
from semsearch.transforms import unit_rows
from semsearch.types import EncoderSpec

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Embed: TypeAlias = Callable[[list[str]], Sequence[Sequence[float]]]
"""Function that returns one vector per text."""

MAX_WORDS = 512
"""Default limit of a passage in words and punctuation marks, as the model's own limit is unknown."""

BATCH = 256
"""Number of texts per call."""


class ForeignEncoder:
    """Encodes texts with functions of another program; see `TextEncoder`."""

    artifacts: ClassVar[Mapping[str, Path]] = MappingProxyType({})

    def __init__(self, name: str, queries: Embed, documents: Embed, max_words: int = MAX_WORDS) -> None:
        """Create an encoder from two functions.

        Args:
            name: Name of the model; its index cannot be opened under any other name.
            queries: Function that encodes queries.
            documents: Function that encodes passages.
            max_words: Limit of a passage in words and punctuation marks.
        """
        self._name, self._queries, self._documents, self._max_words = name, queries, documents, max_words

    @cached_property
    def spec(self) -> EncoderSpec:
        """Everything known about the vectors; encodes one text to find out their length.

        Raises:
            ModelError: If the function does not return a vector.
        """
        return EncoderSpec(
            model=FOREIGN + self._name,
            weights=FOREIGN + self._name,
            tokenizer="words",
            pooler="foreign",
            layers=(),
            max_tokens=self._max_words,
            dim=self._embedded(self._documents, ["dimension"]).shape[1],
        )

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """A tokenizer that treats every word or punctuation mark as a token."""
        return word_tokenizer()

    def quantize(self, texts: Sequence[str]) -> NoReturn:
        """Raise UsageError, as the model runs in another program."""
        raise UsageError(f"model {self._name!r} belongs to another program and has no 8-bit form; omit `precision`")

    def encode_queries(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode queries as float32 `[n, dim]` with unit rows.

        Raises:
            ModelError: If the model does not return one vector of the expected length per text.
        """
        return self._encode(self._queries, texts, progress)

    def encode_documents(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode passages as float32 `[n, dim]` with unit rows; see `encode_queries`."""
        return self._encode(self._documents, texts, progress)

    def split_documents(self, texts: Sequence[str]) -> NoReturn:
        """Raise UnsupportedError, as the contributions of tokens are not known here."""
        raise UnsupportedError(
            f"model {self._name!r} belongs to another program; the contributions of its tokens are unknown"
        )

    def _encode(self, embed: Embed, texts: Sequence[str], progress: Progress | None) -> Vectors:
        texts, dim = check_texts(texts), self.spec.dim
        vectors = np.empty((len(texts), dim), np.float32)
        for start in range(0, len(texts), BATCH):
            some = list(texts[start : start + BATCH])
            rows = self._embedded(embed, some)
            if rows.shape[1] != dim:
                raise ModelError(
                    f"model {self._name!r} returned vectors of length {rows.shape[1]} and {dim}; expected one length"
                )
            vectors[start : start + len(some)] = rows
            if progress:
                progress(len(some))
        return unit_rows(vectors)

    def _embedded(self, embed: Embed, texts: list[str]) -> Vectors:
        given = embed(texts)
        try:
            rows = np.asarray(given, np.float32)
        except (TypeError, ValueError):
            rows = np.empty(0, np.float32)
        if rows.ndim != 2 or len(rows) != len(texts) or not rows.shape[1]:
            raise ModelError(
                f"model {self._name!r} returned {given!r:.60} for {len(texts)} texts; expected a vector for each"
            )
        return rows
