"""Tables with hostile names: every format keeps its rows and columns, and the names stay plain text."""

from __future__ import annotations

import csv
from html.parser import HTMLParser
from io import StringIO

import pytest
from markdown_it import MarkdownIt

from semsearch.evaluation.report import Report, Table
from semsearch.evaluation.significance import Cell, Comparison
from semsearch.printable import one_line
from semsearch.reports import tables

NAMES = [
    r"a|b\|c\\d",
    "line\nbreak\r\nand\u2028more",
    "*bold* _it_ `code` ~~no~~ [x](javascript:alert(1)) <script>alert(1)</script> &amp; # $x$",
    r"100% & $5 #1 a_b {c} ~d ^e \textbf{f} [g] *h",
    "[5pt] first in its row",
    "\u202eevil\u202c \u2066x\u2069 \u200eL\u200fR\u061c \U000e0041tag\U000e007f \x1b[31mred\x1b[0m \x9b31m",
]


def report(*names: str) -> Report:
    cell = Cell(-0.25, best=True)
    comparison = Comparison(tuple(names), {name: (cell,) * len(names) for name in names}, "a test")
    return Report("t", {}, tables=[Table(names[0], comparison, beside={names[-1]: {names[0]: names[0]}})])


def test_markdown_that_another_library_reads_holds_the_names_as_they_are():
    text = tables.as_markdown(report(*NAMES))
    assert len(text.splitlines()) == len(NAMES) + 2
    cells, row = [], []
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(text):
        if token.type == "tr_open":
            row = []
        elif token.type == "inline":
            row.append("".join(child.content for child in token.children or []))
        elif token.type == "tr_close":
            cells.append(row)
    shown = [" ".join(one_line(name).split()) for name in NAMES]
    assert [" ".join(row[0].split()) for row in cells] == ["pooler", *shown]
    assert [" ".join(name.split()) for name in cells[0][1:]] == [*shown, shown[-1]]
    assert {len(row) for row in cells} == {len(NAMES) + 2}


class Cells(HTMLParser):
    """Parser that collects the text of each cell and the names of all elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.elements: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        if tag in ("th", "td", "caption"):
            self.found.append("")

    def handle_data(self, data):
        if self.found:
            self.found[-1] += data


def test_html_that_another_library_reads_holds_the_names_and_no_element_of_theirs():
    page = Cells(tables.as_html(report(*NAMES)))
    assert page.elements == {"table", "caption", "tr", "th", "td", "b"}
    assert [cell.strip() for cell in page.found if one_line(NAMES[2]) in cell]


def test_latex_escapes_what_it_would_take_for_commands():
    lines = tables.as_latex(report(*NAMES)).splitlines()
    rows = [line for line in lines if line.endswith(r"\\")]
    assert len(rows) == len(NAMES)
    assert rows[3].startswith(r"100\% \& \$5 \#1 a\_b \{c\} ")
    assert r"\textasciitilde{}d \^{}e \textbackslash{}textbf\{f\} {[}g{]} {*}h" in rows[3]
    assert rows[4].startswith("{[}5pt{]} first")  # LaTeX would read [5pt] as extra row spacing
    assert rows[0].startswith(r"a\textbar{}b\textbackslash{}\textbar{}c\textbackslash{}\textbackslash{}d & ")


FORMULAS = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\u200e=1", "＝1+1", '=HYPERLINK("x")']


@pytest.mark.parametrize("name", FORMULAS)
def test_a_cell_of_csv_starts_no_formula(name):
    for row in csv.reader(StringIO(tables.as_csv(report(name, "-0.5")))):
        for cell in row:
            assert cell[:1] not in {*"=+@\t\r＝"}
            assert cell[:1] != "-" or float(cell) < 0  # only numbers keep their minus sign


def test_csv_keeps_its_lines_and_negative_numbers():
    lines = [*csv.reader(StringIO(tables.as_csv(report(*NAMES))))]
    assert tables.as_csv(report(*NAMES)).count("\n") + 1 == len(lines) == 1 + len(NAMES) * (len(NAMES) + 1)
    assert lines[1][3] == "-0.25"


UNSAFE = {*map(chr, (*range(0x20), *range(0x7F, 0xA0), 0x061C, 0x200E, 0x200F, 0x2028, 0x2029))} | {
    *map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xE0000, 0xE0080)))
}
"""Listed by hand from the Unicode standard: C0, DEL, C1, separators, bidirectional controls (UAX #9) and tags."""


@pytest.mark.parametrize("write", [tables.as_text, tables.as_markdown, tables.as_latex, tables.as_html, tables.as_csv])
def test_no_form_holds_what_a_terminal_obeys(write):
    assert not UNSAFE & {*write(report(*NAMES)).replace("\n", "")}


@pytest.mark.parametrize("text", ["می‌خواهم", "👩‍👩‍👧 ❤️", "שָׁלוֹם", "مَرْحَبًا", "क्‍ष", "ﬁ café"])
def test_joiners_of_persian_and_emoji_and_vowels_of_hebrew_and_arabic_stay(text):
    assert one_line(text) == text
