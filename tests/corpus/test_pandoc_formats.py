"""The formats that pandoc and python-pptx read; files by hand, or made by python-docx, python-pptx and pandoc."""

import base64
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from semsearch.corpus.formats import pandoc, zipped
from semsearch.corpus.formats.table import FORMATS
from semsearch.corpus.readers import read_corpus
from semsearch.errors import RecordError
from semsearch.types import Document

docx = pytest.importorskip("docx")
pptx = pytest.importorskip("pptx")
pypandoc = pytest.importorskip("pypandoc")

NAMES = "rst org asciidoc latex docx odt pptx epub rtf notebook".split()

WRITTEN = """\
---
title: Birds of the river
author: Jo Doe
keywords: [heron, reed]
---

# Herons

The heron waits[^1] in *the reeds* by [the bridge](https://example.org).

## Food

- frogs
- small fish

| place | count |
|-------|-------|
| marsh | 12    |

``` python
def wait(hours):
    return  hours
```

# Otters

Otters dive.

[^1]: Seen in March.
"""
"""A document for pandoc to write in each format, and for this library to read again."""


def own(document):
    """Return the metadata without what every file has."""
    return {
        name: value for name, value in document.metadata.items() if name not in ("type", "size", "modified", "language")
    }


def made(name: str, source: str = WRITTEN) -> bytes:
    """Return a file that pandoc writes from Markdown."""
    plain = ["--syntax-highlighting=none"] if name == "latex" else []  # verbatim rather than a command per word
    options = [*plain, "-s", "-f", "markdown", "-t", {"notebook": "ipynb"}.get(name, name)]
    command = [pypandoc.get_pandoc_path(), *options, "-o", "-"]
    return subprocess.run(command, input=source.encode(), capture_output=True, check=True).stdout


def read(tmp_path: Path, name: str, data: bytes | str) -> Document | RecordError:
    path = tmp_path / f"a{FORMATS[name].endings[0]}"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    (record,) = read_corpus(str(path))
    return record


def reason(tmp_path: Path, name: str, data: bytes | str) -> str:
    error = read(tmp_path, name, data)
    assert isinstance(error, RecordError), error
    assert "\n" not in str(error)
    return error.reason


def path_of(document: Document, words: str) -> tuple[str, ...]:
    start = document.text.index(words)
    return document.layout.path(start, start + len(words))


def blocks(document: Document) -> list[str]:
    return [document.text[start:end] for start, end in document.layout.blocks]


# --- every format, written by pandoc ---


def test_every_format_of_this_extra_is_tested():
    assert [one.name for one in FORMATS.values() if one.extra == "formats" and one.name != "spreadsheet"] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_what_pandoc_writes_is_read_again(tmp_path, name):
    document = read(tmp_path, name, made(name))
    assert isinstance(document, Document), document
    words = " ".join(document.text.split())
    for part in (
        "The heron waits",
        "in the reeds by the bridge.",
        "frogs",
        "small fish",
        "place count",
        "marsh 12",
        "def wait(hours):",
        "Otters dive.",
        "Seen in March.",
    ):
        assert part in words
    top = () if name in ("odt", "rtf", "notebook", "pptx") else ("Birds of the river",)
    assert path_of(document, "heron waits") == (*top, "Herons")
    assert path_of(document, "Otters dive") == (*top, "Otters")
    assert path_of(document, "small fish")[-1] == ("Herons" if name == "pptx" else "Food")
    if name != "rtf":  # in pandoc's RTF, each cell is a table of its own
        assert "place count\nmarsh 12" in blocks(document)
    if name not in ("odt", "pptx"):  # which have no code, only a font
        assert "def wait(hours):\n    return  hours" in blocks(document)
    assert document.metadata["path"] == document.doc_id


@pytest.mark.parametrize("name", ["rst", "org", "asciidoc", "latex", "docx", "epub", "pptx"])
def test_title_and_author_are_those_of_the_document(tmp_path, name):
    document = read(tmp_path, name, made(name))
    assert document.title == "Birds of the river"
    assert document.metadata["author"] == "Jo Doe"


# --- text formats by hand ---

RST = """\
.. _top:

=======
Spam
=======

Use :func:`os.spam`, :ref:`the guide <guide>` and :class:`!Egg`.

.. toctree::

   hidden/page

.. function:: spam(x, y)

   Body of spam.

   :param x: the thing

.. versionadded:: 3.2
   Now faster.

Table
-----

====  ====
key   value
====  ====
a     1
====  ====

1. loose

2. list

:Field: its text

| line one
| line two

Area
----

:math:`a^2` and ``x  y``.

.. image:: a.png
   :alt: the alt

.. include:: /etc/hostname
"""


