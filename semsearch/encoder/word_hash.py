"""An encoder that hashes words and needs no model, for tests and benchmarks: the model `hash:DIM`."""

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
    """Return a tokenizer that treats every word or punctuation mark as a token, all with the same id."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


@dataclass(frozen=True)
class WordHashEncoder:
    """Bag of hashed words (feature hashing, Weinberger et al. 2009).

    Each word adds +1 or -1 to one of `dim` components. Texts that share words have a high cosine, which is enough to
    test indexing and search without a model.

    Attributes:
        dim: Length of the vectors.
        max_tokens: Number of words of a text that count; the rest is ignored.
        artifacts: Empty; an index needs no files of this encoder.
    """

    dim: int = 64
    max_tokens: int = 256
    artifacts: ClassVar[Mapping[str, Path]] = MappingProxyType({})

    @classmethod
    def parse(cls, model: str, max_tokens: int | None = None) -> WordHashEncoder:
        """Create an encoder from a model name `hash:DIM`.

        Raises:
            UsageError: If the name has no dimension from 1 to 65536, or `max_tokens` is below 1.
        """
        size = model.removeprefix("hash:")
        if not size.isdecimal() or not 1 <= int(size) <= 65_536:
            raise UsageError(f"model {model!r}: expected hash:DIM with a dimension from 1 to 65536, such as hash:64")
        if max_tokens is not None and max_tokens < 1:
            raise UsageError(f"`max_tokens` must be at least 1, got {max_tokens}")
        return cls(int(size), max_tokens or 256)

    @property
    def spec(self) -> EncoderSpec:
        """Everything that determines a vector; `weights` names the hashing scheme."""
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
        """A tokenizer that treats every word or punctuation mark as a token."""
        return word_tokenizer()

    def quantize(self, texts: Sequence[str]) -> NoReturn:
        """Raise UsageError: there is nothing to quantize."""
        raise UsageError(f"model {self.spec.model!r} has no 8-bit form; omit `precision`")

    def encode_query(self, text: str) -> Vector:
        """Encode one query as float32 `[dim]` of unit length (all zeros for a text without words)."""
        vector: Vector = self.encode_queries([check_text(text)])[0]
        return vector

    def encode_queries(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode queries as float32 `[n, dim]` with unit rows (all zeros for a text without words)."""
        return self.encode_documents(texts, progress)

    def encode_document(self, text: str) -> Vector:
        """Encode one passage as float32 `[dim]` of unit length (all zeros for a text without words)."""
        vector: Vector = self.encode_documents([check_text(text)])[0]
        return vector

    def encode_documents(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode passages as float32 `[n, dim]` with unit rows (all zeros for a text without words).

        Raises:
            UsageError: If `texts` is a single string, or one of them is not a string.
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
        """Encode passages word by word; each word's vector has a single component, 1 or -1.

        Raises:
            UsageError: If `texts` is a single string, or one of them is not a string.
        """
        return [TokenVectors(parts.vectors, offsets_of(parts.spans)) for parts in self.split_documents(texts)]

    def split_documents(self, texts: Sequence[str]) -> list[TokenParts]:
        """Split the vector of each passage into the contributions of its words: 1 or -1 in one component each.

        Raises:
            UsageError: If `texts` is a single string, or one of them is not a string.
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
        """Return the component that a word adds to, and its sign."""
        code = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")
        return (code >> 1) % self.dim, 1 if code & 1 else -1
