"""Test untrusted index folders: links, pipes, devices, triggers, paths in rows; nothing outside is read or changed."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import CountingEncoder, entry, index_corpus, open_reader, open_writer, reopen_writer, sql
from older_index import make_older_index

from semsearch import Index, WordHashEncoder
from semsearch.errors import DamagedError, NoIndexError, StoreError
from semsearch.stores.local.database import SCHEMA_VERSION
from semsearch.stores.local.guard import SCHEMAS, digest

DOCUMENTS = [{"_id": f"d{n}", "text": f"heron number{n} waits", "year": 2000 + n} for n in range(40)]
QUERY = "heron number7"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Build an index with one segment."""
    index_corpus(tmp_path / "index", DOCUMENTS, WordHashEncoder(64))
    return tmp_path / "index"


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """Create a folder of the user's and check at the end that it is unchanged."""
    outside = tmp_path / "home"
    outside.mkdir()
    (outside / "letter").write_text("years of work")
    (outside / ".bashrc").write_text("PATH=mine")
    yield outside
    assert {path.name: path.read_text() for path in outside.iterdir()} == {
        "letter": "years of work",
        ".bashrc": "PATH=mine",
    }


def with_sums(folder: Path, table: str, columns: tuple[str, ...], where: str = "TRUE", **values: Any) -> None:
    """Change rows and update their checksums, as an informed attacker would."""
    with closing(sqlite3.connect(folder / "passages.sqlite", isolation_level=None)) as connection:
        for column, value in values.items():
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (value,))
        for number, *row in connection.execute(f"SELECT rowid, {', '.join(columns)} FROM {table}").fetchall():
            parts = [value if isinstance(value, bytes) else str(value).encode() for value in row]
            crc = zlib.crc32((b" " if table == "passages" else b"\0").join(parts))
            connection.execute(f"UPDATE {table} SET checksum = ? WHERE rowid = ?", (crc, number))


DOCUMENT = ("doc_id", "metadata", "content_hash", "n_passages", "root", "file")
SEGMENT = ("first", "last", "n_rows", "vectors", "vectors_digest", "words", "words_digest", "about")
PASSAGE = ("id", "document", "ordinal", "start", "end", "n_tokens", "n_lost")


def answers(folder: Path) -> list[str]:
    """Return the best hit in each mode; an intact index returns d7."""
    with Index.open(folder, encoder=WordHashEncoder(64)) as index:
        return [index.search(QUERY, 1, mode=mode)[0].doc_id for mode in ("dense", "keyword")]


def test_the_schema_is_the_one_whose_digest_is_known(folder, tmp_path):
    with closing(sqlite3.connect(folder / "passages.sqlite")) as connection:
        assert SCHEMAS[SCHEMA_VERSION] == digest(connection)
    make_older_index(tmp_path / "older", DOCUMENTS)
    with closing(sqlite3.connect(tmp_path / "older" / "passages.sqlite")) as connection:
        assert SCHEMAS[1] == digest(connection)


FOREIGN = {
    "a trigger": "CREATE TRIGGER t AFTER UPDATE ON settings BEGIN DELETE FROM documents; END",
    "a trigger of sqlite-utils": "CREATE TRIGGER t AFTER INSERT ON _sqlite_migrations BEGIN DELETE FROM documents; END",
    "a view": "CREATE VIEW hits AS SELECT * FROM documents",
    "a table": "CREATE TABLE more (x)",
    "a table named as one of FTS5's": "CREATE TABLE keywords_more (x)",
    "a virtual table": "CREATE VIRTUAL TABLE more USING fts5(x)",
    "a generated column": "ALTER TABLE fields ADD COLUMN y TEXT AS (upper(name))",
    "a default": "ALTER TABLE fields ADD COLUMN y TEXT DEFAULT 'x'",
    "an index on an expression": "CREATE INDEX more ON documents (upper(doc_id))",
    "statistics": "ANALYZE",
    "a lost index": "DROP INDEX idx_passages_document_ordinal",
}


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_database_that_brings_code_or_tables_of_its_own_is_refused(folder, tmp_path, foreign, older):
    if older:  # an older index would be upgraded by statements that fire triggers
        shutil.rmtree(folder)
        make_older_index(folder, DOCUMENTS)
    sql(folder, FOREIGN[foreign])
    for opener in (open_reader, open_writer):
        with pytest.raises(DamagedError, match="its tables are not the ones that semsearch creates; delete its folder"):
            opener(folder)


def test_a_view_in_the_place_of_a_table_is_refused(folder):
    sql(folder, "ALTER TABLE fields RENAME TO other", "CREATE VIEW fields AS SELECT doc_id AS name FROM documents")
    with pytest.raises(DamagedError, match="its tables are not the ones"):
        open_reader(folder)


