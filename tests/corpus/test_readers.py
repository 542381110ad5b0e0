import gzip
import io
import json
import logging
import os
import re
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pptx
import pytest
from memory import peak_within
from small_pdfs import pdf, shown

from semsearch.corpus import records
from semsearch.corpus.formats.html import from_html
from semsearch.corpus.formats.markdown import from_markdown
from semsearch.corpus.formats.table import ENDINGS, has_many
from semsearch.corpus.readers import (
    FORMATS,
    Coverage,
    ReadOptions,
    as_records,
    count_bytes,
    read_corpus,
    read_queries,
)
from semsearch.corpus.records import ReadingWarning
from semsearch.corpus.sources import Source
from semsearch.corpus.values import MAX_NESTING, literal
from semsearch.corpus.walk import find_sources
from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.types import Document, Origin, Query, Root


def write(path: Path, content: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def read(*paths: str, **options) -> list[Document]:
    records = list(read_corpus(paths, ReadOptions(**options)))
    assert all(isinstance(record, Document) for record in records), records
    return records


def in_file(path: str, kind: str, **own: object) -> dict[str, object]:
    """Return the metadata of a document that is a whole file."""
    stored = os.stat(path)
    modified = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(stored.st_mtime))
    return {"path": os.path.basename(path), "type": kind, "size": stored.st_size, "modified": modified, **own}


def only_error(path: str, **options) -> RecordError:
    records = list(read_corpus([path], ReadOptions(**options)))
    assert len(records) == 1, records
    assert isinstance(records[0], RecordError), records
    assert "\n" not in str(records[0])
    return records[0]


# --- JSONL ---


def test_jsonl_beir_record_by_hand(tmp_path):
    path = write(
        tmp_path / "c.jsonl",
        '{"_id": "a", "title": "T", "text": "x", "metadata": {"url": "u", "n": 1}, "n": 2, "tags": ["p"]}\n',
    )
    expected = Document("a", "x", "T", {"url": "u", "n": 2, "tags": ["p"]}, f"{path}:1")
    assert read(path) == [expected]


def test_jsonl_bom_crlf_blank_lines_and_no_last_line_end(tmp_path):
    path = write(
        tmp_path / "c.ndjson", b'\xef\xbb\xbf{"id":1,"text":""}\r\n\r\n  \n{"id":"2","text":"\xc3\xa4","title":null}'
    )
    first, second = read(path)
    assert (first.doc_id, first.text, first.title, first.source) == ("1", "", "", f"{path}:1")
    assert (second.doc_id, second.text, second.title, second.source) == ("2", "ä", "", f"{path}:4")


def test_jsonl_underscore_id_wins_and_id_becomes_metadata(tmp_path):
    (document,) = read(write(tmp_path / "c.jsonl", '{"id": 5, "_id": "a", "text": "x", "metadata": "m"}'))
    assert (document.doc_id, dict(document.metadata)) == ("a", {"id": 5, "metadata": "m"})


def test_fields_can_be_named(tmp_path):
    path = write(tmp_path / "c.jsonl", '{"docid": 7, "body": "x", "head": "h", "id": "no", "text": "no"}')
    (document,) = read(path, id_field="docid", text_field="body", title_field="head")
    assert (document.doc_id, document.text, document.title) == ("7", "x", "h")
    assert document.metadata == {"id": "no", "text": "no"}


