"""Tests for corpora at URLs: what pyarrow reads from an object store is what is in the folder behind it."""

from __future__ import annotations

import gzip
import json
import os
import random
import socket
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from object_store import KEY, SECRET, ObjectStore, serving

from semsearch import Index, WordHashEncoder, read_corpus
from semsearch.cli.main import main as cli_main
from semsearch.corpus import remote
from semsearch.corpus.readers import count_bytes
from semsearch.engines.shards import ShardFolder
from semsearch.errors import RecordError, SemsearchError, SourceError, UsageError
from semsearch.types import Document
from semsearch.urls import without_secrets

pytestmark = pytest.mark.filterwarnings(
    "ignore::semsearch.corpus.records.ReadingWarning", "ignore:ignored files", "ignore:passed over"
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch) -> Iterator[ObjectStore]:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    folder = tmp_path / "bucket"
    (folder / "notes" / "deep er").mkdir(parents=True)
    with serving(folder) as started:
        yield started


@pytest.fixture
def notes(store: ObjectStore) -> Path:
    """A folder with files in several formats, and some that are passed over."""
    folder = store.folder / "notes"
    (folder / "a#1 b.md").write_text("# Herons\n\nThey wait in the reeds.", encoding="utf-8")
    (folder / "deep er" / "c.txt").write_text("bitterns boom", encoding="utf-8")
    (folder / "deep er" / "README").write_text("a text without an extension", encoding="utf-8")
    (folder / "rows.jsonl").write_text('{"_id": "j1", "text": "one"}\n{"_id": "j2", "text": "two"}\n', encoding="utf-8")
    with gzip.open(folder / "packed.csv.gz", "wt", encoding="utf-8") as file:
        file.write("_id,text\nz1,packed words\n")
    pq.write_table(pa.table({"_id": ["p1", "p2"], "text": ["first", "second"]}), folder / "table.parquet")
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.writestr("inner/d.txt", "from an archive")
    for name in (".hidden.txt", "node_modules/x.txt", "picture.bin"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("not a document", encoding="utf-8")
    return folder


def told(path: str | Path) -> list[tuple[object, ...]]:
    """Return what was read: ids, texts and metadata."""
    records = list(read_corpus(path))
    assert all(isinstance(record, Document) for record in records), records
    return [(one.doc_id, one.text, one.title, dict(one.metadata)) for one in records]


@pytest.mark.parametrize("path", ["notes", "notes/", "notes/deep%20er", "notes/a%231%20b.md", "notes/rows.jsonl"])
def test_a_url_is_read_as_the_folder_or_file_behind_it(store, notes, path):
    local = notes.parent / path.replace("%20", " ").replace("%23", "#")
    read = told(store.url(path))
    assert read == told(local)
    assert read
    assert count_bytes(store.url("notes/deep%20er")) == count_bytes(notes / "deep er")


def test_patterns_restrict_a_prefix(store, notes):
    assert [one[0] for one in told(store.url("notes/**/*.txt"))] == ["deep er/c.txt"]
    assert [one[0] for one in told(store.url("notes/deep%20er/[A-Z]*"))] == ["README"]
    with pytest.raises(SourceError, match=r'"s3://bucket/notes/\*.pdf" names no file'):
        told(store.url("notes/*.pdf"))


def test_the_beir_layout_is_recognized(store, notes):
    (notes / "corpus.jsonl").write_text('{"_id": "only", "text": "this"}\n', encoding="utf-8")
    with pytest.warns(UserWarning, match=r'"s3://bucket/notes" contains corpus.jsonl, which is read as the whole'):
        assert [one[0] for one in told(store.url("notes"))] == ["only"]


def test_lines_and_rows_are_streamed(store):
    rows = [{"_id": str(n), "text": random.Random(n).randbytes(500).hex()} for n in range(20_000)]  # 20 MB
    (store.folder / "big.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), store.folder / "big.parquet", row_group_size=1_000)
    for name in ("big.jsonl", "big.parquet"):
        before = store.bytes_sent
        records = read_corpus(store.url(name))
        assert next(records).text == rows[0]["text"]
        records.close() if hasattr(records, "close") else None
        assert store.bytes_sent - before < 0.4 * (store.folder / name).stat().st_size


def test_an_index_is_kept_up_to_date_with_a_prefix(store, notes, tmp_path):
    with Index.open(tmp_path / "i", create=True, encoder=WordHashEncoder(64)) as index:
        first = index.add(store.url("notes"))
        assert (first.encoded, first.bad) == (9, 0)
        assert index.roots == ["s3://bucket/notes"]
        again = index.add(store.url("notes/"))
        assert (again.encoded, again.unchanged) == (0, 9)
        (notes / "deep er" / "c.txt").write_text("bitterns boom at night", encoding="utf-8")
        (notes / "a#1 b.md").unlink()
        changed = index.add(store.url("notes"))
        assert (changed.encoded, changed.vanished_ids) == (1, ["a#1 b.md"])
        assert index.add(store.url("notes"), delete_missing=True).deleted == 1
        assert index.add(store.url("notes/rows.jsonl"), delete_missing=True).deleted == 0
        assert index.search("bitterns night")[0].doc_id == "deep er/c.txt"


def test_what_cannot_be_read_is_counted_and_kept(store, notes, tmp_path):
    with Index.open(tmp_path / "i", create=True, encoder=WordHashEncoder(64)) as index:
        index.add(store.url("notes"))
        store.broken.add("notes/deep er/c.txt")
        result = index.add(store.url("notes"), delete_missing=True)
        assert (result.bad, result.deleted, result.not_deleted) == (1, 0, 1)
        assert "cannot be read" in str(result.errors[0])
        with pytest.raises(RecordError, match=r"s3://bucket/notes/deep er/c.txt: cannot be read"):
            index.add(store.url("notes"), strict=True)


def test_secrets_are_neither_stored_nor_printed(store, notes, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEMSEARCH_LOG", "debug")
    for words in (
        ["index", store.url("notes")],
        ["status", "--index", "indexes/notes"],
        ["index", store.url("nothing")],
    ):
        more = ["--model", "hash:64"] if words[0] == "index" else []
        monkeypatch.setattr(sys, "argv", ["semsearch", *words, *more])
        with pytest.raises(SystemExit):
            cli_main()
    told = capsys.readouterr()
    assert '"s3://bucket/nothing" does not exist' in told.err
    stored = b"".join(path.read_bytes() for path in (tmp_path / "indexes").rglob("*") if path.is_file())
    assert b"s3://bucket/notes" in stored
    for secret in (SECRET, KEY):
        assert secret not in told.out + told.err
        assert secret.encode() not in stored


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("https://user:hush1234@example.org/x", UsageError, r'"https://example.org/x" is on the web.*download'),
        (
            "ftp://user:hush1234@example.org/x",
            UsageError,
            r'"ftp://example.org/x" has an unknown scheme; expected a path',
        ),
        ("s3://key:hush1234@bucket/a b", UsageError, r'"s3://bucket/a b" cannot be opened \(Cannot parse URI'),
        ("s3://bucket/a?secret=hush1234", UsageError, r'"s3://bucket/a" cannot be opened \(Unexpected query parameter'),
        ("hdfs://user:hush1234@host/x", UsageError, r'"hdfs://host/x" cannot be opened .*pyarrow has a driver for'),
        ("file://host/x", UsageError, r"names the machine 'host'; expected three slashes"),
    ],
)
def test_a_url_that_cannot_be_used_is_an_error_of_one_line_without_secrets(url, error, message):
    with pytest.raises(error, match=message) as caught:
        list(read_corpus(url))
    assert "hush1234" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_prefix_or_bucket_without_files_is_an_error(store, notes):
    with pytest.raises(
        SourceError, match=r'"s3://bucket/empty" does not exist; expected a file, or a folder or prefix'
    ):
        read_corpus(store.url("empty"))
    (notes / "node_modules" / "x.txt").rename(notes / "node_modules" / "x.bin")
    with pytest.raises(SourceError, match=r'"s3://bucket/notes/node_modules" contains no files in a supported format'):
        read_corpus(store.url("notes/node_modules"))


def test_without_pyarrow_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"s3://bucket/x\" needs pyarrow, .* pip install 'semsearch\[parquet\]'"):
        read_corpus("s3://bucket/x")


