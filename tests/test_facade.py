"""Test the facade: the README's code with real and fake stores, one encoder for many threads, forks, wrong types."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from forking import told
from memory_store import MemoryStore

from semsearch import Document, Encoder, Hit, Index, WordHashEncoder
from semsearch.encoder import load
from semsearch.errors import FilterError, LockedError, MismatchError, NoIndexError, UsageError
from semsearch.stores.local.store import LocalStore

BIRDS: list[dict[str, Any]] = [
    {"_id": "1", "text": "The heron waits in the reeds.", "year": 2021},
    {"_id": "2", "text": "Bread needs an hour to rise.", "year": 2019},
]


@pytest.fixture(params=["folder", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return tmp_path / "birds" if request.param == "folder" else MemoryStore()


def opened(place: Any, **wishes: Any) -> Index:
    return Index.open(place, **{"create": True, "encoder": WordHashEncoder(512), **wishes})


@pytest.mark.parametrize("where", ["year >= 2020", {"year": {">=": 2020}}, None])
def test_documents_are_added_found_replaced_and_deleted(place: Any, where: Any):
    with opened(place) as index:
        assert (len(index), index.search("heron")) == (0, [])
        result = index.add(BIRDS)
        assert (result.encoded, len(index)) == (2, 2)
        for mode in ("dense", "keyword", "hybrid"):
            hit = index.search("a heron", k=3, mode=mode, where=where)[0]
            assert isinstance(hit, Hit)
            assert (hit.doc_id, hit.text) == ("1", BIRDS[0]["text"])
        assert index.add({**BIRDS[0], "text": "A kingfisher dives."}).encoded == 1
        assert index.search("heron", mode="keyword") == []
        assert [hit.doc_id for hit in index.search("kingfisher", mode="keyword")] == ["1"]
        assert index.add(Document("3", "An owl.")).encoded == 1
        assert index.delete(["1", "nobody"]) == ["1"]
        assert len(index) == 2


def test_files_are_added_like_documents(place: Any, tmp_path: Path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("The heron waits.")
    (tmp_path / "b.jsonl").write_text(json.dumps(BIRDS[1]))
    with opened(place) as index:
        assert index.add([tmp_path / "notes", str(tmp_path / "b.jsonl")]).documents == 2
        assert index.search("heron", 1)[0].doc_id == "a.txt"
        assert index.origin == str(tmp_path / "notes")


def test_documents_are_selected_and_their_fields_named(place: Any):
    with opened(place) as index:
        assert (index.select(), index.fields()) == ([], [])
        index.add([{"_id": "b", "text": "heron", "year": 2021}, {"_id": "a", "text": "bread", "lang": "en"}])
        assert index.select() == ["b", "a"]
        assert index.select({"lang": "en"}) == index.select("year is null") == ["a"]
        assert index.fields() == ["lang", "year"]
        with pytest.raises(FilterError, match="yaer"):
            index.select("yaer = 1")


def test_the_index_keeps_its_encoder_and_its_chunking(tmp_path: Path):
    with Index.open(tmp_path / "i", create=True, model="hash:32", max_tokens=20) as index:
        index.add(BIRDS)
    with Index.open(tmp_path / "i") as index:
        assert (index.spec.dim, index.spec.max_tokens, index.encoder.spec) == (32, 20, index.spec)
    with pytest.raises(MismatchError, match="max_tokens 20, not 64"):
        Index.open(tmp_path / "i", max_tokens=64)
    with pytest.raises(MismatchError, match="dim 32, not 16"):
        Index.open(tmp_path / "i", encoder=WordHashEncoder(16, 20))
    with pytest.raises(MismatchError, match="max_tokens 20, not 0"):  # 0 is not the same as None
        Index.open(tmp_path / "i", max_tokens=0)
    with Index.open(tmp_path / "i", model="hash:16") as index, pytest.raises(MismatchError, match="dim 32, not 16"):
        index.search("heron")


def test_many_first_searches_load_the_encoder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with Index.open(tmp_path / "i", create=True, model="hash:32") as index:
        index.add(BIRDS)
    loaded, real, gate = [], load.load_encoder, threading.Barrier(4)

    def slow(*wishes: Any) -> Any:
        loaded.append(1)
        return real(*wishes)

    monkeypatch.setattr(load, "load_encoder", slow)

    def ask(_: int) -> str:
        gate.wait(10)
        return index.search("heron", 1)[0].doc_id

    with Index.open(tmp_path / "i") as index, ThreadPoolExecutor(4) as pool:
        assert [*pool.map(ask, range(4))] == ["1"] * 4
    assert loaded == [1]


def test_threads_add_and_search_at_once(tmp_path: Path):
    with opened(tmp_path / "i") as index, ThreadPoolExecutor(4) as pool:
        index.add(BIRDS)
        adding = [pool.submit(index.add, {"_id": f"n{n}", "text": f"note number{n}"}) for n in range(20)]
        found = [pool.submit(index.search, "heron", 1, mode=mode) for mode in ("dense", "keyword", "hybrid") * 8]
        assert {one.result()[0].doc_id for one in found} == {"1"}
        assert all(one.result().encoded == 1 for one in adding)
        assert len(index) == 22
        assert index.search("number7", 1)[0].doc_id == "n7"


FORKING = """
from semsearch import Index, WordHashEncoder

