"""Converting Markdown, HTML and PDF to plain text with blank lines between paragraphs.

The converters take a whole file and raise ValueError with the reason if it cannot be used. They know nothing of paths,
ids or documents.
"""

from __future__ import annotations

import codecs
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import chain, pairwise
from typing import TYPE_CHECKING

from semsearch.corpus.front_matter import split_front_matter
from semsearch.types import Metadata

if TYPE_CHECKING:
    from markdown_it.token import Token
    from selectolax.lexbor import LexborNode

# JSON's numbers, so that 007 and other codes stay text; the bounds keep integers in 64 bits and floats finite.
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?")

_META_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)

_BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
# As browsers read these names.
_ENCODINGS = dict.fromkeys(("iso-8859-1", "iso8859-1", "latin-1", "latin1", "us-ascii", "ascii"), "cp1252")
_ENCODINGS |= dict.fromkeys(("utf-16", "utf-16le", "utf-16be"), "utf-8")

_DROPPED = frozenset(("script", "style", "noscript", "template", "svg", "head", "-comment"))
_CELLS = frozenset(("td", "th"))
_LINES = frozenset(("br", "caption", "dd", "dt", "li", "option", "summary", "tr"))
_BLOCKS = frozenset(
    "address article aside blockquote details dialog div dl fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 "
    "header hgroup hr main menu nav ol p pre search section select table textarea ul".split()
)


@dataclass(frozen=True, slots=True)
class Plain:
    """Text, title and metadata of a file without its markup."""

    text: str
    title: str = ""
    metadata: Metadata = field(default_factory=dict)


def decode(data: bytes, encoding: str = "utf-8") -> str:
    r"""Decode strictly, reject NUL, drop a byte order mark, and end every line in `\n`."""
    text = data.decode(encoding).removeprefix("\ufeff")
    if "\0" in text:
        raise ValueError("a NUL character in the text; expected text, not binary data")
    return text.replace("\r\n", "\n")


