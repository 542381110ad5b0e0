"""Reading JSON lines, one document per line."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from semsearch.corpus.fields import from_json
from semsearch.corpus.records import Record, guarded, lines
from semsearch.corpus.sources import ReadOptions, Source


def read_json_lines(source: Source, options: ReadOptions) -> Iterator[Record]:
    """Read one document per line; blank lines are skipped."""
    for line in lines(source):
        if line.problem:
            yield line.problem
        elif line.text.strip():
            yield guarded(source, line.number, partial(from_json, line.text.rstrip(), options))
