"""Reading spreadsheets (.xlsx, .xlsb, .xls, .ods): a section per sheet, and a line per row that names its columns."""

from __future__ import annotations

import html
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from functools import partial
from io import BytesIO
from typing import Any

from semsearch.corpus.formats.cell_counts import check_cells
from semsearch.corpus.gzipped import GZIPPED
from semsearch.corpus.plain import Heading, Piece, Plain, cleaned, lay_out
from semsearch.corpus.records import MAX_FILE_BYTES, Reading, read_whole
from semsearch.corpus.sources import STDIN, ReadOptions, Source
from semsearch.messages import first_line

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
    try:
        from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetTypeEnum, SheetVisibleEnum
    except ImportError:
        raise ValueError(
            "spreadsheets need python-calamine, which is not installed; pip install 'semsearch[formats]'"
        ) from None

    check_cells(data)
    pieces: list[Piece] = []
    names: list[str] = []
    left = MAX_FILE_BYTES
    try:
        workbook = CalamineWorkbook.from_filelike(BytesIO(data))
        for sheet in workbook.sheets_metadata:
            if sheet.typ is not SheetTypeEnum.WorkSheet or sheet.visible is not SheetVisibleEnum.Visible:
                continue
            names.append(cleaned(sheet.name))
            pieces += [2, Heading(1), _shown(sheet.name), 2]
            for line in _lines(workbook.get_sheet_by_name(sheet.name).iter_rows()):
                left -= len(line)
                if left < 0:
                    raise ValueError(f"the text is longer than {MAX_FILE_BYTES} characters; split the workbook")
                pieces += [line, 1]
    except PasswordError:
        raise ValueError("the workbook is encrypted; save it without a password") from None
    except CalamineError as error:
        raise ValueError(f"not a valid spreadsheet ({first_line(error)}); open and save it again") from None
    text, layout = lay_out(pieces)
    return Plain(text, _title(data) or name, {"sheets": names}, layout=layout)


def _lines(rows: Iterator[Sequence[Any]]) -> Iterator[str]:
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
            yield "; ".join(
                f"{column}: {cell}" if column else cell for column, cell in zip(header, cells, strict=True) if cell
            )
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
