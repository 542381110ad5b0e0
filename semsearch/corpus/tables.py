"""Records of JSON Lines, CSV and TSV files as mappings, each with its line number, for evaluation and training data.

Corpora are read by `semsearch.corpus.readers`, which streams them; these files are read as a whole.
"""

from __future__ import annotations

import csv
import io
import json
import math
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from semsearch.corpus.gzipped import UNREADABLE, ending_of, open_bytes
from semsearch.errors import RecordError, SourceError

Numbered: TypeAlias = tuple[int, Mapping[str, Any]]
"""Line number, from 1, and record. Cells of CSV and TSV are strings, or None if the row is too short."""

MAX_HEADER_BYTES = 2**20


def read_records(path: Path) -> Iterator[Numbered]:
    """Yield the records of a file; blank lines and rows are skipped.

    Args:
        path: A .jsonl, .csv or .tsv file, optionally with .gz. TSV has no quoting.

    Raises:
        SourceError: If the file is missing, cannot be read, or has an unknown extension.
        RecordError: If a line is malformed.
    """
    read = READERS.get(ending_of(path))
    if read is None:
        raise SourceError(f"{str(path)!r} has an unknown extension; expected one of {', '.join(READERS)} (or with .gz)")
    yield from read(path)


def field_names(path: Path) -> frozenset[str]:
    """Return the names in the first nonblank line of a file; none if it is not a file of records."""
    if ending_of(path) not in READERS or not path.is_file():
        return frozenset()
    try:
        with open_bytes(path) as file:
            first = file.read(MAX_HEADER_BYTES).removeprefix(BOM_UTF8).lstrip().partition(b"\n")[0]
        return frozenset(NAMES[ending_of(path)](first.decode().rstrip("\r")))
    except (*UNREADABLE, ValueError, RecursionError, csv.Error):
        return frozenset()


def finite(value: object) -> float:
    """Return a cell or field as a finite number, or NaN if it is none."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def lines_of(path: Path, expected: str = "a file", *, or_latin_1: bool = False) -> list[str]:
    r"""Split a file at `\n` only, because some sentences contain other characters that Python treats as line ends.

    Args:
        path: A text file in UTF-8, optionally gzipped.
        expected: What should be there, for the message if the file is missing.
        or_latin_1: Read a file that is not UTF-8 as Latin-1.

    Raises:
        SourceError: If the file is missing or cannot be read.
    """
    text = _text(path, expected, or_latin_1=or_latin_1)
    return [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")]


def _text(path: Path, expected: str = "a file", *, or_latin_1: bool = False) -> str:
    try:
        with open_bytes(path) as file:
            content = file.read()
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            if or_latin_1:
                return content.decode("latin-1")
            raise
    except FileNotFoundError:
        raise SourceError(f"no {path}; expected {expected}") from None
    except UNREADABLE as error:
        raise SourceError(f"{path} cannot be read: {error}") from None


def _records_of_json(path: Path) -> Iterator[Numbered]:
    for number, line in enumerate(lines_of(path), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise RecordError(str(path), number, f"not valid JSON ({error}); expected one object per line") from None
        except RecursionError:
            raise RecordError(str(path), number, "nested too deeply; expected one object per line") from None
        if not isinstance(record, dict):
            raise RecordError(str(path), number, "not a JSON object; expected one object per line")
        yield number, record


def _records_of_csv(path: Path) -> Iterator[Numbered]:
    text = _text(path)
    body = text.lstrip()
    blank = text[: len(text) - len(body)].count("\n")
    reader = csv.DictReader(io.StringIO(body, newline=""))  # keeps line ends, since a quoted cell may contain some
    try:
        for record in reader:
            if "".join(map(str, filter(None, record.values()))).strip():
                yield blank + reader.line_num, record
    except csv.Error as error:
        raise RecordError(str(path), blank + reader.reader.line_num, f"not valid CSV: {error}") from None


def _records_of_tsv(path: Path) -> Iterator[Numbered]:
    lines = ((number, line) for number, line in enumerate(lines_of(path), 1) if line.strip())
    names = next(lines, (0, ""))[1].split("\t")
    for number, line in lines:
        yield number, {**dict.fromkeys(names), **dict(zip(names, line.split("\t"), strict=False))}


READERS: dict[str, Callable[[Path], Iterator[Numbered]]] = {
    ".jsonl": _records_of_json,
    ".csv": _records_of_csv,
    ".tsv": _records_of_tsv,
}
"""Readers by file extension."""


def _names_of_json(line: str) -> Iterable[str]:
    record = json.loads(line)
    return record if isinstance(record, dict) else ()


NAMES: dict[str, Callable[[str], Iterable[str]]] = {
    ".jsonl": _names_of_json,
    ".csv": lambda line: next(csv.reader([line]), []),
    ".tsv": lambda line: line.split("\t"),
}
"""Functions by file extension that return the column or field names in the first line of a file."""
