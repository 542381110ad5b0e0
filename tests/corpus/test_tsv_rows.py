"""Test TSV rows: output of the csv module is read back, and unquoted cells are left as they are."""

from __future__ import annotations

import csv
import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semsearch.corpus.formats.csv_rows import read_tabbed_rows
from semsearch.corpus.readers import read_corpus
from semsearch.errors import RecordError
from semsearch.types import Document

CELLS = st.text(alphabet='ab" ', max_size=5)


def rows(text: str, longest: int = 1_000) -> list[list[str] | str]:
    return [row for _, row in read_tabbed_rows(io.StringIO(text, newline="\n"), longest)]


@given(st.integers(2, 4).flatmap(lambda n: st.lists(st.lists(st.text('a" \n', max_size=5), min_size=n, max_size=n))))
def test_what_the_csv_module_writes_is_read_back(table):
    names = [f"c{n}" for n in range(len(table[0]) if table else 2)]
    file = io.StringIO(newline="")
    csv.writer(file, delimiter="\t", lineterminator="\n").writerows([names, *table])
    assert rows(file.getvalue()) == [names, *table]


@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=5))
def test_each_line_with_all_its_cells_is_a_row_whatever_quotes_it_has(table):
    lines = ["\t".join(row) for row in [["x", "y", "z"], *table]]
    found = rows("".join(f"{line}\n" for line in lines))
    assert len(found) == len(lines)
    for row, cells in zip(found[1:], table, strict=True):
        for cell, written in zip(row, cells, strict=True):
            assert cell in (written, written[1:-1].replace('""', '"'))
            assert cell == written or (written[0], written[-1]) == ('"', '"')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('id\ttext\n1\t"quoted ""so"""\r\n', [["id", "text"], ["1", 'quoted "so"']]),
        ('id\ttext\n1\t"a\n\nb"\n2\tc\n', [["id", "text"], ["1", "a\n\nb"], ["2", "c"]]),
        ('id\ttext\n1\t"a\tb"\n', [["id", "text"], ["1", "a\tb"]]),
        ('id\ttext\n1\t"never closed\n2\tb\n', [["id", "text"], ["1", '"never closed'], ["2", "b"]]),
        ('id\ttext\n1\t"never closed', [["id", "text"], ["1", '"never closed']]),
        ('id\ttext\n1\t"a" b\n2\t5" x 7"\n', [["id", "text"], ["1", '"a" b'], ["2", '5" x 7"']]),
        ("id\ttext\n\n1\ta\r\n", [["id", "text"], [], ["1", "a"]]),
        ("a\rb\n", ["a line break in an unquoted cell; quote the cell, or end lines with \\n"]),
    ],
)  # fmt: skip
def test_rows_by_hand(text, expected):
    assert rows(text) == expected


def test_rows_are_not_lost_between_two_quotation_marks(tmp_path):
    path = tmp_path / "c.tsv"
    path.write_text(
        'id\ttext\tnote\n1\t"Unbalanced opening quote here\tx\n2\tThe second row is lost.\tx\n'
        '3\tThe third row ends with a quote"\tx\n4\tok row\tx\n'
    )
    found = list(read_corpus(path))
    assert [(document.doc_id, document.text, document.source) for document in found] == [
        ("1", '"Unbalanced opening quote here', f"{path}:2"),
        ("2", "The second row is lost.", f"{path}:3"),
        ("3", 'The third row ends with a quote"', f"{path}:4"),
        ("4", "ok row", f"{path}:5"),
    ]


def test_lines_are_numbered_where_cells_span_them_and_bytes_are_bad(tmp_path):
    path = tmp_path / "c.tsv"
    path.write_bytes(b'id\ttext\n1\t"a\nb"\n2\t\xff\n3\t"c\n\xff"\n4\t"open\n5\tx\n6\n')
    found = list(read_corpus(path))
    bad = [(record.place, "utf-8" in record.reason) for record in found if isinstance(record, RecordError)]
    assert bad == [(f"{path}:4", True), (f"{path}:6", True), (f"{path}:9", False)]
    assert [record.source for record in found if isinstance(record, Document)] == [f"{path}:{n}" for n in (2, 7, 8)]


def test_a_cell_may_be_as_long_as_the_limit_and_no_longer():
    assert rows('a\tb\n1\t"xxx"\n', longest=3)[1] == ["1", "xxx"]
    assert "longer than 3" in rows("a\tb\n1\txxxx\n", longest=3)[1]
    assert [len(row) for row in rows('a\tb\n1\t"x\n' + "y\n" * 2_000, longest=1_000)][:3] == [2, 2, 1]


def test_many_open_quotes_take_linear_time():
    text = "a\tb\tc\n" + '1\t"x\n' * 30_000 + "plain\n" * 30_000
    started = time.perf_counter()
    assert len(rows(text, longest=10**7)) == 60_001
    assert time.perf_counter() - started < 5