folder = sys.argv[1]
index = Index.open(folder, create=True, encoder=WordHashEncoder(512))
index.add([{"_id": str(n), "text": f"word{n} heron " * 30} for n in range(2_000)])
parent = [hits[0].doc_id for hits in index.search_many([f"word{n}" for n in range(64)], 1)]

def child():
    found = [hits[0].doc_id for hits in index.search_many([f"word{n}" for n in range(64)], 1)]
    index.add([{"_id": f"new{n}", "text": f"newcomer{n} " * 400} for n in range(20)])
    return found == parent, index.search("word8", 1, mode="keyword")[0].doc_id, len(index)

in_child(child)
print(index.search("newcomer7", 1, mode="keyword")[0].doc_id)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_an_index_that_a_parent_used_is_used_by_a_forked_child(tmp_path: Path):
    lines = told(FORKING, tmp_path / "i", OMP_NUM_THREADS="2", TOKENIZERS_PARALLELISM="true")
    assert lines == ["(True, '8', 2020)", "new7"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_lock_that_another_thread_held_is_free_in_a_child():
    code = """
import threading
from semsearch.forks import ForkLock
lock, held, done = ForkLock(), threading.Event(), threading.Event()

def hold():
    with lock:
        held.set()
        done.wait(30)

def take():
    with lock, lock:
        return "taken"

thread = threading.Thread(target=hold)
thread.start()
held.wait()
in_child(take, seconds=10)
print(lock._lock.acquire(blocking=False))
done.set()
"""
    assert told(code) == ["taken", "False"]


def test_an_index_of_before_the_spelling_was_settled_opens(tmp_path: Path):
    with opened(tmp_path / "i") as index:
        index.add(BIRDS)
    with closing(sqlite3.connect(tmp_path / "i" / "passages.sqlite")) as connection, connection:
        (spec,) = connection.execute("SELECT value FROM settings WHERE key = 'encoder'").fetchone()
        old = spec.replace('"normalize"', '"normalise"')
        assert old != spec
        row = (old, zlib.crc32(f"encoder\0{old}".encode()))
        connection.execute("UPDATE settings SET value = ?, checksum = ? WHERE key = 'encoder'", row)
    with opened(tmp_path / "i", create=False) as index:
        assert index.search("heron", 1)[0].doc_id == "1"
        assert index.add(BIRDS).unchanged == 2


def test_a_folder_that_is_no_index_is_refused(tmp_path: Path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    for folder in (tmp_path / "nowhere", tmp_path / "notes"):
        with pytest.raises(NoIndexError, match="no index in"):
            Index.open(folder)
    with opened(tmp_path / "notes") as index, pytest.raises(NoIndexError, match="contains other files"):
        index.add(BIRDS)
    assert os.listdir(tmp_path / "notes") == ["mine.txt"]
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda index: index.search("heron", k=1.5), "`k` is 1.5; expected a whole number"),
        (lambda index: index.search("heron", k=True), "`k` is True"),
        (lambda index: index.search("heron", k="3"), "`k` is '3'"),
        (lambda index: index.search("heron", k=0), "`k` must be at least 1, got 0"),
        (lambda index: index.search(5), "the query is 5; expected text"),
        (lambda index: index.search(b"heron"), "the query is b'heron'; expected text"),
        (lambda index: index.search(None), "the query is None; expected text"),
        (lambda index: index.search_many("heron"), "expected a list of texts"),
        (lambda index: index.search_many(7), "expected a list of texts"),
        (lambda index: index.search("heron", where=5), "5"),
        (lambda index: index.search("heron", where=b"year = 1"), "b'year = 1'"),
        (lambda index: index.search("heron", where={"year": [2020]}), "in"),
        (lambda index: index.search("heron", mode=3), "`mode` is 3; expected text"),
        (lambda index: index.search("heron", fusion=None), "`fusion` is None; expected text"),
        (lambda index: index.add(b"notes.jsonl"), "b'notes.jsonl'"),
        (lambda index: index.add(5), "`corpus` is 5"),
        (lambda index: index.add(None), "`corpus` is None"),
        (lambda index: index.delete("1"), "`doc_ids` is '1'; expected a list of ids"),
        (lambda index: index.delete([1]), r"`doc_ids` is \[1\]; expected a list of ids"),
        (lambda index: index.delete(5), "`doc_ids` is 5; expected a list of ids"),
        (lambda index: Index.open(b"birds"), "`location` is b'birds'; expected a path"),
        (lambda index: Index.open(5), "`location` is 5; expected a path"),
        (
            lambda index: Index.open("x", create=True, encoder=WordHashEncoder(8), dim=4),
            "`encoder` cannot be combined with `dim`; pass one or the other",
        ),
        (lambda index: Index.open("x", create=True, encoder=WordHashEncoder(8), device="cpu"), "with `device`"),
    ],
)
def test_wrong_types_are_one_clear_line(tmp_path: Path, call: Any, message: str):
    with opened(tmp_path / "i") as index:
        index.add(BIRDS)
        with pytest.raises(UsageError, match=message) as error:
            call(index)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        *(
            ({name: 5}, f"`{name}` is 5; expected text")
            for name in ("pooler", "transform", "precision", "device", "runtime")
        ),
        ({"query_prefix": 5}, "`query_prefix` is 5; expected text"),
        ({"passage_prefix": b"x"}, "`passage_prefix` is b'x'; expected text"),
        ({"max_tokens": 1.5}, "`max_tokens` is 1.5; expected a whole number"),
        ({"max_tokens": True}, "`max_tokens` is True; expected a whole number"),
        ({"dim": "3"}, "`dim` is '3'; expected a whole number"),
        ({"simcse_names": "yes"}, "`simcse_names` is 'yes'; expected True or False"),
    ],
)
def test_settings_of_a_wrong_type_are_refused_by_index_and_encoder(tmp_path: Path, wrong: Any, message: str):
    with pytest.raises(UsageError, match=message):
        Index.open(tmp_path / "i", create=True, **wrong)
    with pytest.raises(UsageError, match=message):
        Encoder.load(**wrong)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda place: Index.open(place, create="yes"), "`create` is 'yes'; expected True or False"),
        (lambda place: Index.open(place, create=True, chunking=5), "`chunking` is 5; expected a semsearch.Chunking"),
        (lambda place: Index.open(place, create=True, encoder=5), "`encoder` is 5; expected an encoder"),
        (lambda place: opened(place).add(BIRDS, options=5), "`options` is 5; expected a semsearch.ReadOptions"),
        (lambda place: opened(place).add(BIRDS, watch=5), "`watch` is 5; expected a function"),
        (lambda place: opened(place).add(BIRDS, skip_bad=3), "`skip_bad` is 3; expected True or False"),
    ],
)
def test_other_arguments_of_a_wrong_type_are_refused(tmp_path: Path, call: Any, message: str):
    with pytest.raises(UsageError, match=message):
        call(tmp_path / "i")
    assert not (tmp_path / "i").exists()