BAD_JSON = {
    "malformed": ('{"_id": "a" "text": "x"}', "Expecting ',' delimiter at column 13"),
    "cut off": ('{"_id": "a", "text": "x', "Unterminated string starting at column 22"),
    "a list": ('["a"]', '["a"] is not a JSON object'),
    "no id": ('{"a": 1, "b": 2}', 'no "_id" field (found: a, b); specify the id field with `id_field`'),
    "no field at all": ("{}", "found: none"),
    "id true": ('{"_id": true, "text": "x"}', '"_id" is true; expected a string or an integer'),
    "id float": ('{"_id": 1.5, "text": "x"}', '"_id" is 1.5'),
    "id null": ('{"_id": null, "text": "x"}', '"_id" is null'),
    "id empty": ('{"_id": "", "text": "x"}', '"_id" is empty'),
    "no text": ('{"_id": "a", "body": "x"}', "found: _id, body); specify the text field with `text_field`"),
    "text number": ('{"_id": "a", "text": 5}', '"text" is 5; expected a string'),
    "text null": ('{"_id": "a", "text": null}', '"text" is null'),
    "title list": ('{"_id": "a", "text": "x", "title": [1]}', '"title" is [1]; expected a string'),
    "NaN": ('{"_id": "a", "text": "x", "n": NaN}', "NaN is not a JSON number"),
    "Infinity": ('{"_id": "a", "text": "x", "n": -Infinity}', "-Infinity is not a JSON number"),
    "overflow": ('{"_id": "a", "text": "x", "n": 1e999}', "1e999 is not a JSON number"),
    "surrogate in text": ('{"_id": "a", "text": "\\ud800"}', "a lone surrogate (\\ud800)"),
    "surrogate in metadata": ('{"_id": "a", "text": "x", "m": ["\\uDFFF"]}', "a lone surrogate (\\udfff)"),
    "nesting": ('{"_id": "a", "text": "x", "m": ' + "[" * 100_000, "nested too deeply"),
    "nesting that parses": ('{"_id": "a", "text": "x", "m": ' + "[" * 100 + "]" * 100 + "}", "deeper than 100 levels"),
    "NUL in id": ('{"_id": "a\\u0000", "text": "x"}', 'a NUL character in "_id"'),
    "NUL in text": ('{"_id": "a", "text": "\\u0000x"}', "a NUL character in the text"),
    "NUL in title": ('{"_id": "a", "text": "x", "title": "\\u0000"}', "a NUL character in the title"),
    "NUL in metadata": ('{"_id": "a", "text": "x", "tag": ["a\\u0000"]}', 'a NUL character in "tag"'),
    "NUL in a name": ('{"_id": "a", "text": "x", "a\\u0000": 1}', 'a NUL character in "the name of a field"'),
    "raw NUL": ('{"_id": "a", "text": "\0"}', "Invalid control character"),
    "not UTF-8": (b'{"_id": "a", "text": "\xff"}', "not valid utf-8 at byte 23 of the line"),
    "long integer": ('{"_id": ' + "1" * 5000 + ', "text": "x"}', "limit"),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_a_bad_json_line_is_an_error_and_the_next_is_read(tmp_path, case):
    line, reason = BAD_JSON[case]
    raw = line.encode() if isinstance(line, str) else line
    path = write(tmp_path / "c.jsonl", b'{"_id":"before","text":""}\n' + raw + b'\n{"_id":"after","text":""}\n')
    before, error, after = read_corpus([path])
    assert (before.doc_id, after.doc_id) == ("before", "after")
    assert isinstance(error, RecordError)
    assert (error.source, error.line) == (path, 2)
    assert reason in error.reason
    assert "\n" not in str(error)


def test_a_surrogate_pair_and_99_levels_are_fine(tmp_path):
    line = '{"_id": "a", "text": "\\ud83d\\ude00", "m": ' + "[" * 99 + "]" * 99 + "}"
    assert read(write(tmp_path / "c.jsonl", line))[0].text == "\N{GRINNING FACE}"
    assert MAX_NESTING == 100


def test_a_line_beyond_the_bound_is_skipped_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MAX_LINE_BYTES", 100)
    fits = '{"_id":"a","text":""}'.ljust(100)
    path = write(tmp_path / "c.jsonl", f"{fits}\n{' ' * 300_000}{{}}\n{fits}")
    first, error, last = read_corpus([path])
    assert (first.source, last.source) == (f"{path}:1", f"{path}:3")
    assert str(error) == f"{path}:2: the line is longer than 100 bytes; split the document"


def test_a_line_of_5_mb_is_fine(tmp_path):
    assert records.MAX_LINE_BYTES == 67_108_864
    path = write(tmp_path / "c.jsonl", json.dumps({"_id": "a", "text": "x" * 5_000_000}))
    assert len(read(path)[0].text) == 5_000_000


def generated(kind: str, records: int) -> str:
    body = "word " * 200
    if kind == "jsonl":
        return "".join(f'{{"_id": {i}, "text": "{body}"}}\n' for i in range(records))
    if kind == "csv":
        return "id,text\n" + "".join(f'{i},"{body}"\n' for i in range(records))
    return (body + "\n") * records


@pytest.mark.parametrize("kind", ["jsonl", "csv", "txt"])
def test_30_mb_are_read_in_under_5_mb_of_memory(tmp_path, kind):
    path = write(tmp_path / f"c.{kind}", generated(kind, 30_000))
    assert os.path.getsize(path) > 30_000_000
    options = ReadOptions(per_line=kind == "txt")
    n_read = peak_within(5_000_000, lambda: sum(isinstance(one, Document) for one in read_corpus([path], options)))
    assert n_read == 30_000


# --- CSV and TSV ---


def test_csv_by_hand(tmp_path):
    path = write(
        tmp_path / "c.csv",
        '\ufeffid, title ,text,year,price,zip,empty,\r\n'
        '007,T,"a ""quoted"", long\r\n\r\ntext",2020,-1.5e3,01234,,lost\r\n'
        "\r\n"
        "8,,x,,,n/a,,\r\n",
    )  # fmt: skip
    first, second = read(path)
    assert first == Document(
        "007", 'a "quoted", long\r\n\r\ntext', "T", {"year": 2020, "price": "-1.5e3", "zip": "01234"}, f"{path}:2"
    )
    assert second == Document("8", "x", "", {"zip": "n/a"}, f"{path}:6")


def test_tsv_by_hand(tmp_path):
    path = write(tmp_path / "c.tsv", "pid\tpassage\n1\ta, b\n")
    assert read(path, id_field="pid", text_field="passage") == [Document("1", "a, b", source=f"{path}:2")]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("a,b", 'no "text" field (found: a, b); specify the text field with `text_field`'),
        ("id,b", 'no "text" field (found: id, b); specify the text field with `text_field`'),
        ("id,text,x,x", "repeats a column name: x"),
        (b"id,te\xffxt", "not valid utf-8 at byte 6"),
    ],
)
def test_a_bad_header_stops_the_file(tmp_path, header, reason):
    raw = header.encode() if isinstance(header, str) else header
    error = only_error(write(tmp_path / "c.csv", raw + b"\n1,x\n2,y\n"))
    assert error.line == 1
    assert reason in error.reason


