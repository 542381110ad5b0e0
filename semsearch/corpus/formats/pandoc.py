"""Reading office documents, LaTeX, notebooks and other markup with pandoc, in a process of its own.

pandoc runs in its sandbox: it reads no other file and no network, and neither macros nor embedded code are run.
"""

from __future__ import annotations

import re
import subprocess
from functools import partial

from semsearch.corpus.formats.pandoc_tree import Node, meta_pieces, meta_texts, parse_tree, tree_pieces
from semsearch.corpus.formats.zipped import contents, open_zip, properties
from semsearch.corpus.plain import Heading, Piece, Plain, cleaned, decode, lay_out
from semsearch.types import Metadata

MAX_SECONDS = 120
"""Time limit for a file; 500 pages take 1 to 4 seconds of an idle core, and 9 as an EPUB of 500 files."""

MAX_HEAP_MB = 1024
"""Bound on the memory of pandoc, which takes about 150 times the text: 500 pages of OpenDocument reach 530 MB."""

_OUT_OF_HEAP = 251
"""Exit status of a Haskell program that reaches its bound on memory."""

_FIELDS = {
    "author": ("author", "creator"),
    "date": ("date",),
    "keywords": ("keywords", "tags", "subject"),
}
"""Fields of the metadata, with the names that they have in the formats."""

_LEAD = ("subtitle", "abstract")
"""Parts of the text that pandoc returns as metadata."""

_PRIORITY = re.compile(r"^(\*+ (?:[A-Z]+ )?)[ \t]*\[#[A-Z0-9]+\][ \t]*(?=\S)", re.MULTILINE)
"""Beginning of a heading of Org up to its priority, which pandoc takes for text."""

_PROTECTED = re.compile(rb"CipherReference[^>]*\sURI\s*=\s*[\"'][^\"']*\.x?html?[\"']", re.IGNORECASE)
"""A chapter among the encrypted parts of a book; fonts are often among them without any copy protection."""

_DIRECTIVE = re.compile(r"^(?:include|ifdef|ifndef|ifeval|endif)::.*\[.*\][ \t]*$", re.MULTILINE)
"""Lines of AsciiDoc that stand for another file, or surround a condition."""

_HEADER = re.compile(r"^(= .*\n(?:[^:\n].*\n)?)((?::!?\w[^:\n]*:.*\n)+)", re.MULTILINE)
"""Title and author of AsciiDoc, and the attributes below them, the first of which pandoc 3.9 takes for the revision."""


def from_text(data: bytes, markup: str) -> Plain:
    """Convert a text file.

    Args:
        data: The file.
        markup: Name of its format in pandoc.
    """
    return converted(run_pandoc(decode(data).encode(), markup)[0])


def from_org(data: bytes) -> Plain:
    """Convert Org; keywords such as TODO, priorities and tags are not part of headings."""
    return converted(run_pandoc(_PRIORITY.sub(r"\1", decode(data)).encode(), "org")[0])


def from_asciidoc(data: bytes) -> Plain:
    """Convert AsciiDoc; included files are not read, and every branch of a condition is."""
    source = _HEADER.sub(r"\2\1", _DIRECTIVE.sub("", decode(data)), count=1)
    return converted(run_pandoc(source.encode(), "asciidoc")[0])


def from_docx(data: bytes) -> Plain:
    """Convert a Word document, without comments and deleted text."""
    with open_zip(data, "a Word document (.docx)", "[Content_Types].xml") as archive:
        found = properties(archive, "docProps/core.xml")
    return converted(run_pandoc(data, "docx")[0], found)


def from_odt(data: bytes) -> Plain:
    """Convert an OpenDocument text."""
    with open_zip(data, "an OpenDocument text (.odt)", "content.xml") as archive:
        found = properties(archive, "meta.xml")
    return converted(run_pandoc(data, "odt")[0], found)


def from_epub(data: bytes) -> Plain:
    """Convert a book in EPUB."""
    with open_zip(data, "an EPUB book", "META-INF/container.xml") as archive:
        if _PROTECTED.search(contents(archive, "META-INF/encryption.xml")):
            raise ValueError("encrypted (DRM); get the book without copy protection")
    return converted(run_pandoc(data, "epub")[0])


def converted(written: bytes, found: Metadata | None = None) -> Plain:
    """Convert the syntax tree of a document.

    Args:
        written: The tree as pandoc writes it.
        found: Metadata that was found elsewhere in the file; what pandoc found in the text overrides it.
    """
    meta, blocks = parse_tree(written)
    title = " ".join(meta_texts(meta.get("title")))
    pieces: list[Piece] = [piece for name in _LEAD if name in meta for piece in (2, *meta_pieces(meta[name]), 2)]
    pieces += tree_pieces(blocks)
    text, layout = lay_out(pieces)
    first = layout.sections[0] if layout.sections and layout.sections[0].start == 0 else None
    if title and not (first and first.title == title):
        lower = (Heading(one.level + 1) if isinstance(one, Heading) else one for one in pieces)
        text, layout = lay_out((Heading(1), title, 2, *lower))
    elif first and first.level <= min(section.level for section in layout.sections):
        title = first.title
    return Plain(cleaned(text), cleaned(title), {**(found or {}), **_metadata(meta)}, layout=layout)


def _metadata(meta: dict[str, Node]) -> Metadata:
    fields = {}
    for name, names in _FIELDS.items():
        texts = next((texts for one in names if (texts := meta_texts(meta.get(one)))), [])
        texts = [cleaned(text).strip("<>[]") for text in texts]  # as Org writes dates
        if texts:
            fields[name] = texts if len(texts) > 1 else texts[0]
    return fields


def run_pandoc(data: bytes, markup: str, *options: str) -> tuple[bytes, bytes]:
    """Return the syntax tree of a file in JSON, and pandoc's log.

    Args:
        data: The file.
        markup: Name of its format in pandoc.
        options: More options of pandoc.

    Raises:
        ValueError: If pandoc is not installed, cannot read the file, or reaches a bound on time or memory.
    """
    fixed = [f"--from={markup}", "--to=json", "--standalone", "--sandbox", "--ipynb-output=none"]
    command = [_binary(), "+RTS", f"-M{MAX_HEAP_MB}M", "-RTS", *fixed, *options]
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=MAX_SECONDS)
    except subprocess.TimeoutExpired:
        raise ValueError(f"pandoc takes longer than {MAX_SECONDS} seconds; split or flatten the file") from None
    if done.returncode == _OUT_OF_HEAP:
        raise ValueError(f"pandoc needs more than {MAX_HEAP_MB} MB of memory; split or flatten the file")
    if done.returncode:
        reason = cleaned(" ".join(done.stderr.decode(errors="replace").split()))
        raise ValueError(f"pandoc cannot read it as {markup} ({reason:.200}); repair the file, or check its extension")
    return done.stdout, done.stderr


def _binary() -> str:
    try:
        from pypandoc import get_pandoc_path

        return str(get_pandoc_path())
    except (ImportError, OSError):  # the latter if the package is there without the program
        raise ValueError("this format needs pandoc, which is not installed; pip install 'semsearch[formats]'") from None


from_rst, from_notebook = (partial(from_text, markup=markup) for markup in ("rst", "ipynb"))
