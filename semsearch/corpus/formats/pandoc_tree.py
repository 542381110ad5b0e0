"""The pieces of a document that pandoc has parsed: its syntax tree, in the JSON form of pandoc-types 1.23.

Words and spaces become pieces while the JSON is parsed, since the tree of a long document takes ten times their memory.
The functions recurse as deep as the document is nested, and let RecursionError pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from semsearch.corpus.plain import BOUNDARY, KEEP, KEPT, Heading, Piece, laid_out

Node: TypeAlias = Any
"""A word or break as a piece, another element as its type and contents `(t, c)`, or a list of nodes."""

_BREAKS = {"Space": " ", "SoftBreak": " ", "LineBreak": 1}

_UNSEEN = {"toctree", "index", "highlight", "currentmodule", "tabularcolumns"}
"""Directives of Sphinx that render as nothing, or as a list of other documents."""

_TARGET = re.compile(r"(.*\S)\s*<[^<>]+>", re.DOTALL)


def parse_tree(written: bytes) -> tuple[dict[str, Node], list[Node]]:
    """Parse the JSON that pandoc writes into the metadata and blocks of a document."""
    tree = json.loads(written, object_hook=_node)
    return tree["meta"], tree["blocks"]


def _node(value: dict[str, Any]) -> Node:
    kind = value.get("t")
    if kind is None:
        return value  # the document itself, or a mapping in its metadata
    if kind == "Str":
        return value["c"]
    return _BREAKS.get(kind) or (kind, value.get("c"))


def meta_texts(value: Node) -> list[str]:
    """Return the texts of a field of the metadata, each on one line; a missing field (None) and a mapping have none."""
    if value is None:
        return []
    kind, content = value
    if kind == "MetaList":
        return [text for one in content for text in meta_texts(one)]
    return [text] if (text := " ".join(laid_out(meta_pieces(value)).split())) else []


def meta_pieces(value: Node) -> Iterator[Piece]:
    """Yield the pieces of a field of the metadata, unless it is a list or a mapping."""
    kind, content = value
    if kind == "MetaString":
        yield content
    elif kind == "MetaInlines":
        yield from _Walk().inlines(content)
    elif kind == "MetaBlocks":
        yield from tree_pieces(content)


def tree_pieces(blocks: list[Node]) -> Iterator[Piece]:
    """Yield the pieces of the blocks of a document."""
    return _Walk().sections(blocks, 2)


@dataclass(slots=True)
class _Walk:
    """Walks the tree in the order of the text; `notes` are the footnotes whose place is still to come."""

    notes: list[list[Node]] = field(default_factory=list)

    def sections(self, nodes: list[Node], gap: int) -> Iterator[Piece]:
        """Yield the pieces of blocks, each with its footnotes after it."""
        for node in nodes:
            yield from self.blocks([node], gap)
            while self.notes:
                yield from self.blocks(self.notes.pop(0), 2)

    def blocks(self, nodes: list[Node], gap: int) -> Iterator[Piece]:
        """Yield the pieces of blocks.

        Args:
            nodes: The blocks.
            gap: Number of line breaks between blocks that are not paragraphs: 1 inside lists, otherwise 2.
        """
        for kind, content in nodes:
            if kind not in _BLOCKS:
                raise ValueError(_UNKNOWN.format(kind))
            yield from _BLOCKS[kind](self, content, gap)

    def inlines(self, nodes: list[Node]) -> Iterator[Piece]:
        """Yield the pieces of inline elements, and put footnotes aside."""
        for node in nodes:
            if not isinstance(node, tuple):
                yield node
                continue
            kind, content = node
            if kind == "Note":
                self.notes.append(content)
            elif kind in _INLINES:
                yield from _INLINES[kind](self, content)
            else:
                raise ValueError(_UNKNOWN.format(kind))

    def plain(self, content: Node, gap: int) -> Iterator[Piece]:
        yield gap
        yield from self.inlines(content)
        yield gap

    def paragraph(self, content: Node, gap: int) -> Iterator[Piece]:
        return self.plain(content, 2)

    def heading(self, content: Node, gap: int) -> Iterator[Piece]:
        level, _, inlines = content
        words = [node for node in inlines if not _is_mark(node)]
        while words and isinstance(words[-1], str) and words[-1].isspace():  # between tags
            words.pop()
        yield from (2, Heading(max(level, 1)), *self.inlines(words or inlines), 2)

    def code(self, content: Node, gap: int) -> Iterator[Piece]:
        yield from (2, KEEP, f"{content[1]}\n", 2, KEPT)  # a line break keeps the spaces of a single line

    def lines(self, content: Node, gap: int) -> Iterator[Piece]:
        yield gap
        for line in content:
            yield from (*self.inlines(line), 1)
        yield gap

    def quote(self, content: Node, gap: int) -> Iterator[Piece]:
        yield from (gap, *self.blocks(content, gap), gap)

    def items(self, content: Node, gap: int) -> Iterator[Piece]:
        yield gap
        for item in content:
            yield from (1, *self.blocks(item, 1))
        yield gap

    def numbered(self, content: Node, gap: int) -> Iterator[Piece]:
        return self.items(content[1], gap)

    def definitions(self, content: Node, gap: int) -> Iterator[Piece]:
        yield gap
        for term, definitions in content:
            yield from (1, *self.inlines(term), 1)
            for definition in definitions:
                yield from (*self.blocks(definition, 1), 1)
        yield gap

    def figure(self, content: Node, gap: int) -> Iterator[Piece]:
        _, (_, caption), blocks = content
        yield from (gap, *self.blocks(blocks, gap), gap, *self.blocks(caption, gap), gap)

    def division(self, content: Node, gap: int) -> Iterator[Piece]:
        (_, classes, _), blocks = content
        if _UNSEEN.isdisjoint(classes):
            yield gap
            yield from self.sections(blocks, gap) if gap == 2 else self.blocks(blocks, gap)
            yield gap

    def table(self, content: Node, gap: int) -> Iterator[Piece]:
        """Yield each row as a line; the cells of a table that merely arranges a page are blocks of their own."""
        _, (_, caption), _, head, bodies, foot = content
        rows = [*head[1], *(row for body in bodies for part in body[2:] for row in part), *foot[1]]
        cells = [[cell[4] for cell in row[1]] for row in rows]
        yield 2
        if any(kind in ("Header", "Table") for row in cells for cell in row for kind, _ in cell):
            for cell in (cell for row in cells for cell in row):
                yield from (2, *self.blocks(cell, 2))
            yield from (2, *self.blocks(caption, 2), 2)
            return
        yield from (KEEP, 1, *self.blocks(caption, 1), 1)
        for row in cells:
            for cell in row:
                yield from (" ".join(laid_out(self.blocks(cell, 1)).split()), " ")
            yield 1
        yield from (2, KEPT)

    def nothing(self, content: Node, gap: int = 0) -> Iterator[Piece]:
        return iter(())

    def marked(self, content: Node) -> Iterator[Piece]:
        return self.inlines(content)

    def quoted(self, content: Node) -> Iterator[Piece]:
        opening, closing = "‘’" if content[0][0] == "SingleQuote" else "“”"
        yield from (opening, *self.inlines(content[1]), closing)

    def second(self, content: Node) -> Iterator[Piece]:
        return self.inlines(content[1])

    def image(self, content: Node) -> Iterator[Piece]:
        yield from (BOUNDARY, *self.inlines(content[1]), BOUNDARY)

    def literal(self, content: Node) -> Iterator[Piece]:
        (_, classes, _), text = content
        if "interpreted-text" in classes:  # a role of Sphinx: `text <target>`, `~path.shortened`, `!not_linked`
            target = _TARGET.fullmatch(text)
            text = target[1] if target else text.lstrip("~!")
        yield " ".join(text.split("\n"))

    def math(self, content: Node) -> Iterator[Piece]:
        yield " ".join(content[1].split())


def _is_mark(node: Node) -> bool:
    """Return whether a part of a heading is a keyword such as TODO, or a tag, as pandoc marks them in Org."""
    if not isinstance(node, tuple) or node[0] != "Span":
        return False
    (_, classes, attributes), _ = node[1]
    keyword = len(classes) == 2 and classes[0] in ("todo", "done")
    return keyword or any(name == "tag-name" for name, _ in attributes)


_BLOCKS: dict[str, Callable[[_Walk, Node, int], Iterable[Piece]]] = {
    "Plain": _Walk.plain,
    "Para": _Walk.paragraph,
    "LineBlock": _Walk.lines,
    "CodeBlock": _Walk.code,
    "RawBlock": _Walk.nothing,
    "BlockQuote": _Walk.quote,
    "OrderedList": _Walk.numbered,
    "BulletList": _Walk.items,
    "DefinitionList": _Walk.definitions,
    "Header": _Walk.heading,
    "HorizontalRule": _Walk.nothing,
    "Table": _Walk.table,
    "Figure": _Walk.figure,
    "Div": _Walk.division,
}

_INLINES: dict[str, Callable[[_Walk, Node], Iterable[Piece]]] = {
    **dict.fromkeys(
        ("Emph", "Underline", "Strong", "Strikeout", "Superscript", "Subscript", "SmallCaps"), _Walk.marked
    ),
    "Quoted": _Walk.quoted,
    "Cite": _Walk.second,
    "Code": _Walk.literal,
    "Math": _Walk.math,
    "RawInline": _Walk.nothing,
    "Link": _Walk.second,
    "Image": _Walk.image,
    "Span": _Walk.second,
}

_UNKNOWN = "pandoc found an element of unknown type ({}); pip install --upgrade 'semsearch[formats]'"
