"""Test spreadsheets that other libraries have written, and one kind that is written here byte by byte."""

from __future__ import annotations

import io
import os
import random
import re
import struct
import subprocess
import sys
import zipfile
from contextlib import nullcontext, suppress
from datetime import date, datetime, time, timedelta
from pathlib import Path

import pytest

from semsearch.corpus.formats import cell_counts, spreadsheets
from semsearch.corpus.formats.muted import muted
from semsearch.corpus.formats.spreadsheets import from_spreadsheet
from semsearch.corpus.readers import read_corpus
from semsearch.errors import RecordError
from semsearch.layout import Section

openpyxl = pytest.importorskip("openpyxl")
xlwt = pytest.importorskip("xlwt")
opendocument = pytest.importorskip("odf.opendocument")
pytest.importorskip("python_calamine")

Rows = list[list[object]]


def xlsx(sheets: dict[str, Rows], title: str = "") -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    book.properties.title = title or None
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(file := io.BytesIO())
    return file.getvalue()


def xls(sheets: dict[str, Rows], title: str = "") -> bytes:
    book = xlwt.Workbook()
    for name, rows in sheets.items():
        sheet = book.add_sheet(name)
        for at, row in enumerate(rows):
            for column, value in enumerate(row):
                if value is not None:
                    sheet.write(at, column, value)
    book.save(file := io.BytesIO())
    return file.getvalue()


def ods(sheets: dict[str, Rows], title: str = "") -> bytes:
    from odf.dc import Title
    from odf.table import Table, TableCell, TableRow
    from odf.text import P

    book = opendocument.OpenDocumentSpreadsheet()
    if title:
        book.meta.addElement(Title(text=title))
    for name, rows in sheets.items():
        table = Table(name=name)
        for row in rows:
            line = TableRow()
            for value in row:
                is_number = isinstance(value, int | float)
                given = {"valuetype": "float", "value": value} if is_number else {"valuetype": "string"}
                cell = TableCell(**given) if value is not None else TableCell()
                if value is not None:
                    cell.addElement(P(text=str(value)))
                line.addElement(cell)
            line.addElement(TableCell(numbercolumnsrepeated=16384 - len(row)))
            table.addElement(line)
        empty = TableRow(numberrowsrepeated=1_048_576 - len(rows))
        empty.addElement(TableCell(numbercolumnsrepeated=16384))
        table.addElement(empty)
        book.spreadsheet.addElement(table)
    book.write(file := io.BytesIO())
    return file.getvalue()


