"""Tests for the store in Milvus, on milvus-lite: what the contract of stores does not say, and what goes wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import HASH, call
from fakes import entry, index_spec

from semsearch import Index, WordHashEncoder
from semsearch.arrays import Vectors
from semsearch.corpus.chunking import Chunking
from semsearch.errors import LockedError, NoIndexError, SchemaError, StoreError, UsageError
from semsearch.filters.read import read_filter
from semsearch.stores.milvus.address import parse_address
from semsearch.stores.open import open_store

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")

from semsearch.stores.milvus import states
from semsearch.stores.milvus.driver import Session
from semsearch.stores.milvus.lease import LEASE
from semsearch.stores.milvus.store import MilvusStore

CHUNKING = Chunking().to_json()

UNIT = np.eye(4, dtype=np.float32)

DIM = 16

KINDS = ("Flat", "HNSW8", "HNSW8,SQ8", "IVF8,Flat", "IVF8,SQ8")
"""A vector index of each kind on the whitelist."""


@pytest.fixture
def place(tmp_path: Path) -> str:
    return f"milvus://{(tmp_path / 'index.db').as_posix()}?index=notes"


@pytest.fixture
def store(place: str) -> Iterator[MilvusStore]:
    with closing(open_store(place)) as opened:
        assert isinstance(opened, MilvusStore)
        yield opened


def clustered(n: int, seed: int = 0) -> Vectors:
    random = np.random.default_rng(seed)
    centers = random.normal(size=(20, DIM))
    rows = centers[random.integers(20, size=n)] + 0.5 * random.normal(size=(n, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def python(code: str, *arguments: str) -> str:
    """Run code in a process of its own; return what it prints."""
    words = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout


REOPENED = """
import json, sys
import numpy as np
from semsearch.filters.read import read_filter
from semsearch.stores.open import open_store
store, rows = open_store(sys.argv[1]), np.load(sys.argv[2])
found = [store.search_vectors(rows[:20], 10, read_filter(where))[1].tolist() for where in (None, "n >= 300")]
words = store.search_keywords("word7", 9, None)[0].tolist()
print(json.dumps([found, words, store.status()["vectors"]["segments"], store.counts()["passages"]]))
"""


@pytest.mark.parametrize("kind", KINDS)
def test_every_vector_index_is_there_again_in_a_new_process(place: str, tmp_path: Path, kind: str):
    rows = clustered(600)
    np.save(tmp_path / "rows.npy", rows)
    with closing(open_store(place)) as store:
        with store.write(index_spec(dim=DIM), CHUNKING, vectors={"vector_index": kind}) as writer:
            for start in range(0, 600, 200):
                some = range(start, start + 200)
                writer.commit([entry(f"d{n}", rows[n][None], f"word{n % 9}", n=n) for n in some])
            writer.delete([f"d{n}" for n in range(0, 600, 10)])
            writer.compact()
            writer.seal(final=True)
    found, words, (about,), n = json.loads(python(REOPENED, place, str(tmp_path / "rows.npy")))
    assert (n, about["kind"]) == (540, kind)
    kept = np.array([number for number in range(600) if number % 10])  # passage n + 1 is that of document n
    for passages, among in zip(found, (kept, kept[kept >= 300]), strict=True):
        truth = among[np.argsort(-(rows[:20] @ rows[among].T), axis=1)[:, :10]]
        shares = [
            len({*best} & {one - 1 for one in row}) / 10 for best, row in zip(truth.tolist(), passages, strict=True)
        ]
        assert np.mean(shares) >= (1 if kind == "Flat" else 0.9)
    assert about.get("recall", 1) >= 0.9
    assert len(words) == 9
    assert min(words) > 0


@pytest.mark.parametrize(("where", "share"), [("share < 500", 0.5), ("share < 10", 0.01), ("share < 1", 0.001)])
def test_filters_cost_no_recall(store: MilvusStore, where: str, share: float):
    n, rows = 4_000, clustered(4_000)
    with store.write(index_spec(dim=DIM), CHUNKING, vectors={"vector_index": "HNSW16"}) as writer:
        writer.commit([entry(f"d{number}", rows[number][None], share=number % 1_000) for number in range(n)])
        writer.seal(final=True)
    among = np.flatnonzero(np.arange(n) % 1_000 < share * 1_000)
    scores, passages = store.search_vectors(rows[:20], 10, read_filter(where))
    truth = -np.sort(-(rows[:20] @ rows[among].T), axis=1)[:, :10]
    found = [np.count_nonzero(one >= best[-1] - 1e-5) / len(best) for one, best in zip(scores, truth, strict=True)]
    assert np.mean(found) >= (0.98 if share == 0.5 else 1)
    assert set((passages[passages > 0] - 1).tolist()) <= set(among.tolist())


def test_other_vector_indexes_and_precisions_are_refused(store: MilvusStore):
    for asked in ("IVF8,PQ8", "DISKANN", "SCANN", "IVF_PQ", "hnsw8"):
        with pytest.raises(UsageError, match=r"`vector_index` is .*expected auto, Flat, HNSW32"):
            with store.write(index_spec(), CHUNKING, vectors={"vector_index": asked}):
                pass
    with pytest.raises(UsageError, match="Milvus stores vectors as float32"):
        with store.write(index_spec(), CHUNKING, store_precision="int8"):
            pass
    assert not store.exists()


def test_the_vector_index_may_change_and_vectors_stay(store: MilvusStore):
    rows = clustered(50)
    with store.write(index_spec(dim=DIM), CHUNKING, vectors={"vector_index": "Flat"}) as writer:
        writer.commit([entry(f"d{n}", row[None], n=n) for n, row in enumerate(rows)])
    before = store.search_vectors(rows, 5, None)
    with store.write(index_spec(dim=DIM), CHUNKING, vectors={"vector_index": "HNSW8"}) as writer:
        writer.compact()
    assert store.status()["vectors"]["segments"][0]["kind"] == "HNSW8"
    after = store.search_vectors(rows, 5, None)
    assert after[0] == pytest.approx(before[0])
    assert after[1].tolist() == before[1].tolist()
    assert len(row_names(store)) == 3


def current(store: MilvusStore) -> states.State:
    state = states.read_root(store._session)
    assert state is not None
    return state


def row_names(store: MilvusStore) -> list[str]:
    with store.write(store.spec, CHUNKING):  # sweeps
        pass
    names: list[str] = store._session.call("list_collections")
    return names


@pytest.mark.parametrize("step", ["insert", "replace"])
def test_a_crash_in_the_middle_of_a_commit_leaves_the_last_one(place: str, step: str):
    with closing(open_store(place)) as store, store.write(index_spec(), CHUNKING) as writer:
        writer.commit([entry("a", UNIT[:2], "kax lux", year=1), entry("b", UNIT[2:3], "rex")])
    code = f"""
    import os, sys
    import numpy as np
    sys.path.insert(0, {str(Path(__file__).parents[1])!r})
    from fakes import entry, index_spec
    from semsearch.stores.milvus import writer as module
    from semsearch.stores.milvus.driver import Session
    from semsearch.stores.open import open_store
    store, real, calls = open_store(sys.argv[1]), Session.{step}, []
    def dying(self, collection, rows):
        real(self, collection, rows)
        if "passages" in collection:
            print("killed", flush=True)
            os.kill(os.getpid(), 9)
    with store.write(store.spec, store.chunking) as writer:
        Session.{step} = dying
        writer.commit([entry("a", np.eye(4, dtype="f4")[3:], "dox"), entry("c", np.eye(4, dtype="f4")[1:2], "fox")])
    """
    words = [sys.executable, "-c", textwrap.dedent(code), place]
    died = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert died.stdout == "killed\n", died.stderr

    def check(store: Any) -> None:
        assert store.select(None) == ["a", "b"]
        assert store.counts()["passages"] == 3
        assert store.passages_from(0, 9) == [1, 2, 3]
        assert store.search_keywords("kax", 9, None)[1].tolist() == [1]
        assert store.search_keywords("dox fox", 9, None)[1].tolist() == []
        assert store.search_vectors(UNIT[3:], 9, None)[0].max() == 0
        assert store.documents(["a"])["a"].text == "kax lux"

    with closing(open_store(place)) as store:
        check(store)
        with store.write(store.spec, CHUNKING) as writer:  # the lease of a dead process does not count
            check(store)
            writer.commit([entry("c", UNIT[1:2], "fox")])
        assert store.select(None) == ["a", "b", "c"]
        assert store._session.count(current(store).passages, "passage >= 0") == 4


def test_a_snapshot_does_not_see_what_is_committed_meanwhile(store: MilvusStore):
    with store.write(index_spec(), CHUNKING) as writer:
        writer.commit([entry("a", UNIT[:1], "kax", year=1), entry("b", UNIT[1:2], "rex")])
        with store.snapshot():
            writer.commit([entry("a", UNIT[2:3], "dox", lang="en")])
            writer.delete(["b"])
            writer.seal(final=True)
            assert store.select(None) == ["a", "b"]
            assert store.fields() == ["year"]
            assert store.search_vectors(UNIT[:1], 1, read_filter("year = 1"))[0].tolist() == [[1]]
            assert len(store.search_keywords("rex", 9, None)[1]) == 1
            assert store.documents(["a"])["a"].text == "kax"
    assert (store.select(None), store.fields()) == (["a"], ["lang"])
    with store.write(store.spec, CHUNKING) as writer:
        writer.compact()
    assert store._session.count(current(store).passages, "passage >= 0") == 1


def test_settings_stay_as_long_as_a_reader_may_need_them(store: MilvusStore, monkeypatch: pytest.MonkeyPatch):
    def n_settings() -> int:
        return store._session.count("notes", 'key != ""')

    with store.write(index_spec(), CHUNKING) as writer:
        for n in range(20):
            writer.commit([entry("a", UNIT[:1], f"kax{n}", **{f"field{n}": n})])
        with store.snapshot():
            writer.commit([entry("a", UNIT[1:2], "dox", other=1)])
            writer.seal(final=True)
            assert store.fields() == ["field19"]
            assert store.reference_scores(UNIT)[0] == pytest.approx([1 / 21, 0, 0, 0])
        many = n_settings()
        writer.seal(final=True)
        assert n_settings() >= many  # not ten minutes old
        monkeypatch.setattr("semsearch.stores.milvus.writer.KEPT", 0)
        writer.seal(final=True)
        assert n_settings() < many / 2
        writer.compact()
        few = n_settings()
    assert few <= len(current(store).settings) + 6
    assert (store.fields(), store.select(None)) == (["other"], ["a"])


def test_a_writer_goes_on_after_a_commit_that_failed(store: MilvusStore, monkeypatch: pytest.MonkeyPatch):
    with store.write(index_spec(), CHUNKING) as writer:
        writer.commit([entry("a", UNIT[:1], "kax")])
        with monkeypatch.context() as failing:
            failing.setattr("semsearch.stores.milvus.commits.root_row", lambda state: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                writer.commit([entry("a", UNIT[1:2], "dox"), entry("b", UNIT[1:2], "rex")])
        assert store.select(None) == ["a"]
        writer.commit([entry("b", UNIT[2:3], "fox")])
    assert store.select(None) == ["a", "b"]
    assert store.passages_from(0, 9) == [1, 2]
    assert store._session.count(current(store).passages, "passage >= 0") == 2


def test_only_the_holder_of_the_lease_commits(store: MilvusStore, monkeypatch: pytest.MonkeyPatch):
    with store.write(index_spec(), CHUNKING) as writer:
        writer.commit([entry("a", UNIT[:1])])
        with pytest.raises(LockedError, match=rf"being written by process {os.getpid()} on .*, since"):
            with store.write(store.spec, CHUNKING):
                pass
        other = {"token": "x", "holder": "process 1 on another-host", "until": time.time() + 60}
        store._session.replace("notes", [{"key": LEASE, "value": json.dumps(other), "nothing": [0.0, 0.0]}])
        with pytest.raises(LockedError, match="by process 1 on another-host, which began because this process"):
            writer.commit([entry("b", UNIT[1:2])])
    assert store.select(None) == ["a"]
    with pytest.raises(LockedError, match="being written by process 1 on another-host; wait"):
        with store.write(store.spec, CHUNKING):
            pass
    other["until"] = time.time() - 1
    store._session.replace("notes", [{"key": LEASE, "value": json.dumps(other), "nothing": [0.0, 0.0]}])
    with store.write(store.spec, CHUNKING) as writer:
        writer.commit([entry("b", UNIT[1:2])])
    assert store.select(None) == ["a", "b"]


def test_texts_beyond_the_limit_of_a_field_are_whole(store: MilvusStore):
    text = "".join(chr(0x4E00 + n % 20_000) for n in range(300_000))  # 900,000 bytes, hardly compressible
    with store.write(index_spec(), CHUNKING) as writer:
        writer.commit([entry("long", UNIT[:1], text, "Title"), entry("b", UNIT[1:2], "short")])
    assert store.documents(["long"])["long"].text == text
    parts = store._session.count(current(store).documents, "part >= 0")
    assert parts > 5
    with store.write(store.spec, CHUNKING) as writer:
        writer.commit([], [entry("long", UNIT[:1], text, "Title", year=2021).document])
        assert writer.plan([entry("long", UNIT[:1], text, "Title", year=2021).document]).unchanged == 1
    assert store.documents(["long"])["long"].text == text
    assert store.select(read_filter("year = 2021")) == ["long"]


def test_metadata_beyond_the_limit_is_refused_as_a_whole(store: MilvusStore):
    with store.write(index_spec(), CHUNKING) as writer:
        writer.commit([entry("a", UNIT[:1])])
        with pytest.raises(UsageError, match=r"metadata of the document 'b' take .* bytes .*at most 65,535"):
            writer.commit([entry("c", UNIT[:1]), entry("b", UNIT[:1], note="x" * 70_000)])
        with pytest.raises(UsageError, match="and 5,"):
            writer.commit([entry("b", UNIT[:1], tags=[f"t{n}" for n in range(5_000)])])
        writer.commit([entry("d", UNIT[:1], tags=[f"t{n}" for n in range(500)])])
    assert store.select(None) == ["a", "d"]
    assert store.select(read_filter("tags contains 't499'")) == ["d"]


def test_more_documents_than_milvus_returns_at_once(store: MilvusStore, monkeypatch: pytest.MonkeyPatch):
    rows = clustered(2_500)
    with store.write(index_spec(dim=DIM), CHUNKING) as writer:
        writer.commit([entry(f"d{n}", row[None], f"word{n % 2}", n=n) for n, row in enumerate(rows)])
    assert store.select(None) == [f"d{n}" for n in range(2_500)]
    assert store.facets(1) == {"n": [(0, 1)]}
    assert len(store.passages_from(0, 9_999)) == 2_500
    with pytest.raises(UsageError, match=r"`k` is 20,000; Milvus returns at most 16,368 passages"):
        store.search_vectors(rows[:1], 20_000, None)
    with store.write(store.spec, CHUNKING) as writer:
        assert writer.delete([f"d{n}" for n in range(2_499)]) == [f"d{n}" for n in range(2_499)]
    assert (store.passages_from(0, 9), store.passages_from(1, 9)) == ([2_500], [2_500])


def test_keyword_candidates_are_scored_exactly(store: MilvusStore, tmp_path: Path):
    """The mean length of passages changes after the first ones were written; scores are those of a folder."""
    texts = [f"word{n % 7} " * (1 + n % 5) + f"c++ 京都{'長' * (n % 4)} " + "other " * (n % 40) for n in range(300)]
    with closing(open_store(tmp_path / "folder")) as folder:
        for one in (store, folder):
            with one.write(index_spec(), CHUNKING) as writer:
                for start in range(0, 300, 60):
                    some = range(start, start + 60)
                    writer.commit([entry(f"d{n}", UNIT[:1], texts[n], n=n) for n in some])
                writer.delete([f"d{n}" for n in range(0, 300, 7)])
        for query in ("word1 word2 c++", "京都", "other", "word3 京都長", "c++ word5 word5"):
            ours, theirs = (one.search_keywords(query, 40, None) for one in (store, folder))
            assert ours[0].tolist() == theirs[0].tolist()
            assert store.highest_keyword_score(query) == folder.highest_keyword_score(query)


def test_a_draft_takes_the_metadata_that_the_index_has_when_it_is_adopted(store: MilvusStore):
    with store.write(index_spec(), CHUNKING) as writer:
        writer.commit([entry("a", UNIT[:1], "kax", year=1), entry("b", UNIT[1:2], "rex", year=2)])
        with closing(writer.draft()) as draft:
            with draft.write(index_spec(dim=6), CHUNKING) as filling:
                bare = [dataclasses.replace(entry(i, UNIT[:1], t).document) for i, t in (("a", "kax"), ("b", "rex"))]
                wide = np.eye(6, dtype=np.float32)
                filling.commit([dataclasses.replace(entry("a", wide[:1], "kax"), document=bare[0])])
                filling.commit([dataclasses.replace(entry("b", wide[1:2], "rex"), document=bare[1])])
            writer.commit([], [entry("b", UNIT[1:2], "rex", year=9).document])
            writer.adopt(draft)
        writer.discard_draft()
    found = store.search_vectors(np.eye(6, dtype=np.float32)[:1], 9, read_filter("year = 9"))[1]
    assert [store.show(row.tolist())[int(row[0])].doc_id for row in found] == ["b"]
    assert store.search_vectors(np.eye(6, dtype=np.float32)[:1], 9, read_filter("year = 2"))[1].size == 0
    assert len(row_names(store)) == 3


def test_an_index_moves_between_folder_and_milvus(place: str, tmp_path: Path):
    (tmp_path / "notes").mkdir()
    for n in range(30):
        (tmp_path / "notes" / f"{n}.md").write_text(f"# Title {n}\n\nheron {n} waits\n\n## Part\n\nreeds {n % 5} C++\n")
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    with Index.open(one, create=True, encoder=WordHashEncoder(64)) as index:
        index.add(str(tmp_path / "notes"))
        index.add([{"_id": "memory", "text": "a patient bird 鷺が待つ", "year": 2021}])
    for source, target in ((one, place), (place, two)):
        assert Index.copy(source, target).documents == 31
        assert Index.copy(source, target).unchanged == 31
        with (
            Index.open(one, encoder=WordHashEncoder(64)) as first,
            Index.open(target, encoder=WordHashEncoder(64)) as now,
        ):
            assert (first.spec, first.roots, first.background) == (now.spec, now.roots, now.background)
            for mode in ("dense", "keyword", "hybrid"):
                for query in ("heron reeds", "c++", "patient 鷺"):
                    found = [[(hit.doc_id, hit.text) for hit in each.search(query, mode=mode)] for each in (first, now)]
                    assert sorted(found[0]) == sorted(found[1])
            assert now.add(str(tmp_path / "notes")).unchanged == 30


def test_the_files_of_an_encoder_come_back_as_they_were(place: str, tmp_path: Path):
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    data = np.random.default_rng(0).bytes(9 * 2**20)
    (folder / "deep" / "model.bin").write_bytes(data)
    (folder / "empty").write_bytes(b"")
    with closing(open_store(place)) as store:
        with store.write(index_spec(), CHUNKING, artifacts={"int8": folder}) as writer:
            writer.commit([entry("a", UNIT[:1])])
    with closing(open_store(place)) as store:
        assert store.artifacts is not None
        assert (store.artifacts / "int8" / "deep" / "model.bin").read_bytes() == data
        assert (store.artifacts / "int8" / "empty").read_bytes() == b""


def complaint(place: str) -> str:
    """Return what a query says of an index that cannot be used."""
    outcome = call("query", "heron", "--index", place)
    assert outcome.code != 0
    assert "Traceback" not in outcome.err
    return outcome.err


SECRET = "s3cr%40et%2Fword"  # as in a URL


def test_an_address_shows_no_password(monkeypatch: pytest.MonkeyPatch):
    address = parse_address(f"milvus://me:{SECRET}@example.org/db?index=notes&timeout=9")
    assert (address.uri, address.database, address.token) == ("http://example.org:19530", "db", "me:s3cr@et/word")
    assert "s3cr" not in f"{address} {address!r}"
    assert address.redacted(f"denied me:s3cr@et/word or s3cr@et/word, {SECRET}").count("***") == 3
    monkeypatch.setenv("MILVUS_TOKEN", "key")
    assert parse_address("milvus://h:1/?tls=true").token == "key"
    assert parse_address("milvus://[::1]:7").uri == "http://[::1]:7"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("milvus://me@h/db?index=a__b", "the index 'a__b'"),
        ("milvus://me@h/db?index=1", "the index '1'"),
        ("milvus://h/db?timeout=0", "the timeout '0'"),
        ("milvus://h/db?consistency=strong", "the consistency 'strong'"),
        ("milvus://h/db?tls=1", "the parameter tls"),
        ("milvus://h/db?colour=red", "an unknown parameter 'colour'"),
        ("milvus://h/a/b", "is not a valid URL"),
        ("milvus://h:x/a", "is not a valid URL"),
        ("milvus://me:p@q@h/a", "is not a valid URL"),
        ("milvus://h/a-b", "the database 'a-b'"),
        ("milvus:///notes", "must be an absolute path that ends in .db"),
        ("milvus://", "must be an absolute path that ends in .db"),
    ],
)
def test_a_malformed_address_is_refused(url: str, message: str):
    with pytest.raises(UsageError, match=message) as raised:
        open_store(url)
    assert "p@q" not in str(raised.value)


def test_a_server_that_is_down_is_named():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.monotonic()
    said = complaint(f"milvus://me:{SECRET}@127.0.0.1:{port}/?timeout=3")
    assert f"cannot connect to the server of 'milvus://me@127.0.0.1:{port}/?timeout=3&index=semsearch'" in said
    assert "s3cr" not in said
    assert time.monotonic() - started < 30


def test_a_missing_folder_an_index_that_is_not_there_and_a_closed_one_are_named(place: str, tmp_path: Path):
    assert "does not exist; create it first" in complaint(f"milvus://{tmp_path}/none/index.db")
    store = open_store(place)
    with pytest.raises(NoIndexError, match=r"no index in 'milvus:///.*index=notes'; create one with: semsearch index"):
        store.counts()
    store.close()
    with pytest.raises(StoreError, match="is closed; open it again"):
        store.counts()


def test_an_index_whose_collections_are_dropped_is_missed(store: MilvusStore):
    with store.write(index_spec(), CHUNKING) as writer:
        writer.commit([entry("a", UNIT[:1])])
    assert store.exists()
    for name in store._session.call("list_collections"):
        store._session.call("drop_collection", name)
    assert not store.exists()
    with pytest.raises(NoIndexError, match="no index in"):
        store.counts()


def test_other_collections_and_a_layout_from_the_future_are_refused(store: MilvusStore, place: str):
    store._session.call("create_collection", "taken", dimension=4)
    other = place.replace("notes", "taken")
    with closing(open_store(other)) as taken:
        with pytest.raises(NoIndexError, match="another collection is named 'taken'"):
            taken.exists()
        with pytest.raises(NoIndexError), taken.write(index_spec(), CHUNKING):
            pass
    with store.write(index_spec(), CHUNKING) as writer:
        writer.commit([entry("a", UNIT[:1])])
    state = states.read_root(store._session)
    assert state is not None
    for value, error, message in (
        (json.dumps({**dataclasses.asdict(state), "format": 99, "new": 1}), SchemaError, "newer version of semsearch"),
        ("{", StoreError, "its row 'root' is not valid"),
        (json.dumps({"format": 1}), StoreError, "its row 'root' is not valid"),
    ):
        store._session.replace("notes", [{**states.root_row(state), "value": value}])
        with pytest.raises(error, match=message):
            store.counts()
    missing = dataclasses.replace(state, settings={**state.settings, "encoder": [7, 1]})
    store._session.replace("notes", [states.root_row(missing)])
    with pytest.raises(StoreError, match="its setting 'encoder' is missing or not valid"):
        _ = store.spec


def test_a_file_that_another_process_has_open_is_named(place: str):
    with closing(open_store(place)) as store:
        with store.write(index_spec(), CHUNKING) as writer:
            writer.commit([entry("a", UNIT[:1])])
        assert store.exists()
        code = "import sys; from semsearch.cli.main import main; main()"
        words = [sys.executable, "-c", code, "query", "heron", "--index", place]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert "is open in another process, and milvus-lite allows one" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Run milvus-lite as a server of its own, and return its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "import sys; from milvus_lite.adapter.grpc.server import run_server as run; "
    code += "run(*sys.argv[1:3], int(sys.argv[3]))"
    words = [sys.executable, "-c", code, str(tmp_path / "served"), "127.0.0.1", str(port)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield f"milvus://127.0.0.1:{port}/?index=notes&timeout=30"
        finally:
            process.kill()


def test_processes_share_a_server_of_which_one_writes(server: str):
    until = time.monotonic() + 30
    while True:
        try:
            with closing(Session(parse_address(server))) as session:
                session.call("list_collections")
            break
        except StoreError:
            assert time.monotonic() < until
            time.sleep(0.2)
    with closing(open_store(server)) as store, store.write(index_spec(), CHUNKING) as writer:
        writer.commit([entry("a", UNIT[:1], "heron", year=1)])
        code = """
        import sys
        from semsearch.stores.open import open_store
        store = open_store(sys.argv[1])
        print(store.select(None), store.search_keywords("heron", 9, None)[1].tolist())
        try:
            with store.write(store.spec, store.chunking):
                pass
        except Exception as error:
            print(type(error).__name__)
        """
        assert python(code, server).splitlines() == ["['a'] [1]", "LockedError"]


def test_the_driver_is_named_where_it_is_missing():
    code = "import sys; sys.modules['pymilvus'] = None; from semsearch import Index; Index.exists('milvus://h/d')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "pip install 'semsearch[milvus]'" in done.stderr


def test_the_command_line_takes_milvus_wherever_it_takes_a_folder(place: str, tmp_path: Path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "bird.md").write_text("# Heron\n\nThe heron waits in the reeds.\n")
    for words in (
        ("index", str(tmp_path / "notes"), "--index", place, *HASH),
        ("query", "patient", "heron", "--index", place),
        ("open", "1", "--index", place),
        ("status", "--index", place),
        ("copy", place, str(tmp_path / "copy")),
        ("query", "heron", "--index", str(tmp_path / "copy")),
        ("reencode", "--index", place, "--model", "hash:512"),
        ("query", "heron", "--index", place, "--where", "path = 'bird.md'"),
        ("compact", "--index", place),
        ("migrate", "--index", place),
        ("delete", "bird.md", "--index", place),
    ):
        outcome = call(*words)
        assert outcome.code == 0, (words, outcome.err)
    assert call("query", "heron", "--index", place).code == 3


@pytest.mark.slow
def test_cranfield_has_the_same_run_as_in_a_folder(cranfield_index: Path, place: str, data: Path):
    Index.copy(cranfield_index, place)
    lines = (data / "cranfield/queries.jsonl").read_text("utf-8").splitlines()
    queries = [json.loads(line)["text"] for line in lines]
    with Index.open(cranfield_index, device="cpu") as folder, Index.open(place, device="cpu") as database:
        encoded = folder.encoder.encode_queries(queries)
        stores = [one._store for one in (folder, database)]
        ours, theirs = (store.search_vectors(encoded, 100, None)[0] for store in stores)
        same = np.mean(np.abs(ours - theirs) < 2e-6)
        assert same > 0.98
        for query in queries:
            found = [store.search_keywords(query, 100, None)[0].tolist() for store in stores]
            assert found[0] == found[1]
