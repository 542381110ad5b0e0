"""Uploaded files: the documents and ids that they become, and that file names are never used as paths."""

from __future__ import annotations

import gzip
import io
from dataclasses import replace

import pytest
from serving import build, served

from semsearch.errors import RecordError, TooLargeError
from semsearch.server.intake import from_files, from_json
from semsearch.server.models import GivenDocument


def read(*files: tuple[str, bytes], most: int = 100, most_chars: int = 10_000):
    return from_files([(name, io.BytesIO(content)) for name, content in files], most, most_chars)


def test_each_kind_of_file_gives_its_documents():
    documents = read(
        ("notes/a.md", b"# Heron\n\nThe heron waits."),
        ("b.txt", b"Bread."),
        ("c.html", b"<title>C</title><main><p>Kettle.</p></main>"),
        ("d.jsonl", b'{"_id": "1", "text": "one", "year": 1}\n{"_id": "2", "text": "two"}\n'),
        ("e.csv.gz", gzip.compress(b"_id,text\n3,three\n")),
    )
    assert [document.doc_id for document in documents] == ["notes/a.md", "b.txt", "c.html", "1", "2", "3"]
    assert [document.text.split()[-1] for document in documents] == "waits. Bread. Kettle. one two three".split()
    assert documents[3].metadata == {"year": 1}
    assert all(document.origin is None and "semsearch-upload" not in str(document) for document in documents)


@pytest.mark.parametrize(
    ("name", "doc_id"),
    [
        ("../../etc/passwd.txt", "etc/passwd.txt"),
        ("/etc/cron.d/x.txt", "etc/cron.d/x.txt"),
        ("..\\..\\windows\\a.txt", "windows/a.txt"),
        ("a\0b.txt", "a\0b.txt"),
        ("x" * 300 + ".txt", "x" * 300 + ".txt"),
    ],
)
def test_a_name_is_an_id_and_never_a_path(name, doc_id):
    (document,) = read((name, b"text"))
    assert document.doc_id == doc_id


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.exe", b"MZ", ["a.exe", "unknown file type"]),
        ("", b"text", ["unknown file type"]),
        ("a.txt", b"\xff\xfe\xfd", ["a.txt"]),
        ("a.jsonl", b"{}\n", ["a.jsonl:1"]),
        ("a.jsonl", b'{"_id": "1", "text": "a"}\n{"_id": "1", "text": "b"}', ["duplicate document id '1'"]),
        ("a.csv.gz", b"not gzip", ["a.csv.gz"]),
        ("a.pdf", b"not a pdf", ["a.pdf"]),
    ],
)
def test_a_bad_file_is_named_as_it_was_sent(name, content, parts):
    with pytest.raises(RecordError) as caught:
        read((name, content))
    for part in parts:
        assert part in str(caught.value)
    assert "semsearch-upload" not in str(caught.value)


def test_a_small_file_that_holds_much_is_refused():
    line = b'{"_id": "%d", "text": "' + b"a" * 1_000 + b'"}\n'
    packed = gzip.compress(b"".join(line % number for number in range(50)))
    with pytest.raises(TooLargeError):
        read(("bomb.jsonl.gz", packed))
    with pytest.raises(TooLargeError):
        read(("many.jsonl", b"".join(b'{"_id": "%d", "text": "a"}\n' % n for n in range(101))))


def test_documents_of_a_body_are_as_those_of_a_file():
    (given,) = from_json([GivenDocument(id="1", text="a", metadata={"year": 1})])
    (sent,) = read(("a.jsonl", b'{"_id": "1", "text": "a", "year": 1}'))
    assert replace(given, source="") == sent


def test_files_are_uploaded_found_and_updated(tmp_path):
    with served({"notes": build(tmp_path / "notes")}) as client:
        files = [("files", ("guide/zebra.md", b"# Zebras\n\nA zebra has stripes.")), ("files", ("b.txt", b"Bees hum."))]
        assert client.post("/documents/files", files=files).json()["ids"] == ["guide/zebra.md", "b.txt"]
        (hit,) = client.post("/search", json={"query": "zebra stripes", "k": 1}).json()["hits"]
        assert hit["id"] == "guide/zebra.md"
        changed = client.post("/documents/files", files=[("files", ("b.txt", b"Bees buzz."))]).json()
        assert (changed["encoded"], client.get("/documents/b.txt").json()["text"]) == (1, "Bees buzz.")
        refused = client.post("/documents/files", files=[("files", ("a.exe", b"MZ"))])
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_document")
        for body, kind in ((b"", "multipart/form-data"), (b"--x\r\n", "multipart/form-data; boundary=x")):
            malformed = client.post("/documents/files", content=body, headers={"content-type": kind})
            assert malformed.status_code == 400
