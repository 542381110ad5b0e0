"""Test that hostile and broken files of every type give documents or one-line errors and warnings, never a traceback.

All random choices use fixed seeds, so that failures can be reproduced.
"""

from __future__ import annotations

import codecs
import io
import json
import resource
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from semsearch import Index, WordHashEncoder
from semsearch.corpus.formats.table import ENDINGS
from semsearch.corpus.readers import ReadOptions, read_corpus
from semsearch.errors import RecordError
from semsearch.types import Document

pytestmark = pytest.mark.slow

MEMORY = 600_000
"""Peak memory in kB that reading may add; the files have a few kB each."""


def read_all(path: Path, options: ReadOptions | None = None) -> tuple[list[Document], list[RecordError], list[str]]:
    """Return the documents, errors and warnings of a path, after checking what the store and the terminal rely on."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        records = list(read_corpus(path, options or ReadOptions()))
    documents = [record for record in records if isinstance(record, Document)]
    errors = [record for record in records if isinstance(record, RecordError)]
    for document in documents:
        assert document.doc_id.strip()
        assert "\0" not in document.text + document.title
        for text in (document.doc_id, document.text, document.title, document.metadata_json):
            text.encode()
        json.loads(document.metadata_json)
    said = [str(warning.message) for warning in caught]
    for line in [*map(str, errors), *said]:
        assert line
        assert len(line.splitlines()) == 1
        assert len(line) < 1_000
    return documents, errors, said


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


SCALARS = [
    *("x", "1.10", "007", "no", "2024-13-45", "1e999", "0x1F", "!!int x", "!!binary aGk", "!!timestamp 2024-99-99"),
    *("!!python/name:os.system", "&a [*a]", "*b", "'open", '"open', "a: b: c", "|", ">", "[", "{", "{{title}}", "\t"),
    *(
        "@x",
        "`x`",
        "%TAG",
        "\x07",
        "é",
        "\ud7ff",
        '"\\ud800"',
        '"\\0"',
        "[1, {a: [b]}]",
        "? x",
        "- y",
        "",
        "# c",
        "nan",
    ),
    *("1979-05-27T07:32:00-25:00", "9" * 30, "[" * 10, '"""', "'''", "true", "~", "<<: 1", "1_0", "0b2", "24:61"),
]
KEYS = ["title", '"quoted"', "'q'", "$schema", "a.b", "1", "null", "? [a]", "-", "", "é", "path", "a b", "#c", "{x}"]


def front_matter(random: Random) -> str:
    """Return a note with random front matter, plausible or not."""
    fence = random.choice(["---", "---", "+++"])
    sign = ": " if fence == "---" else " = "
    lines = []
    for _ in range(random.randrange(6)):
        indent = " " * random.choice([0, 0, 0, 1, 2, 4])
        between = random.choice([sign, sign, sign.strip(), "\t", ""])
        lines.append(f"{indent}{random.choice(KEYS)}{between}{random.choice(SCALARS)}")
    head = random.choice(["", "", "\n", "\ufeff"]) + fence + random.choice(["", " ", "\t"])
    return "\n".join([head, *random.choice(([], [""])), *lines, random.choice([fence, fence, "...", ""]), "The body."])


@pytest.mark.parametrize("seed", range(200))
def test_any_front_matter_is_fields_or_a_warning_and_the_body_is_there(tmp_path, seed):
    path = tmp_path / "a.md"
    path.write_text(front_matter(Random(seed)), "utf-8", "surrogatepass")
    documents, errors, _ = read_all(path)
    assert errors == []
    assert "The body." in documents[0].text


def test_front_matter_of_random_characters(tmp_path):
    random = Random(0)
    for number in range(200):
        inside = "".join(random.choices("ab:-[]{}\"'#&*!|>%@`?,.\n\t 0", k=random.randrange(80)))
        (tmp_path / f"{number}.md").write_text(f"---\nk: v\n{inside}\n---\nThe body.")
    documents, errors, said = read_all(tmp_path)
    assert (len(documents), errors) == (200, [])
    assert all("The body." in document.text for document in documents)
    assert said