def plant(path: Path, what: str, outside: Path) -> None:
    """Replace a file with something that leads elsewhere."""
    path.unlink(missing_ok=True)
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to({"link": outside / ".bashrc", "device": "/dev/zero", "dangling": outside / "new"}[what])


PLANTED = ["link", "pipe", "device", "dangling"]


@pytest.mark.parametrize("what", PLANTED)
@pytest.mark.parametrize("name", ["passages.sqlite", "passages.sqlite-wal", "passages.sqlite-shm", "writer.lock"])
def test_what_is_planted_in_the_place_of_a_file_is_one_line(folder, outside, name, what):
    plant(folder / name, what, outside)
    with pytest.raises(StoreError, match=r"is a link|contains other files") as caught:
        index_corpus(folder, [{"_id": "n", "text": "new"}], WordHashEncoder(64))
    assert "\n" not in str(caught.value)
    if name != "writer.lock":
        with pytest.raises(StoreError, match=r"is a link"):
            open_reader(folder)


@pytest.mark.parametrize("what", [*PLANTED, "folder"])
@pytest.mark.parametrize("name", ["vectors.000001.seg", "writer.holder"])
def test_what_is_planted_where_a_file_can_be_made_again_is_no_hindrance(folder, outside, name, what):
    plant(folder / name, what, outside)
    if (name, what) != ("writer.holder", "folder"):  # a file cannot replace a folder
        assert answers(folder) == ["d7", "d7"]
        report = index_corpus(folder, [*DOCUMENTS, {"_id": "n", "text": "new"}], WordHashEncoder(64))
        assert (report.encoded, report.unchanged) == (1, 40)
        assert not (folder / "writer.holder").exists()
    assert answers(folder) == ["d7", "d7"]


def test_the_name_of_a_temporary_file_cannot_be_foreseen(folder, outside):
    (folder / "vectors.000001.seg").unlink()
    for name in ("vectors.000002.seg.tmp", "writer.holder.tmp", "passages.sqlite.new"):
        (folder / name).symlink_to(outside / "letter")
    with reopen_writer(folder) as writer:
        writer.seal(final=True)
    assert stat.S_ISREG((folder / "vectors.000002.seg").lstat().st_mode)
    assert answers(folder) == ["d7", "d7"]


