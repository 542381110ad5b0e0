"""Rows of documents and passages: how they are written, and read."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar

from semsearch.errors import UsageError
from semsearch.filters.milvus import describe
from semsearch.layout import Layout, layout_of
from semsearch.stores.milvus.driver import Row
from semsearch.stores.milvus.schema import BYTES, FOREVER, NOTHING, TERMS
from semsearch.stores.milvus.states import PART, Reading
from semsearch.stores.plans import key_of
from semsearch.types import Document

if TYPE_CHECKING:
    from semsearch.stores.plans import Stored

T = TypeVar("T")

ASKED = 500
"""Number of documents or passages that are asked for by one condition."""

READ = 16
"""Number of documents whose texts are read at a time."""

SPANS = ("passage", "document", "ordinal", "first", "last", "n_tokens", "n_lost")


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a document besides its text.

    Attributes:
        number: Number of the document.
        row: Key of the row.
        metadata: Canonical JSON.
        root, file: See `Origin.key`.
    """

    number: int
    row: int
    doc_id: str
    title: str
    content_hash: str
    metadata: str
    root: str | None
    file: str | None

    @property
    def is_file(self) -> bool:
        """Whether it is the only document of its file."""
        return bool(self.file) and self.doc_id == (f"{self.root}/{self.file}" if self.root else self.file)

    @property
    def stored(self) -> Stored:
        """The document as `plan_of` compares it."""
        return self.content_hash, self.metadata, self.root, self.file


@dataclass(frozen=True, slots=True)
class Span:
    """Where a passage is, and its number."""

    passage: int
    document: int
    ordinal: int
    first: int
    last: int
    n_tokens: int
    n_lost: int


def key_of_id(doc_id: str) -> int:
    """Return the hash of an id, from 0 to 2⁶³ - 1."""
    return int.from_bytes(blake2b(doc_id.encode(), digest_size=8).digest(), "big") >> 1


def described(document: Document) -> Row:
    """Return the fields of a document that follow from its id, title, metadata and origin.

    Raises:
        UsageError: If they are more than Milvus stores.
    """
    facts, values = describe(document.doc_id, document.title, document.metadata)
    known = [document.doc_id, document.title, document.content_hash, document.metadata_json, *key_of(document)]
    about = json.dumps(known, ensure_ascii=False)
    size = max(len(about.encode()), len(json.dumps(values).encode()))
    if size > BYTES or len(facts) > TERMS:
        raise UsageError(
            f"id, title and metadata of the document {document.doc_id!r:.100} take {size:,} bytes and {len(facts):,} "
            f"values; Milvus stores at most {BYTES:,} and {TERMS:,}: shorten its metadata, or use another store"
        )
    return {"facts": facts, "values": values, "about": about}


def content_of(document: Document) -> list[str]:
    """Return the text and layout of a document, compressed, in parts."""
    data = json.dumps([document.text, document.layout.text]).encode()
    text = base64.b64encode(zlib.compress(data)).decode()
    return [text[start : start + PART] for start in range(0, len(text), PART)]


def document_rows(document: Document, number: int, rows: Iterator[int], commit: int) -> list[Row]:
    """Return the rows of a document: one for each part of its text.

    Args:
        document: The document.
        number: Its number.
        rows: Numbers for the rows.
        commit: The commit by which it is born.
    """
    first = {**described(document), "key": key_of_id(document.doc_id)}
    later = {"facts": list[int](), "values": dict[str, Any](), "about": "", "key": -1}
    born = {"document": number, "born": commit, "died": FOREVER, "nothing": NOTHING}
    return [
        {**(later if part else first), **born, "row": next(rows), "part": part, "content": content}
        for part, content in enumerate(content_of(document))
    ]


def read_abouts(reading: Reading, *conditions: str) -> list[About]:
    """Return what is known of the documents that meet a condition, by their numbers."""
    state = reading.state
    fields = ("row", "document", "about")
    rows = reading.session.rows(state.documents, state.visible("part == 0", *conditions), fields)
    found = [About(row["document"], row["row"], *json.loads(row["about"])) for row in rows]
    return sorted(found, key=lambda one: one.number)


def abouts_of(reading: Reading, doc_ids: Iterable[str]) -> dict[str, About]:
    """Return what is known of documents by their ids, in the order given; unknown ids are left out."""
    asked = list(dict.fromkeys(doc_ids))
    found: dict[str, About] = {}
    for some in in_parts([key_of_id(one) for one in asked], ASKED):
        found |= {about.doc_id: about for about in read_abouts(reading, f"key in {some}")}
    return {doc_id: found[doc_id] for doc_id in asked if doc_id in found}


def abouts_numbered(reading: Reading, documents: Iterable[int]) -> dict[int, About]:
    """Return what is known of documents by their numbers; deleted ones are left out."""
    found: dict[int, About] = {}
    for some in in_parts(sorted(set(documents)), ASKED):
        found |= {about.number: about for about in read_abouts(reading, f"document in {some}")}
    return found


def read_contents(reading: Reading, documents: Iterable[int]) -> dict[int, tuple[str, Layout]]:
    """Return the texts and layouts of documents by their numbers."""
    state, parts = reading.state, dict[int, dict[int, str]]()
    for some in in_parts(sorted(set(documents)), READ):
        condition = state.visible(f"document in {some}")
        for row in reading.session.rows(state.documents, condition, ("document", "part", "content")):
            parts.setdefault(row["document"], {})[row["part"]] = row["content"]
    return {number: _content(some) for number, some in parts.items()}


def _content(parts: dict[int, str]) -> tuple[str, Layout]:
    joined = "".join(parts[part] for part in sorted(parts))
    text, layout = json.loads(zlib.decompress(base64.b64decode(joined)))
    return text, layout_of(layout)


def read_passages(reading: Reading, passages: Sequence[int], fields: Sequence[str]) -> dict[int, Row]:
    """Return fields of passages by their numbers; deleted ones are left out."""
    state, found = reading.state, dict[int, Row]()
    for some in in_parts(sorted({int(one) for one in passages}), ASKED):
        condition = state.visible(f"passage in {some}")
        for row in reading.session.rows(state.passages, condition, ("passage", *fields)):
            found[row["passage"]] = row
    return found


def read_spans(reading: Reading, documents: Sequence[int], *conditions: str) -> dict[int, list[Span]]:
    """Return the passages of documents that meet conditions, in order, by the numbers of the documents."""
    state, found = reading.state, dict[int, list[Span]]()
    for some in in_parts(sorted(set(documents)), ASKED):
        for row in reading.session.rows(state.passages, state.visible(f"document in {some}", *conditions), SPANS):
            found.setdefault(row["document"], []).append(Span(*(row[name] for name in SPANS)))
    return {number: sorted(some, key=lambda one: one.ordinal) for number, some in found.items()}


def in_parts(some: Sequence[T], n: int) -> Iterator[list[T]]:
    """Yield a sequence in lists of at most n."""
    for start in range(0, len(some), n):
        yield list(some[start : start + n])
