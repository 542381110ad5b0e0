"""The formats of files, with their names and readers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from semsearch.corpus.formats.code import ENDINGS as CODE_ENDINGS
from semsearch.corpus.formats.code import read_code
from semsearch.corpus.formats.delimited import read_delimited
from semsearch.corpus.formats.html import from_html
from semsearch.corpus.formats.json_lines import read_json_lines
from semsearch.corpus.formats.markdown import from_markdown
from semsearch.corpus.formats.pdf import from_pdf
from semsearch.corpus.formats.text import read_text
from semsearch.corpus.gzipped import ending_of
from semsearch.corpus.plain import Plain
from semsearch.corpus.records import Reader, read_whole
from semsearch.corpus.sources import ReadOptions, Source


@dataclass(frozen=True, slots=True)
class Format:
    """A format of files.

    Attributes:
        name: Name of the format, as in `--format`.
        endings: Extensions of its files, in lower case with a dot; each may be followed by `.gz`.
        read: Reader of the documents of a file.
        many: Whether a file contains many documents.
        own_ids: Whether these have ids of their own, rather than the path of the file with a number or name.
        extra: The extra that its library comes with; empty if it is always there.
    """

    name: str
    endings: tuple[str, ...]
    read: Reader
    many: bool = False
    own_ids: bool = False
    extra: str = ""


def _whole(convert: Callable[[bytes], Plain]) -> Reader:
    return partial(read_whole, convert=convert)


FORMATS = {
    one.name: one
    for one in (
        Format("jsonl", (".jsonl", ".ndjson"), read_json_lines, many=True, own_ids=True),
        Format("csv", (".csv",), partial(read_delimited, delimiter=","), many=True, own_ids=True),
        Format("tsv", (".tsv",), partial(read_delimited, delimiter="\t"), many=True, own_ids=True),
        Format("text", (".txt", ".text"), read_text),
        Format("markdown", (".md", ".markdown"), _whole(from_markdown)),
        Format("html", (".html", ".htm", ".xhtml"), _whole(from_html)),
        Format("pdf", (".pdf",), _whole(from_pdf), extra="pdf"),
        Format("code", tuple(CODE_ENDINGS), read_code, extra="code"),
    )
}
"""All formats by name."""

ENDINGS = {ending: one.name for one in FORMATS.values() for ending in one.endings}
"""Extensions of files with the names of their formats."""


def format_of(path: str, options: ReadOptions) -> str | None:
    """Return the name of a file's format: the one that the user chose, or else the one of its extension."""
    given = options.format
    return ENDINGS.get(ending_of(path)) if given is None else ENDINGS.get(f".{given}", given)


def has_many(source: Source, options: ReadOptions) -> bool:
    """Return whether a source contains many documents."""
    return FORMATS[source.format].many or options.per_line