def test_a_journal_that_names_a_file_to_be_deleted_is_not_played(folder, outside):
    """SQLite deletes the super-journal that a journal names: see sqlite.org/fileformat.html, section 3."""
    (folder / "passages.sqlite-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(1000))
    with pytest.raises(DamagedError, match=r"it contains passages.sqlite-journal, which an index never has"):
        open_reader(folder)


@pytest.mark.parametrize("where", ["index", "index/passages.sqlite"])
@pytest.mark.parametrize("what", PLANTED)
def test_a_pipe_or_a_device_as_the_index_itself_is_refused(tmp_path, outside, where, what):
    (tmp_path / "index").mkdir() if "/" in where else None
    plant(tmp_path / where, what, outside)
    with pytest.raises(NoIndexError):
        open_reader(tmp_path / "index")
    if what != "dangling":
        with pytest.raises(NoIndexError):
            open_writer(tmp_path / "index")


PATHS = [
    "../home/letter",
    "/dev/zero",
    "vectors.000001.seg/../../home/letter",
    "..",
    "",
    "a\0b",
    "vectors.1.seg",
    "\\x",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_in_a_record_leads_nowhere(folder, outside, path):
    with_sums(folder, "segments", SEGMENT, vectors=path, words=path, vectors_digest=0)
    assert answers(folder) == ["d7", "d7"]
    with reopen_writer(folder) as writer:
        writer.delete([f"d{n}" for n in range(20, 40)])  # half of the rows, so that the segment is rewritten
        writer.seal(final=True)
    assert answers(folder) == ["d7", "d7"]


RECORDS: list[dict[str, Any]] = [
    {"n_rows": 2**62},
    {"n_rows": 0},
    {"n_rows": "many"},
    {"first": -5},
    {"first": 30, "last": 3},
    {"last": 10**15},
    {"last": 20},
    {"last": 9.5},
    {"vectors": b"\xff"},
    {"vectors_digest": b"\0"},
    {"vectors_digest": 7},
    {"words": "vectors.000001.seg"},
    {"words": "../words.000001.seg"},
    {"words_digest": 7},
    {"about": "{"},
    {"about": "[]"},
    {"about": '{"factory": 7}'},
    {"about": '{"factory": "HNSW32,SQ8", "curve": [[16, 1.0, 0.1]]}'},
    {"about": '{"factory": "Flat", "bytes": "many"}'},
]


@pytest.mark.parametrize("record", RECORDS, ids=str)
@pytest.mark.parametrize("summed", [False, True])
def test_damaged_records_of_segments_cost_no_answer(folder, record, summed):
    if summed:
        with_sums(folder, "segments", SEGMENT, **record)
    else:
        for column, value in record.items():
            shown = f"x'{value.hex()}'" if isinstance(value, bytes) else repr(value)
            sql(folder, f"UPDATE segments SET {column} = {shown}")
    assert answers(folder) == ["d7", "d7"]
    with reopen_writer(folder) as writer:
        writer.seal(final=True)
    assert len(list(folder.glob("vectors.*"))) == 1
    assert answers(folder) == ["d7", "d7"]


@pytest.mark.parametrize("noted", [8, 99])
def test_a_passage_that_is_wrongly_noted_as_deleted_is_found(folder, noted, caplog):
    sql(folder, f"INSERT INTO deleted VALUES ({noted})")
    assert answers(folder) == ["d7", "d7"]
    with reopen_writer(folder) as writer:
        writer.seal(final=True)
    caplog.clear()
    assert answers(folder) == ["d7", "d7"]
    assert "do not hold" not in caplog.text


SETTINGS: dict[str, list[object]] = {
    "encoder": [
        None,
        [],
        7,
        {},
        {"model": 1},
        {"dim": 0},
        {"dim": 10**15},
        {"dim": "64"},
        {"dim": True},
        {"layers": 5},
        {"layers": ["x"]},
        {"max_tokens": -1},
        {"precision": "int8:../../home"},
        {"precision": "int8:" + "g" * 64},
        {"normalize": "yes"},
        {"transform": None},
        {"more": 1},
    ],
    "chunking": [None, [], "chunk", {"tokens": "many"}, {"on_long": []}, {"more": 1}],
    "store_precision": [None, [], 7, "int4", "FLOAT32"],
    "origin": [7, None],
    "revision": ["x", 1.5, None],
    "roots": [
        *(None, {}, [5], [{"name": ""}]),
        *([{"name": "", "path": path}] for path in ("\0", "docs", "", 7)),
        *([{"name": name, "path": "/docs"}] for name in ("../a", "a\0", None)),
        [{"name": "a", "path": "/a"}, {"name": "a", "path": "/b"}],
    ],
}


EACH_SETTING = [(key, value) for key, values in SETTINGS.items() for value in values]


def ask(folder: Path) -> None:
    with Index.open(folder, encoder=WordHashEncoder(64)) as index:
        index.search(QUERY, 1)
        _ = index.chunking, index.roots


@pytest.mark.parametrize(("key", "value"), EACH_SETTING, ids=str)
def test_a_setting_that_makes_no_sense_is_one_line_that_says_damaged(folder, key, value):
    with closing(sqlite3.connect(folder / "passages.sqlite", isolation_level=None)) as connection:
        if isinstance(value, dict) and value:
            (stored,) = connection.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
            value = json.loads(stored) | value
    with_sums(folder, "settings", ("key", "value"), f"key = '{key}'", value=json.dumps(value))
    with pytest.raises(DamagedError, match=rf"is damaged: its setting.* {key}|is damaged: its settings|'{key}'"):
        ask(folder)


def test_a_damaged_document_can_be_deleted(folder):
    sql(folder, "UPDATE documents SET text = replace(text, 'heron', 'horen') WHERE doc_id = 'd3'")
    with Index.open(folder, encoder=WordHashEncoder(64)) as index:
        assert index.delete(["d3"]) == ["d3"]
        found = [hit.doc_id for mode in ("keyword", "dense") for hit in index.search("heron", 100, mode=mode)]
    assert sorted(found) == sorted(2 * [document["_id"] for document in DOCUMENTS if document["_id"] != "d3"])


def test_a_passage_with_a_number_beyond_reason_takes_no_memory(folder):
    with_sums(folder, "passages", PASSAGE, "id = 9", id=40_000_000_000)
    tracemalloc.start()
    with Index.open(folder, encoder=WordHashEncoder(64)) as index:
        for mode in ("keyword", "dense", "hybrid"):
            with suppress(DamagedError):
                index.search(QUERY, 3, mode=mode, where="title is null or not title is null")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "9" * 10_000, "", "NaN"])
def test_a_setting_that_is_no_json_is_one_line(folder, text):
    with_sums(folder, "settings", ("key", "value"), "key = 'encoder'", value=text)
    with pytest.raises(DamagedError, match="encoder"):
        open_reader(folder)


@pytest.mark.parametrize("column", ["doc_id", "title", "text", "metadata", "content_hash", "checksum"])
def test_a_document_that_is_not_what_was_written_is_named_and_made_anew(folder, column):
    sql(folder, f"UPDATE documents SET {column} = {column} || 'x' WHERE doc_id = 'd7'")
    with Index.open(folder, encoder=WordHashEncoder(64)) as index:
        with pytest.raises(DamagedError, match=r"document 'd7x?' does not match its checksum; index the same corpus"):
            index.search(QUERY, 1)
    encoder = CountingEncoder()
    report = index_corpus(folder, DOCUMENTS, encoder, delete_missing=True)
    assert (report.encoded, encoder.passages) == (1, ["heron number7 waits"])
    assert answers(folder) == ["d7", "d7"]
    assert index_corpus(folder, DOCUMENTS, encoder).unchanged == 40
    with Index.open(folder, encoder=WordHashEncoder(64)) as index:
        assert len(index.search("heron", 99, mode="keyword")) == 40