def test_a_misspelt_argument_is_a_type_error(tmp_path: Path):
    with opened(tmp_path / "i") as index:
        with pytest.raises(TypeError, match="unexpected keyword argument 'wher'"):
            index.search("heron", wher="year = 1")
    with pytest.raises(TypeError, match="unexpected keyword argument 'poler'"):
        Index.open(tmp_path / "i", poler="mean")


def test_reprs_are_one_readable_line(tmp_path: Path):
    with opened(tmp_path / "i") as index:
        assert repr(index) == f"Index({str(tmp_path / 'i')!r}, nothing added yet)"
        assert repr(index.add(BIRDS)) == "IngestResult(documents=2, encoded=2, passages=2, tokens=14)"
        assert repr(index) == f"Index({str(tmp_path / 'i')!r}, 2 documents, model='hash:512', pooler='word-hash')"
        index.add({"_id": "9", "title": "Long", "text": "owl \n" * 99})
        owls = "owl " * 19 + "owl…"
        hit = index.search("owl", 1, mode="keyword")[0]
        assert repr(hit) == f"Hit(1, '9', score={hit.score:.4f}, title='Long', text={owls!r})"


def test_another_writer_is_named(tmp_path: Path):
    with opened(tmp_path / "i") as index:
        index.add(BIRDS)
        store = LocalStore(tmp_path / "i")
        with store.write(store.spec, store.chunking), pytest.raises(LockedError, match=f"process {os.getpid()}"):
            index.add(BIRDS)
        assert index.add(BIRDS).unchanged == 2