def test_rst_by_hand(tmp_path):
    document = read(tmp_path, "rst", RST)
    assert document.title == "Spam"
    assert document.text == (
        "Spam\n\nUse os.spam, the guide and Egg.\n\nspam(x, y)\n\nBody of spam.\n\nparam x\nthe thing\n\n"
        "3.2 Now faster.\n\nTable\n\nkey value\na 1\n\nloose\nlist\n\nField\nits text\n\nline one\nline two\n\n"
        "Area\n\na^2 and x y.\n\nthe alt"
    )
    assert path_of(document, "loose") == ("Spam", "Table")
    assert blocks(document) == ["key value\na 1"]


def test_rst_fields_become_metadata_and_the_path_stays(tmp_path):
    document = read(tmp_path, "rst", "Spam\n====\n\n:Author: Jo Doe\n:Date: 2024-01-02\n:Path: /etc\n\nText.\n")
    assert (document.title, document.text) == ("Spam", "Spam\n\nText.")
    assert own(document) == {"path": "a.rst", "author": "Jo Doe", "date": "2024-01-02"}


def test_org_by_hand(tmp_path):
    document = read(
        tmp_path,
        "org",
        "#+TITLE: Garden\n#+AUTHOR: Jo Doe\n#+DATE: <2024-01-02 Tue>\n* Beds :plot:\n"
        "Sow [[https://example.org][peas]] in =rows=.\n#+begin_src sh\nsow  peas\n#+end_src\n"
        "** Water\n| day | l |\n|-----+---|\n| Mon | 3 |\n- once\n  - twice\n- thrice\n",
    )
    assert document.title == "Garden"
    assert document.text == (
        "Garden\n\nBeds\n\nSow peas in rows.\n\nsow  peas\n\nWater\n\nday l\nMon 3\n\nonce\ntwice\nthrice"
    )
    assert path_of(document, "Mon 3") == ("Garden", "Beds", "Water")
    assert blocks(document) == ["sow  peas", "day l\nMon 3"]
    assert own(document) == {"path": "a.org", "author": "Jo Doe", "date": "2024-01-02 Tue"}


def test_asciidoc_by_hand(tmp_path):
    document = read(
        tmp_path,
        "asciidoc",
        "= Manual\nJo Doe\n:keywords: pump, valve\n\nOpen the *valve*.\n\ninclude::/etc/hostname[]\n\n"
        "ifdef::env[]\nOnly there.\nendif::[]\n\n== Pump\n\n[source,sh]\n----\npump  --on\n----\n\n"
        "|===\n|part |no\n\n|seal\n|7\n|===\n\nPrime it.footnote:[Twice.]\n",
    )
    assert (document.title, own(document)) == (
        "Manual",
        {"path": "a.adoc", "author": "Jo Doe", "keywords": "pump, valve"},
    )
    assert document.text == (
        "Manual\n\nOpen the valve.\n\nOnly there.\n\nPump\n\npump  --on\n\npart no\nseal 7\n\nPrime it.\n\nTwice."
    )
    assert path_of(document, "Prime") == ("Manual", "Pump")
    assert blocks(document) == ["pump  --on", "part no\nseal 7"]


def test_latex_by_hand(tmp_path):
    secret = tmp_path / "secret.tex"
    secret.write_text("hidden words")
    document = read(
        tmp_path,
        "latex",
        r"\documentclass{article}\usepackage{birds}\pagestyle{plain}\newcommand{\two}[2]{#2 #1}"
        r"\title{On Herons}\author{Jo Doe \and Al Roe}"
        "\n\\begin{document}\n\\maketitle\n\\begin{abstract}They wait.\\end{abstract}\n"
        r"\section{Waiting}The \species[f]{grey heron} \two{waits}{still}\footnote{For hours.} with $x^2$.\vspace{1cm}"
        f"\n\\input{{{secret}}}\n\\begin{{theorem}}Fish swim.\\end{{theorem}}\n"
        "\\begin{tabular}{ll}a & b\\\\ 1 & 2\\end{tabular}\n\\begin{verbatim}\nx =  1\n\\end{verbatim}\n"
        "\\end{document}\n",
    )
    assert document.title == "On Herons"
    assert document.metadata["author"] == ["Jo Doe", "Al Roe"]
    assert document.text == (
        "On Herons\n\nThey wait.\n\nWaiting\n\nThe grey heron still waits with x^2.\n\nFor hours.\n\nFish swim.\n\n"
        "a b\n1 2\n\nx =  1"
    )
    assert path_of(document, "Fish") == ("On Herons", "Waiting")
    assert blocks(document) == ["a b\n1 2", "x =  1"]


