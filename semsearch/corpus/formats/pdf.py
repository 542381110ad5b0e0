"""Extracting the text layer of PDF files."""

from __future__ import annotations

import unicodedata
from io import BytesIO
from itertools import accumulate

from semsearch.corpus.plain import Plain, cleaned


def from_pdf(data: bytes) -> Plain:
    """Extract the text layer, page by page, with ligatures decomposed (NFKC); only the empty password is tried."""
    try:
        from pypdf import PdfReader
        from pypdf.errors import DependencyError
    except ImportError:
        raise ValueError("PDF files need pypdf, which is not installed; pip install 'semsearch[pdf]'") from None

    try:
        reader = PdfReader(BytesIO(data))
        closed = reader.is_encrypted and not reader.decrypt("")
        pages = [] if closed else [page.extract_text().strip() for page in reader.pages]
        title = "" if closed else str((reader.metadata and reader.metadata.title) or "")
    except DependencyError as error:
        raise ValueError(f"the PDF needs another package ({error}); pip install 'semsearch[pdf]'") from None
    except Exception as error:  # pypdf raises nearly any exception for a broken file, even KeyError and TypeError
        raise ValueError(
            f"the PDF is broken ({type(error).__name__}: {error}); repair it, for example with qpdf"
        ) from error
    if closed:
        raise ValueError("the PDF is encrypted; decrypt it first, for example with qpdf --decrypt")
    if not any(pages):
        raise ValueError("the PDF has no text layer (scanned?); run OCR first, for example with ocrmypdf")
    texts = [unicodedata.normalize("NFKC", cleaned(page)).strip() for page in pages]
    starts = [0, *accumulate(len(text) + 2 * bool(text) for text in texts)]
    title = unicodedata.normalize("NFKC", cleaned(title)).strip()
    return Plain("\n\n".join(filter(None, texts)), title, {"pages": len(pages), "page_starts": starts[:-1]})
