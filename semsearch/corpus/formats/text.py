"""Reading plain text."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from semsearch.corpus.plain import Plain, decode
from semsearch.corpus.records import Reading, guarded, lines, read_whole
from semsearch.corpus.sources import ReadOptions, Source
from semsearch.types import Document


def from_text(data: bytes) -> Plain:
    """Convert UTF-8 or UTF-16 text."""
    return Plain(decode(data))


def read_text(source: Source, options: ReadOptions) -> Iterator[Reading]:
    """Read a file as one document, or each line as one."""
    if not options.per_line:
        yield from read_whole(source, options, from_text)
        return
    for line in lines(source):
        text = line.text.rstrip("\r\n")
        if line.problem:
            yield line.problem
        elif text.strip():
            document = partial(Document, f"{source.doc_id}:{line.number}", text, metadata={"path": source.doc_id})
            yield guarded(source, line.number, document)