def test_an_empty_csv_has_no_header_and_a_header_alone_no_documents(tmp_path):
    for ending in ("csv", "tsv"):
        assert "no header" in only_error(write(tmp_path / f"empty.{ending}", "")).reason
    assert read(write(tmp_path / "header.csv", "id,text\n")) == []
    assert read(write(tmp_path / "header.tsv", "\ufeffid\ttext")) == []


def test_cells_are_numbers_only_where_the_number_is_printed_as_they_are(tmp_path):
    rows = "1,first release,1.10,1234e56,2024.10,true\n2,second,1.1,12345e6,2024.1,\n3,1.20,1.20,0e10,2024.01,FALSE\n"
    documents = read(
        write(tmp_path / "c.csv", f"id,title,version,commit,month,done,text\n{rows.replace(chr(10), ',x' + chr(10))}")
    )
    assert [(document.title, dict(document.metadata)) for document in documents] == [
        ("first release", {"version": "1.10", "commit": "1234e56", "month": "2024.10", "done": "true"}),
        ("second", {"version": 1.1, "commit": "12345e6", "month": 2024.1}),
        ("1.20", {"version": "1.20", "commit": "0e10", "month": 2024.01, "done": "FALSE"}),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"1", "expected 2 columns, as in the header, got 1"),
        (b"1,x,y", "expected 2 columns, as in the header, got 3"),
        (b",x", '"id" is empty'),
        (b"1,\0", "a NUL character in the text"),
        (b'1,"a"b', "not valid CSV"),
        (b"1,\xff", "not valid utf-8 at byte 3"),
        (b'1,"\xff', "not valid utf-8 at byte 4"),
    ],
)
def test_a_bad_row_is_an_error(tmp_path, row, reason):
    ending = b'\nmore"\n' if row.count(b'"') == 1 else b"\n"
    path = write(tmp_path / "c.csv", b"id,text\n0,x\n" + row + ending + b"9,x\n")
    before, error, after = read_corpus([path])
    assert (before.doc_id, after.doc_id) == ("0", "9")
    assert (error.source, error.line) == (path, 3)
    assert reason in error.reason


def test_a_quote_that_never_closes_is_an_error_that_names_both_ends(tmp_path):
    path = write(tmp_path / "c.csv", 'id,text\n1,"x\n2,y\n')
    assert str(only_error(path)).startswith(
        f"{path}:2: not valid CSV: unexpected end of data (the record ends on line 3)"
    )


def test_a_cell_beyond_pythons_own_limit_is_fine_and_the_limit_is_left_as_it_was(tmp_path):
    import csv

    limit = csv.field_size_limit()
    (document,) = read(write(tmp_path / "c.csv", f"id,text\n1,{'x' * (limit + 1)}\n"))
    assert len(document.text) == 131_073
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("-20", -20), ("0", 0), ("0.5", 0.5), ("1e-05", 1e-05), ("2024.1", 2024.1), ("5.0", 5.0)]
    + [(text, text) for text in ("007", "+1", ".5", "1.", "1_000", "nan", "inf", "1e999", " 1", "٣", "", "9" * 19)]
    + [(text, text) for text in ("1.10", "2024.10", "1234e56", "12345e6", "0e10", "-0", "1E5", "1e16", "true", "1\n")],
)
def test_literal(text, value):
    assert literal(text) == value
    assert type(literal(text)) is type(value)


# --- Plain text ---


def test_text_file_given_directly(tmp_path):
    path = write(tmp_path / "sub" / "a.txt", b"\xef\xbb\xbfone\r\n\r\ntwo\r\n")
    assert read(path) == [Document("a.txt", "one\n\ntwo\n", "one", in_file(path, "text"), path)]


def test_text_per_line(tmp_path):
    path = write(tmp_path / "a.text", "one\r\n\n  \n two ")
    assert read(path, per_line=True) == [
        Document("a.text:1", "one", "", {"path": "a.text"}, f"{path}:1"),
        Document("a.text:4", " two ", "", {"path": "a.text"}, f"{path}:4"),
    ]


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html"])
@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [(b"ok\nab\xffcd", 2, "not valid utf-8 at byte 3 of the line"), (b"a\0b", None, "a NUL character in the text")],
)
def test_a_bad_text_file(tmp_path, name, content, line, reason):
    error = only_error(write(tmp_path / name, content))
    assert error.line == line
    assert reason in error.reason


def test_bad_lines_of_text(tmp_path):
    path = write(tmp_path / "a.txt", b"ok\n\xff\na\0\n")
    ok, encoding, nul = read_corpus([path], ReadOptions(per_line=True))
    assert ok.doc_id == "a.txt:1"
    assert (encoding.line, nul.line) == (2, 3)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.pdf", "a.txt.gz"])
