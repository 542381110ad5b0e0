"""Test CSV rows against Python's csv module, also while other code in the process uses that module."""

from __future__ import annotations

import csv
import io
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semsearch.corpus.formats.csv_rows import read_rows
from semsearch.corpus.readers import read_corpus
from semsearch.types import Document

LONGEST = 1_000


def lines(text: str) -> io.StringIO:
    r"""Return a text as an open file whose lines end only at `\n`."""
    return io.StringIO(text, newline="\n")


def rows(text: str, delimiter: str = ",", longest: int = LONGEST) -> list[list[str] | str]:
    return list(read_rows(lines(text), delimiter, longest))


def peer_rows(text: str, delimiter: str) -> list[list[str] | None]:
    """Return the csv module's rows, with None for each row that it rejects and continues after."""
    reader = csv.reader(lines(text), delimiter=delimiter, strict=True)
    found: list[list[str] | None] = []
    while True:
        try:
            found.append(next(reader))
        except StopIteration:
            return found
        except csv.Error:
            found.append(None)


@given(st.text(alphabet='a," \t\n\r\0', max_size=30), st.sampled_from(",\t"))
def test_any_text_gives_the_rows_of_the_csv_module(text: str, delimiter: str):
    ours = [None if isinstance(row, str) else row for row in rows(text, delimiter)]
    assert ours == peer_rows(text, delimiter)


@given(st.lists(st.lists(st.text(alphabet='a" ,\n\r', max_size=5), min_size=1, max_size=4), max_size=4))
def test_what_the_csv_module_writes_is_read_back(table: list[list[str]]):
    file = io.StringIO(newline="")
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows(table)
    assert rows(file.getvalue()) == table


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a,"b ""c"", d"\n', [["a", 'b "c", d']]),
        ('"x\r\ny",\r\n', [["x\r\ny", ""]]),
        ('a "b",c\n\nd\n', [["a \"b\"", "c"], [], ["d"]]),
        ('"a"b,c\nd', ["',' expected after '\"'", ["d"]]),
        ('a,"b\nc', ["unexpected end of data"]),
        ("a\rb\nc\n", ["a line break in an unquoted cell; quote the cell, or end lines with \\n", ["c"]]),
    ],
)  # fmt: skip
def test_rows_by_hand(text: str, expected: list[list[str] | str]):
    assert rows(text) == expected


@pytest.mark.parametrize("cell", ["xxx", '"xxx"', '"x""x"', '"x\nx"'])
def test_a_cell_may_be_as_long_as_the_limit_and_no_longer(cell: str):
    assert len(rows(f"{cell}\n", longest=3)[0][0]) == 3
    reason, following = rows(f"{cell.replace('x', 'xx', 1)}\na\n", longest=3)
    assert reason == "a cell longer than 3 characters; close its quote, or split the document"
    assert following == ["a"]


def test_threads_that_read_large_cells_at_once_disturb_neither_each_other_nor_the_host(tmp_path: Path):
    limit = csv.field_size_limit()
    paths = [tmp_path / f"{number}.csv" for number in range(2)]
    for path in paths:
        path.write_text("id,text\n" + "".join(f"{n},{'x' * (limit + 1)}\n" for n in range(40)))
    records: list[object] = []
    limits: set[int] = set()
    readers = [threading.Thread(target=lambda path=path: records.extend(read_corpus([str(path)]))) for path in paths]

    def watch() -> None:
        while any(reader.is_alive() for reader in readers):
            limits.add(csv.field_size_limit())
            time.sleep(0)

    for reader in readers:
        reader.start()
    watch()
    for reader in readers:
        reader.join()
    assert [type(record) for record in records] == [Document] * 80
    assert limits <= {limit}
