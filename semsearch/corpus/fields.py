"""Making documents from the fields of records: required fields, their types, and what can be stored.

Functions raise ValueError with the reason; their callers know the file and the line.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from semsearch.corpus.markup import literal
from semsearch.corpus.sources import ReadOptions
from semsearch.types import Document

MAX_NESTING = 100
"""Maximum depth of lists and objects in metadata; far below the depth at which serializing exhausts Python's stack."""


def refuse_unstorable(document: Document) -> None:
    """Raise ValueError for a document that SQLite, JSON or UTF-8 cannot represent."""
    for name, value in (("id", document.doc_id), ("text", document.text), ("title", document.title)):
        if not isinstance(value, str):
            raise ValueError(f"the {name} is {value!r:.60}; expected a string")
        if "\0" in value:
            raise ValueError(f"a NUL character in the {name}; remove it")
    if not document.doc_id.strip():
        raise ValueError("the id is empty; every document needs one")
    if _nesting(document.metadata) > MAX_NESTING:
        raise ValueError(f"metadata is nested deeper than {MAX_NESTING} levels; flatten it")
    try:
        metadata = document.metadata_json
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"metadata that is not JSON ({error}); use strings, finite numbers, lists and objects"
        ) from None
    try:
        for value in (document.doc_id, document.text, document.title, metadata):
            value.encode()
    except UnicodeEncodeError as error:
        surrogate = f"\\u{ord(error.object[error.start]):04x}"
        raise ValueError(f"a lone surrogate ({surrogate}), which is half a character; remove it") from None


def _nesting(value: object) -> int:
    """Return the number of levels of lists and objects."""
    inner = list(value.values()) if isinstance(value, Mapping) else value
    return 1 + max(map(_nesting, inner), default=0) if isinstance(inner, list) else 0


def from_json(text: str, options: ReadOptions) -> Document:
    """Parse a line of JSONL as a document."""
    try:
        fields = json.loads(text, parse_constant=_refuse_number, parse_float=_finite)
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at")
        raise ValueError(f"not valid JSON: {what} at column {error.colno}; expected one object per line") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{_shown(fields)} is not a JSON object; expected one object per line")
    return from_fields(fields, options)


def _refuse_number(name: str) -> float:
    raise ValueError(f"not valid JSON: {textwrap.shorten(name, 40)} is not a JSON number; use null or omit the field")


def _finite(number: str) -> float:
    value = float(number)
    return value if math.isfinite(value) else _refuse_number(number)


def header_problem(header: Sequence[str], options: ReadOptions) -> str | None:
    """Return the reason why rows under this header cannot be read, or None."""
    named = [name for name in header if name]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        return f"the header names a column twice: {', '.join(twice)}; rename one"
    return _missing(dict.fromkeys(named), options)


def from_cells(header: Sequence[str], row: Sequence[str], options: ReadOptions) -> Document:
    """Make a document from a row of CSV.

    Metadata written like a JSON number becomes a number (007 stays text); empty cells and unnamed columns are omitted.
    """
    cells = {name: cell for name, cell in zip(header, row, strict=True) if name}
    own = (_id_field(cells, options), options.text_field, options.title_field)
    return from_fields(
        {k: cell if k in own else literal(cell) for k, cell in cells.items() if cell or k in own}, options
    )


def from_fields(fields: Mapping[str, Any], options: ReadOptions) -> Document:
    """Make a document from a record's fields; those without a role become metadata."""
    missing = _missing(fields, options)
    if missing:
        raise ValueError(missing)
    id_field = _id_field(fields, options)
    doc_id, text, title = fields[id_field], fields[options.text_field], fields.get(options.title_field)
    if isinstance(doc_id, bool) or not isinstance(doc_id, str | int):
        raise ValueError(f'"{id_field}" is {_shown(doc_id)}; expected a string or an integer')
    if not str(doc_id).strip():
        raise ValueError(f'"{id_field}" is empty; every document needs an id')
    if not isinstance(text, str):
        raise ValueError(f'"{options.text_field}" is {_shown(text)}; expected a string')
    if not isinstance(title, str | None):
        raise ValueError(f'"{options.title_field}" is {_shown(title)}; expected a string')
    rest = {k: value for k, value in fields.items() if k not in (id_field, options.text_field, options.title_field)}
    if isinstance(rest.get("metadata"), dict):
        rest = {**rest.pop("metadata"), **rest}
    return Document(str(doc_id), text, title or "", rest)


def _id_field(fields: Mapping[str, Any], options: ReadOptions) -> str:
    return options.id_field or ("id" if "id" in fields and "_id" not in fields else "_id")


def _missing(fields: Mapping[str, Any], options: ReadOptions) -> str | None:
    """Return a message that names the field a record lacks, or None."""
    wanted = (("id", _id_field(fields, options)), ("text", options.text_field))
    for role, name in wanted:
        if name not in fields:
            here = textwrap.shorten(", ".join(fields), 200, placeholder=" …") or "none"
            return f'no "{name}" (fields here: {here}); name the {role} field with `{role}_field`'
    return None


def _shown(value: object) -> str:
    return textwrap.shorten(json.dumps(value), 60, placeholder=" …")
