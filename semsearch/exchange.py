"""Exporting an index to files, and indexing such files again without encoding.

Each line of the JSONL file is a document with `_id`, `title`, `text` and `metadata`. If vectors are exported, it also
has the field `_passages`:

    encoder     the fingerprint of the encoder
    spans       [start, end] of each passage in the text, in characters
    vectors     base64 of little-endian float32 `[passages, dim]`; left out if the vectors are in a file of NumPy
    spec        what the fingerprint stands for; in the first line only

The rows of such a file, `[passages, dim]`, are in the order of the lines and their passages.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from semsearch.arrays import Vectors
from semsearch.corpus.fields import LAYOUT
from semsearch.corpus.readers import Corpus, Record, read_corpus
from semsearch.corpus.sources import STDIN, ReadOptions
from semsearch.errors import MismatchError, RecordError, SourceError, UsageError
from semsearch.files import creating, is_regular, writing
from semsearch.ingest import IngestResult, Watch
from semsearch.paths import shown
from semsearch.stores.base import Store, StoredDocument
from semsearch.transforms import unit_rows
from semsearch.types import COSINE, Document, EncoderSpec, GivenVectors

FIELD = "_passages"

BASE64 = "base64"

READ_AT_ONCE = 256
"""Number of documents that are read from the index at a time."""

ROWS_AT_ONCE = 8_192
"""Number of rows of a file that are checked at a time."""

DTYPES = ("<f4", "<f2")

UNIT = 1e-3
"""Maximum difference of a given unit vector's length from 1; for 16-bit numbers, which are rescaled, ten times that."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was exported.

    Attributes:
        documents: Number of documents.
        passages: Number of passages, and of vectors if these were exported.
    """

    documents: int
    passages: int


def export(store: Store, path: Path, vectors: str | Path | None, watch: Watch | None = None) -> ExportResult:
    """Write the documents of an index to a file, in the order in which they were first added.

    Args:
        store: Store of the index, of which one committed state is written.
        path: The JSONL file; it appears once it is complete.
        vectors: `base64` to put the vectors into the lines, or the path of a `.npy` file for them; None for none.
        watch: Progress callback.

    Raises:
        UsageError: If `vectors` is something else.
        SourceError: If a file cannot be written.
        DamagedError: If a document or a vector is damaged.
    """
    array = Path(vectors) if vectors is not None and vectors != BASE64 else None
    if array is not None and array.suffix != ".npy":
        raise UsageError(f"`vectors` is {str(vectors)!r}; expected {BASE64!r} or the name of a file that ends in .npy")
    with store.snapshot(), ExitStack() as opened:
        n, spec = store.counts()["passages"], store.spec
        lines = opened.enter_context(writing(path))
        rows = opened.enter_context(_array_file(array, (n, spec.dim))) if array else None
        done = IngestResult()
        doc_ids = store.select(None)
        for start in range(0, len(doc_ids), READ_AT_ONCE):
            some = doc_ids[start : start + READ_AT_ONCE]
            for one, spans, own in _passages(store, some, with_vectors=vectors is not None):
                line = {"_id": one.doc_id, "title": one.title, "text": one.text, "metadata": dict(one.metadata)}
                line |= {LAYOUT: one.layout.to_json()} if one.layout else {}
                if own is not None:
                    stored = own.astype("<f4", copy=False)
                    passages: dict[str, Any] = {"encoder": spec.fingerprint, "spans": spans}
                    if rows:
                        rows.write(stored.tobytes())
                    else:
                        passages["vectors"] = base64.b64encode(stored.tobytes()).decode()
                    line[FIELD] = passages | ({} if done.documents else {"spec": spec.to_json()})
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
                done.documents += 1
                done.passages += len(spans)
            if watch:
                watch(done)
    return ExportResult(done.documents, done.passages)


def _passages(
    store: Store, doc_ids: Sequence[str], *, with_vectors: bool
) -> Iterator[tuple[Document | StoredDocument, list[tuple[int, int]], Vectors | None]]:
    """Yield documents with the spans of their passages and, if wanted, their vectors as they were committed."""
    if not with_vectors:  # damaged vectors do not keep texts from being exported
        yield from ((one, list(one.spans), None) for one in store.documents(doc_ids).values())
        return
    for entry in store.entries(doc_ids):
        yield entry.document, [(passage.start, passage.end) for passage in entry.passages], entry.vectors


@contextmanager
def _array_file(path: Path, shape: tuple[int, int]) -> Iterator[BinaryIO]:
    """Open a file of NumPy for float32 rows of this shape, which appears once it is complete."""
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    try:
        with creating(path) as file:
            np.lib.format.write_array_header_1_0(file, header)
            yield file
    except OSError as error:
        raise SourceError(f"cannot write {str(path)!r}: {error.strerror}") from None


def open_rows(path: Path, spec: EncoderSpec) -> Vectors:
    """Open the vectors `[n, dim]` in a file of NumPy, after checking all of them; they are mapped, not read.

    Raises:
        UsageError: If they are not float32 or float16 of the encoder's dimension, finite, and unit vectors if the
            encoder makes such.
    """
    expected = f"expected [passages, {spec.dim}] of float32 or float16 in C order, as semsearch export writes it"
    try:
        rows = np.lib.format.open_memmap(path, mode="r") if is_regular(path) else None
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise UsageError(f"`vectors` {str(path)!r} is not a file of NumPy ({_line(error)}); {expected}") from None
    if rows is None:
        raise UsageError(f"`vectors` {str(path)!r} is not a file; {expected}")
    if rows.dtype.str not in DTYPES or not rows.flags.c_contiguous:
        raise UsageError(f"`vectors` {str(path)!r} has {rows.dtype} {list(rows.shape)}; {expected}")
    if rows.ndim != 2 or rows.shape[1] != spec.dim:
        raise UsageError(f"`vectors` {str(path)!r} has the shape {list(rows.shape)}; {expected}")
    for start in range(0, len(rows), ROWS_AT_ONCE):
        if problem := _problem(rows[start : start + ROWS_AT_ONCE], spec, start):
            raise UsageError(f"`vectors` {str(path)!r}: {problem}")
    return rows


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:100]


def _problem(rows: Vectors, spec: EncoderSpec, first: int = 0) -> str:
    """Return what is wrong with vectors `[n, dim]`, numbered from `first`; empty if nothing is."""
    with np.errstate(all="ignore"):
        lengths = np.sqrt((rows.astype(np.float64) ** 2).sum(1))
    broken = ~np.isfinite(rows).all(1)
    if broken.any():
        return f"vector {first + int(np.argmax(broken))} is not finite; expected numbers without NaN and infinity"
    wrong = (np.abs(lengths - 1) > (UNIT if rows.dtype.itemsize == 4 else 10 * UNIT)) & (lengths > 0)
    if _are_units(spec) and wrong.any():
        place = int(np.argmax(wrong))
        return f"vector {first + place} has length {lengths[place]:.4g}; expected unit vectors, as this encoder makes"
    return ""


def _are_units(spec: EncoderSpec) -> bool:
    """Return whether all vectors of an encoder have length 1, except those of texts without any known token."""
    return spec.normalize and spec.similarity == COSINE


def count_rows(corpus: Corpus, options: ReadOptions, spec: EncoderSpec) -> int:
    """Read the documents of exported files once, before they are indexed; return the number of their passages.

    Raises:
        UsageError: If they are not files that can be read twice.
        RecordError: If a line is not an exported document.
        MismatchError: If the vectors come from another encoder.
    """
    paths = [corpus] if isinstance(corpus, str | os.PathLike) else corpus
    if not isinstance(paths, list | tuple) or not all(isinstance(one, str | os.PathLike) for one in paths):
        raise UsageError("`vectors` belong to exported files; expected their paths as the corpus")
    if STDIN in map(str, paths):
        raise UsageError("`vectors` needs a corpus that can be read twice; expected files instead of standard input")
    n, given = 0, _Given(spec)
    for record in read_corpus(paths, options):
        if isinstance(record, RecordError):
            raise record
        if not _is_exported(record):
            reason = f'no "{FIELD}" with the passages of the vectors; expected a line of semsearch export --vectors'
            raise RecordError(record.source, None, reason)
        n += len(given.spans(record))
    return n


def with_vectors(records: Iterator[Record], spec: EncoderSpec, rows: Vectors | None) -> Iterator[Record]:
    """Attach vectors to the documents of exported lines; other records pass unchanged.

    Args:
        records: The documents, with the field `_passages` among their metadata.
        spec: The encoder of the index.
        rows: The vectors of all their passages `[n, dim]`, if they are not in the lines.

    Returns:
        An iterator over the records, with a RecordError in place of each document whose vectors cannot be used.

    Raises:
        MismatchError: If the vectors come from another encoder.
    """
    given, at = _Given(spec), 0
    for record in records:
        if not isinstance(record, Document) or not _is_exported(record):
            yield record
            continue
        plain = replace(record, metadata={key: value for key, value in record.metadata.items() if key != FIELD})
        try:
            spans = given.spans(record)
            part = given.vectors(record, spans) if rows is None else rows[at : at + len(spans)]
            at += len(spans)
            yield plain if part is None else replace(plain, given=_given(spans, part, spec))
        except RecordError as error:
            yield error


def _is_exported(document: Document) -> bool:
    """Return whether a document is an exported line, read from a file: a client of a server cannot choose vectors."""
    field = None if document.origin is None else document.metadata.get(FIELD)
    return isinstance(field, Mapping) and "encoder" in field and "spans" in field


def _given(spans: Sequence[tuple[int, int]], rows: Vectors, spec: EncoderSpec) -> GivenVectors:
    """Return vectors as an index stores them; those of 16 bits are rescaled to unit length."""
    half = rows.dtype.itemsize == 2
    exact = rows.astype(np.float32)
    return GivenVectors(tuple(spans), unit_rows(exact) if half and _are_units(spec) else exact)


class _Given:
    """The vectors of exported lines, as far as they come from the encoder of the index."""

    def __init__(self, spec: EncoderSpec) -> None:
        self._spec = spec
        self._theirs: EncoderSpec | None = None

    def spans(self, document: Document) -> list[tuple[int, int]]:
        """Return the spans of a document's passages.

        Raises:
            MismatchError: If their vectors come from another encoder.
            RecordError: If they are not within the text.
        """
        field = document.metadata[FIELD]
        if "spec" in field:
            with suppress(AttributeError, KeyError, TypeError):
                self._theirs = EncoderSpec.from_json(field["spec"])
        if field["encoder"] != self._spec.fingerprint:
            raise MismatchError(self._difference(document, field["encoder"]))
        spans = field["spans"]
        if not isinstance(spans, list) or not all(_is_span(span, len(document.text)) for span in spans):
            reason = f'the spans in "{FIELD}" are {shown(str(spans))}; expected pairs of a start and an end in the text'
            raise RecordError(document.source, None, reason)
        return [(start, end) for start, end in spans]

    def _difference(self, document: Document, theirs: object) -> str:
        known = self._theirs
        if known is not None and known.fingerprint == theirs:
            what = f"it has {'; '.join(known.differences(self._spec))}"
        else:
            what = f"its fingerprint is {theirs!s:.12}…, not {self._spec.fingerprint[:12]}…"
        return (
            f"{document.source}: the vectors come from another encoder than that of the index: {what}. Index with that "
            f"encoder, or remove the field {FIELD!r} to encode the texts"
        )

    def vectors(self, document: Document, spans: Sequence[tuple[int, int]]) -> Vectors | None:
        """Return the vectors in a line `[passages, dim]`; None if they are in a file of their own.

        Raises:
            RecordError: If they cannot be used.
        """
        text = document.metadata[FIELD].get("vectors")
        if text is None:
            return None
        shape = (len(spans), self._spec.dim)
        try:
            data = base64.b64decode(text, validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise RecordError(document.source, None, f'the vectors in "{FIELD}" are not base64') from None
        if len(data) != 4 * shape[0] * shape[1]:
            reason = f'the vectors in "{FIELD}" have {len(data):,} bytes; expected float32 {list(shape)}'
            raise RecordError(document.source, None, reason)
        rows = np.frombuffer(data, "<f4").reshape(shape)
        if problem := _problem(rows, self._spec):
            raise RecordError(document.source, None, problem)
        return rows


def _is_span(span: object, length: int) -> bool:
    if not isinstance(span, list) or len(span) != 2 or not all(type(place) is int for place in span):
        return False
    return bool(0 <= span[0] <= span[1] <= length)


def rows_for(path: Path, corpus: Corpus, options: ReadOptions, spec: EncoderSpec) -> Vectors:
    """Open the vectors of exported files, after checking that they belong together.

    Raises:
        UsageError: If they do not, or the vectors cannot be used; see `open_rows`.
        RecordError, MismatchError: As for `count_rows`.
    """
    rows, n = open_rows(path, spec), count_rows(corpus, options, spec)
    if len(rows) != n:
        raise UsageError(f"`vectors` {str(path)!r} has {len(rows):,} rows, but the documents have {n:,} passages")
    return rows
