"""Cutting documents into passages, measured in the model's own tokens.

`semantic-text-splitter` chooses the boundaries: paragraphs first, then sentences, then words, so that each passage is
as long as the limit allows; tables and code are cut only if they are longer than a passage. This module prepends the
title and the path of the section, counts tokens, and handles documents that are too long. It is independent of any
model: the tokenizer and the limits are passed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from semsearch.checks import is_whole
from semsearch.corpus.packing import Packer
from semsearch.errors import RecordError, UsageError
from semsearch.forks import encode_batch
from semsearch.layout import NO_LAYOUT, Layout
from semsearch.types import Document, Passage

if TYPE_CHECKING:
    from semantic_text_splitter import TextSplitter
    from tokenizers import Tokenizer

ON_LONG = ("chunk", "truncate", "error")

MAX_CHUNK_TOKENS = 512
"""Default maximum passage length for models that accept more: one vector can represent only so much text."""

LEAST_ROOM = 8
"""Minimum number of tokens that must remain for the title and text after the prefix and special tokens."""

BLOCK_CHARS = 20_000
"""The splitter's running time is quadratic in paragraph length, so longer texts are passed to it in blocks."""

COUNTED_AT_ONCE = 512
"""Number of texts whose encodings are in memory at once, at a few hundred bytes per token."""

SPLITTERS = 16
CAPACITY_STEP = 16
"""Number of cached splitters and the step between their capacities; each splitter holds a copy of the vocabulary."""

PATH_TOKENS = 32
"""Maximum number of tokens of a section's path in front of a passage; the end of a longer one is left out."""

BLOCK_CHARS_PER_TOKEN = 40
"""Blocks grow with the passage length, so that each block holds several passages."""


@dataclass(frozen=True, slots=True)
class Chunking:
    """Settings for cutting documents into passages; stored with the index.

    Attributes:
        on_long: How to handle a long document: `chunk` cuts it into passages, `truncate` keeps its beginning, `error`
            rejects it.
        tokens: Maximum passage length in tokens, including the title, prefix and special tokens; None for the
            encoder's maximum, capped at 512.
        overlap: Number of tokens that neighboring passages may share.
        title: Whether to prepend the document's title to each passage before encoding.
        sections: Whether to prepend the headings of a passage's section as well, after the title, and to keep tables
            and code whole.

    Raises:
        UsageError: If a setting has the wrong type or value, or if two settings contradict each other.
    """

    on_long: str = "chunk"
    tokens: int | None = None
    overlap: int = 32
    title: bool = True
    sections: bool = True

    def __post_init__(self) -> None:
        if self.on_long not in ON_LONG:
            raise UsageError(f"`on_long` is {self.on_long!r}; expected one of {', '.join(ON_LONG)}")
        if self.tokens is not None and not is_whole(self.tokens):
            raise UsageError(f"`tokens` is {self.tokens!r:.60}; expected a number of tokens, or None for the default")
        if self.tokens is not None and self.on_long != "chunk":
            raise UsageError(f"`tokens` requires `on_long` chunk, got {self.on_long}; see `max_tokens`")
        if not is_whole(self.overlap) or self.overlap < 0:
            raise UsageError(f"`overlap` is {self.overlap!r:.60}; expected 0 or more tokens")
        for name, value in (("title", self.title), ("sections", self.sections)):
            if not isinstance(value, bool):
                raise UsageError(f"`{name}` is {value!r:.60}; expected True or False")

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object; `from_json` restores them."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Chunking:
        """Restore the settings of an index; an older one knows no sections."""
        return cls(**{"sections": False, **fields})


@dataclass(frozen=True, slots=True)
class Encoded:
    """A passage as the encoder sees it, with its heading in front: the title and the path of its section.

    Attributes:
        heading: The part of the heading that `text` contains.
        heading_start, text_start: Offsets in `text` at which the heading and the passage's own text begin; negative if
            leading white space was stripped.
    """

    text: str
    heading: str
    heading_start: int
    text_start: int


