"""The formats of files, with their names and readers."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from semsearch.corpus.formats.code import ENDINGS as CODE_ENDINGS
from semsearch.corpus.formats.code import read_code
from semsearch.corpus.formats.delimited import read_delimited
from semsearch.corpus.formats.html import from_html
from semsearch.corpus.formats.json_lines import read_json_lines
from semsearch.corpus.formats.json_records import read_json_records
from semsearch.corpus.formats.latex import from_latex
from semsearch.corpus.formats.mail import from_message, read_mbox
from semsearch.corpus.formats.markdown import from_markdown
from semsearch.corpus.formats.pandoc import (
    from_asciidoc,
    from_docx,
    from_epub,
    from_notebook,
    from_odt,
    from_org,
    from_rst,
)
from semsearch.corpus.formats.parquet import read_parquet
from semsearch.corpus.formats.pdf import from_pdf
from semsearch.corpus.formats.rtf import from_rtf
from semsearch.corpus.formats.slides import from_pptx
from semsearch.corpus.formats.spreadsheets import read_spreadsheet
from semsearch.corpus.formats.text import read_text
from semsearch.corpus.gzipped import GZIPPED, ending_of
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
        names: Names of files without an extension that have this format, in lower case.
        by_line: Whether each line is a document if the user asks for that.
    """

    name: str
    endings: tuple[str, ...]
    read: Reader
    many: bool = False
    own_ids: bool = False
    extra: str = ""
    names: tuple[str, ...] = ()
    by_line: bool = False


def _whole(convert: Callable[[bytes], Plain]) -> Reader:
    return partial(read_whole, convert=convert)


FORMATS = {
    one.name: one
    for one in (
        Format("jsonl", (".jsonl", ".ndjson"), read_json_lines, many=True, own_ids=True),
        Format("csv", (".csv",), partial(read_delimited, delimiter=","), many=True, own_ids=True),
        Format("tsv", (".tsv",), partial(read_delimited, delimiter="\t"), many=True, own_ids=True),
        Format("text", (".txt", ".text"), read_text, by_line=True),
        Format("markdown", (".md", ".markdown"), _whole(from_markdown)),
        Format("html", (".html", ".htm", ".xhtml"), _whole(from_html)),
        Format("pdf", (".pdf",), _whole(from_pdf), extra="pdf"),
        Format("rst", (".rst", ".rest"), _whole(from_rst), extra="formats"),
        Format("org", (".org",), _whole(from_org), extra="formats"),
        Format("asciidoc", (".adoc", ".asciidoc"), _whole(from_asciidoc), extra="formats"),
        Format("latex", (".tex", ".latex"), _whole(from_latex), extra="formats"),
        Format("docx", (".docx",), _whole(from_docx), extra="formats"),
        Format("odt", (".odt",), _whole(from_odt), extra="formats"),
        Format("pptx", (".pptx",), _whole(from_pptx), extra="formats"),
        Format("epub", (".epub",), _whole(from_epub), extra="formats"),
        Format("rtf", (".rtf",), _whole(from_rtf), extra="formats"),
        Format("notebook", (".ipynb",), _whole(from_notebook), extra="formats"),
        Format("json", (".json",), read_json_records, many=True, own_ids=True),
        Format("parquet", (".parquet",), read_parquet, many=True, own_ids=True, extra="parquet"),
        Format("spreadsheet", (".xlsx", ".xlsb", ".xls", ".ods"), read_spreadsheet, extra="formats"),
        Format("mail", (".eml",), _whole(from_message)),
        Format("mbox", (".mbox",), read_mbox, many=True, names=("mbox",)),
        Format("code", tuple(CODE_ENDINGS), read_code, extra="code"),
    )
}
"""All formats by name."""

ENDINGS = {ending: one.name for one in FORMATS.values() for ending in one.endings}
"""Extensions of files with the names of their formats."""

NAMES = {name: one.name for one in FORMATS.values() for name in one.names}
"""Names of files without an extension with the names of their formats."""

ARCHIVES = {".zip": "zip", **dict.fromkeys((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"), "tar")}
"""Endings of archives, which hold files of other formats, with their kinds."""


def archive_of(path: str) -> str | None:
    """Return the kind of an archive by its name, or None if it is another file."""
    return next((kind for ending, kind in ARCHIVES.items() if path.lower().endswith(ending)), None)


def format_of(path: str, options: ReadOptions) -> str | None:
    """Return the kind of an archive, or the name of a file's format: the user's choice, or else by the file's name."""
    given = options.format
    if kind := archive_of(path):
        return kind
    if given is not None:
        return ENDINGS.get(f".{given}", given)
    return ENDINGS.get(ending_of(path)) or NAMES.get(os.path.basename(path).lower().removesuffix(GZIPPED))


def has_many(source: Source, options: ReadOptions) -> bool:
    """Return whether a source contains many documents."""
    if source.format in ARCHIVES.values():
        return True
    found = FORMATS[source.format]
    return found.many or (found.by_line and options.per_line)
