"""An encoder that another program computes: a framework's embedding model, or a service behind a function.

What decides its vectors is not known here. Its fingerprint is the name by which it goes and the length of its vectors,
so an index refuses another name or another length, and nothing can tell whether the model behind a name was changed.
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
"""Texts to a vector each."""

MAX_WORDS = 512
"""Words and punctuation marks of a passage, where nobody knows how much the model reads."""

BATCH = 256
"""Texts that are handed over at once."""


class ForeignEncoder:
    """Encodes by somebody else's functions; see `TextEncoder`."""

    artifacts: ClassVar[Mapping[str, Path]] = MappingProxyType({})

    def __init__(self, name: str, queries: Embed, documents: Embed, max_words: int = MAX_WORDS) -> None:
        """Take the functions.

        Args:
            name: What the model goes by; an index is refused to any other name.
            queries: Embeds queries.
            documents: Embeds passages.
            max_words: Of a passage, counted as words and punctuation marks.
        """
        self._name, self._queries, self._documents, self._max_words = name, queries, documents, max_words

    @cached_property
    def spec(self) -> EncoderSpec:
        """The spec; embeds one text to see how long a vector is.

        Raises:
            ModelError: That gives no vector.
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
        """Every word or punctuation mark is a token."""
        return word_tokenizer()

    def quantize(self, texts: Sequence[str]) -> NoReturn:
        """Raise UsageError: the model is not here."""
        raise UsageError(f"model {self._name!r} is another program's, with no 8-bit form; leave `precision` out")

    def encode_queries(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode queries: float32 `[n, dim]`, unit rows.

        Raises:
            ModelError: The model gives something else than as many vectors of that length.
        """
        return self._encode(self._queries, texts, progress)

    def encode_documents(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode passages: float32 `[n, dim]`, unit rows; see `encode_queries`."""
        return self._encode(self._documents, texts, progress)

    def split_documents(self, texts: Sequence[str]) -> NoReturn:
        """Raise UnsupportedError: what tokens contribute is known to the other program alone, if at all."""
        raise UnsupportedError(f"model {self._name!r} is another program's: what its tokens contribute is not known")

    def _encode(self, embed: Embed, texts: Sequence[str], progress: Progress | None) -> Vectors:
        texts, dim = check_texts(texts), self.spec.dim
        vectors = np.empty((len(texts), dim), np.float32)
        for start in range(0, len(texts), BATCH):
            some = list(texts[start : start + BATCH])
            rows = self._embedded(embed, some)
            if rows.shape[1] != dim:
                raise ModelError(
                    f"model {self._name!r} gave vectors of {rows.shape[1]} and of {dim}; expected one length"
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
                f"model {self._name!r} gave {given!r:.60} for {len(texts)} texts; expected a vector for each"
            )
        return rows
