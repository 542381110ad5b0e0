"""Documents received over HTTP: all of them are checked before any is added."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import BinaryIO

from semsearch.corpus.formats.table import ENDINGS
from semsearch.corpus.readers import ReadOptions, as_records, read_corpus
from semsearch.errors import RecordError, TooLargeError
from semsearch.mcp.shelf import STEPS
from semsearch.server.models import GivenDocument
from semsearch.types import Document

GZ = ".gz"


def from_json(given: Iterable[GivenDocument]) -> list[Document]:
    """Return the documents of a JSON body.

    Raises:
        RecordError: If a document is unusable, or its id is a duplicate.
    """
    records = [
        {"_id": one.id, "text": one.text, "title": one.title or "", "metadata": one.metadata or {}} for one in given
    ]
    return _distinct(as_records(records))


def from_files(files: Sequence[tuple[str, BinaryIO]], most: int, most_chars: int) -> list[Document]:
    """Return the documents in uploaded files, under the file names that the client sent.

    The names decide only how files are read and what documents are called; no path is built from them.

    Args:
        files: Name and content of each file.
        most: Maximum number of documents.
        most_chars: Maximum number of characters in all documents, because a small file may be large once unpacked.

    Raises:
        RecordError: If a file cannot be read, a record is unusable, or an id is a duplicate.
        TooLargeError: If the files contain more documents or characters than that.
    """
    documents: list[Document | RecordError] = []
    size = 0
    with TemporaryDirectory(prefix="semsearch-upload-") as folder:
        for number, (name, content) in enumerate(files):
            path = Path(folder, f"{number}{_ending(name)}")
            with path.open("wb") as copy:
                shutil.copyfileobj(content, copy)
            for record in read_corpus(path, ReadOptions()):
                documents.append(_renamed(record, path.name, _id_of(name)))
                size += record.size if isinstance(record, Document) else 0
                if len(documents) > most or size > most_chars:
                    raise TooLargeError(
                        f"the files have more than {most:,} documents or {most_chars:,} characters; send fewer at once"
                    )
    return _distinct(documents)


def _ending(name: str) -> str:
    """Return the extension of a file, including `.gz`; raise RecordError if no reader supports it."""
    lower = name.lower()
    packed = GZ if lower.endswith(GZ) else ""
    ending = PurePosixPath(lower.removesuffix(GZ)).suffix
    if ending not in ENDINGS:
        raise RecordError(_id_of(name), None, f"unknown file type; expected one of {', '.join(ENDINGS)}")
    return ending + packed


def _id_of(name: str) -> str:
    """Return the name of a file without path components such as `..`."""
    parts = name.replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in STEPS) or "file"


def _renamed(record: Document | RecordError, stored: str, name: str) -> Document | RecordError:
    """Return a record of a stored file as one of the uploaded file, without any location on this machine."""
    if isinstance(record, RecordError):
        return RecordError(name, record.line, record.reason)
    if record.doc_id != stored:
        return replace(record, origin=None, source="")
    named = {"path": name} if record.metadata.get("path") == stored else {}
    return replace(record, doc_id=name, origin=None, source="", metadata={**record.metadata, **named})


def _distinct(records: Iterable[Document | RecordError]) -> list[Document]:
    documents: dict[str, Document] = {}
    for number, record in enumerate(records, 1):
        if isinstance(record, RecordError):
            raise record
        if record.doc_id in documents:
            raise RecordError("the request", number, f"duplicate document id {record.doc_id!r:.200}")
        documents[record.doc_id] = record
    return list(documents.values())
