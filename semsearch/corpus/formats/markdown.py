"""Converting Markdown to plain text with blank lines between paragraphs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from semsearch.corpus.formats.front_matter import split_front_matter
from semsearch.corpus.formats.html import fragment_text, gap_at
from semsearch.corpus.plain import BOUNDARY, KEEP, KEPT, Heading, Piece, Plain, cleaned, decode, lay_out

if TYPE_CHECKING:
    from markdown_it.token import Token

_TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9-]*)")


def from_markdown(data: bytes) -> Plain:
    """Convert CommonMark with tables; front matter becomes metadata, and its title overrides its own."""
    from markdown_it import MarkdownIt

    metadata, body, warning = split_front_matter(decode(data))
    # By default, content nested deeper than 20 levels is silently lost; beyond Python's stack limit this is an error.
    parser = MarkdownIt("commonmark", {"maxNesting": sys.maxsize}).enable(["table", "strikethrough"])
    tokens = parser.parse(body)
    text, layout = lay_out(_markdown_pieces(tokens))
    title = metadata.pop("title", None) or layout.title
    written = title if isinstance(title, str) else json.dumps(title, ensure_ascii=False)
    return Plain(text, cleaned(written), metadata, warning, layout)


def _markdown_pieces(tokens: Sequence[Token]) -> Iterator[Piece]:
    """Yield each tight list item and table row as a line, and everything else as paragraphs."""
    heading = False
    for token in tokens:
        if token.type == "inline":
            yield from _inline_pieces(_without_badges(token.children or []) if heading else token.children or [])
            heading = False
        elif token.type in ("td_close", "th_close"):
            yield " "
        elif token.type in ("fence", "code_block"):
            yield from (2, KEEP, token.content, 2, KEPT)
        elif token.type in ("table_open", "table_close"):
            yield from (2, KEEP if token.nesting == 1 else KEPT)
        elif token.type == "html_block":
            yield from (2, fragment_text(token.content), 2)
        elif token.nesting == 1 and token.type not in ("td_open", "th_open"):
            apart = token.level == 0 or (token.type in ("paragraph_open", "heading_open") and not token.hidden)
            yield 2 if apart else 1
            if heading := token.type == "heading_open":
                yield Heading(int(token.tag[1:]))


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


def _without_badges(tokens: Sequence[Token]) -> Sequence[Token]:
    """Return the contents of a heading without images, such as badges and logos, if there is text beside them."""
    rest = [token for token in tokens if token.type != "image"]
    return rest if any(token.type in ("text", "code_inline") and token.content.strip() for token in rest) else tokens
