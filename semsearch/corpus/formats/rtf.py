"""Reading Rich Text Format, in the code page that the file declares."""

from __future__ import annotations

import codecs
import re
import struct

from semsearch.corpus.formats.pandoc import converted, run_pandoc
from semsearch.corpus.plain import Plain

_CODE_PAGE = re.compile(rb"\\ansicpg(\d+)")

_ESCAPED = re.compile(rb"\\u-?\d+ ?(?:\\'[0-9a-fA-F]{2})*|((?:\\'[0-9a-fA-F]{2})+)")
"""A Unicode escape with what stands there for readers without Unicode, or bytes in the code page (group 1)."""


def from_rtf(data: bytes) -> Plain:
    """Convert Rich Text Format."""
    if not data.lstrip().startswith(rb"{\rtf"):
        raise ValueError(r"not Rich Text Format (it does not begin with {\rtf); check its extension")
    return converted(run_pandoc(_in_unicode(data), "rtf")[0])


def _in_unicode(data: bytes) -> bytes:
    """Replace bytes in a code page other than 1252, the only one that pandoc knows, with Unicode escapes."""
    declared = _CODE_PAGE.search(data)
    encoding = f"cp{declared[1].decode()}" if declared else "cp1252"
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise ValueError(f"the code page {encoding} is unknown; save the file in another format") from None

    def escape(match: re.Match[bytes]) -> bytes:
        if match[1] is None:
            return match[0]
        units = bytes.fromhex(match[1].decode().replace("\\'", "")).decode(encoding, "replace").encode("utf-16-le")
        return b"".join(b"\\u%d?" % unit for (unit,) in struct.iter_unpack("<h", units))

    return data if encoding == "cp1252" else _ESCAPED.sub(escape, data)