def seeds() -> Iterator[tuple[str, bytes]]:
    """Yield valid files by extension."""
    pypdf = pytest.importorskip("pypdf")
    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    writer.add_metadata({"/Title": "Herons"})
    file = io.BytesIO()
    writer.write(file)
    yield ".pdf", file.getvalue()
    yield (
        ".html",
        b"<!doctype html><html><head><meta charset=gb2312><title>T - S</title></head><body><nav>n</nav><main><h1>T"
        b"<a href='#t'>#</a></h1><p>a<b>b<i>c</b>d</i><table><tr><td>x<td>y</table><svg><title>z</title></svg></main>",
    )
    yield ".csv", 'id,text,n\r\n1,"a ""b""\r\nc",1.10\r\n2,ä,\r\n'.encode()
    yield ".tsv", b'id\ttext\tn\n1\t"a\nb"\t1\n2\t"c\t2\n3\td"\t3\n'
    yield ".jsonl", b'{"_id": "1", "text": "a\\u00e4", "m": {"x": [1, 2.5, null]}}\n{"id": 2, "text": "b"}\n'
    yield (
        ".md",
        b"---\ntitle: T\ntags: [a]\n---\n# H\n\n<br>a<kbd>b</kbd>\n\n| x | y |\n|---|---|\n| 1 | 2 |\n\n<td>c</td>\n",
    )
    yield ".txt", "ä\n\nb".encode()
    yield ".json", b'[{"_id": "1", "text": "a\\u00e4", "m": {"x": [1, 2.5, null]}}, {"id": 2, "text": "b"}]'
    yield ".py", b'#!/usr/bin/env python3\nclass A:\n    """Docs."""\n\n    def f(self):\n        return "x"\n'
    yield ".eml", b"From: a@b\nSubject: =?utf-8?q?=C3=A4?=\nContent-Type: text/html; charset=koi8-r\n\n<p>\xc1\n"
    yield ".mbox", b"From a@b Mon Jan  1 10:00:00 2024\nSubject: s\n\nx\n\nFrom a@b Mon Jan  1 10:00:00 2024\n\ny\n"


ALIKE = {"ndjson": ".jsonl", "text": ".txt", "markdown": ".md", "htm": ".html", "xhtml": ".html"}
PIECES = [
    b"<",
    b">",
    b'"',
    b"'",
    b"\0",
    b"\xff",
    b"\t",
    b"\n",
    b"\r",
    b"---\n",
    b"<b a=1>",
    b"</p>",
    b"&#0;",
    b"\\ud800",
    b"[",
    b"{",
]
MARKS = [b"", b"", b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"\xff\xfe\0\0", b"\x1f\x8b"]


def mutated(data: bytes, random: Random) -> bytes:
    """Return the data with some bytes changed, removed or repeated."""
    content = bytearray(data)
    for _ in range(random.randrange(1, 8)):
        place = random.randrange(len(content) + 1)
        end = min(len(content), place + random.randrange(20))
        kind = random.randrange(5)
        if kind == 0 and place < len(content):
            content[place] = random.randrange(256)
        elif kind == 1:
            del content[place:end]
        elif kind == 2:
            content[place:place] = content[place:end] * random.randrange(1, 50)
        elif kind == 3:
            content[place:place] = random.choice(PIECES) * random.randrange(1, 10)
        else:
            content[place:place] = random.randbytes(random.randrange(8))
    return random.choice(MARKS) + bytes(content)


@pytest.mark.parametrize("ending", [one for one in ENDINGS if ALIKE.get(one[1:], one) in dict(seeds())])
def test_broken_files_of_every_ending_are_documents_or_errors(tmp_path, ending):
    random, before = Random(ending), peak()
    whole = dict(seeds())[ALIKE.get(ending[1:], ending)]
    for number in range(150):
        data = random.randbytes(random.randrange(300)) if number % 5 == 0 else mutated(whole, random)
        compressed = ".gz" if number % 10 == 9 else ""
        (tmp_path / f"{number}{ending}{compressed}").write_bytes(data)
    documents, errors, _ = read_all(tmp_path)
    assert len(documents) + len(errors) >= 100
    assert errors
    for options in (ReadOptions(per_line=True), ReadOptions(format="csv"), ReadOptions(format="jsonl")):
        assert any(read_all(tmp_path, options))
    assert peak() - before < MEMORY


def test_an_index_takes_what_can_be_used_of_broken_files(tmp_path):
    random = Random(7)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(20):
        for ending, whole in seeds():
            if ending in (".md", ".html", ".txt"):
                (corpus / f"{number}{ending}").write_bytes(mutated(whole, random))
    with Index.open(tmp_path / "index", create=True, encoder=WordHashEncoder(64)) as index, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = index.add(str(corpus), skip_bad=True)
        assert (result.documents + result.bad, len(index)) == (60, result.documents)
        assert result.documents > 0
        assert index.search("a b", mode="keyword")


@pytest.mark.parametrize(
    "page",
    [
        "<p>" + "".join(f"<b c={n}>" for n in range(2_200)) + "<p>x" * 3_000,
        "<p><font a=1><i>" * 3_000 + "</font><p>x" * 3_000,
        "".join(f"<p><font a={n}>" for n in range(3_000)) + "x",
        "<b><table><td>" * 1_500 + "x</b>" * 1_500,
        "<a href=#><div>" * 3_000 + "x",
        "<svg><b><math>" * 3_000 + "x",
        "<select><option><b>" * 3_000 + "x",
        "<<b>b x=1>" * 3_000 + "<p>x" * 3_000,
        "<template>" * 3_000 + "<p>x",
    ],
    ids=range(9),
)
def test_no_page_of_some_kilobytes_takes_much_memory(tmp_path, page):
    assert len(page) < 100_000
    before = peak()
    (tmp_path / "a.html").write_text(page)
    documents, errors, _ = read_all(tmp_path)
    assert len(documents) + len(errors) == 1
    assert peak() - before < 300_000
