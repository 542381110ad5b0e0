"""Recognizing folders and archives in the layout of BEIR, of which only the file with the documents is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from semsearch.corpus.formats.table import FORMATS, format_of
from semsearch.corpus.sources import ReadOptions
from semsearch.paths import printable, shown

BEIR_CORPUS = ("corpus.jsonl", "corpus.jsonl.gz")
"""Names of the file with the documents in the BEIR layout."""

BEIR_OTHERS = ("queries.jsonl", "queries.jsonl.gz", "qrels")
"""Names of the other files and folders in the BEIR layout."""


def may_be_beir(options: ReadOptions) -> bool:
    """Return whether a folder or an archive in the BEIR layout is recognized, rather than read file by file."""
    return options.format in (None, "jsonl")


def corpus_among(paths: Iterable[str], options: ReadOptions) -> str | None:
    """Return the file with the documents of an archive in the BEIR layout; None if it is in no such layout.

    Args:
        paths: The paths of its files, of which the layout may be that of the only folder at the top.
        options: Options for reading.
    """
    at_top: set[str] = set()
    tops: list[str] = []
    met: dict[str, set[str]] = {}
    for path in paths if may_be_beir(options) else ():
        top, _, name = path.rpartition("/")
        first = path.partition("/")[0]
        if first not in tops[:2]:
            tops = [*tops[:1], first]
        if name in BEIR_CORPUS and "/" not in top:
            met.setdefault(top, set()).add(name)
            at_top.update(() if top else (name,))
    top = tops[0] if len(tops) == 1 else ""
    found = at_top or met.get(top, set())
    return None if not found else "/".join(filter(None, ("" if at_top else top, min(found))))


def what_is_beside(folder: str, corpus: str, entries: Mapping[str, bool], options: ReadOptions) -> str:
    """Return a warning about what is not read because its folder is in the BEIR layout; empty if there is nothing.

    Args:
        folder: The folder or archive, for the message.
        corpus: The file that is read.
        entries: Names of what lies beside it, with whether each is a folder.
        options: Options for reading.
    """
    tables = any(name in BEIR_OTHERS for name in entries)  # next to queries, tables are evaluation data
    hidden = [
        name
        for name, is_folder in sorted(entries.items())
        if not name.startswith(".")
        and name not in (*BEIR_CORPUS, *BEIR_OTHERS)
        and (is_folder or (format_of(name, options) and not (tables and has_own_ids(name, options))))
    ]
    if not hidden:
        return ""
    listed = ", ".join(hidden[:8]) + (" …" if len(hidden) > 8 else "")
    return f'"{shown(folder)}" contains {corpus}, which is read as the whole corpus; not read: {printable(listed)}'


def has_own_ids(path: str, options: ReadOptions) -> bool:
    """Return whether the records of a file have ids of their own, by its name."""
    file_format = format_of(path, options)
    return file_format in FORMATS and FORMATS[file_format].own_ids
