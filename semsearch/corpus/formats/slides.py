"""Reading PowerPoint presentations, slide by slide, with the notes of the speaker."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

from semsearch.corpus.formats.zipped import open_zip, properties
from semsearch.corpus.plain import KEEP, KEPT, Heading, Piece, Plain, cleaned, lay_out

_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_CHART = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"


def from_pptx(data: bytes) -> Plain:
    """Convert a presentation: each slide is a section under its title, or under its number if it has none."""
    try:
        from pptx import Presentation
    except ImportError:
        raise ValueError(
            "PowerPoint files need python-pptx, which is not installed; pip install 'semsearch[formats]'"
        ) from None

    with open_zip(data, "a PowerPoint presentation (.pptx)", "ppt/presentation.xml") as archive:
        found = properties(archive, "docProps/core.xml")
    try:
        slides = list(Presentation(BytesIO(data)).slides)
        pieces = [piece for number, slide in enumerate(slides, 1) for piece in _slide_pieces(slide, number)]
        title = _title(slides[0]) if slides else ""
    except Exception as error:  # of python-pptx, lxml and zipfile, even KeyError and AttributeError
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"the presentation is broken ({reason:.200}); save it again with PowerPoint") from None
    text, layout = lay_out(pieces)
    return Plain(cleaned(text), cleaned(title), {**found, "slides": len(slides)}, layout=layout)


def _title(slide: Any) -> str:
    shape = slide.shapes.title
    return " ".join(shape.text_frame.text.split()) if shape is not None else ""


def _slide_pieces(slide: Any, number: int) -> Iterator[Piece]:
    yield from (2, Heading(1), _title(slide) or f"Slide {number}", 2)
    title = slide.shapes.title
    stack = list(slide.shapes)[::-1]
    while stack:
        shape = stack.pop()
        if hasattr(shape, "shapes"):  # a group
            stack += list(shape.shapes)[::-1]
        elif getattr(shape, "has_table", False):
            yield from _table_pieces(shape.table)
        elif shape.has_text_frame and (title is None or shape.shape_id != title.shape_id):
            yield from _paragraphs(shape.text_frame)
    for relation in slide.part.rels.values():
        if relation.reltype.endswith(("/diagramData", "/chart")) and not relation.is_external:
            yield from _drawn(relation.target_part.blob)
    if slide.has_notes_slide and (notes := slide.notes_slide.notes_text_frame) is not None:
        yield from _paragraphs(notes)


def _paragraphs(frame: Any) -> Iterator[Piece]:
    yield 2
    for paragraph in frame.paragraphs:
        yield from (paragraph.text.replace("\v", " "), 1)
    yield 2


def _table_pieces(table: Any) -> Iterator[Piece]:
    yield from (2, KEEP)
    for row in table.rows:
        yield from (" ".join(" ".join(cell.text_frame.text.split()) for cell in row.cells), 1)
    yield from (2, KEPT)


def _drawn(xml: bytes) -> Iterator[Piece]:
    """Yield the paragraphs of a diagram or chart, and a chart's categories and names of series, as lines."""
    yield 2
    for element in ElementTree.fromstring(xml).iter():
        if element.tag == f"{_DRAWING}p":
            yield from ("".join(text.text or "" for text in element.iter(f"{_DRAWING}t")), 1)
        elif element.tag == f"{_CHART}strCache":
            yield from (" ".join(text.text or "" for text in element.iter(f"{_CHART}v")), 1)
    yield 2
