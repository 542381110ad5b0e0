"""Building documents from the fields of records: required fields, their types, and values that can be stored.

Functions raise ValueError with the reason; their callers add the file and the line.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from semsearch.corpus.sources import ReadOptions
from semsearch.corpus.values import as_json, literal, shown
from semsearch.layout import NO_LAYOUT, Layout
from semsearch.types import Document

LAYOUT = "_layout"
"""Field with the sections, tables and code of the text, as `semsearch export` writes it; see `Layout.to_json`."""


def storable(document: Document, place: str) -> Document:
    """Return the document with JSON metadata and a source; raises ValueError if SQLite or UTF-8 cannot represent it."""
    for name, value in (("id", document.doc_id), ("text", document.text), ("title", document.title)):
        if not isinstance(value, str):
            raise ValueError(f"the {name} is {value!r:.60}; expected a string")
        if "\0" in value:
            raise ValueError(f"a NUL character in the {name}; remove it")
    if not document.doc_id.strip():
        raise ValueError("the id is empty; every document needs one")
    if not isinstance(document.metadata, Mapping):
        raise ValueError(f"the metadata is {shown(document.metadata)}; expected a mapping")
    made = replace(document, metadata=as_json(document.metadata), source=document.source or place)
    try:
        for value in (document.doc_id, document.text, document.title, made.metadata_json):
            value.encode()
    except UnicodeEncodeError as error:
        surrogate = f"\\u{ord(error.object[error.start]):04x}"
        raise ValueError(f"a lone surrogate ({surrogate}), which is half a character; remove it") from None
    return made


def from_json(text: str, options: ReadOptions) -> Document:
    """Parse a line of JSONL as a document."""
    try:
        fields = JSON.decode(text)
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at")
        raise ValueError(f"not valid JSON: {what} at column {error.colno}; expected one object per line") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{shown(fields)} is not a JSON object; expected one object per line")
    return from_fields(fields, options)


def _refuse_number(name: str) -> float:
    raise ValueError(f"not valid JSON: {textwrap.shorten(name, 40)} is not a JSON number; use null or omit the field")


def _finite(number: str) -> float:
    value = float(number)
    return value if math.isfinite(value) else _refuse_number(number)


JSON = json.JSONDecoder(parse_constant=_refuse_number, parse_float=_finite)
"""Decoder of records, which refuses numbers that JSON lacks, such as NaN."""


def header_problem(header: Sequence[str], options: ReadOptions) -> str | None:
    """Return the reason why rows with this header cannot be read, or None if they can."""
    named = [name for name in header if name]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        return f"the header repeats a column name: {', '.join(twice)}; rename one"
    return _missing(dict.fromkeys(named), options)


def from_cells(header: Sequence[str], row: Sequence[str], options: ReadOptions) -> Document:
    """Build a document from a CSV row.

    A metadata cell becomes a number only if the number prints exactly as the cell is written: 007, 1.10, 1234e56, true
    and false remain text. Empty cells and unnamed columns are omitted.
    """
    cells = {name: cell for name, cell in zip(header, row, strict=True) if name}
    own = (_id_field(cells, options), options.text_field, options.title_field)
    return from_fields(
        {k: cell if k in own else literal(cell) for k, cell in cells.items() if cell or k in own}, options
    )


def from_fields(fields: Mapping[str, Any], options: ReadOptions) -> Document:
    """Build a document from a record's fields; fields without a role become metadata."""
    missing = _missing(fields, options)
    if missing:
        raise ValueError(missing)
    id_field = _id_field(fields, options)
    doc_id = as_json(fields[id_field], id_field)
    text, title = fields[options.text_field], fields.get(options.title_field)
    if isinstance(doc_id, bool) or not isinstance(doc_id, str | int):
        raise ValueError(f'"{id_field}" is {shown(doc_id)}; expected a string or an integer')
    if not str(doc_id).strip():
        raise ValueError(f'"{id_field}" is empty; every document needs an id')
    if not isinstance(text, str):
        raise ValueError(f'"{options.text_field}" is {shown(text)}; expected a string')
    if not isinstance(title, str | None):
        raise ValueError(f'"{options.title_field}" is {shown(title)}; expected a string')
    own = (id_field, options.text_field, options.title_field, LAYOUT)
    rest = {k: value for k, value in fields.items() if k not in own}
    if isinstance(rest.get("metadata"), Mapping):
        rest = {**rest.pop("metadata"), **rest}
    layout = Layout.from_json(fields[LAYOUT], len(text)) if LAYOUT in fields else NO_LAYOUT
    return Document(str(doc_id), text, title or "", rest, layout=layout)


def _id_field(fields: Mapping[str, Any], options: ReadOptions) -> str:
    return options.id_field or ("id" if "id" in fields and "_id" not in fields else "_id")


def _missing(fields: Mapping[str, Any], options: ReadOptions) -> str | None:
    """Return a message that names the required field that is missing, or None if none is."""
    wanted = (("id", _id_field(fields, options)), ("text", options.text_field))
    for role, name in wanted:
        if name not in fields:
            here = textwrap.shorten(", ".join(map(str, fields)), 200, placeholder=" …") or "none"
            return f'no "{name}" field (found: {here}); specify the {role} field with `{role}_field`'
    return None
