"""Reading Rich Text Format, in the code page that the file declares."""

from __future__ import annotations

import codecs
import re
import struct

from semsearch.corpus.formats.pandoc import converted, run_pandoc
from semsearch.corpus.plain import Plain

_CODE_PAGE = re.compile(rb"\\ansicpg(\d+)")

_ESCAPED = re.compile(rb"(\\u-?\d+) ?\?|\\u-?\d+ ?(?:\\'[0-9a-fA-F]{2})+|((?:\\'[0-9a-fA-F]{2})+)")
"""Unicode escapes, with what stands there for readers without Unicode, or bytes in the code page (group 2)."""


def from_rtf(data: bytes) -> Plain:
    """Convert Rich Text Format."""
    if not data.lstrip().startswith(rb"{\rtf"):
        raise ValueError(r"not Rich Text Format (it does not begin with {\rtf); check its extension")
    return converted(run_pandoc(_for_pandoc(data), "rtf")[0])


def _for_pandoc(data: bytes) -> bytes:
    r"""Replace bytes in the code page, which pandoc takes for 1252; write `\u8364?` and footnotes as it expects them.

    After a question mark pandoc loses a space, but not after its code.
    """
    declared = _CODE_PAGE.search(data)
    encoding = f"cp{declared[1].decode()}" if declared else "cp1252"
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise ValueError(f"the code page {encoding} is unknown; save the file in another format") from None

    def escape(match: re.Match[bytes]) -> bytes:
        if match[1]:
            return match[1] + rb"\'3f"
        if not match[2]:
            return match[0]
        units = bytes.fromhex(match[2].decode().replace("\\'", "")).decode(encoding, "replace").encode("utf-16-le")
        return b"".join(rb"\u%d\'3f" % unit for (unit,) in struct.iter_unpack("<h", units))

    return _ESCAPED.sub(escape, data).replace(rb"{\*\footnote", rb"{\footnote")  # of LibreOffice, lost otherwise
