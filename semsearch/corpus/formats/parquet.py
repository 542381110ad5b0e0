"""Reading Parquet, one document per row."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from io import BufferedIOBase, BufferedReader
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, BinaryIO

from semsearch.corpus.fields import DerivedIds, from_fields, header_problem, text_fields
from semsearch.corpus.gzipped import CORRUPT
from semsearch.corpus.records import Reading, ReadingWarning, guarded, unreadable
from semsearch.corpus.sources import BLOCK, ReadOptions, Source
from semsearch.corpus.values import as_json
from semsearch.errors import RecordError
from semsearch.messages import first_line
from semsearch.types import Document

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 128
"""Number of rows that are decoded at once."""


def read_parquet(source: Source, options: ReadOptions) -> Iterator[Reading]:
    """Read the rows; nulls are omitted, and columns of bytes and durations are left out with a warning."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        reason = "Parquet files need pyarrow, which is not installed; pip install 'semsearch[parquet]'"
        yield RecordError(source.name, None, reason)
        return
    row, ids = 0, DerivedIds(source.doc_id)
    try:
        with ExitStack() as stack:
            file = pq.ParquetFile(
                _seekable(stack.enter_context(source.open()), stack), buffer_size=_block(source), pre_buffer=False
            )
            left_out = [field.name for field in file.schema_arrow if not _is_json(field.type)]
            if left_out:
                listed = ", ".join(left_out[:8]) + (" …" if len(left_out) > 8 else "")
                yield ReadingWarning(f"{source.name}: left out columns of bytes or durations: {listed}")
            names = [name for name in file.schema_arrow.names if name not in left_out]
            problem = header_problem(names, options)
            if problem:
                yield RecordError(source.name, None, problem)
                return
            for batch in file.iter_batches(BATCH, columns=names, use_threads=False):
                columns = dict(zip(names, map(_to_microseconds, batch.columns), strict=True))
                for number in range(batch.num_rows):
                    row += 1
                    place = replace(source, name=f"{source.name}, row {row}")
                    yield guarded(place, None, partial(_document, columns, number, options, ids))
    except (OSError, pa.ArrowException, *CORRUPT) as error:
        # An OSError of pyarrow's has no number, while those of the system have one.
        broken = isinstance(error, pa.ArrowException) or (isinstance(error, OSError) and error.errno is None)
        reason = _reason(error) if broken else unreadable(error)
        yield RecordError(source.name if row == 0 else f"{source.name}, after row {row}", None, reason)


def _reason(error: Exception) -> str:
    """Return why pyarrow cannot read a file."""
    found = first_line(error)
    if "crypt" in found:
        return "the Parquet file is encrypted; write it without encryption"
    return f"not a valid Parquet file ({found}); write it again"


def _document(columns: dict[str, pa.Array], number: int, options: ReadOptions, ids: DerivedIds) -> Document:
    own = (options.id_field, "_id", "id", *text_fields(columns, options))
    try:
        fields = {name: column[number].as_py() for name, column in columns.items()}
    except OverflowError as error:
        raise ValueError(f"a value that Python cannot represent ({error}); remove it") from None
    known = {name: value for name, value in fields.items() if value is not None or name in own}
    return from_fields(known, options, ids.needed(as_json(known), options))


def _to_microseconds(column: pa.Array) -> pa.Array:
    """Round times in nanoseconds, which Python cannot represent, down to microseconds."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return column.cast(pa.timestamp("us", kind.tz), safe=False)
    return column.cast(pa.time64("us"), safe=False) if kind == pa.time64("ns") else column


def _is_json(kind: pa.DataType) -> bool:
    """Return whether JSON can represent the values of a type, and of the types in it."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _is_json(kind.value_type)
    unlike = ("binary", "large_binary", "fixed_size_binary", "binary_view", "duration", "interval")
    if any(getattr(pa.types, f"is_{name}")(kind) for name in unlike if hasattr(pa.types, f"is_{name}")):
        return False
    return all(_is_json(kind.field(number).type) for number in range(kind.num_fields))


def _block(source: Source) -> int:
    """Return how many bytes of a column to read at once."""
    return BLOCK if source.opened else 2**16


def _seekable(stream: BinaryIO | BufferedIOBase, stack: ExitStack) -> IO[bytes] | BufferedIOBase:
    """Return the stream, or a temporary copy if it cannot be read in any order, since a file's index is at its end."""
    if isinstance(stream, BufferedReader) and stream.raw.seekable():
        return stream
    copy = stack.enter_context(TemporaryFile())
    shutil.copyfileobj(stream, copy)
    copy.seek(0)
    return copy
