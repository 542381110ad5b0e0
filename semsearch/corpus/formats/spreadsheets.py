"""Reading spreadsheets (.xlsx, .xlsb, .xls, .ods): a section per sheet, and a line per row that names its columns."""

from __future__ import annotations

import html
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from functools import partial
from io import BytesIO, StringIO
from itertools import zip_longest
from typing import Any

from semsearch.corpus.formats.cell_counts import check_cells
from semsearch.corpus.formats.muted import muted
from semsearch.corpus.formats.zipped import OLE, is_encrypted_office, is_encrypted_zip
from semsearch.corpus.gzipped import GZIPPED
from semsearch.corpus.plain import Heading, Piece, Plain, cleaned, lay_out
from semsearch.corpus.records import MAX_FILE_BYTES, Reading, read_whole
from semsearch.corpus.sources import STDIN, ReadOptions, Source
from semsearch.messages import first_line

_ENCRYPTED = "the workbook is encrypted; save it without a password"

_PROPERTIES = ("docProps/core.xml", "meta.xml")
_TITLE = re.compile(rb"<(?:\w+:)?title(?:\s[^>]*)?>([^<]*)<")

MAX_PROPERTIES = 2**20
"""Maximum number of bytes of a workbook's properties."""


def read_spreadsheet(source: Source, options: ReadOptions) -> Iterator[Reading]:
    """Read a workbook as one document, whose title is that of its properties, or else the name of the file."""
    name = "" if source.path == STDIN else os.path.basename(source.inner or source.origin.file)
    name = name[: -len(GZIPPED)] if name.lower().endswith(GZIPPED) else name
    return read_whole(source, options, partial(from_spreadsheet, name=os.path.splitext(name)[0]))


def from_spreadsheet(data: bytes, name: str = "") -> Plain:
    """Convert a workbook; cells of formulas have the values that were stored with them, and hidden sheets are left out.

    Args:
        data: The file.
        name: The title, if the workbook has none.
    """
    pieces: list[Piece] = []
    names: list[str] = []
    left = MAX_FILE_BYTES
    for sheet, rows in _sheets_of_xls(data) if data.startswith(OLE) else _sheets(data):
        names.append(_shown(sheet))
        pieces += [2, Heading(1), names[-1], 2]
        for line in _lines(rows):
            left -= len(line)
            if left < 0:
                raise ValueError(f"the text is longer than {MAX_FILE_BYTES} characters; split the workbook")
            pieces += [line, 1]
    text, layout = lay_out(pieces)
    return Plain(text, _title(data) or name, {"sheets": names}, layout=layout)


def _sheets(data: bytes) -> Iterator[tuple[str, Iterable[Sequence[Any]]]]:
    """Yield the name and the rows of each visible sheet of an .xlsx, .xlsb or .ods workbook."""
    try:
        from python_calamine import CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum
    except ImportError:
        raise ValueError(_needs("python-calamine")) from None

    if is_encrypted_zip(data):
        raise ValueError(_ENCRYPTED)
    check_cells(data)
    with _broken(), muted():
        workbook = CalamineWorkbook.from_filelike(BytesIO(data))
    for sheet in workbook.sheets_metadata:
        if sheet.typ is SheetTypeEnum.WorkSheet and sheet.visible is SheetVisibleEnum.Visible:
            with _broken(), muted():
                rows = workbook.get_sheet_by_name(sheet.name).iter_rows()
            yield sheet.name, rows


def _sheets_of_xls(data: bytes) -> Iterator[tuple[str, Iterable[Sequence[Any]]]]:
    """Yield the name and the rows of each visible sheet of an .xls workbook.

    One wrong byte in such a file makes calamine allocate 268 GB, which aborts the process, while xlrd is Python.
    """
    try:
        import xlrd
    except ImportError:
        raise ValueError(_needs("xlrd")) from None

    if is_encrypted_office(data):
        raise ValueError(_ENCRYPTED)
    with _broken():
        workbook = xlrd.open_workbook(file_contents=data, logfile=StringIO(), ragged_rows=True)
    for sheet in workbook.sheets():
        if sheet.visibility == 0:
            yield sheet.name, _rows_of_xls(sheet, workbook.datemode)


def _rows_of_xls(sheet: Any, datemode: int) -> Iterator[list[object]]:
    for at in range(sheet.nrows):
        yield [_value_of_xls(cell, datemode) for cell in sheet.row(at)]


def _value_of_xls(cell: Any, datemode: int) -> object:
    """Return a cell's value as a Python object."""
    import xlrd

    if cell.ctype == xlrd.XL_CELL_DATE:
        try:
            moment = xlrd.xldate_as_datetime(cell.value, datemode)
        except (ValueError, OverflowError):
            return cell.value
        return moment.time() if 0 <= cell.value < 1 else moment
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return bool(cell.value)
    return "" if cell.ctype == xlrd.XL_CELL_ERROR else cell.value


@contextmanager
def _broken() -> Iterator[None]:
    """Raise ValueError for whatever the libraries raise for a broken or encrypted workbook."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # of a library in Rust
            raise
        reason = first_line(error)
        if "encrypted" in reason.lower() or "password" in reason.lower():
            raise ValueError(_ENCRYPTED) from None
        raise ValueError(f"not a valid spreadsheet ({reason}); open and save it again") from None


def _needs(library: str) -> str:
    return f"this spreadsheet needs {library}, which is not installed; pip install 'semsearch[formats]'"


def _lines(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Yield a line for each row below the header, which is the first row that is not empty; or the header, if alone."""
    header: list[str] | None = None
    alone = True
    for row in rows:
        cells = [_shown(cell) for cell in row]
        if not any(cells):
            continue
        if header is None:
            header = cells
        else:
            alone = False
            named = zip_longest(header, cells, fillvalue="")
            yield "; ".join(f"{column}: {cell}" if column else cell for column, cell in named if cell)
    if header and alone:
        yield "; ".join(filter(None, header))


def _shown(value: object) -> str:
    """Return a cell on one line, as a spreadsheet shows it, except that dates are in ISO 8601 format."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        return f"{value + 0:.15g}"  # adding 0 removes the sign of -0.0
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        minutes, seconds = divmod(round(value.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    return " ".join(cleaned(str(value)).split())


def _title(data: bytes) -> str:
    """Return the title in the properties of a workbook; empty if there is none, as in .xls."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as parts:
            for name in _PROPERTIES:
                if name in parts.NameToInfo:
                    with parts.open(name) as properties:
                        found = _TITLE.search(properties.read(MAX_PROPERTIES))
                    return _shown(html.unescape(found[1].decode(errors="replace"))) if found else ""
    except zipfile.BadZipFile:
        pass
    return ""