CONSUMER = """
from pathlib import Path
from semsearch import Hit, Index

with Index.open(Path("birds"), create=True) as index:
    index.add([{"_id": "1", "text": "The heron waits.", "year": 2021}])
    hits: list[Hit] = index.search("a bird", k=3, where={"year": {">=": 2020}})
    texts: list[str] = [hit.text for hit in hits]
    reveal_type(index.delete(["1"]))
    index.search("a bird", k="3")
"""


@pytest.mark.slow
def test_a_type_checker_sees_the_types_of_a_consumer(tmp_path: Path):
    """The package ships py.typed, so a type checker accepts correct calls and reports a wrong one."""
    (tmp_path / "consumer.py").write_text(CONSUMER)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "consumer.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert 'Revealed type is "builtins.list[builtins.str]"' in done.stdout.replace(
        "list[str]", "builtins.list[builtins.str]"
    )
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(errors) == 1, done.stdout
    assert 'Argument "k" to "search" of "Index" has incompatible type "str"; expected "int"' in errors[0]


@pytest.mark.parametrize("unit", ["document", "passage"])
def test_a_vector_finds_what_its_query_finds(place: Any, unit: str):
    with opened(place) as index:
        assert index.search_vector([0.0] * 512) == []
        index.add(BIRDS)
        vector = index.encoder.encode_queries(["a heron waits"])[0]
        by_text = index.search("a heron waits", mode="dense", unit=unit)
        for length in (1, 3):
            by_vector = index.search_vector([length * float(x) for x in vector], unit=unit)
            assert [hit.doc_id for hit in by_vector] == [hit.doc_id for hit in by_text] == ["1", "2"]
            assert [hit.kind for hit in by_vector] == ["cosine", "cosine"]
            assert [hit.score for hit in by_vector] == pytest.approx([hit.score for hit in by_text], abs=1e-6)
            assert [hit.confidence for hit in by_vector] == pytest.approx([hit.confidence for hit in by_text])
        assert [hit.doc_id for hit in index.search_vector(vector, where="year < 2020")] == ["2"]
        assert [hit.doc_id for hit in index.search_vector(vector, k=1, min_confidence=0.0)] == ["1"]
        assert all(hit.score == 0 for hit in index.search_vector([0.0] * 512))


def test_a_vector_needs_no_encoder(tmp_path: Path):
    with opened(tmp_path / "birds") as index:
        index.add(BIRDS)
        vector = index.encoder.encode_queries(["heron"])[0]
    with Index.open(tmp_path / "birds", model=tmp_path / "nowhere") as index:
        assert index.search_vector(vector, k=1)[0].doc_id == "1"


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ([], "the vector is []; expected a list of 512 finite numbers"),
        ([1.0, 2.0], "the vector has 2 dimensions; the encoder of this index produces 512"),
        ([[0.0] * 512], "expected a list of 512 finite numbers"),
        ([float("nan")] * 512, "expected a list of 512 finite numbers"),
        ([1e39] * 512, "expected a list of 512 finite numbers"),
        ([10**400] * 512, "expected a list of 512 finite numbers"),
        ("heron", "the vector is 'heron'; expected a list of 512 finite numbers"),
        (None, "expected a list of 512 finite numbers"),
        ([None] * 512, "expected a list of 512 finite numbers"),
    ],
)
def test_what_is_no_vector_of_the_encoder_is_refused(place: Any, vector: Any, message: str):
    with opened(place) as index:
        index.add(BIRDS)
        with pytest.raises(UsageError) as caught:
            index.search_vector(vector)
        assert message in str(caught.value)


def test_the_background_is_there_as_soon_as_there_are_documents(place: Any):
    with opened(place) as index:
        assert index.background is None
        index.add(BIRDS)
        assert index.background is not None
        for hit in index.search("heron reeds", mode="dense"):
            assert hit.confidence == index.background.confidence("dense", hit.score)
