"""Building documents from the fields of records: required fields, their types, and values that can be stored.

Functions raise ValueError with the reason; their callers add the file and the line.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
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


class DerivedIds:
    """Ids for the records of a file that have none, such as `birds.csv:3f2a90c1b7de`.

    An id is derived from the content of its record alone, so that it does not change when other records are inserted,
    removed or sorted. Empty fields and the order of fields do not count. Repeated records are numbered. In a file whose
    records have ids, one without is bad.
    """

    def __init__(self, place: str) -> None:
        """Start with a file whose ids begin with `place`."""
        self._place, self._given = place, False
        self._met: Counter[str] = Counter()

    def of(self, fields: Mapping[str, Any]) -> str:
        """Return the id of a record."""
        content = json.dumps({name: value for name, value in fields.items() if value not in ("", None)}, sort_keys=True)
        digest = sha256(content.encode()).hexdigest()[:12]
        self._met[digest] += 1
        number = self._met[digest]
        return f"{self._place}:{digest}" + (f"-{number}" if number > 1 else "")

    def needed(self, fields: Mapping[str, Any], options: ReadOptions) -> str | None:
        """Return an id for a record that has none; None if it has one, or must have one."""
        self._given = self._given or bool(options.id_field) or options.need_ids or "_id" in fields or "id" in fields
        return None if self._given else self.of(fields)


def json_object(text: str) -> dict[str, Any]:
    """Parse a line of JSONL as an object."""
    try:
        fields = JSON.decode(text)
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at")
        raise ValueError(f"not valid JSON: {what} at column {error.colno}; expected one object per line") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{shown(fields)} is not a JSON object; expected one object per line")
    return fields


def _refuse_number(name: str) -> float:
    raise ValueError(f"not valid JSON: {textwrap.shorten(name, 40)} is not a JSON number; use null or omit the field")


def _finite(number: str) -> float:
    value = float(number)
    return value if math.isfinite(value) else _refuse_number(number)


JSON = json.JSONDecoder(parse_constant=_refuse_number, parse_float=_finite)
"""Decoder of records, which refuses numbers that JSON lacks, such as NaN."""


def header_problem(header: Sequence[str], options: ReadOptions, rows: Sequence[Sequence[str]] = ()) -> str | None:
    """Return the reason why rows with this header cannot be read, or None if they can.

    Args:
        header: Names of the columns.
        options: Options for reading.
        rows: Some of the rows, to suggest columns with text.
    """
    named = [name for name in header if name]
    if any("\0" in name for name in named):
        return "a NUL character in the header; expected text in UTF-8, or in UTF-16 with a byte order mark"
    twice = sorted(name for name, times in Counter(named).items() if times > 1)
    if twice:
        return f"the header repeats a column name: {', '.join(twice)}; rename one"
    columns = dict.fromkeys(named)
    if options.id_field or options.need_ids:
        missing = _missing("id", _id_field(columns, options), columns)
        if missing:
            return missing
    for name in text_fields(columns, options):
        if name not in columns:
            samples = {name: [row[at] for row in rows if at < len(row)] for at, name in enumerate(header) if name}
            return _missing("text", name, columns) + _suggested(samples, options)
    return None


def from_cells(header: Sequence[str], row: Sequence[str], options: ReadOptions, ids: DerivedIds) -> Document:
    """Build a document from a CSV row.

    A metadata cell becomes a number only if the number prints exactly as the cell is written: 007, 1.10, 1234e56, true
    and false remain text. Empty cells and unnamed columns are omitted.
    """
    cells = {name: cell for name, cell in zip(header, row, strict=True) if name}
    own = _roles(cells, options)
    fields = {name: cell if name in own else literal(cell) for name, cell in cells.items() if cell or name in own}
    return from_fields(fields, options, ids.needed(cells, options))


def from_fields(fields: Mapping[str, Any], options: ReadOptions, derived: str | None = None) -> Document:
    """Build a document from a record's fields; fields without a role become metadata, and so do joined fields.

    Args:
        fields: Values by name.
        options: Options for reading.
        derived: The id of a record that has none; None if it must have one.
    """
    id_field, texts = _id_field(fields, options), text_fields(fields, options)
    if derived is None:
        if missing := _missing("id", id_field, fields):
            raise ValueError(missing)
        derived = _given_id(fields[id_field], id_field)
    if not any(name in fields for name in texts):
        samples = {name: [value] for name, value in fields.items() if isinstance(value, str)}
        raise ValueError(_missing("text", texts[0], fields) + _suggested(samples, options))
    text, title = _text(fields, texts), fields.get(options.title_field)
    if not isinstance(title, str | None):
        raise ValueError(f'"{options.title_field}" is {shown(title)}; expected a string')
    own = (*_roles(fields, options), LAYOUT)
    rest = {name: value for name, value in fields.items() if name not in own}
    if isinstance(rest.get("metadata"), Mapping):
        rest = {**rest.pop("metadata"), **rest}
    layout = Layout.from_json(fields[LAYOUT], len(text)) if LAYOUT in fields else NO_LAYOUT
    return Document(derived, text, title or "", rest, layout=layout)


def text_fields(fields: Collection[str], options: ReadOptions) -> tuple[str, ...]:
    """Return the names of the fields with the text, given the names of the fields that there are.

    Commas separate names, unless they are part of the name of a field.
    """
    given = options.text_field
    if isinstance(given, tuple):
        return given
    return (given,) if given in fields else tuple(filter(None, map(str.strip, given.split(",")))) or (given,)


def _roles(fields: Collection[str], options: ReadOptions) -> tuple[str, ...]:
    """Return the names of the fields that are not metadata; several joined fields stay metadata, to filter by them."""
    texts = text_fields(fields, options)
    return (_id_field(fields, options), options.title_field, *(texts if len(texts) == 1 else ()))


def _given_id(value: object, name: str) -> str:
    """Return the id in a field as text."""
    doc_id = as_json(value, name)
    if isinstance(doc_id, bool) or not isinstance(doc_id, str | int):
        raise ValueError(f'"{name}" is {shown(doc_id)}; expected a string or an integer')
    if not str(doc_id).strip():
        raise ValueError(f'"{name}" is empty; every document needs an id')
    return str(doc_id)


def _text(fields: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the text of a record: that of one field, or several fields, each on a line with its name."""
    if len(names) > 1:
        parts = {name: _part(as_json(fields.get(name), name), name).strip() for name in names}
        return "\n".join(f"{name}: {part}" for name, part in parts.items() if part)
    text = fields[names[0]]
    if not isinstance(text, str):
        raise ValueError(f'"{names[0]}" is {shown(text)}; expected a string')
    return text