def test_rtf_by_hand_in_another_code_page(tmp_path):
    document = read(
        tmp_path,
        "rtf",
        rb"{\rtf1\ansi\ansicpg1251{\info{\title Birds}{\author Jo}}{\pard\outlinelevel0 Herons\par}"
        rb"{\pard \'d6\'e0\'ef\'eb\'ff \u1094\'f6 \u1094? wait\par}}",
    )
    assert (document.title, document.metadata["author"]) == ("Birds", "Jo")
    assert document.text == "Birds\n\nHerons\n\nЦапля ц ц wait"
    assert path_of(document, "wait") == ("Birds", "Herons")


def notebook(number: int) -> dict:
    """Return a notebook of version 3 or of a later one, with one output."""
    output = {"output_type": "stream", "stream": "stdout", "name": "stdout", "text": ["printed\n"]}
    code = {"cell_type": "code", "metadata": {}, "outputs": [output]}
    code |= {"input": ["wait( 3 )"], "language": "python"} if number == 3 else {"source": ["wait( 3 )"]}
    if number == 3:
        heading = {"cell_type": "heading", "level": 1, "metadata": {}, "source": ["Herons"]}
        sheets = [{"cells": [heading, code | {"prompt_number": 1}], "metadata": {}}]
        return {"metadata": {"name": ""}, "nbformat": 3, "nbformat_minor": 0, "worksheets": sheets}
    cells = [{"cell_type": "markdown", "metadata": {}, "source": ["# Herons"]}, code | {"execution_count": 1}]
    return {"metadata": {}, "nbformat": number, "nbformat_minor": 0, "cells": cells}


@pytest.mark.parametrize("number", [3, 4])
def test_notebooks_by_hand(tmp_path, number):
    document = read(tmp_path, "notebook", json.dumps(notebook(number)))
    assert (document.title, document.text, blocks(document)) == ("Herons", "Herons\n\nwait( 3 )", ["wait( 3 )"])


# --- office documents by python-docx and python-pptx ---


def word(extra: dict[str, bytes] | None = None) -> bytes:
    made = docx.Document()
    made.core_properties.author = "Jo Doe"
    made.core_properties.keywords = "herons, reeds"
    made.add_heading("Field notes", 0)
    made.add_heading("Monday", 1)
    made.add_paragraph("The heron waits.")
    for line in ("frogs", "fish"):
        made.add_paragraph(line, style="List Bullet")
    table = made.add_table(2, 2)
    cells = [cell for row in table.rows for cell in row.cells]
    for cell, text in zip(cells, ("place", "count", "marsh", "12"), strict=True):
        cell.text = text
    made.add_comment(made.paragraphs[2].runs, text="a private remark")
    made.sections[0].header.paragraphs[0].text = "page header"
    out = io.BytesIO()
    made.save(out)
    with zipfile.ZipFile(out, "a") as archive:
        for name, data in (extra or {}).items():
            archive.writestr(name, data)
    return out.getvalue()


def test_docx_by_another_library(tmp_path):
    document = read(tmp_path, "docx", word({"word/vbaProject.bin": b"Sub AutoOpen()"}))  # a macro is never run
    assert document.title == "Field notes"
    assert document.text == ("Field notes\n\nMonday\n\nThe heron waits.\n\nfrogs\n\nfish\n\nplace count\nmarsh 12")
    assert path_of(document, "frogs") == ("Field notes", "Monday")
    assert blocks(document) == ["place count\nmarsh 12"]
    assert (document.metadata["author"], document.metadata["keywords"]) == ("Jo Doe", "herons, reeds")


