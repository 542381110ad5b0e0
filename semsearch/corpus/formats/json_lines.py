"""Reading JSON lines, one document per line."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from semsearch.corpus.fields import DerivedIds, from_fields, json_object, text_fields
from semsearch.corpus.records import Reading, ReadingWarning, guarded, lines
from semsearch.corpus.sources import ReadOptions, Source
from semsearch.types import Document


def read_json_lines(source: Source, options: ReadOptions) -> Iterator[Reading]:
    """Read one document per line; blank lines are skipped.

    A record may lack some of the fields that are joined as its text. A warning names those that all records lack.
    """
    ids, names = DerivedIds(source.doc_id), text_fields((), options)
    unmet = set(names)

    def document(text: str) -> Document:
        fields = json_object(text)
        unmet.difference_update(fields if text_fields(fields, options) == names else names)
        return from_fields(fields, options, ids.needed(fields, options))

    for line in lines(source):
        if line.problem:
            yield line.problem
        elif line.text.strip():
            yield guarded(source, line.number, partial(document, line.text.rstrip()))
    if 0 < len(unmet) < len(names):
        listed = ", ".join(f'"{name}"' for name in names if name in unmet)
        yield ReadingWarning(f"{source.name}: no record has the field {listed}, which `text_field` names")
