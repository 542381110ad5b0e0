"""Test opening an index, refusing to open one, and its tables, as read with sqlite3."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from fakes import CountingEncoder, entry, index_spec, open_reader, open_writer, reopen_writer, write_to
from forking import told
from older_index import make_older_index

from semsearch import Index
from semsearch.corpus.chunking import Chunking
from semsearch.errors import (
    DamagedError,
    DiskFullError,
    LockedError,
    MismatchError,
    NoIndexError,
    SchemaError,
    StoreError,
)
from semsearch.stores.base import refuse_other_encoder
from semsearch.stores.local import database
from semsearch.stores.local.database import APPLICATION_ID, SCHEMA_VERSION, connect, transaction, translated_errors
from semsearch.stores.local.lock import hold_lock
from semsearch.stores.local.schema import migrate
from semsearch.stores.local.store import LocalStore

OPENERS = {"reader": open_reader, "writer": open_writer, "reopened": reopen_writer}


@pytest.fixture
def folder(tmp_path) -> Path:
    """Build an index of 200 documents that takes a few hundred kilobytes."""
    folder = tmp_path / "index"
    with open_writer(folder) as writer:
        writer.commit(entry(f"d{number}", [[1, 0, 0, 0]], f"word{number} " * 200) for number in range(200))
        writer.seal(final=True)
    return folder


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return the modification time and bytes of every file in a folder, ignoring -shm files and empty logs."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm")]
    parts = {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
    return {name: part for name, part in parts.items() if part[1] or not name.endswith("-wal")}


def execute(folder: Path, *statements: str) -> None:
    connection = sqlite3.connect(folder / "passages.sqlite", isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def foreign_database(folder: Path) -> None:
    execute(folder, "CREATE TABLE notes (text)")


WRONG = {
    "a foreign database": (foreign_database, "not a semsearch index"),
    "a text file": (lambda folder: (folder / "passages.sqlite").write_text("hello " * 999), "not a semsearch index"),
    "an empty database": (lambda folder: (folder / "passages.sqlite").touch(), "not a semsearch index"),
    "a folder of that name": (lambda folder: (folder / "passages.sqlite").mkdir(), "no index|other files"),
}


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_index_is_refused_and_left_as_it_was(tmp_path, wrong, opener):
    make, message = WRONG[wrong]
    make(tmp_path)
    (tmp_path / "thesis.txt").write_text("years of work")
    before = content(tmp_path)
    with pytest.raises(NoIndexError, match=message):
        OPENERS[opener](tmp_path)
    assert content(tmp_path) == before


@pytest.mark.parametrize("opener", ["reader", "reopened"])
@pytest.mark.parametrize("where", ["missing", "empty", "missing/deeper", "file.txt", "file.txt/below"])
def test_where_nothing_is_a_reader_says_how_to_make_an_index(tmp_path, where, opener):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(NoIndexError, match=r"no index in .* create one with: semsearch index CORPUS"):
        OPENERS[opener](tmp_path / where)
    assert sorted(os.listdir(tmp_path)) == ["empty", "file.txt"]
    assert not LocalStore(tmp_path / where).exists()


@pytest.mark.parametrize("where", ["file.txt", "file.txt/below"])
def test_a_writer_refuses_a_file_in_place_of_a_folder(tmp_path, where):
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(NoIndexError, match="is a file or inside one; pass a folder"):
        open_writer(tmp_path / where)
    assert (tmp_path / "file.txt").read_text() == "x"


def test_a_folder_with_other_files_is_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    before = content(tmp_path)
    with pytest.raises(NoIndexError, match=r"contains other files \(thesis.txt"):
        open_writer(tmp_path)
    assert content(tmp_path) == before


@pytest.mark.parametrize("opener", OPENERS)
def test_a_newer_schema_is_refused(folder, opener):
    execute(folder, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = content(folder)
    with pytest.raises(SchemaError, match=rf"\(schema {SCHEMA_VERSION + 1}, at most {SCHEMA_VERSION} here\)"):
        OPENERS[opener](folder)
    assert content(folder) == before


@pytest.mark.parametrize("share", [0.002, 0.01, 0.3, 0.9])
@pytest.mark.parametrize("opener", OPENERS)
def test_a_truncated_database_is_one_clear_error(folder, share, opener):
    database = folder / "passages.sqlite"
    os.truncate(database, int(share * database.stat().st_size))
    before = content(folder)
    with pytest.raises(StoreError, match=r"damaged|not a semsearch index"):
        OPENERS[opener](folder)
    assert content(folder) == before


def test_a_page_of_noise_is_one_clear_error(folder):
    database = folder / "passages.sqlite"
    noise = np.random.default_rng(0).bytes(4096)
    with database.open("r+b") as file:
        for page in range(1, database.stat().st_size // 4096):
            file.seek(4096 * page)
            file.write(noise)
    with pytest.raises(StoreError, match="damaged"):
        open_reader(folder)


def test_a_lost_setting_is_one_clear_error(folder):
    execute(folder, "DELETE FROM settings WHERE key = 'encoder'")
    with pytest.raises(StoreError, match="its setting 'encoder' is missing"):
        open_reader(folder)


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"pooler": "cls"}, "pooler mean, not cls"),
        ({"dim": 8}, "dim 4, not 8"),
        ({"weights": "v" * 64}, "weights wwwwwwwwwwww…, not vvvvvvvvvvvv…"),
        ({"query_prefix": "query: "}, "query_prefix none, not query: "),
        ({"pooler": "max", "layers": (1, 2)}, r"pooler mean, not max; layers \[6\], not \[1, 2\]"),
    ],
)
def test_another_encoder_is_refused_with_what_differs(folder, wishes, message):
    before = content(folder)
    with pytest.raises(MismatchError, match=f"was built with another encoder: it has {message}"):
        open_writer(folder, **wishes)
    assert content(folder) == before
    with open_reader(folder) as index, pytest.raises(MismatchError, match=message):
        refuse_other_encoder(str(folder), index.spec, index_spec(**wishes))
    open_writer(folder, model="the same under another name").__exit__()


def test_other_chunking_is_refused_with_what_differs(folder):
    other = Chunking(tokens=64, title=False).to_json()
    with pytest.raises(MismatchError, match="chunking settings: it has tokens None, not 64; title True, not False"):
        write_to(folder, index_spec(), other, "test")
    open_writer(folder).__exit__()  # the rejected writer holds no lock


@pytest.mark.parametrize("leftover", ["nothing", "noise", "a database"])
def test_a_half_made_database_is_no_obstacle(tmp_path, leftover):
    new = tmp_path / "passages.sqlite.new"
    if leftover == "noise":
        new.write_bytes(b"\0" * 5000)
    if leftover == "a database":
        sqlite3.connect(new).executescript("PRAGMA journal_mode = WAL; CREATE TABLE settings (x)").connection.close()
    Path(f"{new}-wal").write_bytes(b"noise")
    Path(f"{new}-shm").touch()
    with open_writer(tmp_path) as writer:
        writer.commit([entry("a", [[1, 0, 0, 0]])])
    assert sorted(os.listdir(tmp_path)) == ["passages.sqlite", "writer.lock"]
    with open_reader(tmp_path) as index:
        assert index.counts()["documents"] == 1


@pytest.mark.parametrize("name", ["a b", "what?mode=rw", "50%25", "#1", "grüße 北京", "a'b\"c"])
def test_a_folder_may_have_any_name(tmp_path, name):
    with open_writer(tmp_path / name) as writer:
        writer.commit([entry("a", [[1, 0, 0, 0]])])
    assert os.listdir(tmp_path) == [name]
    with open_reader(tmp_path / name) as index:
        assert index.counts()["documents"] == 1


FORKED = """
from pathlib import Path
from semsearch.stores.local.store import LocalStore