def test_pptx_by_another_library(tmp_path):
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE

    made = pptx.Presentation()
    made.core_properties.author = "Jo Doe"
    first = made.slides.add_slide(made.slide_layouts[1])
    first.shapes.title.text = "Herons"
    first.placeholders[1].text = "They wait\nthen strike"
    first.notes_slide.notes_text_frame.text = "Pause here."
    table = first.shapes.add_table(1, 2, 0, 0, 9, 9).table
    table.cell(0, 0).text, table.cell(0, 1).text = "marsh", "12"
    second = made.slides.add_slide(made.slide_layouts[6])
    group = second.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, 9, 9).text_frame.text = "grouped words"
    data = CategoryChartData()
    data.categories = ["East", "West"]
    data.add_series("Sightings", (1, 2))
    second.shapes.add_chart(XL_CHART_TYPE.PIE, 0, 0, 9, 9, data)
    out = io.BytesIO()
    made.save(out)
    document = read(tmp_path, "pptx", out.getvalue())
    assert (document.title, document.metadata["slides"], document.metadata["author"]) == ("Herons", 2, "Jo Doe")
    assert document.text == (
        "Herons\n\nThey wait\nthen strike\n\nmarsh 12\n\nPause here.\n\n"
        "Slide 2\n\ngrouped words\n\nSightings\nEast West"
    )
    assert path_of(document, "Pause") == ("Herons",)
    assert path_of(document, "grouped") == ("Slide 2",)
    assert blocks(document) == ["marsh 12"]


# --- titles and tables ---


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ("Top\n===\n\ntext\n\nSub\n---\n\ntext\n", "Top"),
        (".. comment\n\nTop\n===\n\ntext\n\nNext\n====\n", "Top"),
        ("text first\n\nTop\n===\n", "text first"),
        ("no heading", "no heading"),
        ("", ""),
    ],
)
def test_the_title_of_rst_is_the_heading_at_the_beginning_or_the_first_line(tmp_path, source, title):
    assert read(tmp_path, "rst", source).title == title


def test_a_table_that_arranges_a_page_is_no_table(tmp_path):
    page = made(
        "docx", "+-------+-------+\n| # Left| right |\n|       |       |\n| words | side  |\n+-------+-------+\n"
    )
    document = read(tmp_path, "docx", page)
    assert path_of(document, "words") == ("Left",)
    assert blocks(document) == []


# --- files that cannot be used ---


def archive(**members: bytes | str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return out.getvalue()


ZIPPED = ("docx", "odt", "pptx", "epub")


@pytest.mark.parametrize("name", ZIPPED)
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "File is not a zip file"),
        (b"<html><p>text</html>", "File is not a zip file"),
        (archive(a="x"), "check its extension"),
        (base64.b16decode("D0CF11E0A1B11AE1") + bytes(512), "in an old binary format; save it as "),
    ],
    ids=["empty", "HTML", "another archive", "OLE"],
)
def test_a_file_that_is_something_else(tmp_path, name, data, expected):
    assert expected in reason(tmp_path, name, data)


