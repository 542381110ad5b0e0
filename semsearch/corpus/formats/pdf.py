"""Reading the text layer of PDF files, with the sections and pages that it comes from."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

from semsearch.corpus.formats.pdf_lines import Bookmark, Page, read_bookmarks, read_pages
from semsearch.corpus.formats.pdf_streams import check_streams
from semsearch.corpus.formats.pdf_text import (
    Block,
    Typesetting,
    blocks_of,
    by_type,
    in_reading_order,
    joined,
    readable,
    without_furniture,
)
from semsearch.corpus.plain import Plain
from semsearch.corpus.records import TextlessError
from semsearch.forks import ForkLock

_LOCK = ForkLock()
"""PDFium has global state, and no lock of its own."""

_MARKS = "∗†‡§¶ "
"""Marks of a footnote, at the end of a printed title."""

MAX_TITLE = 200
"""Maximum number of characters of a title that is taken from the first page."""

FEW_POINTS = 400
"""Side of a page up to which a file without text is taken for a logo or a figure: A5 is 420 by 595 points."""

_NO_TITLE = re.compile(
    r"(?:untitled|no title|title|document|presentation|slide)?\s*\d*|microsoft (?:word|powerpoint|excel) - .*|"
    r".*\blatex with hyperref\b.*|\S+\.\w{2,5}|(?:output|layout|print|main|paper|manuscript)\s*\d*",
    re.IGNORECASE,
)
"""Titles that programs fill in, such as the name of the file that the PDF was made of."""


def from_pdf(data: bytes) -> Plain:
    """Extract paragraphs, headings, tables and code page by page; only the empty password is tried.

    Running headers and page numbers are left out, and words that were divided at the end of a line are joined. The
    metadata has the number of `pages`, and the offset of each page's beginning in the text as `page_starts`.
    """
    if not data:
        raise ValueError("the file is empty; expected a PDF")
    if b"%PDF-" not in data[:1024]:
        begins = data[:20].decode(errors="replace")
        raise ValueError(f"the file is not a PDF, since it begins with {begins!r}; give it the extension of its format")
    check_streams(data)
    with _opened(data) as document:
        pages = [in_reading_order(page) for page in read_pages(document)]
        bookmarks = list(read_bookmarks(document))
        given = readable(document.get_metadata_value("Title"))
    if not any(page.lines for page in pages):
        raise TextlessError(_without_text(pages))
    title = given if given and not _NO_TITLE.fullmatch(given) else _printed_title(pages[0])
    usual = replace(Typesetting.of(pages), title=title)
    pages = without_furniture(pages)
    blocks = _outlined(pages, usual, bookmarks)
    text, starts, layout = joined(blocks, usual.words)
    blank = sum(page.pictures for page in pages)
    warning = (
        f"{blank} of {len(pages)} pages have pictures but no text (scanned?); run OCR first, for example with ocrmypdf"
    )
    return Plain(text, title, {"pages": len(pages), "page_starts": starts}, warning if blank else "", layout)


@contextmanager
def _opened(data: bytes) -> Iterator[Any]:
    """Open a PDF, and keep other threads from doing so.

    Raises:
        ValueError: If the library is not installed, or the file is encrypted or broken, even if that shows only later.
    """
    try:
        from pypdfium2 import PdfDocument, PdfiumError, raw
    except ImportError:
        raise ValueError("PDF files need pypdfium2, which is not installed; pip install 'semsearch[pdf]'") from None
    _silence(logging.getLogger("pypdfium2"))
    with _LOCK:
        try:
            with closing(PdfDocument(data)) as document:
                if not len(document):
                    raise PdfiumError("no pages")
                yield document
        except PdfiumError as error:
            if raw.FPDF_GetLastError() in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
                raise ValueError("the PDF is encrypted; decrypt it first, for example with qpdf --decrypt") from None
            raise ValueError(f"the PDF is broken ({error}); repair it, for example with qpdf") from error


def _silence(logger: logging.Logger) -> None:
    """Keep a library from logging to the screen; what is wrong with a file is reported in its place."""
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _without_text(pages: Sequence[Page]) -> str:
    if all(max(page.width, page.height) <= FEW_POINTS for page in pages) or not any(page.pictures for page in pages):
        return "the PDF has no text, only a drawing or nothing; if it shows text, run OCR, for example with ocrmypdf"
    return "the PDF has no text layer (scanned?); run OCR first, for example with ocrmypdf"


def _printed_title(page: Page) -> str:
    """Return the text in the largest type of the first page, or an empty string if there is none."""
    lines = [line for line in page.lines if sum(map(str.isalpha, line.text)) > 2]
    sizes = {line.size for line in lines}
    if len(sizes) < 2:
        return ""
    largest = max(sizes)
    first = next(at for at, line in enumerate(lines) if line.size == largest)
    found = []
    for line in lines[first:]:
        if abs(line.size - largest) > 0.05 * largest:
            break
        found.append(line.text)
    title = readable(" ".join(found)).rstrip(_MARKS)
    return title if len(title) <= MAX_TITLE else ""


def _outlined(pages: Sequence[Page], usual: Typesetting, bookmarks: Sequence[Bookmark]) -> list[list[Block]]:
    """Return the blocks of the pages, with headings by the outline, or by their type if few of it are found."""
    by_page: dict[int, list[Bookmark]] = defaultdict(list)
    for bookmark in bookmarks:
        by_page[bookmark.page].append(bookmark)
    if by_page:
        outlined = replace(usual, bookmarks=by_page)
        blocks = [blocks_of(page, number, outlined) for number, page in enumerate(pages)]
        if 3 * sum(block.level > 0 for some in blocks for block in some) >= len(bookmarks):
            return blocks
    return by_type([blocks_of(page, number, usual) for number, page in enumerate(pages)], usual)