class Chunker:
    """Cuts documents into passages for one tokenizer."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int, prefix: str, chunking: Chunking) -> None:
        """Set up chunking for one encoder.

        Args:
            tokenizer: The encoder's tokenizer, without truncation or padding.
            max_tokens: Maximum number of tokens that the encoder reads, special tokens included.
            prefix: Text that the encoder prepends to each passage; it counts toward the limit.
            chunking: The chunking settings.

        Raises:
            UsageError: If the passage length does not fit the encoder, or the encoder has no room for text.
        """
        self._tokenizer, self._max_tokens, self._prefix, self._chunking = tokenizer, max_tokens, prefix, chunking
        self._limit = min(max_tokens, MAX_CHUNK_TOKENS) if chunking.tokens is None else chunking.tokens
        least = self._count([prefix])[0] + LEAST_ROOM
        if max_tokens < least:
            raise UsageError(f"`max_tokens` must be at least {least} with this passage prefix, got {max_tokens}")
        if not least <= self._limit <= max_tokens:
            raise UsageError(f"`tokens` is {self._limit}; expected {least} to {max_tokens} for this encoder")
        self._splitter = lru_cache(maxsize=SPLITTERS)(self._new_splitter)

    def passages(self, documents: Sequence[Document]) -> list[tuple[Passage, ...] | RecordError]:
        """Cut each document into passages.

        Returns:
            For each document, its passages in order, or an empty tuple if there is nothing to encode. If `on_long` is
            `error`, a document that is too long yields a RecordError instead.
        """
        whole = [f"{self._heading(one.title)} {one.text}".strip() for one in documents]
        counts = self._count([self._prefix + text for text in whole])
        return [self._passages(*each) for each in zip(documents, whole, counts, strict=True)]

    def encodings(self, title: str, section: str, text: str) -> list[Encoded]:
        """Return the texts that a passage may have been encoded as, given its title and the path of its section.

        There are two if the heading is long enough to be shortened when a document is cut: one with the full heading
        and one with the shortened heading.
        """
        heading = self._heading(title, section)
        if not self._chunking.title:
            return [_encoded("", text, 0)]
        headings = dict.fromkeys([heading, self._shortened(heading)])
        return [_encoded(one, f"{one} {text}", len(one) + 1) for one in headings]

    def _heading(self, title: str, section: str = "") -> str:
        """Return what is prepended to a passage, with a space behind it, as BEIR does with titles."""
        if not self._chunking.title:
            return ""
        return f"{title} {self._shorten(section, PATH_TOKENS)}".strip() if section else title

    def _passages(self, document: Document, whole: str, n_tokens: int) -> tuple[Passage, ...] | RecordError:
        if not whole:
            return ()
        chunks = self._chunking.on_long == "chunk"
        limit = self._limit if chunks else self._max_tokens
        if n_tokens > limit and chunks and document.text.strip():
            return tuple(self._cut(document))
        if n_tokens > limit and self._chunking.on_long == "error":
            reason = f"document {document.doc_id!r} has {n_tokens} tokens, more than {limit}, and `on_long` is error"
            return RecordError(document.source, None, reason)
        return (Passage(0, 0, len(document.text), whole, n_tokens, max(0, n_tokens - self._max_tokens)),)

    def _cut(self, document: Document) -> Iterator[Passage]:
        """Cut a document into several passages, each preceded by its heading, which takes up at most half of it."""
        layout = document.layout if self._chunking.sections else NO_LAYOUT
        headed = [
            (start, end, self._shortened(self._heading(document.title, section)))
            for start, end in self._spans(document.text, document.title, layout)
            for section in (layout.section(document.title, start, end),)
        ]
        texts = [f"{heading} {document.text[start:end]}".strip() for start, end, heading in headed]
        counts = self._count([self._prefix + text for text in texts])
        for ordinal, ((start, end, _), text, n) in enumerate(zip(headed, texts, counts, strict=True)):
            yield Passage(ordinal, start, end, text, n, max(0, n - self._max_tokens))

    def _spans(self, text: str, title: str, layout: Layout) -> Iterator[tuple[int, int]]:
        """Cut a text into spans, each of which fits into a passage below its heading."""
        longest = max(BLOCK_CHARS, BLOCK_CHARS_PER_TOKEN * self._room())

        @cache
        def below(section: str) -> int:
            return self._room(self._heading(title, section))

        def room(start: int, end: int) -> int:
            return below(layout.section(title, start, end))

        def cut(start: int, end: int, reserved: int) -> Iterator[tuple[int, int]]:
            for first, last in _blocks(text[start:end], longest):
                first, last = start + first, start + last
                places = (first, *(section.start for section in layout.begun(first, last)))
                capacity = min(room(place, place + 1) for place in places)
                splitter = self._splitter_for(capacity - min(reserved, capacity // 2))
                for offset, chunk in splitter.chunk_indices(text[first:last]):
                    yield first + offset, first + offset + len(chunk)

        return Packer(text, layout, self._counted, room, cut).spans() if layout else cut(0, len(text), 0)

    def _counted(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of texts without special tokens."""
        (specials,) = self._count([""])
        return [n - specials for n in self._count(texts)]

    def _room(self, heading: str = "") -> int:
        """Return the number of tokens per passage that remain after the prefix, a heading and special tokens."""
        return self._limit - self._count([self._prefix + self._shortened(heading)])[0]

    def _count(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text, including special tokens, in batches, since encodings are large."""
        counts: list[int] = []
        for start in range(0, len(texts), COUNTED_AT_ONCE):
            some = texts[start : start + COUNTED_AT_ONCE]
            short = iter(encode_batch(self._tokenizer, [text for text in some if len(text) <= BLOCK_CHARS]))
            counts += [len(next(short).ids) if len(text) <= BLOCK_CHARS else self._count_long(text) for text in some]
        return counts

    def _count_long(self, text: str) -> int:
        """Count the tokens of a long text, block by block."""
        (specials,) = self._count([""])
        return specials + sum(self._count([text[start:end]])[0] - specials for start, end in _blocks(text, BLOCK_CHARS))

    def _shortened(self, heading: str) -> str:
        """Cut a heading so that it takes up at most half of a passage."""
        return self._shorten(heading, self._room() // 2) if heading else ""

    def _shorten(self, title: str, n_tokens: int) -> str:
        """Cut a title to at most `n_tokens` tokens."""
        encoding = self._tokenizer.encode(title, add_special_tokens=False)
        return title if len(encoding.ids) <= n_tokens else title[: encoding.offsets[n_tokens - 1][1]]

    def _splitter_for(self, capacity: int) -> TextSplitter:
        """Return a splitter for passages of at most `capacity` tokens, which is rounded down if that costs little."""
        if self._room() > capacity > 4 * CAPACITY_STEP:
            capacity -= capacity % CAPACITY_STEP
        return self._splitter(capacity, min(self._chunking.overlap, capacity // 2))

    def _new_splitter(self, capacity: int, overlap: int) -> TextSplitter:
        from semantic_text_splitter import TextSplitter

        return TextSplitter.from_huggingface_tokenizer(self._tokenizer, capacity, overlap)


def _encoded(heading: str, whole: str, text_start: int) -> Encoded:
    """Strip outer white space from the text and shift the offsets accordingly."""
    lost = len(whole) - len(whole.lstrip())
    return Encoded(whole.strip(), heading, -lost, text_start - lost)


def _blocks(text: str, longest: int) -> Iterator[tuple[int, int]]:
    """Cut a text into blocks of at most `longest` characters, after a paragraph, line, sentence or word if possible."""
    start = 0
    while len(text) - start > longest:
        earliest, latest = start + longest // 2, start + longest
        cuts = (text.rfind(mark, earliest, latest) + len(mark) for mark in ("\n\n", "\n", ". ", "。", " "))
        end = next((cut for cut in cuts if cut > earliest), latest)
        yield start, end
        start = end
    yield start, len(text)