def opened():
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(str(link.readlink()).endswith("passages.sqlite") for link in links if link.is_symlink())

store = LocalStore(sys.argv[1])
documents = store.counts()["documents"]
in_child(lambda: (opened(), store.counts()["documents"] == documents, opened()))
with store.write(store.spec, store.chunking) as writer:
    in_child(writer.unseen)
print(store.counts()["documents"] == documents)
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="lists open files as Linux does")
def test_a_forked_child_opens_the_database_anew_and_leaves_writing_to_its_parent(folder):
    """SQLite requires that no connection be carried across a fork (sqlite.org/howtocorrupt.html, section 2.6)."""
    reading, writing, parent = told(FORKED, folder)
    assert reading == "(1, True, 2)"
    assert writing.startswith("StoreError: the index was opened for writing before this process was forked")
    assert parent == "True"


def test_the_last_to_leave_takes_the_log_along(folder):
    with open_reader(folder) as reader, open_reader(folder) as other:
        other.counts()
        with reopen_writer(folder) as writer:
            writer.commit([entry("last", [[1, 0, 0, 0]])])
        reader.close()
        assert "passages.sqlite-wal" in os.listdir(folder)  # the other reader may still need it
        assert other.counts()["documents"] == 201
    assert not [name for name in os.listdir(folder) if name.endswith(("-wal", "-shm"))]


