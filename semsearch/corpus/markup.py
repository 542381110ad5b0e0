"""Converting Markdown and PDF to plain text with blank lines between paragraphs.

The converters take a whole file and raise ValueError with the reason if it cannot be used. They are independent of
paths, ids and documents.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from semsearch.corpus.front_matter import split_front_matter
from semsearch.corpus.html import fragment_text, gap_at
from semsearch.corpus.plain import BOUNDARY, Plain, cleaned, decode, laid_out

if TYPE_CHECKING:
    from markdown_it.token import Token

_TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9-]*)")


def from_markdown(data: bytes) -> Plain:
    """Convert CommonMark with tables; front matter becomes metadata, and its title overrides the first `# ` heading."""
    from markdown_it import MarkdownIt

    metadata, body, warning = split_front_matter(decode(data))
    # By default, content nested deeper than 20 levels is silently lost; beyond Python's stack limit this is an error.
    parser = MarkdownIt("commonmark", {"maxNesting": sys.maxsize}).enable(["table", "strikethrough"])
    tokens = parser.parse(body)
    title = metadata.pop("title", None) or _first_heading(tokens)
    written = title if isinstance(title, str) else json.dumps(title, ensure_ascii=False)
    return Plain(laid_out(_markdown_pieces(tokens)), cleaned(written), metadata, warning)


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


def _markdown_pieces(tokens: Sequence[Token]) -> Iterator[str | int]:
    """Yield each tight list item and table row as a line, and everything else as paragraphs."""
    for token in tokens:
        if token.type == "inline":
            yield from _inline_pieces(token.children or [])
        elif token.type in ("td_close", "th_close"):
            yield " "
        elif token.type in ("fence", "code_block"):
            yield from (2, token.content, 2)
        elif token.type == "html_block":
            yield from (2, fragment_text(token.content), 2)
        elif token.nesting == 1 and token.type not in ("td_open", "th_open"):
            apart = token.level == 0 or (token.type in ("paragraph_open", "heading_open") and not token.hidden)
            yield 2 if apart else 1


def _inline_pieces(tokens: Sequence[Token]) -> Iterator[str | int]:
    """Yield the text of links, the alt text of images, and the word breaks that inline HTML implies."""
    for token in tokens:
        if token.type in ("text", "code_inline"):
            yield token.content
        elif token.type == "softbreak":
            yield " "
        elif token.type == "hardbreak":
            yield 1
        elif token.type == "image":
            yield from (BOUNDARY, *_inline_pieces(token.children or []), BOUNDARY)
        elif token.type == "html_inline" and (tag := _TAG.match(token.content)):
            gap = gap_at(tag[1].lower())
            yield from (gap, fragment_text(token.content), gap)  # only an image has text


def _first_heading(tokens: Sequence[Token]) -> str:
    """Return the text of the first heading of level 1, or an empty string."""
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open" and opening.tag == "h1":
            return laid_out(_inline_pieces(inline.children or [])).replace("\n", " ")
    return ""