def test_a_file_beyond_the_bound(tmp_path, name, monkeypatch):
    assert records.MAX_FILE_BYTES == 67_108_864
    monkeypatch.setattr(records, "MAX_FILE_BYTES", 3)
    content = b"long"
    error = only_error(write(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content))
    assert error.reason == "the file is longer than 3 bytes; split it"


# --- Markdown ---

MARKDOWN = """\
---
title: "Front: title"
year: 2020
score: 0.5
code: "7"
tags: [a, 'b c', 3]
date: 2024-01-02
empty:
# comment
nested:
  - ignored
---
# Heading *one*

First [link text](http://u) with `code`
and ![the *alt*](i.png)\\
broken <b>bold</b> &amp; ~~gone~~.

- item one
  - nested
- item two

1. loose

2. list

```python
def f():
    return  1
```

| x | y |
|---|---|
| 1 | 2 |

<div><p>html</p></div>

> quote
"""


def test_markdown_by_hand(tmp_path):
    path = write(tmp_path / "a.md", MARKDOWN)
    metadata = {"year": 2020, "score": 0.5, "code": "7", "tags": ["a", "b c", 3], "date": "2024-01-02"}
    metadata |= {"empty": None, "nested": ["ignored"]} | in_file(path, "markdown", language="en")
    text = (
        "Heading one\n\nFirst link text with code and the alt\nbroken bold & gone.\n\n"
        "item one\nnested\nitem two\n\nloose\n\nlist\n\ndef f():\n    return  1\n\nx y\n1 2\n\nhtml\n\nquote"
    )
    assert read(path) == [Document("a.md", text, "Front: title", metadata, path)]


@pytest.mark.parametrize(
    ("source", "title", "text"),
    [
        ("## sub\n\n# First *one*\n\n# second", "First one", "sub\n\nFirst one\n\nsecond"),
        ("---\ntitle: T\n---", "T", ""),
        ("---\n---\ntext", "", "text"),
        ("---\r\ntitle: T\r\n---\r\ntext", "T", "text"),
        ("---\n\nafter a rule\n\n---\n\nmore", "", "after a rule\n\nmore"),
        ("---\ntitle: never closed", "", "title: never closed"),
        ("para\n- tight", "", "para\n\ntight"),
        ("", "", ""),
    ],
)
def test_markdown_title_and_front_matter(source, title, text):
    plain = from_markdown(source.encode())
    assert (plain.title, plain.text) == (title, text)


def test_deep_markdown_is_kept_and_too_deep_an_error(tmp_path):
    nested = "".join(f"{'  ' * level}- {level}a\n" for level in range(50))
    assert from_markdown(nested.encode()).text.split() == [f"{level}a" for level in range(50)]
    assert only_error(write(tmp_path / "a.md", ">" * 5000 + "x")).reason == "nested too deeply; flatten it"


# --- HTML ---


def test_html_by_hand(tmp_path):
    path = write(
        tmp_path / "a.htm",
        "<!doctype html><html><head><title> The\n title </title><style>s{}</style></head><body>"
        "<script>bad()</script><noscript>bad</noscript><template>bad</template>"
        "<svg><title>bad</title></svg><!-- bad -->"
        "<h1>Head</h1>loose <b>bold</b> <i> in</i>line\n text<div>block<p>inner</p>tail</div>"
        "<ul><li>one<li>two <img alt='a  cat'></ul><pre>  x\n    y  z\n</pre>a<br>b"
        "<table><tr><td>1<td>2<tr><td>3</table>&lt;end&gt;</body></html>",
    )
    text = (
        "Head\n\nloose bold inline text\n\nblock\n\ninner\n\ntail\n\none\ntwo a cat\n\n"
        "  x\n    y  z\n\na\nb\n\n1 2\n3\n\n<end>"
    )
    assert read(path) == [Document("a.htm", text, "The title", in_file(path, "html", language="en"), path)]


@pytest.mark.parametrize(
    "raw",
    [
        "<p>ä€".encode(),
        b"\xef\xbb\xbf<meta charset=cp1252>" + "<p>ä€".encode(),
        b"<meta charset='windows-1252'>" + "<p>ä€".encode("cp1252"),
        b'<META http-equiv="Content-Type" content="text/html; charset=ISO-8859-1">' + "<p>ä€".encode("cp1252"),
        b"<meta charset=utf-16>" + "<p>ä€".encode(),
        b"\xff\xfe" + "<p>ä€".encode("utf-16-le"),
        b"\xfe\xff" + "<p>ä€".encode("utf-16-be"),
    ],
)
def test_html_character_sets(raw):
    assert from_html(raw).text == "ä€"


def test_html_deeper_than_python_recurses():
    assert from_html(b"<div>" * 5000 + b"x").text == "x"


# --- gzip and standard input ---

OPEN = "urn:oasis:names:tc:opendocument:xmlns"
RELATIONSHIPS = "http://schemas.openxmlformats.org/package/2006/relationships"


def zipped(members: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return out.getvalue()


def slide_with_title(text: str) -> bytes:
    deck, out = pptx.Presentation(), io.BytesIO()
    deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = text
    deck.save(out)
    return out.getvalue()


def workbook() -> bytes:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active["A1"] = "x"
    book.save(file := io.BytesIO())
    return file.getvalue()


def parquet() -> bytes:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"id": ["a"], "text": ["x"]}), file := io.BytesIO())
    return file.getvalue()


