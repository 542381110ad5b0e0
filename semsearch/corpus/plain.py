"""Plain text and its layout: inline pieces joined into blocks, with blank lines between paragraphs."""

from __future__ import annotations

import codecs
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from io import BufferedIOBase, BufferedReader, RawIOBase
from itertools import chain
from typing import IO, TYPE_CHECKING, TypeAlias

from semsearch.layout import NO_LAYOUT, Layout, Section
from semsearch.types import Metadata

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BOUNDARY = "\0"
"""Piece that separates adjacent words, such as at a button's edge, and vanishes elsewhere; texts contain no NUL."""

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

HEAD, TITLE = 10_000, 100
"""Number of characters at the beginning of a text in which its first line is looked for, and maximum of a title."""

_DECORATION = "#*=_~-/ \t"
"""Characters around the first line of a plain text that only decorate it."""

_UNENCODABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Heading:
    """Piece that makes a section of what follows: the next block is its heading, and 1 is the highest level.

    If it is not `titled`, what follows is a section without a heading, which ends those of its level and below.
    """

    level: int
    titled: bool = True


class Keep(Enum):
    """Pieces around the blocks of a table or of code, which passages do not tear apart."""

    KEEP = "keep"
    KEPT = "kept"


KEEP, KEPT = Keep

Piece: TypeAlias = str | int | Heading | Keep
"""A part of a text that is laid out; see `lay_out`."""


@dataclass(frozen=True, slots=True)
class Plain:
    """Text, title, metadata and layout of a file without its markup, and a warning about what could not be read."""

    text: str
    title: str = ""
    metadata: Metadata = field(default_factory=dict)
    warning: str = ""
    layout: Layout = NO_LAYOUT


def decode(data: bytes) -> str:
    """Decode strictly, as UTF-16 if a byte order mark says so, otherwise as UTF-8."""
    return tidy(data.decode("utf-16" if data.startswith(UTF16_MARKS) else "utf-8"))


def is_text(head: bytes) -> bool:
    """Return whether the first bytes of a file are text that `decode` reads; the last character may be cut off."""
    encoding = "utf-16" if head.startswith(UTF16_MARKS) else "utf-8"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return False
    return bool(text.strip()) and "\0" not in text


def as_utf8(head: bytes, stream: IO[bytes] | BufferedIOBase) -> BufferedIOBase:
    """Transcode a UTF-16 stream with a byte order mark, whose beginning `head` was already read, to UTF-8."""
    return BufferedReader(_Recoded(head, stream), 2**16)


class _Recoded(RawIOBase):
    """A UTF-16 stream transcoded to UTF-8; reading raises UnicodeDecodeError at the first invalid bytes."""

    def __init__(self, head: bytes, stream: IO[bytes] | BufferedIOBase) -> None:
        self._head, self._stream = head, stream
        self._decoder = codecs.getincrementaldecoder("utf-16")()
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        block: bytes | None = None
        while not self._ready and block != b"":
            block, self._head = self._head or self._stream.read(2**15), b""
            self._ready = self._decoder.decode(block, final=not block).encode()
        view = memoryview(buffer)
        n = min(len(view), len(self._ready))
        view[:n], self._ready = self._ready[:n], self._ready[n:]
        return n


def tidy(text: str) -> str:
    r"""Reject NUL characters, drop a byte order mark, and convert `\r\n` to `\n`."""
    if "\0" in text:
        raise ValueError("a NUL character in the text; expected text, not binary data")
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def cleaned(text: str) -> str:
    """Replace NUL and lone surrogates, which extractors emit for unmapped characters, with U+FFFD."""
    return _UNENCODABLE.sub("\ufffd", text)


def opening_line(text: str) -> str:
    """Return the first line of a text that has letters, as the title of a document without one; cut at a word."""
    line = next((line for line in text[:HEAD].splitlines() if any(map(str.isalpha, line))), "")
    return textwrap.shorten(line.strip(_DECORATION), TITLE, placeholder="…")


def laid_out(pieces: Iterable[Piece]) -> str:
    """Return the text of `lay_out` alone."""
    return lay_out(pieces)[0]


def lay_out(pieces: Iterable[Piece]) -> tuple[str, Layout]:
    """Join inline text into blocks with line breaks between them; the largest of several gaps wins.

    Args:
        pieces: Inline text (str); the minimum number of line breaks (int), which ends a block; a Heading, if the block
            that follows it is one; KEEP and KEPT around the blocks of a table or of code, which belong together.

    Returns:
        The text, and its sections and tables.
    """
    made = _Laid()
    for piece in chain(pieces, (0,)):
        if isinstance(piece, str):
            made.block.append(piece)
        elif isinstance(piece, int):
            made.end_block()
            made.gap = max(made.gap, piece)
        else:
            made.end_block()
            made.mark(piece)
    return "".join(made.out), Layout(tuple(made.sections), tuple(made.blocks))


@dataclass(slots=True)
class _Laid:
    """The text that is laid out so far; `length` is its number of characters, `kept` how many KEEPs are open."""

    out: list[str] = field(default_factory=list)
    length: int = 0
    gap: int = 0
    block: list[str] = field(default_factory=list)
    heading: Heading | None = None
    kept: int = 0
    kept_from: int | None = None
    sections: list[Section] = field(default_factory=list)
    blocks: list[tuple[int, int]] = field(default_factory=list)

    def end_block(self) -> None:
        """Append the block, if it has any text."""
        text = re.sub(rf"(?<=\w){BOUNDARY}+(?=\w)", " ", "".join(self.block)).replace(BOUNDARY, "")
        self.block.clear()
        # White space in running text is already collapsed: a line break inside a block means that it is preformatted.
        text = text.strip("\n").rstrip() if "\n" in text else re.sub(" {2,}", " ", text).strip(" ")
        if not text:
            return
        before = "\n" * self.gap if self.out else ""
        start = self.length + len(before)
        self.out += [before, text]
        self.length, self.gap = start + len(text), 0
        if self.heading:
            title = " ".join(text.split()) if self.heading.titled else ""
            self.sections.append(Section(start, self.heading.level, title))
            self.heading = None
        if self.kept and self.kept_from is None:
            self.kept_from = start

    def mark(self, piece: Heading | Keep) -> None:
        """Begin a heading, or begin or end what belongs together; only the outermost KEEP counts."""
        if isinstance(piece, Heading):
            self.heading = piece
            return
        self.heading = None
        self.kept += 1 if piece is KEEP else -1
        if not self.kept and self.kept_from is not None:
            self.blocks.append((self.kept_from, self.length))
            self.kept_from = None
