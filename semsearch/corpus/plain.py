"""Plain text and its layout: inline pieces joined into blocks, with blank lines between paragraphs."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BufferedIOBase, BufferedReader, RawIOBase
from itertools import chain
from typing import IO, TYPE_CHECKING

from semsearch.types import Metadata

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BOUNDARY = "\0"
"""Piece that separates adjacent words, such as at a button's edge, and vanishes elsewhere; texts contain no NUL."""

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

_UNENCODABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Plain:
    """Text, title and metadata of a file without its markup, and a warning about anything that could not be read."""

    text: str
    title: str = ""
    metadata: Metadata = field(default_factory=dict)
    warning: str = ""


def decode(data: bytes) -> str:
    """Decode strictly, as UTF-16 if a byte order mark says so, otherwise as UTF-8."""
    return tidy(data.decode("utf-16" if data.startswith(UTF16_MARKS) else "utf-8"))


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


def laid_out(pieces: Iterable[str | int]) -> str:
    """Join inline text (str) into blocks, separated by line breaks (int, the minimum number); the largest gap wins."""
    out: list[str] = []
    block: list[str] = []
    gap = 0
    for piece in chain(pieces, (0,)):
        if isinstance(piece, str):
            block.append(piece)
            continue
        text = re.sub(rf"(?<=\w){BOUNDARY}+(?=\w)", " ", "".join(block)).replace(BOUNDARY, "")
        block.clear()
        # White space in running text is already collapsed: a line break inside a block means that it is preformatted.
        text = text.strip("\n").rstrip() if "\n" in text else re.sub(" {2,}", " ", text).strip(" ")
        if text:
            out += ["\n" * gap if out else "", text]
            gap = 0
        gap = max(gap, piece)
    return "".join(out)