SAMPLES = {
    "jsonl": b'{"_id":"a","text":"x"}',
    "csv": b"id,text\na,x",
    "tsv": b"id\ttext\na\tx",
    "text": b"x",
    "markdown": b"x",
    "html": b"<p>x",
    "pdf": pdf(shown(b"x")),
    **dict.fromkeys(("rst", "org", "asciidoc", "latex"), b"x"),
    "docx": zipped(
        {
            "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
            "_rels/.rels": f'<Relationships xmlns="{RELATIONSHIPS}"><Relationship Id="r" Target="word/document.xml" '
            'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"/></Relationships>',
            "word/document.xml": '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
            "<w:body><w:p><w:r><w:t>x</w:t></w:r></w:p></w:body></w:document>",
        }
    ),
    "odt": zipped(
        {
            "content.xml": f'<o:document-content xmlns:o="{OPEN}:office:1.0" xmlns:t="{OPEN}:text:1.0"><o:body><o:text>'
            "<t:p>x</t:p></o:text></o:body></o:document-content>",
            "styles.xml": f'<o:document-styles xmlns:o="{OPEN}:office:1.0"><o:styles/>'
            "<o:automatic-styles/><o:master-styles/></o:document-styles>",
            "META-INF/manifest.xml": f'<m:manifest xmlns:m="{OPEN}:manifest:1.0"/>',
        }
    ),
    "pptx": slide_with_title("x"),
    "epub": zipped(
        {
            "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="b.opf" media-type="application/oebps-package+xml"/></rootfiles></container>',
            "b.opf": '<package xmlns="http://www.idpf.org/2007/opf"><metadata/><manifest><item id="a" href="a.xhtml" '
            'media-type="application/xhtml+xml"/></manifest><spine><itemref idref="a"/></spine></package>',
            "a.xhtml": '<html xmlns="http://www.w3.org/1999/xhtml"><body><p>x</p></body></html>',
        }
    ),
    "rtf": rb"{\rtf1 x}",
    "notebook": b'{"cells":[{"cell_type":"markdown","metadata":{},"source":"x"}],"metadata":{},"nbformat":4,'
    b'"nbformat_minor":0}',
    "json": b'[{"id":"a","text":"x"}]',
    "parquet": parquet(),
    "spreadsheet": workbook(),
    "mail": b"Subject: s\n\nx",
    "mbox": b"From a@b Mon Jan  1 10:00:00 2024\nSubject: s\n\nx",
    "code": b"x",
}
TEXTS = {"spreadsheet": "Sheet\n\nx"}
"""The texts of the samples; the others have the text x."""


def test_every_reader_has_a_sample():
    assert tuple(SAMPLES) == tuple(FORMATS)


@pytest.mark.parametrize("ending", [*sorted(ENDINGS.keys() - {".xls", ".xlsb", ".ods"}), ".JSONL"])
def test_every_ending_plain_and_gzipped(tmp_path, ending):
    kind = ENDINGS[ending.lower()]
    sample, text = SAMPLES[kind], TEXTS.get(kind, "x")
    assert read(write(tmp_path / f"a{ending}", sample))[0].text == text
    assert read(write(tmp_path / f"a{ending}.gz", gzip.compress(sample)))[0].text == text


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_from_standard_input(monkeypatch, file_format):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SAMPLES[file_format])))
    (document,) = read("-", format=file_format)
    assert document.text == TEXTS.get(file_format, "x")
    assert document.source.startswith("<stdin>")
    assert not sys.stdin.buffer.closed