@pytest.mark.parametrize("column", ["document", "ordinal", "start", "end", "n_tokens", "n_lost", "checksum"])
def test_a_passage_that_is_not_what_was_written_is_named_and_made_anew(folder, column):
    sql(folder, f"UPDATE passages SET {column} = {column} + 50 WHERE id = 8")
    with pytest.raises(DamagedError, match=r"passage 8 does not match its checksum|lead to no document"):
        answers(folder)
    index_corpus(folder, DOCUMENTS, WordHashEncoder(64))
    assert answers(folder) == ["d7", "d7"]


@pytest.mark.parametrize("vector", ["x'00'", "zeroblob(256)", "'text'", "7", "swapped"])
@pytest.mark.parametrize("lost", [False, True])
def test_a_vector_that_is_not_what_was_written_is_named_and_made_anew(folder, vector, lost):
    if vector == "swapped":
        vector = "(SELECT vector FROM vectors WHERE passage = 3)"
    sql(folder, f"UPDATE vectors SET vector = {vector} WHERE passage = 8")
    if not lost:
        assert answers(folder) == ["d7", "d7"]  # the vector is read from the segment
    else:
        (folder / "vectors.000001.seg").unlink()
        with pytest.raises(DamagedError, match=r"1 vectors are corrupt, including those of 'd7'.* index the same"):
            answers(folder)
    encoder = CountingEncoder()
    index_corpus(folder, DOCUMENTS, encoder)
    assert encoder.passages == ["heron number7 waits"]
    (folder / "vectors.000001.seg").unlink(missing_ok=True)
    assert answers(folder) == ["d7", "d7"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_named_even_with_the_right_checksum(folder, value):
    (folder / "vectors.000001.seg").unlink()
    blob = np.full(64, value, "<f4").tobytes()
    with_sums(folder, "vectors", ("passage", "vector"), "passage = 8", vector=blob)
    with pytest.raises(DamagedError, match=r"1 vectors are corrupt, including those of 'd7'"):
        answers(folder)


def test_a_lost_vector_or_passage_is_seen(folder):
    (folder / "vectors.000001.seg").unlink()
    sql(folder, "DELETE FROM vectors WHERE passage = 8")
    with pytest.raises(DamagedError, match="there are 39 vectors for 40 passages"):
        answers(folder)


@pytest.mark.parametrize("metadata", ["[1]", "{", "NaN", '{"a": NaN}', "[" * 100_000])
def test_metadata_that_are_no_object_are_one_line(folder, metadata):
    with_sums(folder, "documents", DOCUMENT, "doc_id = 'd7'", metadata=metadata)
    with pytest.raises(DamagedError, match="the metadata of 'd7' is not an object"):
        answers(folder)


def test_a_transform_that_is_not_what_was_fitted_is_one_line_until_it_is_fitted_again(tmp_path):
    rows = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    with open_writer(tmp_path, transform="center") as writer:
        writer.commit(entry(f"d{n}", row[None]) for n, row in enumerate(rows))
        writer.fit()
        writer.seal(final=True)
    for change in ("mean = x'00'", "matrix = zeroblob(64)", "name = 'whiten'", "matrix = 7", "checksum = NULL"):
        sql(tmp_path, f"UPDATE transform SET {change}")
        with open_reader(tmp_path) as reader, pytest.raises(DamagedError, match="its fitted transform is corrupt"):
            reader.search_vectors(rows[:1], 3, None)
        with reopen_writer(tmp_path) as writer:
            assert writer.fit(again=True)
            writer.seal(final=True)
        with open_reader(tmp_path) as reader:
            assert reader.search_vectors(rows[:1], 1, None)[1].tolist() == [[1]]


@pytest.mark.parametrize("model", ["\\\\host\\share\\model", "//host/share/model"])
def test_a_model_on_another_machine_is_not_asked_for(folder, model):
    with closing(sqlite3.connect(folder / "passages.sqlite")) as connection:
        (stored,) = connection.execute("SELECT value FROM settings WHERE key = 'encoder'").fetchone()
    value = json.dumps(json.loads(stored) | {"model": model})
    with_sums(folder, "settings", ("key", "value"), "key = 'encoder'", value=value)
    with Index.open(folder) as index, pytest.raises(StoreError.__base__, match="names a model on another machine"):
        index.search(QUERY)