@pytest.mark.parametrize("name", ZIPPED)
def test_a_file_that_is_cut_off_or_damaged(tmp_path, name):
    data = made(name)
    assert "File is not a zip file" in reason(tmp_path, name, data[: len(data) // 2])
    middle = zipfile.ZipFile(io.BytesIO(data)).infolist()
    main = {"docx": "word/document.xml", "odt": "content.xml", "pptx": "ppt/presentation.xml"}
    target = next(one for one in middle if one.filename == main.get(name, "META-INF/container.xml"))
    start = target.header_offset + 30 + len(target.filename) + 4
    damaged = data[:start] + bytes(40) + data[start + 40 :]
    assert reason(tmp_path, name, damaged)


@pytest.mark.parametrize("name", ZIPPED)
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, name, monkeypatch):
    monkeypatch.setattr(zipped, "MAX_UNPACKED_BYTES", 2**20)
    monkeypatch.setattr(pandoc, "run_pandoc", None)  # not called
    members = {"[Content_Types].xml": "", "content.xml": "", "ppt/presentation.xml": "", "META-INF/container.xml": ""}
    bomb = archive(**members, **{"word/document.xml": bytes(2**20 + 1)})
    assert len(bomb) < 5000
    assert "unpacks to more than 1048576 bytes" in reason(tmp_path, name, bomb)
    assert 4 * 64 * 2**20 == 268_435_456


def test_properties_that_are_damaged_are_left_out(tmp_path):
    data = word()
    for broken in (
        b"<",
        b"<?xml version='1.0' encoding='nonsense'?><a/>",
        b"<!DOCTYPE a [<!ENTITY e SYSTEM 'x'>]><a>&e;</a>",
    ):
        members = zipfile.ZipFile(io.BytesIO(data))
        kept = {name: members.read(name) for name in members.namelist()}
        document = read(tmp_path, "docx", archive(**kept | {"docProps/core.xml": broken}))
        assert document.title == "Field notes"
        assert own(document) == {"path": "a.docx"}
    del kept["docProps/core.xml"]
    assert read(tmp_path, "docx", archive(**kept)).title == "Field notes"


def test_an_odt_without_a_manifest_is_no_crash(tmp_path):
    assert "pandoc cannot read it as odt" in reason(tmp_path, "odt", archive(**{"content.xml": "<a"}))


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("rtf", "plain text", "not Rich Text Format"),
        ("rtf", "", "not Rich Text Format"),
        ("notebook", "", "pandoc cannot read it as ipynb"),
        ("notebook", "{", "pandoc cannot read it as ipynb"),
        ("notebook", json.dumps(notebook(4) | {"nbformat": 99}), "pandoc cannot read it as ipynb"),
        ("notebook", '{"cells":' + "[" * 10_000, "pandoc cannot read it as ipynb"),
        ("latex", r"\begin{document}\begin{quote}", "pandoc cannot read it as latex"),
        ("rst", b"\xff\xfe\x00\xd8", "not valid utf-16"),
        ("rst", b"caf\xe9", "not valid utf-8"),
        ("org", b"a\0b", "a NUL character in the text"),
        ("latex", r"\begin{quote}" * 10_000 + "x" + r"\end{quote}" * 10_000, "nested too deeply; flatten it"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, capfd, name, data, expected):
    assert expected in reason(tmp_path, name, data)
    assert capfd.readouterr() == ("", "")


def test_10_000_groups_are_harmless(tmp_path):
    assert read(tmp_path, "rtf", r"{\rtf1 " + "{" * 10_000 + "x" + "}" * 10_001).text == "x"
    assert read(tmp_path, "latex", "{" * 10_000 + "x" + "}" * 10_000).text == "x"


def test_a_time_limit_and_a_bound_on_memory(tmp_path, monkeypatch):
    deep = "\n\n".join(" " * level + "x" for level in range(1000))
    with monkeypatch.context() as patch:
        patch.setattr(pandoc, "MAX_SECONDS", 0.3)
        assert reason(tmp_path, "rst", deep) == "pandoc takes longer than 0.3 seconds; split or flatten the file"
    monkeypatch.setattr(pandoc, "MAX_HEAP_MB", 20)
    long = "word " * 200_000
    assert reason(tmp_path, "rst", long) == "pandoc needs more than 20 MB of memory; split or flatten the file"


def test_150_pages_of_word(tmp_path):
    many = docx.Document()
    for number in range(150):
        many.add_heading(f"Page {number}", 1)
        many.add_paragraph("The heron waits in the reeds. " * 60)
    out = io.BytesIO()
    many.save(out)
    document = read(tmp_path, "docx", out.getvalue())
    assert document.text.count("The heron waits in the reeds.") == 9000
    assert path_of(document, "Page 149") == ("Page 149",)


# --- libraries that are missing ---


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_library_names_the_extra(tmp_path, monkeypatch, name):
    data = made(name)
    monkeypatch.setitem(sys.modules, "pypandoc", None)
    monkeypatch.setitem(sys.modules, "pptx", None)
    assert reason(tmp_path, name, data).endswith("which is not installed; pip install 'semsearch[formats]'")


def test_a_missing_program_names_the_extra(tmp_path, monkeypatch):
    def missing() -> str:
        raise OSError("No pandoc was found")

    monkeypatch.setattr(pypandoc, "get_pandoc_path", missing)
    assert reason(tmp_path, "rst", "x").startswith("this format needs pandoc, which is not installed; pip install")


def test_keywords_priorities_and_tags_of_org_are_not_in_headings(tmp_path):
    source = (
        "* TODO [#A] Buy milk :home:shop:\nText.\n** DONE Sell [#1] eggs\nMore.\n* [#B] Later :x:\nLast.\n"
        "* The TODO list\nEnd.\n#+begin_example\n,* TODO [#C] kept\n#+end_example\n"
    )
    document = read(tmp_path, "org", source.encode())
    titles = [(section.level, section.title) for section in document.layout.sections]
    assert titles == [(1, "Buy milk"), (2, "Sell [#1] eggs"), (1, "Later"), (1, "The TODO list")]
    assert document.title == "Buy milk"
    assert document.text.endswith("* TODO [#C] kept")
    assert [
        one.title for one in read(tmp_path, "org", b"#+TODO: WAIT | GONE\n* WAIT [#B] Rain\nx").layout.sections
    ] == ["Rain"]