def test_standard_input_is_jsonl_unless_told(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"_id":"a","text":"x"}\n{')))
    document, error = read_corpus(["-"])
    assert document == Document("a", "x", source="<stdin>:1")
    assert error.place == "<stdin>:2"


def test_gzip_cut_off_keeps_what_came_before_and_names_the_line(tmp_path):
    lines = b"".join(b'{"_id": "%s", "text": "x"}\n' % os.urandom(8).hex().encode() for _ in range(5000))
    path = write(tmp_path / "c.jsonl.gz", gzip.compress(lines)[:-2000])
    *documents, error = read_corpus([path])
    assert len(documents) > 1000
    assert all(isinstance(document, Document) for document in documents)
    assert error.line == len(documents) + 1
    assert "corrupt gzip data" in error.reason


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz", "a.txt.gz", "a.pdf.gz"])
@pytest.mark.parametrize(
    "data",
    [b"not gzip", gzip.compress(b"id,text\n1,x\n")[:-4], b"\x1f\x8b\x08" + b"\0" * 7 + b"\xff" * 30],
    ids=["no gzip", "cut off", "noise"],
)
def test_corrupt_gzip(tmp_path, name, data):
    last = list(read_corpus([write(tmp_path / name, data)]))[-1]
    assert isinstance(last, RecordError)
    assert "corrupt gzip data" in last.reason


# --- folders and paths ---


def test_folder_walk(tmp_path):
    write(tmp_path / "docs" / "noending", b"\0\1")
    for name in ("b.txt", "a/z.md", "a/y.txt.gz", "c.xyz", ".hidden.txt", ".git/x.txt", "a/.h/x.txt"):
        write(tmp_path / "docs" / name, gzip.compress(b"x") if name.endswith(".gz") else "x")
    with pytest.warns(
        UserWarning, match=r"^ignored files in .*/docs\" that are not documents: 1 \.xyz, 1 without an extension"
    ):
        documents = read(str(tmp_path / "docs"))
    assert [d.doc_id for d in documents] == ["a/y.txt.gz", "a/z.md", "b.txt"]
    assert [d.metadata["path"] for d in documents] == ["a/y.txt.gz", "a/z.md", "b.txt"]
    assert documents[2].source == str(tmp_path / "docs" / "b.txt")


def test_sources_are_named_as_the_user_named_them(tmp_path, monkeypatch):
    write(tmp_path / "docs" / "a.txt", "x")
    monkeypatch.chdir(tmp_path)
    named = {path: [d.source for d in read(path)] for path in ("docs", "./docs/a.txt", "docs/")}
    assert named == {"docs": ["docs/a.txt"], "./docs/a.txt": ["./docs/a.txt"], "docs/": ["docs/a.txt"]}


def test_a_beir_folder_is_its_corpus(tmp_path):
    write(tmp_path / "corpus.jsonl", '{"_id":"a","text":"x"}')
    write(tmp_path / "queries.jsonl", '{"_id":"q","text":"x"}')
    write(tmp_path / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\nq\ta\t1\n")
    assert [d.doc_id for d in read(str(tmp_path))] == ["a"]


def test_a_format_overrules_the_ending_in_folders_too(tmp_path):
    path = write(tmp_path / "a.log", "x")
    assert [d.doc_id for given in (path, str(tmp_path)) for d in read(given, format="text")] == ["a.log", "a.log"]


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("nowhere", {}, SourceError, "does not exist; expected a file, a folder"),
        ("empty", {}, SourceError, "contains no files in a supported format; expected .jsonl"),
        ("a.xyz", {}, SourceError, "unknown extension; expected .jsonl.* `format`"),
        ("fine.txt", {"format": "xyz"}, UsageError, 'unknown format "xyz"; expected one of jsonl, csv'),
    ],
)
def test_what_makes_no_source_is_raised_before_anything_is_read(tmp_path, name, options, error, message):
    fine = write(tmp_path / "fine.txt", "x")
    write(tmp_path / "a.xyz", "x")
    write(tmp_path / "empty" / "a.xyz", "x")
    with pytest.raises(error, match=message) as caught:
        read_corpus([fine, str(tmp_path / name)], ReadOptions(**options))
    assert "\n" not in str(caught.value)


def test_a_loop_of_links_ends(tmp_path):
    write(tmp_path / "docs" / "a.txt", "x")
    (tmp_path / "docs" / "loop").symlink_to(tmp_path / "docs", target_is_directory=True)
    (tmp_path / "docs" / "sub").mkdir()
    (tmp_path / "docs" / "sub" / "self").symlink_to("self")
    assert [d.doc_id for d in read(str(tmp_path / "docs"))] == ["a.txt"]


def test_pipes_in_a_folder_are_left_alone_and_broken_links_reported(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "broken.txt").symlink_to("nowhere")
    (tmp_path / "broken.jsonl").symlink_to("nowhere")
    errors = list(read_corpus([str(tmp_path)]))
    assert [error.place for error in errors] == [str(tmp_path / "broken.jsonl"), str(tmp_path / "broken.txt")]
    assert {error.reason for error in errors} == {"cannot be read: No such file or directory"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    os.chmod(write(tmp_path / "a.txt", "x"), 0)
    os.chmod(write(tmp_path / "b.jsonl", "x"), 0)
    write(tmp_path / "sub" / "c.txt", "x")
    (tmp_path / "sub").chmod(0)
    errors = list(read_corpus([str(tmp_path)]))
    (tmp_path / "sub").chmod(0o700)
    assert [(error.place, error.reason) for error in errors] == [
        (str(tmp_path / name), "cannot be read: Permission denied") for name in ("a.txt", "b.jsonl", "sub")
    ]


def test_a_file_name_that_is_not_utf8(tmp_path):
    with open(os.fsencode(tmp_path) + b"/\xff.txt", "wb") as file:
        file.write(b"x")
    (error,) = read_corpus([str(tmp_path)])
    assert error.place == f"{tmp_path}/\\udcff.txt"
    assert error.reason == "the name of the file or its folder is not valid UTF-8; rename it"


# --- Python objects ---


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (Document("1", "a\0b"), "NUL character in the text"),
        (Document("1", "\ud800"), "lone surrogate"),
        (Document(1, "x"), "the id is 1; expected a string"),
        (Document(" ", "x"), "the id is empty"),
        (Document("1", "x", metadata={"a": float("nan")}), '"a" is nan, which JSON cannot represent'),
        (Document("1", "x", metadata=[1]), r"the metadata is \[1\]; expected a mapping"),
        (
            replace(Document("1", "x", metadata={"a": b"x"}), source="c.jsonl:1"),
            "\"a\" is b'x' \\(bytes\\); expected text",
        ),
        ({"_id": "1", "text": b"x"}, "\"text\" is b'x'; expected a string"),
        ({1: "1", "text": "x"}, r'no "_id" field \(found: 1, text\)'),
        (None, "None is not a document; expected a dict, a Document or a path"),
    ],
)
def test_python_objects_are_checked_as_lines_are(record, reason):
    (error,) = as_records([record])
    assert isinstance(error, RecordError)
    assert re.search(reason, error.reason)