def test_a_file_url_is_the_path(tmp_path):
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "c.txt").write_text("herons", encoding="utf-8")
    assert told((tmp_path / "a b").as_uri()) == told(tmp_path / "a b")
    with Index.open(tmp_path / "i", create=True, encoder=WordHashEncoder(64)) as index:
        index.add((tmp_path / "a b").as_uri())
        assert index.roots == [os.path.realpath(tmp_path / "a b")]


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("s3://key:hush@bucket/a%20b/?region=x&scheme=http", "s3://bucket/a b"),
        ("abfs://container:hush@account.dfs.core.windows.net/x", "abfs://container@account.dfs.core.windows.net/x"),
        ("gs://anonymous@bucket", "gs://bucket"),
        ("notes/a?b", "notes/a?b"),
    ],
)
def test_a_url_is_stored_without_secrets(url, plain):
    assert without_secrets(url) == plain


def test_a_folder_of_shards_at_a_url_is_named_without_secrets():
    with pytest.raises(SemsearchError, match=r"`shards` 's3://bucket/a b' cannot be opened") as caught:
        ShardFolder("s3://key:hush1234@bucket/a b", "{}")
    assert "hush1234" not in str(caught.value)


@pytest.mark.parametrize("what", ["silent", "refused"])  # a silent one would keep pyarrow busy for 99 seconds
def test_a_store_that_does_not_answer_is_given_up(store, monkeypatch, what):
    monkeypatch.setattr(remote, "ANSWER_SECONDS", 1.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if what == "silent":
            silent.listen()
        store.port = silent.getsockname()[1]
        with pytest.raises(
            SourceError, match=r'"s3://bucket/notes" (does not answer within 1 s|cannot be read: )'
        ) as caught:
            read_corpus(store.url("notes"))
    assert SECRET not in str(caught.value)
