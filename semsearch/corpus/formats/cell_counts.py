"""Counting the cells of a spreadsheet before it is loaded.

The library that loads it allocates the whole rectangle around the cells of a sheet: two cells in opposite corners, in a
file of 5 kB, take 400 GB and abort the process.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import IO
from xml.parsers import expat

from semsearch.corpus.gzipped import TOO_COMPRESSED, most_bytes

MAX_CELLS = 2_000_000
"""Maximum number of cells, empty ones included, in the rectangle around those of a sheet; about 250 MB in memory."""

MAX_CONTENT = 2**29
"""Maximum number of bytes in all parts of a workbook after decompression."""

_CELL = re.compile(r"([A-Za-z]{1,4})([0-9]{1,9})")


def check_cells(data: bytes) -> None:
    """Raise ValueError if a workbook, which is a zip of XML or of records, has too many cells or is broken."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as parts:
            infos = parts.infolist()
            total = sum(info.file_size for info in infos)
            if total > min(MAX_CONTENT, most_bytes(len(data))):
                raise ValueError(TOO_COMPRESSED if total <= MAX_CONTENT else f"it contains over {MAX_CONTENT} bytes")
            for info in infos:
                with parts.open(info) as part:
                    _check_part(info.filename, part)
    except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError, LookupError, expat.ExpatError) as error:
        raise ValueError(f"not a valid spreadsheet ({error}); open and save it again") from None


@dataclass(slots=True)
class _Rectangle:
    """The rectangle around the cells of a sheet."""

    top: int = 2**40
    bottom: int = -1
    left: int = 2**40
    right: int = -1

    def add(self, row: int, column: int) -> None:
        """Extend it to a cell; raises ValueError if it becomes too large."""
        if self.left <= column <= self.right and row == self.bottom:
            return
        self.top, self.bottom = min(self.top, row), max(self.bottom, row)
        self.left, self.right = min(self.left, column), max(self.right, column)
        if (self.bottom - self.top + 1) * (self.right - self.left + 1) > MAX_CELLS:
            raise ValueError(f"a sheet with more than {MAX_CELLS:,} cells; split it, or export it as CSV")


def _check_part(name: str, part: IO[bytes]) -> None:
    """Check a part of a workbook, whatever its name is, and read it to its end, which verifies its length."""
    head = part.read(2**16)
    if name.endswith(".bin"):
        _check_records(head + part.read())
    elif head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") or head.startswith((b"\xff\xfe<", b"\xfe\xff\0<")):
        handler = _OdsCells() if name == "content.xml" else _XlsxCells()
        parser = expat.ParserCreate()
        parser.StartElementHandler = handler.start
        parser.StartDoctypeDeclHandler = _refuse_doctype
        while head:
            parser.Parse(head)
            head = part.read(2**16)
        parser.Parse(b"", True)
    else:
        while part.read(2**20):
            pass


def _refuse_doctype(*_: object) -> None:
    raise ValueError("not a valid spreadsheet (it declares XML entities); open and save it again")


class _XlsxCells:
    """The cells of an .xlsx sheet, which may name their places, or follow one another."""

    def __init__(self) -> None:
        self._cells = _Rectangle()
        self._row = self._column = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        if tag in ("v", "is"):
            self._cells.add(self._row, self._column)
        elif tag == "c":
            place = _CELL.fullmatch(attributes.get("r", ""))
            self._column += 1
            if place:
                self._column = 0
                for letter in place[1].upper():
                    self._column = 26 * self._column + ord(letter) - 64
                self._row = int(place[2])
        elif tag == "row":
            given = attributes.get("r", "")
            self._row = int(given) if given.isdecimal() and len(given) < 10 else self._row + 1
            self._column = 0


class _OdsCells:
    """The cells of an .ods file, where one may stand for many."""

    def __init__(self) -> None:
        self._cells = _Rectangle()
        self._row = self._rows = self._column = self._columns = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        if tag == "table":
            self.__init__()  # type: ignore[misc]  # another sheet
        elif tag == "table-row":
            self._row += self._rows
            self._rows, self._column, self._columns = _repeated(attributes, "rows"), 0, 0
        elif tag in ("table-cell", "covered-table-cell"):
            self._column += self._columns
            self._columns = _repeated(attributes, "columns")
            if any(name.rpartition(":")[2] in ("value-type", "formula") for name in attributes):
                self._add()
        elif tag == "p":
            self._add()

    def _add(self) -> None:
        if self._rows:
            self._cells.add(self._row, self._column)
            self._cells.add(self._row + self._rows - 1, self._column + max(self._columns, 1) - 1)


def _repeated(attributes: dict[str, str], what: str) -> int:
    for name, value in attributes.items():
        if name.rpartition(":")[2] == f"number-{what}-repeated":
            return int(value) if value.isdecimal() and len(value) < 10 else 1
    return 1


def _check_records(data: bytes) -> None:
    """Check a sheet of an .xlsb workbook, which consists of records: type, length and content."""
    cells, row = _Rectangle(), 0
    for kind, start in _records_of_xlsb(data):
        if kind == 0:
            row = int.from_bytes(data[start : start + 4], "little")
        elif 2 <= kind <= 11:  # a value, or a formula with one
            cells.add(row, int.from_bytes(data[start : start + 4], "little"))


def _records_of_xlsb(data: bytes) -> Iterator[tuple[int, int]]:
    at = 0
    while at < len(data):
        kind, at = data[at], at + 1
        if kind & 0x80:
            kind, at = (kind & 0x7F) | (int.from_bytes(data[at : at + 1], "little") & 0x7F) << 7, at + 1
        length = shift = 0
        for byte in data[at : at + 4]:
            length |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                break
        yield kind, at
        at += length