def test_python_objects_are_read_in_their_order(tmp_path):
    path = write(tmp_path / "notes.jsonl", '{"_id": "b", "text": "x"}\n{"_id": "c"}\n')
    bad, document = RecordError("elsewhere", 3, "broken"), Document("d", "x")
    given = [{"_id": "a", "text": "x", "n": 1}, path, bad, document, Path(path), 5, b"x", {"id": "e", "text": "y"}]
    for corpus in (given, tuple(given), iter(given)):
        shown = [
            record.doc_id if isinstance(record, Document) else (record.place, record.reason)
            for record in as_records(corpus)
        ]
        missing = (f"{path}:2", 'no "text" field (found: _id); specify the text field with `text_field`')
        assert shown == [
            *("a", "b", missing, ("elsewhere:3", "broken"), "d"),
            ("<record>:6", "5 is not a document; expected a dict, a Document or a path"),
            ("<record>:7", "b'x' is not a document; expected a dict, a Document or a path"),
            "e",
        ]


def test_one_document_or_one_path_is_a_corpus(tmp_path):
    document = Document("a", "x", "t", {"n": 1})
    path = write(tmp_path / "c.jsonl", '{"_id": "a", "text": "x", "title": "t", "n": 1}')
    fields = {"key": "a", "text": "x", "title": "t", "n": 1}
    for corpus in (document, fields, path, Path(path), tmp_path):
        options = ReadOptions(id_field="key") if corpus is fields else ReadOptions()
        (record,) = as_records(corpus, options)
        assert replace(record, source="") == document


def test_standard_input_is_a_corpus(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"_id":"a","text":"x"}\n')))
    assert [record.doc_id for record in as_records(["-", {"_id": "b", "text": "x"}])] == ["a", "b"]


@pytest.mark.parametrize("corpus", [b"notes.jsonl", bytearray(b"x"), 5, 1.5, None, True, object()])
def test_what_is_no_corpus_is_refused_when_it_is_given(corpus):
    with pytest.raises(UsageError, match=r"^`corpus` is .*; expected a path, a document, or an iterable of these$"):
        as_records(corpus)


@pytest.mark.parametrize(("corpus", "shown"), [("The heron\nwaits.", "The heron waits."), ("x" * 500, "x" * 299 + "…")])
def test_a_text_in_place_of_a_document_is_told_what_a_document_is(corpus, shown):
    message = re.escape(
        f'"{shown}" does not exist; expected a file, a folder, or a document such as {{"_id": "1", "text": "…"}}'
    )
    good = {"_id": "a", "text": "x"}
    for given in (corpus, Path(corpus), [good, corpus], (good, Path(corpus))):
        with pytest.raises(SourceError, match=f"^{message}$"):
            as_records(given)
    records = as_records(iter([good, corpus]))
    assert next(records).doc_id == "a"
    with pytest.raises(SourceError, match=f"^{message}$"):
        next(records)


# --- paths as text and as objects


def as_text(path: Path) -> str:
    return str(path)


def as_itself(path: Path) -> Path:
    return path


def as_entry(path: Path) -> os.DirEntry:
    """Return the `os.DirEntry` of a path: a path-like object that is not a Path."""
    with os.scandir(path.parent) as entries:
        return next(entries)


@pytest.mark.parametrize("spell", [as_text, as_itself, as_entry])
def test_a_path_is_text_or_any_object_that_stands_for_one(tmp_path, spell):
    path = tmp_path / "docs" / "c.jsonl"
    write(path, '{"_id":"a","text":"x"}\n{"_id":"b","text":"y"}\n')
    documents = [Document("a", "x", source=f"{path}:1"), Document("b", "y", source=f"{path}:2")]
    for paths in (spell(path), [spell(path)], (spell(path),), iter([spell(path)])):
        assert list(read_corpus(paths)) == documents
    assert list(read_corpus([spell(path), str(path.parent)])) == documents  # each document only once
    assert count_bytes(spell(path)) == count_bytes([spell(path), path.parent]) == 46
    assert list(read_queries(spell(path))) == [Query("a", "x"), Query("b", "y")]
    ((given, sources),) = find_sources([str(path)], ReadOptions(), Coverage())
    assert given == str(path)
    assert list(sources) == [Source(given, given, "jsonl", Origin(Root("", str(path.parent)), "c.jsonl"))]