def xlsb(sheets: dict[str, Rows], title: str = "") -> bytes:
    """Write the few records of [MS-XLSB] that a workbook of texts and numbers needs."""

    def record(kind: int, content: bytes = b"") -> bytes:
        number = bytes([kind]) if kind < 128 else bytes([kind & 0x7F | 0x80, kind >> 7])
        length = bytes([len(content)]) if len(content) < 128 else bytes([len(content) & 0x7F | 0x80, len(content) >> 7])
        return number + length + content

    def wide(text: str) -> bytes:
        data = text.encode("utf-16-le")
        return struct.pack("<I", len(data) // 2) + data

    def cell(column: int, value: object) -> bytes:
        place = struct.pack("<II", column, 0)
        return (
            record(5, place + struct.pack("<d", value))
            if isinstance(value, int | float)
            else record(6, place + wide(value))
        )

    office = "http://schemas.openxmlformats.org/"
    listed, parts, related = b"", {}, ""
    for number, (name, rows) in enumerate(sheets.items(), 1):
        listed += record(156, struct.pack("<II", 0, number) + wide(f"rId{number}") + wide(name))
        body = record(129) + record(148, struct.pack("<IIII", 0, max(len(rows) - 1, 0), 0, 9)) + record(145)
        for at, row in enumerate(rows):
            body += record(0, struct.pack("<I", at) + bytes(13))
            body += b"".join(cell(column, value) for column, value in enumerate(row) if value is not None)
        parts[f"xl/worksheets/sheet{number}.bin"] = body + record(146) + record(130)
        kind = f"{office}officeDocument/2006/relationships/worksheet"
        related += f'<Relationship Id="rId{number}" Type="{kind}" Target="worksheets/sheet{number}.bin"/>'
    parts["xl/workbook.bin"] = record(131) + record(143) + listed + record(144) + record(132)
    ns = f'xmlns="{office}package/2006/relationships"'
    parts["xl/_rels/workbook.bin.rels"] = f'<?xml version="1.0"?><Relationships {ns}>{related}</Relationships>'.encode()
    parts["docProps/core.xml"] = f"<cp:coreProperties><dc:title>{title}</dc:title></cp:coreProperties>".encode()
    return zipped(parts)


def zipped(parts: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


WRITERS = {"xlsx": xlsx, "xls": xls, "ods": ods, "xlsb": xlsb}
BIRDS: Rows = [
    [],
    ["Bird", "Length", "Note", None],
    ["Heron", 98, "waits\nin the  reeds", "loose"],
    [],
    ["Wren", 9.5, None, None],
    [None, 0.1 + 0.2, "ä 🐦", None],
]


@pytest.mark.parametrize("kind", WRITERS)
def test_every_row_names_its_columns(tmp_path, kind):
    path = tmp_path / f"birds.{kind}"
    path.write_bytes(WRITERS[kind]({"Birds": BIRDS, "Empty": [], "Alone": [["just", "a header"]]}))
    (document,) = read_corpus(path)
    assert not isinstance(document, RecordError), document
    lines = [
        *("Birds", ""),
        "Bird: Heron; Length: 98; Note: waits in the reeds; loose",
        "Bird: Wren; Length: 9.5",
        "Length: 0.3; Note: ä 🐦",
        *("", "Empty", "", "Alone", "", "just; a header"),
    ]
    assert document.text.split("\n") == lines
    assert (document.doc_id, document.title) == (f"birds.{kind}", "birds")
    assert document.metadata["sheets"] == ["Birds", "Empty", "Alone"]
    assert (document.metadata["path"], document.metadata["type"]) == (f"birds.{kind}", "spreadsheet")
    starts = [document.text.index(name) for name in ("Birds", "Empty", "Alone")]
    assert document.layout.sections == tuple(map(Section, starts, (1, 1, 1), ("Birds", "Empty", "Alone")))


@pytest.mark.parametrize("kind", ["xlsx", "ods", "xlsb"])
def test_the_title_of_the_workbook_wins(kind):
    assert from_spreadsheet(WRITERS[kind]({"a": [["x"]]}, "Birds  of the lake"), "name").title == "Birds of the lake"


def test_values_are_shown_as_people_see_them():
    rows = [
        ["day", "moment", "time", "took", "yes", "formula", "large", "tiny", "minus"],
        [
            date(2024, 1, 2),
            datetime(2024, 1, 2, 3, 4, 5),
            time(1, 2),
            timedelta(hours=30),
            True,
            "=1+1",
            1e20,
            1e-7,
            -0.0,
        ],
    ]
    assert from_spreadsheet(xlsx({"a": rows})).text.split("\n")[2] == (
        "day: 2024-01-02; moment: 2024-01-02T03:04:05; time: 01:02:00; took: 30:00:00; yes: TRUE; large: 1e+20; "
        "tiny: 1e-07; minus: 0"
    )


def test_a_formula_has_the_value_that_was_stored_with_it():
    data = xlsx({"a": [["sum"], ["=1+1"]]})
    with zipfile.ZipFile(io.BytesIO(data)) as parts:
        files = {name: parts.read(name) for name in parts.namelist()}
    files["xl/worksheets/sheet1.xml"] = re.sub(
        rb"</f><v ?/>|</f><v></v>", b"</f><v>2</v>", files["xl/worksheets/sheet1.xml"]
    )
    assert from_spreadsheet(zipped(files)).text == "a\n\nsum: 2"


def test_hidden_sheets_are_left_out():
    book = openpyxl.Workbook()
    book.active["A1"] = "seen"
    for state in ("hidden", "veryHidden"):
        sheet = book.create_sheet(state)
        sheet["A1"], sheet.sheet_state = "unseen", state
    book.save(file := io.BytesIO())
    assert from_spreadsheet(file.getvalue()).text == "Sheet\n\nseen"


# --- what is broken


@pytest.mark.parametrize("kind", WRITERS)
def test_a_broken_workbook_is_an_error(tmp_path, kind):
    data = WRITERS[kind]({"Birds": BIRDS})
    ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    for content in (
        b"",
        b"Bird,Length\n",
        b"%PDF-1.4",
        data[: len(data) // 2],
        ole,
        ole + bytes(2000),
        zipped({"a.txt": b"x"}),
    ):
        (tmp_path / f"a.{kind}").write_bytes(content)
        (error,) = read_corpus(tmp_path / f"a.{kind}")
        assert isinstance(error, RecordError), content[:20]
        expected = "the file is a PDF" if content.startswith(b"%PDF") else "not a valid spreadsheet"
        assert expected in error.reason
        assert "\n" not in str(error)


def test_a_workbook_with_another_ending_is_read(tmp_path):
    (tmp_path / "a.xls").write_bytes(xlsx({"a": [["x"]]}))
    assert [one.text for one in read_corpus(tmp_path / "a.xls")] == ["a\n\nx"]


def test_xml_entities_are_refused():
    bomb = b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><worksheet>&b;</worksheet>'
    with pytest.raises(ValueError, match="it declares XML entities"):
        from_spreadsheet(zipped({"xl/workbook.xml": b"<workbook/>", "xl/worksheets/sheet1.xml": bomb}))


@pytest.mark.parametrize(("kind", "library"), [("xlsx", "python_calamine"), ("xls", "xlrd")])
def test_without_its_library_the_error_says_what_to_install(monkeypatch, kind, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ValueError, match=r"not installed; pip install 'semsearch\[formats\]'"):
        from_spreadsheet(WRITERS[kind]({"a": [["x"]]}))


@pytest.mark.parametrize("kind", WRITERS)
def test_no_damaged_workbook_raises_anything_else(kind):
    noise = random.Random(7)
    data = WRITERS[kind]({"Birds": BIRDS})
    with zipfile.ZipFile(io.BytesIO(data)) if kind != "xls" else nullcontext() as archive:
        parts = {name: archive.read(name) for name in archive.namelist()} if archive else {"": data}
    for _ in range(100):
        name = noise.choice([name for name, part in parts.items() if part])
        part = bytearray(parts[name])
        for _ in range(noise.choice([1, 3, 20])):
            part[noise.randrange(len(part))] = noise.randrange(256)
        with suppress(ValueError):
            from_spreadsheet(zipped({**parts, name: bytes(part)}) if kind != "xls" else bytes(part))


# --- what is too large


def corners(kind: str) -> bytes:
    """Return a small workbook with two cells that are far apart."""
    if kind == "ods":
        return repeated(2_000, 2_000)
    rows: Rows = [["x"], *([[]] * 20_000), [None] * 250 + ["y"]]
    return WRITERS[kind]({"a": rows})


def repeated(rows: int, columns: int) -> bytes:
    """Return an .ods with a cell that stands for many."""
    from odf.table import Table, TableCell, TableRow
    from odf.text import P

    book = opendocument.OpenDocumentSpreadsheet()
    table, row = Table(name="a"), TableRow(numberrowsrepeated=rows)
    cell = TableCell(valuetype="string", numbercolumnsrepeated=columns)
    cell.addElement(P(text="x"))
    row.addElement(cell)
    table.addElement(row)
    book.spreadsheet.addElement(table)
    book.write(file := io.BytesIO())
    return file.getvalue()


@pytest.mark.parametrize("kind", ["xlsx", "ods", "xlsb"])
def test_a_sheet_with_too_many_cells_is_refused_before_it_is_loaded(kind):
    with pytest.raises(ValueError, match="a sheet with more than 2,000,000 cells; split it, or export it as CSV"):
        from_spreadsheet(corners(kind))


def test_two_cells_in_the_corners_of_an_xls_are_read():
    rows: Rows = [["x"], *([[]] * 65_000), [None] * 250 + ["y"]]
    assert from_spreadsheet(xls({"a": rows})).text == "a\n\ny"


def test_cells_without_a_place_count_too():
    sheet = "<worksheet><sheetData>" + "<row/>" * 3_000 + "<row>" + "<c/>" * 1_000 + "<c><v>1</v></c></row><row>"
    sheet += "<c><v>1</v></c></row></sheetData></worksheet>"
    with zipfile.ZipFile(io.BytesIO(xlsx({"a": [["x"]]}))) as parts:
        files = {name: parts.read(name) for name in parts.namelist()}
    far = sheet.replace("</row></sheetData>", "</row>" + "<row/>" * 3_000 + "<row><c><v>1</v></c></row></sheetData>")
    files["xl/worksheets/sheet1.xml"] = far.encode()
    with pytest.raises(ValueError, match="more than 2,000,000 cells"):
        from_spreadsheet(zipped(files))
    files["xl/worksheets/sheet1.xml"] = sheet.encode()
    assert from_spreadsheet(zipped(files)).text == "a\n\n1"


@pytest.mark.parametrize("kind", WRITERS)
def test_ten_thousand_columns_and_a_column_far_to_the_right_are_read(kind):
    width = 200 if kind == "xls" else 10_000
    names = [f"n{number}" for number in range(width)]
    plain = from_spreadsheet(WRITERS[kind]({"a": [names, [None] * (width - 1) + ["last"], ["first"]]}))
    assert plain.text == f"a\n\nn{width - 1}: last\nn0: first"


def test_what_is_compressed_too_well_is_refused(monkeypatch):
    from semsearch.corpus import gzipped

    monkeypatch.setattr(gzipped, "UNSUSPECTED", 1_000_000)
    with pytest.raises(ValueError, match=re.escape(gzipped.TOO_COMPRESSED)):
        from_spreadsheet(zipped({"xl/workbook.xml": b"<workbook/>", "xl/sharedStrings.xml": b" " * 10_000_000}))
    monkeypatch.setattr(cell_counts, "MAX_CONTENT", 50_000)
    with pytest.raises(ValueError, match="it contains over 50000 bytes"):
        from_spreadsheet(zipped({"xl/workbook.xml": b"<workbook/>", "xl/a.xml": b" " * 100_000}))


def test_a_long_cell_that_many_rows_repeat_is_refused(monkeypatch):
    monkeypatch.setattr(spreadsheets, "MAX_FILE_BYTES", 1_000_000)
    with pytest.raises(ValueError, match="the text is longer than 1000000 characters; split the workbook"):
        from_spreadsheet(xlsx({"a": [["n", "text"], *([[1, "x" * 30_000]] * 100)]}))


MEASURE = """
import resource, sys
import python_calamine
from semsearch.corpus.formats.muted import muted
from semsearch.corpus.formats.spreadsheets import from_spreadsheet
with open(sys.argv[1], "rb") as file:
    data = file.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(from_spreadsheet(data).text), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_hundred_thousand_cells_take_little_memory(tmp_path):
    path: Path = tmp_path / "a.xlsx"
    path.write_bytes(xlsx({"a": [[f"cell {row} {column}" for column in range(10)] for row in range(10_000)]}))
    run = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    length, kilobytes = map(int, run.stdout.split())
    assert length > 2_000_000
    assert kilobytes < 60_000


def test_a_panic_of_the_library_does_not_reach_the_screen(tmp_path, capfd):
    with zipfile.ZipFile(io.BytesIO(xlsb({"Birds": BIRDS}))) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["xl/workbook.bin"] = parts["xl/workbook.bin"].replace("rId1".encode("utf-16-le"), "rId9".encode("utf-16-le"))
    (tmp_path / "a.xlsb").write_bytes(zipped(parts))
    (error,) = read_corpus(tmp_path / "a.xlsb")
    assert str(error) == f"{tmp_path}/a.xlsb: not a valid spreadsheet (no entry found for key); open and save it again"
    assert capfd.readouterr() == ("", "")


def test_what_others_write_meanwhile_reaches_the_screen(capfd):
    def fails(error: BaseException | None = None) -> None:
        with suppress(BaseException), muted():
            os.write(2, b"seen\n")
            if error:
                raise error

    for error in (None, ValueError("x"), type("PanicException", (BaseException,), {})()):
        fails(error)
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "seen\nseen\nafter\n"