def literal(text: str) -> str | int | float:
    """Return a number if the text is written like one in JSON, else the text."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return text
    return float(text) if match[1] or match[2] else int(text)


def from_text(data: bytes) -> Plain:
    """Convert UTF-8 text."""
    return Plain(decode(data))


def from_markdown(data: bytes) -> Plain:
    """Convert CommonMark with tables; front matter becomes metadata, and its title precedes the first `# ` heading."""
    from markdown_it import MarkdownIt

    metadata, body = split_front_matter(decode(data))
    # By default what nests deeper than 20 levels is silently lost; beyond Python's stack there is an error instead.
    parser = MarkdownIt("commonmark", {"maxNesting": sys.maxsize}).enable(["table", "strikethrough"])
    tokens = parser.parse(body)
    title = str(metadata.pop("title", None) or _first_heading(tokens))
    return Plain(_laid_out(_markdown_pieces(tokens)), title, metadata)


def from_html(data: bytes) -> Plain:
    """Convert a page to the text that its reader sees, decoded by its byte order mark or meta element."""
    encoding = _html_encoding(data)
    try:
        html = decode(data, encoding)
    except LookupError:
        raise ValueError(f'unknown character set "{encoding}"; expected one that Python knows, such as utf-8') from None
    return _html_plain(html)


def from_pdf(data: bytes) -> Plain:
    """Extract the text layer, page by page, with ligatures decomposed (NFKC)."""
    try:
        from pypdf import PdfReader
    except ImportError:
        raise ValueError("PDF files need pypdf, which is not installed; pip install 'semsearch[pdf]'") from None

    try:
        reader = PdfReader(BytesIO(data))
        encrypted = reader.is_encrypted
        pages = [] if encrypted else [page.extract_text().strip() for page in reader.pages]
        title = "" if encrypted else str((reader.metadata and reader.metadata.title) or "")
    except Exception as error:  # pypdf meets a broken file with nearly any exception, KeyError and TypeError among them
        raise ValueError(f"a broken PDF ({type(error).__name__}: {error}); repair it, for example with qpdf") from error
    if encrypted:
        raise ValueError("an encrypted PDF; decrypt it first, for example with qpdf --decrypt")
    if not any(pages):
        raise ValueError("a PDF without a text layer (scanned?); run text recognition first, for example ocrmypdf")
    text = unicodedata.normalize("NFKC", "\n\n".join(filter(None, pages)))
    return Plain(text, unicodedata.normalize("NFKC", title).strip(), {"pages": len(pages)})


def _laid_out(pieces: Iterable[str | int]) -> str:
    """Join inline text (str) and separate blocks by line ends (int, the minimum number); the widest gap counts."""
    out: list[str] = []
    block: list[str] = []
    gap = 0
    for piece in chain(pieces, (0,)):
        if isinstance(piece, str):
            block.append(piece)
            continue
        text = "".join(block)
        block.clear()
        # Running text comes with its white space collapsed: a line end inside a block means that it is preformatted.
        text = text.strip("\n").rstrip() if "\n" in text else re.sub(" {2,}", " ", text).strip(" ")
        if text:
            out += ["\n" * gap if out else "", text]
            gap = 0
        gap = max(gap, piece)
    return "".join(out)


def _markdown_pieces(tokens: Sequence[Token]) -> Iterator[str | int]:
    """Yield tight list items and table rows as a line each, everything else as a paragraph."""
    for token in tokens:
        if token.type == "inline":
            yield from _inline_pieces(token.children or [])
        elif token.type in ("td_close", "th_close"):
            yield " "
        elif token.type in ("fence", "code_block"):
            yield from (2, token.content, 2)
        elif token.type == "html_block":
            yield from (2, _html_plain(token.content).text, 2)
        elif token.nesting == 1 and token.type not in ("td_open", "th_open"):
            apart = token.level == 0 or (token.type in ("paragraph_open", "heading_open") and not token.hidden)
            yield 2 if apart else 1


def _inline_pieces(tokens: Sequence[Token]) -> Iterator[str | int]:
    """Yield the text of links and the alternative text of images; tags of inline HTML are dropped."""
    for token in tokens:
        if token.type in ("text", "code_inline"):
            yield token.content
        elif token.type == "softbreak":
            yield " "
        elif token.type == "hardbreak":
            yield 1
        elif token.type == "image":
            yield from _inline_pieces(token.children or [])


def _first_heading(tokens: Sequence[Token]) -> str:
    """Return the text of the first heading of level 1, or an empty string."""
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open" and opening.tag == "h1":
            return _laid_out(_inline_pieces(inline.children or [])).replace("\n", " ")
    return ""


def _html_encoding(data: bytes) -> str:
    """Find the encoding: by byte order mark, else by a meta element in the first 1024 bytes, else UTF-8."""
    for bom, encoding in _BOMS.items():
        if data.startswith(bom):
            return encoding
    declared = _META_CHARSET.search(data[:1024])
    name = declared[1].decode().lower() if declared else "utf-8"
    return _ENCODINGS.get(name, name)


def _html_plain(html: str) -> Plain:
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(html)
    title = tree.css_first("head > title")
    text = _laid_out(_html_pieces(tree.root)) if tree.root else ""
    return Plain(text, " ".join(title.text().split()) if title else "")


def _html_pieces(root: LexborNode) -> Iterator[str | int]:
    """Walk the tree with an explicit stack, since a page may nest deeper than Python recurses."""
    stack: list[tuple[LexborNode | int, bool]] = [(root, False)]
    while stack:
        node, preformatted = stack.pop()
        if isinstance(node, int):
            yield node
        elif node.is_text_node:
            text = node.text_content or ""
            yield text if preformatted else re.sub(r"[ \t\n\r\f]+", " ", text)
        elif node.tag not in _DROPPED:
            gap = 2 if node.tag in _BLOCKS else 1 if node.tag in _LINES else 0
            if gap:
                yield gap
                stack.append((gap, False))
            elif node.tag in _CELLS:
                yield " "
            elif node.tag == "img":
                yield " ".join((node.attributes.get("alt") or "").split())
            inside = preformatted or node.tag == "pre"
            stack.extend((child, inside) for child in reversed(list(node.iter(include_text=True))))
