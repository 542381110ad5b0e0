"""Test that PDFs without text that are found in a folder are counted, rather than listed one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import HASH, Outcome, call
from small_pdfs import pdf, shown

LOGO, TEXT = pdf(b"0 0 m 100 0 l 50 80 l f"), pdf(shown(b"about herons"))


def index(*words: object) -> Outcome:
    return call("index", *words, "--index", "i", *HASH)


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    for number in range(3):
        Path(f"docs/logo{number}.pdf").write_bytes(LOGO)


def test_files_without_text_in_a_folder_are_counted():
    Path("docs/text.pdf").write_bytes(TEXT)
    done = index("docs")
    first = Path("docs/logo0.pdf")
    assert (done.code, done.err) == (
        0,
        f"warning: skipped 3 PDFs without text (logos or scans), such as {first}\n",
    )
    report = call("index", "docs", "--index", "i", "--json").json
    assert (report["documents"], report["bad"], report["errors"], report["textless"]) == (1, 0, [], 3)


def test_a_file_without_text_that_was_given_itself_or_strictly_stops():
    Path("docs/text.pdf").write_bytes(TEXT)
    index("docs/logo1.pdf").fails(1, "docs/logo1.pdf: the PDF has no text")
    index("docs", "--strict").fails(1, f"{Path('docs/logo0.pdf')}: the PDF has no text")


def test_a_folder_with_nothing_else_is_empty():
    index("docs").fails(1, "the corpus is empty: no usable document, 3 PDFs without text (logos or scans)")