def test_the_file_says_what_it_is(folder):
    connection = sqlite3.connect(folder / "passages.sqlite")
    header = (folder / "passages.sqlite").read_bytes()[:100]
    assert int.from_bytes(header[68:72]) == APPLICATION_ID == int.from_bytes(b"Sems")
    assert int.from_bytes(header[60:64]) == SCHEMA_VERSION
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    before = connection.execute("SELECT * FROM sqlite_master").fetchall()
    migrate(connection)  # a migration is applied only once
    assert connection.execute("SELECT * FROM sqlite_master").fetchall() == before
    connection.close()


def test_a_reader_cannot_write(folder):
    connection = connect(folder / "passages.sqlite")
    with pytest.raises(StoreError, match="readonly"), transaction(connection):
        connection.execute("DELETE FROM documents")
    connection.close()


def test_a_transaction_with_an_error_changes_nothing(folder):
    connection = connect(folder / "passages.sqlite", write=True)
    statements = ["DELETE FROM documents", "DELETE FROM missing"]
    with pytest.raises(StoreError, match="no such table"), transaction(connection):
        list(map(connection.execute, statements))
    assert connection.execute("SELECT count(*) FROM documents").fetchone() == (200,)
    with transaction(connection):
        connection.execute("DELETE FROM documents")
    assert connection.execute("SELECT count(*) FROM vectors").fetchone() == (0,)  # foreign keys are enforced
    connection.close()


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, DiskFullError), (errno.EDQUOT, DiskFullError), (errno.EROFS, StoreError)]
)
def test_errors_of_the_disk_become_ours(number, kind):
    with pytest.raises(kind, match=os.strerror(number)), translated_errors():
        raise OSError(number, os.strerror(number), "index/file")
    with pytest.raises(BrokenPipeError), translated_errors():
        raise BrokenPipeError(errno.EPIPE, "not the index's business")


CODES = [
    ("SQLITE_FULL", DiskFullError, "free some space"),
    ("SQLITE_IOERR_WRITE", StoreError, "a failing disk, a quota, or a file size limit"),
    ("SQLITE_IOERR_FSYNC", StoreError, r"SQLITE_IOERR_FSYNC\); committed batches are kept; check the disk"),
    ("SQLITE_IOERR_READ", StoreError, "check the disk"),
    ("SQLITE_IOERR_SHORT_READ", StoreError, "check the disk"),
    ("SQLITE_CORRUPT_VTAB", DamagedError, "is damaged.*delete its folder"),
    ("SQLITE_CONSTRAINT_UNIQUE", DamagedError, "is damaged"),
]


@pytest.mark.parametrize(("name", "kind", "words"), CODES)
def test_a_failing_disk_is_not_a_full_one_and_damage_is_neither(name, kind, words):
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode, error.sqlite_errorname = getattr(sqlite3, name), name
    with pytest.raises(kind, match=words) as caught, translated_errors():
        raise error
    assert type(caught.value) is kind


def test_a_failing_disk_is_one_line_where_python_meets_it_too():
    with pytest.raises(StoreError, match="Input/output error: 'index/file'") as caught, translated_errors():
        raise OSError(errno.EIO, os.strerror(errno.EIO), "index/file")
    assert type(caught.value) is StoreError


READ = """
import sys, numpy
from semsearch.stores.local.store import LocalStore
from semsearch.errors import StoreError
with LocalStore(sys.argv[1]) as index:
    for _ in sys.stdin:
        found = index.search_vectors(numpy.eye(4, dtype="f4"), 300, None)[1][0]
        print(index.counts()["documents"], sum(found != -1), flush=True)
    try:
        with index.write(index.spec, index.chunking):
            pass
    except StoreError as error:
        print(type(error).__name__, error)
"""


@pytest.fixture
def bystander(folder):
    """Start a process without write access to the folder that opens the index and searches once per input line."""
    command = [sys.executable, "-c", READ, str(folder)]
    if not hasattr(os, "geteuid"):
        pytest.skip("folders have no POSIX permissions here")
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root may write everywhere, and there is no setpriv to give that up")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--", *command]
    folder.chmod(0o555)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()
    folder.chmod(0o755)


