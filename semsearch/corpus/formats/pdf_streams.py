"""Bounding what the pages of a PDF are drawn with before PDFium reads them.

For every 7 bytes of a page's content, such as `(x) Tj `, PDFium may take 500 bytes of memory: 41 kB of compressed
content reached 2 GB. Its functions cannot tell this in advance, so the streams of the file are decompressed here first.
"""

from __future__ import annotations

import re
import zlib

from semsearch.corpus.formats.pdf_lines import MAX_PAGE_CHARS, MAX_PAGE_OBJECTS

MAX_CONTENT = 2**26
"""Maximum number of bytes of the content of a page after decompression; 44 MB are the most in 1,105 manuals."""

_DICTIONARY = 2**12
"""Number of bytes before a stream in which its dictionary is looked for."""

_STREAM = re.compile(rb"(?<!end)stream\r?\n")

_OTHER = re.compile(
    rb"/Subtype\s*/(?:Image|XML|Type1C|CIDFontType0C|OpenType)|/Length1|/Type\s*/(?:XRef|ObjStm|EmbeddedFile)"
)
"""Parts of the dictionaries of streams that are no content: pictures, fonts, metadata, tables of objects and files."""

_PAINTED = re.compile(rb"(?<=[\s\])>])[SsFfBb](?=[*\s])")
"""Operators that paint what was drawn (PDF 32000-1, table 60)."""

_LETTERS = (b"S", b"s", b"F", b"f", b"B", b"b")

_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
"""Beginnings of data that zlib has compressed."""


def check_streams(data: bytes) -> None:
    """Raise ValueError if a stream of a PDF may be the content of a page that is too much for PDFium."""
    for found in _STREAM.finditer(data):
        start = found.end()
        if not data.startswith(_ZLIB, start):
            continue
        head = data[max(0, found.start() - _DICTIONARY) : found.start()]
        if _OTHER.search(head, max(0, head.rfind(b" obj"))):
            continue
        end = data.find(b"endstream", start)
        content = _content(data[start : end if end >= 0 else None])
        if len(content) > MAX_CONTENT:
            raise ValueError(f"a page has more than {MAX_CONTENT} bytes of content; print it to a new PDF")
        if content.count(b"Tj") + content.count(b"TJ") > MAX_PAGE_CHARS:
            raise ValueError(f"a page has more than {MAX_PAGE_CHARS} pieces of text; split it")
        letters = sum(map(content.count, _LETTERS))  # a hundred times as fast as the expression
        if letters > MAX_PAGE_OBJECTS and sum(1 for _ in _PAINTED.finditer(content)) > MAX_PAGE_OBJECTS:
            raise ValueError(f"a page has more than {MAX_PAGE_OBJECTS} drawn objects; print it to a new PDF")


def _content(compressed: bytes) -> bytes:
    """Return decompressed data, up to one byte more than MAX_CONTENT; nothing if it is damaged."""
    try:
        while compressed.startswith(_ZLIB) and len(compressed) <= MAX_CONTENT:  # it may be compressed more than once
            compressed = zlib.decompressobj().decompress(compressed, MAX_CONTENT + 1)
    except zlib.error:
        return b""
    return compressed