def _part(value: object, name: str) -> str:
    """Return a value as it stands in a text that joins several."""
    if isinstance(value, list):
        return ", ".join(_part(each, name) for each in value)
    if isinstance(value, Mapping):
        raise ValueError(f'"{name}" is {shown(value)}; expected text, a number, or a list of these')
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def _suggested(samples: Mapping[str, Sequence[str]], options: ReadOptions) -> str:
    """Return the end of a message: the one or two fields with the most words, unless the user has named any."""
    words = {
        name: sum(any(map(str.isalpha, word)) for value in values for word in value.split()) / len(values)
        for name, values in samples.items()
        if values
        and len(name) <= 60
        and "," not in name
        and name not in ("_id", options.id_field or "id", options.title_field)
    }
    best = sorted((name for name, n in words.items() if n), key=lambda name: -words[name])[:2]
    if not best or options.text_field != ReadOptions().text_field:
        return ""
    return f", for example `text_field`={','.join(name for name in samples if name in best)!r}"


def _id_field(fields: Collection[str], options: ReadOptions) -> str:
    return options.id_field or ("id" if "id" in fields and "_id" not in fields else "_id")


def _missing(role: str, name: str, fields: Collection[str]) -> str:
    """Return a message that a required field is missing, or an empty string if it is there."""
    if name in fields:
        return ""
    here = textwrap.shorten(", ".join(map(str, fields)), 200, placeholder=" …") or "none"
    return f'no "{name}" field (found: {here}); specify the {role} field with `{role}_field`'
