"""PDFs written by hand, in which every byte of a page is known."""

from __future__ import annotations

from collections.abc import Sequence


def pdf(
    *pages: bytes,
    encoding: bytes = b"/WinAnsiEncoding",
    extra: bytes = b"",
    info: bytes = b"",
    more: Sequence[bytes] = (),
) -> bytes:
    """Return a minimal handwritten PDF: a catalog, a page tree, and pages with one content stream each."""
    kids = b" ".join(b"%d 0 R" % (4 + 2 * i) for i in range(len(pages)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, len(pages)),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding%s>>" % encoding,
    ]
    for i, stream in enumerate(pages):
        page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Resources<</Font<</F 3 0 R>>>>/Contents %d 0 R>>"
        objects += [page % (5 + 2 * i), b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream)]
    objects += [*more, b"<<%s>>" % info]
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    trailer = b"trailer<</Size %d/Root 1 0 R/Info %d 0 R%s>>\nstartxref\n%d\n%%%%EOF" % (
        size,
        size - 1,
        extra,
        len(data),
    )
    return data + b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table) + trailer


def shown(text: bytes) -> bytes:
    return b"BT /F 12 Tf 20 200 Td (%s) Tj ET" % text