NO_PATHS = [b"c.jsonl", bytearray(b"c"), 5, 1.5, None, True, {"c.jsonl": 1}]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.JSONL.GZ", "a.jsonl", "a.csv", "a.md"])
def test_all_bytes_of_a_file_are_counted_before_and_while_they_are_read(tmp_path, name):
    plain = b"id,text\n1,a\n" if name.endswith("csv") else b'{"_id": "1", "text": "a"}\n{"_id": "2", "text": "b"}\n'
    (tmp_path / name).write_bytes(gzip.compress(plain) if name.lower().endswith("gz") else plain)
    size, coverage = (tmp_path / name).stat().st_size, Coverage()
    assert count_bytes(str(tmp_path / name)) == size
    assert list(read_corpus(str(tmp_path / name), coverage=coverage))
    assert coverage.bytes_read == size
    assert count_bytes("-") is None


def test_a_long_file_is_counted_as_far_as_it_is_read(tmp_path):
    lines = b"".join(b'{"_id": "%06d", "text": "%s"}\n' % (n, b"x" * 78) for n in range(10_000))
    (tmp_path / "a.jsonl").write_bytes(lines)
    coverage = Coverage()
    records = read_corpus(str(tmp_path / "a.jsonl"), coverage=coverage)
    for _ in range(5_000):
        next(records)
    assert coverage.bytes_read == pytest.approx(len(lines) / 2, rel=0.2)


@pytest.mark.parametrize("path", NO_PATHS)
def test_what_is_no_path_is_one_line_that_names_the_parameter(path):
    expected = "; expected a path as text or pathlib.Path"
    shown = re.escape(f"{path!r:.60}")
    for read in (read_corpus, count_bytes):
        with pytest.raises(UsageError, match=f"^`paths` is {shown}{expected}, or a list of them$"):
            read(path)
        with pytest.raises(UsageError, match=rf"^`paths\[1\]` is {shown}{expected}$"):
            read(["-", path])
    for given in (path, [path], ["c.jsonl"]):
        with pytest.raises(UsageError, match=rf"^`path` is {re.escape(f'{given!r:.60}')}{expected}$"):
            read_queries(given)


def test_a_path_of_bytes_that_an_object_stands_for_is_none(tmp_path):
    write(tmp_path / "a.txt", "x")
    with os.scandir(os.fsencode(tmp_path)) as entries:
        entry = next(entries)
    with pytest.raises(UsageError, match=r"`paths` is b'.*; expected a path"):
        read_corpus(entry)


# --- logging


def test_the_log_says_what_each_path_was_read_as(tmp_path, caplog):
    for name in ("a.txt", "b.txt", "sub/c.md"):
        write(tmp_path / "docs" / name, "x")
    alone = write(tmp_path / "d.csv", "id,text\n1,x\n")
    caplog.set_level(logging.INFO, "semsearch.corpus")
    docs = str(tmp_path / "docs")
    assert len(read(docs, alone)) == 4
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", f"{docs}: read 2 as text, 1 as markdown"),
        ("INFO", f"{alone}: read 1 as csv"),
    ]


def test_what_a_warning_says_is_not_logged_too(tmp_path, caplog):
    for name in ("a.txt", "b.xyz"):
        write(tmp_path / name, "x")
    caplog.set_level(logging.DEBUG)
    with pytest.warns(UserWarning, match="1 .xyz"):
        read(str(tmp_path))
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_front_matter_that_is_broken_is_named_and_many_are_counted(tmp_path):
    for number in range(13):
        write(tmp_path / "notes" / f"{number:02}.md", f"---\ntitle: {{{{title}}}}\n---\nbody {number}")
    with pytest.warns(ReadingWarning) as caught:
        documents = read(str(tmp_path / "notes"))
    assert [document.text for document in documents] == [f"body {number}" for number in range(13)]
    *first, last = (str(warning.message) for warning in caught)
    what = "the front matter is not valid YAML (found unhashable key on line 2); ignoring it"
    assert first == [f"{tmp_path}/notes/{number:02}.md: {what}" for number in range(10)]
    assert last == f"{tmp_path}/notes: 3 more files with similar warnings"


def test_a_title_in_front_matter_is_the_text_that_stands_there(tmp_path):
    titles = {
        "1.10": "1.10",
        "7": "7",
        "true": "true",
        "[a, b]": '["a", "b"]',
        "1e5": "1e5",
        "2024-01-02": "2024-01-02",
    }
    for written, title in titles.items():
        assert from_markdown(f"---\ntitle: {written}\n---\n# Heading".encode()).title == title
    assert from_markdown(b"---\ntitle:\n---\n# Heading").title == "Heading"


def test_per_line_is_about_text_alone(tmp_path):
    for name in ("a.md", "b.txt"):
        (tmp_path / name).write_text("one\n\ntwo\n")
    options = ReadOptions(per_line=True)
    assert [one.doc_id for one in read_corpus(tmp_path, options)] == ["a.md", "b.txt:1", "b.txt:3"]
    coverage = Coverage()
    with pytest.warns(ReadingWarning, match=r"a.md: `per_line` has no effect, since it is about text files alone"):
        assert len(list(read_corpus(tmp_path / "a.md", options, coverage))) == 1
    origins = [Source("", "", name, Origin()) for name in ("markdown", "text", "pdf", "jsonl")]
    assert [has_many(one, options) for one in origins] == [False, True, False, True]
