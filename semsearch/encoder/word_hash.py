"""An encoder without a model: it hashes words. For tests and measurements, as the model `hash:64`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NoReturn

import numpy as np

from semsearch.arrays import Vector, Vectors
from semsearch.encoder.encoder import Progress
from semsearch.encoder.texts import check_text, check_texts
from semsearch.encoder.token_parts import Span, TokenParts
from semsearch.encoder.token_vectors import TokenVectors, offsets_of
from semsearch.errors import UsageError
from semsearch.transforms import unit_rows
from semsearch.types import EncoderSpec

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WORD = re.compile(r"\w+")


def word_tokenizer() -> Tokenizer:
    """Return a tokenizer that takes every word or punctuation mark for a token, all of them the same."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


@dataclass(frozen=True)
class WordHashEncoder:
    """Bag of hashed words: each word adds +1 or -1 to one of `dim` components (feature hashing, Weinberger 2009).

    Texts that share words get a high cosine, which is all that a test of the plumbing needs.
    """

    dim: int = 64
    max_tokens: int = 256
    artifacts: ClassVar[Mapping[str, Path]] = MappingProxyType({})

    @classmethod
    def parse(cls, model: str, max_tokens: int | None = None) -> WordHashEncoder:
        """From a model name `hash:DIM`."""
        size = model.removeprefix("hash:")
        if not size.isdecimal() or not 1 <= int(size) <= 65_536:
            raise UsageError(f"model {model!r}: expected hash:DIM with a dimension from 1 to 65536, such as hash:64")
        if max_tokens is not None and max_tokens < 1:
            raise UsageError(f"max tokens is {max_tokens}; expected at least 1")
        return cls(int(size), max_tokens or 256)

    @property
    def spec(self) -> EncoderSpec:
        """The spec; `weights` names the scheme."""
        return EncoderSpec(
            model=f"hash:{self.dim}",
            weights="word-hash-1",
            tokenizer="words",
            pooler="word-hash",
            layers=(),
            max_tokens=self.max_tokens,
            dim=self.dim,
        )

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Every word or punctuation mark is a token."""
        return word_tokenizer()

    def quantize(self, texts: Sequence[str]) -> NoReturn:
        """Raise UsageError: there is nothing to quantize."""
        raise UsageError(f"model {self.spec.model!r} has no 8-bit form; leave `precision` out")

    def encode_query(self, text: str) -> Vector:
        """Encode a query: float32 `[dim]`, of unit length (a text without words gets zeros)."""
        vector: Vector = self.encode_queries([check_text(text)])[0]
        return vector

    def encode_queries(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode queries: float32 `[n, dim]`, unit rows (a text without words gets zeros)."""
        return self.encode_documents(texts, progress)

    def encode_document(self, text: str) -> Vector:
        """Encode a passage: float32 `[dim]`, of unit length (a text without words gets zeros)."""
        vector: Vector = self.encode_documents([check_text(text)])[0]
        return vector

    def encode_documents(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode passages: float32 `[n, dim]`, unit rows (a text without words gets zeros).

        Raises:
            UsageError: The texts are one string, or one of them is no string.
        """
        texts = check_texts(texts)
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in WORD.findall(text.lower())[: self.max_tokens]:
                place, sign = self._component(word)
                vectors[row, place] += sign
            if progress:
                progress(1)
        return unit_rows(vectors)

    def encode_query_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Encode queries word by word; see `encode_document_tokens`."""
        return self.encode_document_tokens(texts)

    def encode_document_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Encode passages word by word: 1 or -1 in one component each.

        Raises:
            UsageError: The texts are one string, or one of them is no string.
        """
        return [TokenVectors(parts.vectors, offsets_of(parts.spans)) for parts in self.split_documents(texts)]

    def split_documents(self, texts: Sequence[str]) -> list[TokenParts]:
        """Split the vector of each passage into what each of its words contributes: one component of 1 or -1.

        Raises:
            UsageError: The texts are one string, or one of them is no string.
        """
        return [self._split(text) for text in check_texts(texts)]

    def _split(self, text: str) -> TokenParts:
        origin = [place for place, character in enumerate(text) for _ in character.lower()]  # İ becomes two characters
        words = list(WORD.finditer(text.lower()))
        seen, vectors = words[: self.max_tokens], np.zeros((min(len(words), self.max_tokens), self.dim), np.float32)
        for row, word in enumerate(seen):
            place, sign = self._component(word[0])
            vectors[row, place] = sign
        bounds = [(origin[word.start()], origin[word.end() - 1] + 1) for word in seen]
        spans = [Span(text[start:end], start, end) for start, end in bounds]
        return TokenParts(spans, vectors, np.zeros(self.dim, np.float32), len(words) - len(seen))

    def _component(self, word: str) -> tuple[int, int]:
        """The component that a word adds to, and what it adds."""
        code = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")
        return (code >> 1) % self.dim, 1 if code & 1 else -1