def ask(process: subprocess.Popen[str]) -> str:
    process.stdin.write("search\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_readers_of_a_read_only_folder_search_and_writers_are_refused(folder, bystander):
    assert ask(bystander) == "200 200"
    output, _ = bystander.communicate(timeout=60)
    assert output.startswith("StoreError cannot use the index: Permission denied")
    assert sorted(os.listdir(folder)) == ["passages.sqlite", "vectors.000001.seg", "words.000001.seg", "writer.lock"]


def test_a_reader_of_a_read_only_folder_sees_what_its_owner_writes(folder, bystander):
    if os.geteuid() != 0:
        pytest.skip("needs root, who may write to the folder all the same")
    assert ask(bystander) == "200 200"
    with open_writer(folder) as writer:
        writer.commit([entry("new", [[1, 0, 0, 0]])])
        assert ask(bystander) == "201 201"
        writer.delete(["d1", "d2"])
        assert ask(bystander) == "199 199"
    assert ask(bystander) == "199 199"
    with open_writer(folder) as writer:
        writer.commit([entry("newer", [[1, 0, 0, 0]])])
        writer.seal(final=True)
    assert ask(bystander) == "200 200"


OLDER = [{"_id": f"d{n}", "title": "Bird", "text": f"heron number{n}", "year": 2000 + n} for n in range(9)]


@pytest.mark.parametrize("write", [False, True])
def test_an_older_index_is_brought_up_to_date_when_it_is_opened(tmp_path, write):
    folder = make_older_index(tmp_path / "index", OLDER)
    encoder = CountingEncoder()
    with Index.open(folder, encoder=encoder) as index:
        if write:
            report = index.add(OLDER)
            assert (report.unchanged, encoder.passages) == (9, [])
            assert [path.name for path in folder.glob("vectors.*")] == ["vectors.000001.seg"]
        for mode in ("dense", "keyword"):
            (hit,) = index.search("number4", 1, mode=mode)
            assert (hit.doc_id, hit.text, hit.metadata) == ("d4", "heron number4", {"year": 2004})
        assert index.search("number4", 1, mode="dense")[0].score == pytest.approx(1 / 3**0.5)  # 1 word of 3 matches
        assert len(index.search("heron", 20, where="year >= 2005")) == 4
    with closing(sqlite3.connect(folder / "passages.sqlite")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        ours = connection.execute("SELECT checksum FROM vectors WHERE passage = 5").fetchone()
        blob = connection.execute("SELECT vector FROM vectors WHERE passage = 5").fetchone()[0]
        assert ours == (zlib.crc32(b"5\0" + blob),)


READ_AND_CLOSE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT doc_id FROM documents").fetchall())
connection.close()
"""


def test_opening_an_index_again_leaves_its_writer_the_locks(tmp_path):
    """A process that closes a file loses its locks on it; the next one to close it would delete the writer's log."""
    folder = tmp_path / "index"
    with open_writer(folder) as writer:
        writer.commit([entry("a", [[1, 0, 0, 0]], "kept")])
        with open_reader(folder):
            pass
        words = [sys.executable, "-c", READ_AND_CLOSE, str(folder / "passages.sqlite")]
        assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "[('a',)]\n"
        assert (folder / "passages.sqlite-wal").exists()


def test_an_upgrade_that_is_interrupted_leaves_the_older_index(tmp_path, monkeypatch):
    folder, migrate = make_older_index(tmp_path / "index", OLDER), database._migrate

    def interrupted(connection):
        migrate(connection)
        raise KeyboardInterrupt

    monkeypatch.setattr(database, "_migrate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_reader(folder)
    with closing(sqlite3.connect(folder / "passages.sqlite")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    monkeypatch.undo()
    with Index.open(folder, encoder=CountingEncoder()) as index:
        assert index.search("number4", 1, mode="keyword")[0].doc_id == "d4"


def test_an_older_index_waits_for_its_writer(tmp_path):
    folder = make_older_index(tmp_path / "index", OLDER)
    with hold_lock(folder):
        with pytest.raises(
            LockedError, match=r"has an older schema and cannot be upgraded now: .* is being written by process"
        ):
            open_reader(folder)


def test_an_older_index_that_cannot_be_written_says_what_to_do(tmp_path, monkeypatch):
    folder = make_older_index(tmp_path / "index", OLDER)
    before = content(folder)
    monkeypatch.setattr(database.os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(SchemaError, match=r"older semsearch \(schema 1, now .*copy the folder to a location that"):
        open_reader(folder)
    assert content(folder) == before


def test_two_indexes_have_two_identities_and_an_older_one_gets_one(tmp_path):
    identities = set()
    for name in ("a", "b"):
        open_writer(tmp_path / name).__exit__()
        make_older_index(tmp_path / f"older {name}", OLDER)
        for folder in (tmp_path / name, tmp_path / f"older {name}"):
            with open_reader(folder) as reader:
                identities.add(reader._open().about().identity)
    assert len(identities) == 4
    assert {len(identity) for identity in identities} == {32}
